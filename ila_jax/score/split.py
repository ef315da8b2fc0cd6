"""Which examples are references, and which are candidates."""

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax.pool import index
from ila_jax.run import context, draws, tables
from ila_jax.run.disk import files


def references(
  config: config_lib.Config, prompts: np.ndarray, is_dev: np.ndarray
) -> dict[int, np.ndarray]:
  """The rows of R for each seed: whole prompts, never of the dev split."""
  return {
    seed: draws.draw(
      prompts,
      count=config.score.reference_examples,
      seed=seed,
      purpose="reference",
      allowed=~is_dev,
    )
    for seed in config.score.reference_seeds
  }


def reference_rows(workdir: epath.Path) -> np.ndarray:
  """Rows of the pool that are in R under any seed, ascending."""
  path = tables.REFERENCE.path(workdir)
  return np.unique(files.read_table(path, ["row"])["row"])


def candidates(run: context.Run, row: np.ndarray) -> np.ndarray:
  """Which of these rows of the pool may be selected: no dev, no reference."""
  free = ~index.is_dev(run.workdir)
  if run.config.score.exclude_reference:
    free[reference_rows(run.workdir)] = False
  return free[row]


def before_scores(run: context.Run) -> np.ndarray:
  """The rows that may be selected, if all have losses, ascending."""
  config, workdir = run.config, run.workdir
  is_dev = index.is_dev(workdir)
  free = ~is_dev
  if config.score.exclude_reference:
    prompts = index.column(workdir, "prompt_id")
    for drawn in references(config, prompts, is_dev).values():
      free &= ~drawn
  return np.flatnonzero(free)
