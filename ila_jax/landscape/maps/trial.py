"""What it takes to fit a map and to place examples on it, by a trial."""

import dataclasses
import itertools
import time

import jax
import numpy as np

from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import encoders
from ila_jax.forecast import costs, trials, work
from ila_jax.landscape.maps import configured, projections
from ila_jax.run import progress

# Of a trial of t-SNE: the map grows, and so do its steps.
_MAP_STEPS = 300
_PLACED = 4096


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a map that is fitted on some examples and places all of them."""
  settings, examples = run.config.landscape, run.sample.examples
  name, options = settings.projection, configured.options(settings, run.mesh)
  kind = projections.PROJECTIONS[name]
  if kind.by_tsne:
    # The network of a parametric map learns a t-SNE, which is fitted first.
    name, options = "tsne", dataclasses.replace(options, dimensions=2)
  with run.machine.target():
    width = encoders.width(run.config, run.decoder)
  trial = fit_and_place(
    fitted=min(settings.fit_examples, examples),
    placed=examples,
    width=width,
    name=name,
    options=options,
  )
  compiling = trial.compile_seconds
  return costs.Cost(trial.seconds + compiling, compiling)


def fit_and_place(
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
