"""Examples with the same prompt: one of them stands for all.

Two prompts are the same where the encoder read the same. Conversations that
begin alike and then differ are several prompts; texts that differ only beyond
what was read are one.
"""

import numpy as np
from etils import epath

from ila_jax.embed import rows as rows_lib


class Prompts:
  """The distinct prompts of some rows of the pool.

  Attributes:
    ids: of every row.
    rank: place of the id among the sorted ids, int32; by it, and not by the
      order of the pool, is decided which row stays.
    number: of every row's prompt, int32; equal prompts have one.
    first: the row of the lowest id of each prompt, int32.
  """

  def __init__(
    self, workdir: epath.Path, row: np.ndarray, ids: np.ndarray
  ) -> None:
    """Reads the prompts of rows of the pool that have these ids."""
    self.ids = ids
    self.rank = np.empty(len(ids), np.int32)
    self.rank[np.argsort(ids)] = np.arange(len(ids), dtype=np.int32)
    seen = rows_lib.inputs(workdir, "seen")[row]
    self.number = np.unique(seen, return_inverse=True)[1].astype(np.int32)
    self.first = self.lowest(np.ones(len(ids), np.bool_))

  def lowest(self, allowed: np.ndarray) -> np.ndarray:
    """The allowed row of the lowest id of each prompt; -1 where none is."""
    rows = np.flatnonzero(allowed)
    rank, number = self.rank[rows], self.number[rows]
    prompts = self.number.max(initial=-1) + 1
    lowest = np.full(prompts, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(lowest, number, rank)
    chosen = rank == lowest[number]
    row = np.full(prompts, -1, np.int32)
    row[number[chosen]] = rows[chosen]
    return row
