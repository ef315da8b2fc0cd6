"""Examples that have one prompt, of which one stands for all."""

import numpy as np
import pyarrow.parquet as pq
from etils import epath

from ila_jax import artifacts


class Prompts:
  """The distinct prompts of some rows of the pool.

  Attributes:
    ids: of every row.
    rank: place of the id among the sorted ids, int32: who stays is no matter of
      the order of the pool.
    number: of every row's prompt, in the order of the pool, int32.
    first: the row of the lowest id of each prompt, int32.
  """

  def __init__(
    self, workdir: epath.Path, row: np.ndarray, ids: np.ndarray
  ) -> None:
    """Reads the prompts of rows of the pool that have these ids."""
    self.ids = ids
    self.rank = np.empty(len(ids), np.int32)
    self.rank[np.argsort(ids)] = np.arange(len(ids), dtype=np.int32)
    number = _numbers(workdir / "pool/index.parquet", "prompt_id")[row]
    there = np.bincount(number) > 0
    self.number = (np.cumsum(there, dtype=np.int32) - 1)[number]
    self.first = self.lowest(np.ones(len(ids), np.bool_))

  def lowest(self, allowed: np.ndarray) -> np.ndarray:
    """The allowed row of the lowest id of each prompt; -1 where none is."""
    rows = np.flatnonzero(allowed)
    rank, number = self.rank[rows], self.number[rows]
    prompts = self.number.max(initial=-1) + 1
    lowest = np.full(prompts, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(lowest, number, rank)
    chosen = rank == lowest[number]
    found = np.full(prompts, -1, np.int32)
    found[number[chosen]] = rows[chosen]
    return found


def _numbers(path: epath.Path, name: str) -> np.ndarray:
  """A column of strings as int32, equal where these are equal."""
  with artifacts.reading(path) as file:
    table = pq.read_table(file, columns=[name], read_dictionary=[name])
  return table[name].combine_chunks().indices.to_numpy()
