"""A map as config.landscape has it, fitted with a bar of progress."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from ila_jax.landscape.maps import projections
from ila_jax.run import interrupts, progress
from ila_jax.sections import landscape


def options(settings: landscape.Landscape, mesh: Mesh) -> projections.Options:
  """How config.landscape has the map fitted."""
  return projections.Options(
    dimensions=settings.dimensions,
    perplexity=settings.perplexity,
    iterations=settings.iterations,
    mesh=mesh,
  )


def fit(
  settings: landscape.Landscape, seed: int, mesh: Mesh, x: np.ndarray
) -> projections.Map:
  """Fits a map as config.landscape has it, and says what it does.

  Args:
    settings: of the map.
    seed: of its draws.
    mesh: the devices that fit it.
    x: embeddings, float32 [n, d].

  Raises:
    errors.InputError: as `projections.fit`.
  """
  name = settings.projection
  kind = projections.PROJECTIONS[name]
  if kind.by_tsne:
    progress.say(
      f"  fitting a {name} map on {len(x):,} examples: first their neighbours"
    )
  total = settings.iterations + kind.epochs if kind.by_tsne else None
  with progress.counter(total, desc=name, unit="steps") as advance:
    fitted_map = projections.fit(
      x,
      name=name,
      key=jax.random.key(seed),
      options=dataclasses.replace(
        options(settings, mesh),
        on_progress=counts(advance),
        on_epoch=counts(advance),
      ),
    )
  used = fitted_map.notes.get("perplexity", settings.perplexity)
  if used < settings.perplexity:
    progress.say(
      f"  config.landscape.perplexity is {settings.perplexity:g}, and {used:g} "
      f"is used: (n - 1) / 3 is the most that n = {len(x):,} examples bear"
    )
  return fitted_map


def counts(advance: Callable[..., None]) -> Callable[[int, float | int], None]:
  """Advances a counter of progress by what was done since the last report.

  All hosts are here after the same iterations, and stop here if that was asked
  for; the fit is then begun anew.
  """
  before = 0

  def on_progress(done: int, _: float | int) -> None:
    nonlocal before
    advance(done - before)
    before = done
    interrupts.point()

  return on_progress
