"""Where the losses of each model stand: in which shards, in which column."""

from collections.abc import Sequence

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax.pool import shards
from ila_jax.run import context, tables
from ila_jax.run.disk import files

# Names of the shards: of the base, and of all models in one pass.
BASE, TOGETHER = "base", "base-and-sft"


def of_seed(seed: int) -> str:
  """Name of the shards of one tuned model.

  >>> of_seed(3)
  'sft-3'
  """
  return f"sft-{seed}"


def passes(config: config_lib.Config) -> tuple[list[str], int]:
  """The passes over the pool, and how many models each of them scores.

  Adapters are scored with the base in one pass, which reads its weights once;
  whole models one after the other, so that the base and one more are held.

  Returns:
    Names of the shards of each pass; models a pass.
  """
  seeds = config.score.reference_seeds
  if config.train.method == "full":
    return [BASE, *map(of_seed, seeds)], 1
  return [TOGETHER], 1 + len(seeds)


def column(model: int) -> str:
  """The column of one of the models that were scored in a pass.

  >>> column(0)
  'nll_0'
  """
  return f"nll_{model}"


def read_shard(path: epath.PathLike, models: int) -> np.ndarray:
  """Losses of one shard under all models of its pass, float32 [rows, m]."""
  table = files.read_table(path)
  return np.stack([table[column(model)] for model in range(models)], axis=1)


def read(
  run: context.Run, rows: np.ndarray
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
  """Losses of some rows under the base and, by seed, each tuned model.

  Args:
    run: whose stage `score` is done.
    rows: of the pool [n].
  """
  config, workdir = run.config, run.workdir
  names, models = passes(config)
  base, *tuned = [
    nll for name in names for nll in _columns(workdir, name, range(models))
  ]
  by_seed = zip(config.score.reference_seeds, tuned, strict=True)
  return base[rows], {seed: nll[rows] for seed, nll in by_seed}


def _columns(
  workdir: epath.PathLike, losses: str, models: Sequence[int]
) -> list[np.ndarray]:
  """Columns of a pass over the whole pool."""
  names = [column(model) for model in models]
  parts = [
    files.read_table(
      tables.LOSSES.path(workdir, losses=losses, shard=shard), names
    )
    for shard in range(shards.count(workdir))
  ]
  return [np.concatenate([part[name] for part in parts]) for name in names]
