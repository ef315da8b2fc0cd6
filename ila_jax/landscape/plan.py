"""Plan of stage `landscape`: its time, memory and bytes on disk."""

import dataclasses
import itertools
import time

import jax
import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import encoders
from ila_jax.forecast import costs, sizes, trials, work
from ila_jax.landscape.maps import configured, projections
from ila_jax.run import progress
from ila_jax.sections import landscape

# What no trial tells: seconds, and more for every example.
_SECONDS, _SECONDS_EACH = 6.0, 2e-4
_CELLS = 70  # Bytes of an example in the table of cells, of thousands.
_MAP_STEPS = 300  # Of a trial of t-SNE: the map grows, and so do its steps.
_PLACED = 4096


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a map that is fitted on some examples and places all of them."""
  settings, examples = run.config.landscape, run.sample.examples
  cost = costs.Cost(
    _SECONDS + _SECONDS_EACH * examples, left_out=_left_out(settings)
  )
  if settings.map is not None:
    return cost
  name, options = settings.projection, configured.options(settings, run.mesh)
  kind = projections.PROJECTIONS[name]
  if kind.by_tsne:
    # The network of a parametric map learns a t-SNE, which is fitted first.
    name, options = "tsne", dataclasses.replace(options, dimensions=2)
  with run.machine.target():
    width = encoders.width(run.config, run.decoder)
  trial = _trial(
    fitted=min(settings.fit_examples, examples),
    placed=examples,
    width=width,
    name=name,
    options=options,
  )
  compiling = trial.compile_seconds
  return cost.and_also(costs.Cost(trial.seconds + compiling, compiling))


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of cells and map, and of positions until they are all there."""
  settings, n = known.config.landscape, known.examples
  fitted = 0
  if settings.map is not None or settings.projection == "tsne":
    # A t-SNE keeps what it was fitted on.
    width = encoders.width(known.config, known.decoder)
    fitted = min(settings.fit_examples, n) * 4 * (width + 2)
  return costs.Need(n * _CELLS + 6 * costs.TABLE + fitted, 8 * n)


def _left_out(settings: landscape.Landscape) -> tuple[str, ...]:
  """Names the configured work that the estimate leaves out."""
  parts = {
    "landscape.stability": settings.stability,
    "k-means cells": settings.cells == "kmeans",
    "the network of a parametric map": settings.map is None
    and projections.PROJECTIONS[settings.projection].epochs > 0,
  }
  return tuple(name for name, wanted in parts.items() if wanted)


def _trial(
  *,
  fitted: int,
  placed: int,
  width: int,
  name: str,
  options: projections.Options,
) -> trials.Trial:
  """What it takes to fit a map and to place examples on it.

  Args:
    fitted: examples that the map is fitted on.
    placed: examples that are placed.
    width: of the embeddings.
    name: of the projection.
    options: of the run; those that tell of progress are overruled.
  """
  x = _clustered(fitted, width)
  clock: list[tuple[int, float]] = []
  compiled, begin = progress.compile_seconds(), time.monotonic()

  def note(done: int, _: float) -> None:
    busy = time.monotonic() - progress.compile_seconds()
    clock.append((done, busy))

  steps = min(options.iterations, _MAP_STEPS)
  fit = projections.fit(
    x,
    name=name,
    key=jax.random.key(0),
    options=dataclasses.replace(options, iterations=steps, on_progress=note),
  )
  jax.block_until_ready(fit.arrays)
  compiling = progress.compile_seconds() - compiled
  seconds = time.monotonic() - begin - compiling
  if len(clock) > 2 and options.iterations > steps:
    rates = [
      (late - early) / max(after - before, 1)
      for (before, early), (after, late) in itertools.pairwise(clock)
    ]
    seconds += (options.iterations - steps) * float(np.median(rates[-3:]))
  rows = mesh_lib.put_rows(x[:_PLACED], options.mesh)
  trial = trials.twice(lambda: jax.block_until_ready(fit.place(rows)))
  seconds += trial.seconds * placed / len(rows)
  return trials.Trial(seconds, compiling + trial.compile_seconds)


def _clustered(n: int, width: int) -> np.ndarray:
  """Unit vectors in groups, as the embeddings of a pool are."""
  random = np.random.default_rng(0)
  centers = random.normal(size=(50, width))
  x = centers[random.integers(50, size=n)]
  x = x + 0.7 * random.normal(size=(n, width))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
