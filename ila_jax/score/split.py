"""Which examples are references, which are candidates, and how many count."""

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
  return draws.references(
    prompts,
    is_dev,
    count=config.score.reference_examples,
    seeds=config.score.reference_seeds,
  )


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


def wanted(run: context.Run, row: np.ndarray, n_tokens: np.ndarray) -> int:
  """About how many candidates the budget pays for: the most cells of a map.

  Args:
    run: with the budget.
    row: of the pool, that have scores [n].
    n_tokens: of their responses [n].
  """
  return budget_examples(run.config, n_tokens[candidates(run, row)])


def budget_examples(config: config_lib.Config, n_tokens: np.ndarray) -> int:
  """About how many of the candidates the budget pays for.

  Args:
    config: with the budget.
    n_tokens: of the responses of all candidates.
  """
  count = len(n_tokens)
  response = max(n_tokens.sum() / max(count, 1), 1.0)
  buys = config.select.examples(candidates=count, response=response)
  return int(np.clip(buys, 1, count))


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
