"""Which examples are references, and which are candidates."""

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax.pool import index
from ila_jax.run import tables
from ila_jax.run.disk import files


def reference_rows(workdir: epath.Path) -> np.ndarray:
  """Rows of the pool that are in R under any seed, ascending."""
  path = tables.REFERENCE.path(workdir)
  return np.unique(files.read_table(path, ["row"])["row"])


def candidates(
  config: config_lib.Config, workdir: epath.Path, row: np.ndarray
) -> np.ndarray:
  """Which of these rows of the pool may be selected: no dev, no reference."""
  free = ~index.is_dev(workdir)
  if config.score.exclude_reference:
    free[reference_rows(workdir)] = False
  return free[row]
