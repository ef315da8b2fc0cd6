"""The records that have most of each latent: a table to look at."""

from collections.abc import Iterator

import numpy as np
from etils import epath
from jaxtyping import Float, Int, UInt64

from ila_jax.run import tables
from ila_jax.run.disk import files
from ila_jax.score.sae import features

# Records of each latent that are kept.
RECORDS = 10
_Columns = dict[str, np.ndarray]


def columns(
  top: features.Top, first: int, ids: UInt64[np.ndarray, " n"]
) -> _Columns:
  """The table of the records that a shard has of each latent.

  Args:
    top: of the shard; its rows are of the pool.
    first: row of the shard's first record.
    ids: of the shard's records.

  >>> top = features.Top(np.array([[3.0, 0.0]]), np.array([[5, 9]]))
  >>> found = columns(top, 4, np.array([70, 71], np.uint64))
  >>> found["row"].tolist(), found["id"].tolist(), found["rank"].tolist()
  ([5], [71], [1])
  """
  latent, place = np.nonzero(np.asarray(top.peak) > 0)
  row = np.asarray(top.row)[latent, place].astype(np.int64)
  peak = np.asarray(top.peak)[latent, place].astype(np.float32)
  return _ranked(latent, row, ids[row - first], peak)


def _ranked(
  latent: Int[np.ndarray, " k"],
  row: Int[np.ndarray, " k"],
  ids: UInt64[np.ndarray, " k"],
  peak: Float[np.ndarray, " k"],
) -> _Columns:
  """Sorted by latent, then the greatest first; a record once a latent.

  A record that is read in windows may come once for each of them.
  """
  order = np.lexsort((row, latent, -peak))
  _, once = np.unique(
    np.stack([latent, row])[:, order], axis=1, return_index=True
  )
  order = order[once]
  order = order[np.lexsort((ids[order], -peak[order], latent[order]))]
  latent, row, ids, peak = (a[order] for a in (latent, row, ids, peak))
  begins = np.flatnonzero(np.diff(latent, prepend=-1))
  sizes = np.diff(np.append(begins, len(latent)))
  rank = 1 + np.arange(len(latent)) - np.repeat(begins, sizes)
  kept = rank <= RECORDS
  return {
    "latent": latent[kept].astype(np.int32),
    "rank": rank[kept].astype(np.int32),
    "row": row[kept],
    "id": ids[kept],
    "activation": peak[kept],
  }


def write(
  workdir: epath.PathLike, shards: int, share: Float[np.ndarray, " l"]
) -> None:
  """Writes the table of the pool, from those of its shards.

  Args:
    workdir: folder of the run.
    shards: how many there are.
    share: of the records that have each latent.
  """
  found: _Columns = {}
  for part in _parts(workdir, shards):
    both = {n: np.concatenate([found[n], part[n]]) for n in found} or part
    found = _ranked(both["latent"], both["row"], both["id"], both["activation"])
  found["share"] = share[found["latent"]].astype(np.float64)
  files.write_table(tables.TOP.path(workdir), found)


def _parts(workdir: epath.PathLike, shards: int) -> Iterator[_Columns]:
  for shard in range(shards):
    yield files.read_table(tables.SHARD_TOP.path(workdir, shard=shard))


def read(workdir: epath.PathLike) -> _Columns:
  """The table of a run: latent, rank, row, id, activation, share.

  Raises:
    errors.InputError: the file is damaged.
  """
  return files.read_table(tables.TOP.path(workdir))
