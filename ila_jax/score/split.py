"""Which examples are references, and which are candidates."""

import numpy as np
from etils import epath

from ila_jax.pool import index
from ila_jax.run import context, tables
from ila_jax.run.disk import files


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
