"""What stage `embed` left, by rows of the pool: vectors, and what was read."""

import copy
import functools
import resource
import shutil
import tempfile
import weakref
from collections.abc import Callable

import numpy as np
from etils import epath

from ila_jax import errors
from ila_jax.embed import inputs as inputs_lib
from ila_jax.pool import shards
from ila_jax.run import tables
from ila_jax.run.disk import buckets, checksums, files, local_copies


def paths(workdir: epath.PathLike) -> list[epath.Path]:
  """The file of each shard of embeddings that was written, in their order."""
  return shards.listed(workdir, tables.EMBEDDINGS)


def inputs(workdir: epath.PathLike, name: str) -> np.ndarray:
  """What was read of every prompt of the pool, in its order.

  Args:
    workdir: of a run whose prompts are embedded.
    name: of `inputs.Read`.
  """
  return np.concatenate(
    [
      files.read_table(path, [name])[name]
      for path in shards.listed(workdir, tables.INPUTS)
    ]
  )


def write(
  workdir: epath.PathLike,
  shard: int,
  vectors: np.ndarray,
  read: inputs_lib.Read,
) -> None:
  """Writes a shard; its embeddings come last, for they say that it is done.

  Args:
    workdir: folder of the run, or of a set beside its pool.
    shard: its number.
    vectors: unit norm, float32 [rows, d].
    read: what was read of the prompts.

  Raises:
    errors.InputError: an embedding that is not finite.
  """
  target = tables.EMBEDDINGS.path(workdir, shard=shard)
  bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
  if len(bad):
    raise errors.InputError(
      f"config.encoder.path: {len(bad):,} embeddings of {target.name} are not "
      f"finite, the first is its row {bad[0]}; allowed: finite numbers. The "
      "encoder's weights or config.encoder.dtype may be wrong."
    )
  files.write_table(tables.INPUTS.path(workdir, shard=shard), read._asdict())
  files.write_array(target, vectors)


class Rows:
  """Embeddings of some rows of the pool, read from the shards when asked."""

  def __init__(
    self,
    workdir: epath.Path,
    rows: np.ndarray,
    shards: list[epath.Path] | None = None,
  ) -> None:
    """Finds the shards; rows are those that places 0, 1, ... stand for.

    Other arrays of the pool's rows are read alike, where `shards` names them.
    """
    self._shard = _shards_of(paths(workdir) if shards is None else shards)
    self._rows = rows
    # All shards have as many rows as the first, but for the last.
    self._shard_rows, self.width = self._shard(0).shape

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, places: np.ndarray) -> np.ndarray:
    """Reads [k, d] of k places, float32 of embeddings."""
    shard, row = np.divmod(self._rows[places], self._shard_rows)
    vectors = np.empty((len(places), self.width), self._shard(0).dtype)
    for one in np.unique(shard).tolist():
      here = shard == one
      vectors[here] = self._shard(one)[row[here]]
    return vectors

  def of(self, places: np.ndarray) -> "Rows":
    """The embeddings of some places, of the same shards."""
    other = copy.copy(self)
    other._rows = self._rows[places]
    return other


# Shards that are mapped at once, at most; each is a file that is open.
_MAPPED_SHARDS = 512


def _mapped_shards() -> int:
  """As many as leave most of the process's open files to others.

  A process may have 1,024 files open, as a rule; on some machines 256.
  """
  allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
  if allowed == resource.RLIM_INFINITY:
    return _MAPPED_SHARDS
  return max(min(allowed // 4, _MAPPED_SHARDS), 1)


def load(workdir: epath.Path, rows: np.ndarray) -> np.ndarray:
  """Embeddings of these rows of the pool, float32 [n, d]."""
  return Rows(workdir, rows)[np.arange(len(rows))]


def _shards_of(vectors: list[epath.Path]) -> Callable[[int], np.ndarray]:
  """Gives a shard by its number, mapped into memory.

  Rows are asked for in any order, again and again. So a shard of gs:// is
  copied to the local disk (TMPDIR) when it is first asked for; the copies go
  when nobody can ask any more.
  """
  copies = None
  if buckets.is_remote(vectors[0]):
    copies = epath.Path(tempfile.mkdtemp(prefix="ila_jax_embed_"))

  @functools.lru_cache(_mapped_shards())
  def shard(number: int) -> np.ndarray:
    path = vectors[number]
    checksums.check(path)
    if copies is not None:
      path = copies / path.name
      if not path.exists():
        local_copies.copy(vectors[number], copies)
    return np.load(path, mmap_mode="r", allow_pickle=False)

  if copies is not None:
    weakref.finalize(shard, shutil.rmtree, copies)
  return shard
