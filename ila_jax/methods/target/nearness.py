"""How near candidates are to target examples, the same on all devices.

Vectors are brought to unit norm and rounded to multiples of 1/4000. Products
of such whole numbers, and all their partial sums, stay below 2^24 (Cauchy and
Schwarz), where float32 is exact: no order of a sum matters, and so no number of
devices. A cosine moves by about 1e-4, as it does where hidden states are
bfloat16.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, prefetch
from ila_jax.run import progress

_SCALE = 4000
# Numbers of a block of products; rows of a block, at least and at most.
_BLOCK_FLOATS, _BLOCK_ROWS = 2**26, (1024, 65_536)
# Nearest candidates that are known of each target example at once, at least.
_KNOWN = 1024


def rounded(vectors: Any) -> Float[np.ndarray, "k d"]:
  """Vectors at unit norm, as whole numbers of 1/4000, float32.

  >>> rounded(np.array([[3.0, 4.0]])).tolist()
  [[2400.0, 3200.0]]
  """
  x = np.asarray(vectors, np.float64)
  norm = np.linalg.norm(x, axis=1, keepdims=True)
  return np.rint(x * (_SCALE / np.where(norm == 0, 1, norm))).astype(np.float32)


def greatest(
  vectors: Any, rows: Int[np.ndarray, " n"], targets: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, " n"]:
  """The cosine of each row to its nearest target example, float32.

  Args:
    vectors: vectors[rows] is an array [n, d].
    rows: of the candidates.
    targets: of the target examples, one or more.

  Raises:
    errors.InputError: a vector that is not finite.
  """
  return greatest_by_task(vectors, rows, [targets])[0]


def greatest_by_task(
  vectors: Any,
  rows: Int[np.ndarray, " n"],
  tasks: Sequence[Float[np.ndarray, "_ d"]],
) -> Float[np.ndarray, "s n"]:
  """The cosine of each row to its nearest example of each task, float32.

  Rows are read once, whatever the number of tasks.

  Args:
    vectors: vectors[rows] is an array [n, d].
    rows: of the candidates.
    tasks: of the examples of each of s tasks, one or more.

  Raises:
    errors.InputError: a vector that is not finite.
  """
  mesh = mesh_lib.current()
  placed = [
    mesh_lib.put(_filled(_whole(targets)), mesh, mesh_lib.REPLICATED)
    for targets in tasks
  ]
  size = _block_rows(max(map(len, placed)))
  found = np.empty((len(tasks), len(rows)), np.float32)
  with progress.counter(len(rows), desc="nearest", unit="examples") as advance:
    for start, block in _blocks(vectors, rows, size):
      count = min(len(block), len(rows) - start)
      block = mesh_lib.put_rows(block, mesh)
      best = mesh_lib.fetch([_greatest(block, one) for one in placed])
      found[:, start : start + count] = [one[:count] for one in best]
      advance(count)
  return found / np.float32(_SCALE**2)


def tasks_in_turn(
  score: Float[np.ndarray, "s n"], *, count: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
  """Each task in turn takes its best candidate that is free.

  Args:
    score: of each candidate for each task; of equals the first goes first.
    count: of the candidates to take, at most n.

  Returns:
    Places in n in the order in which they are taken, and the round of each,
    from 1.

  >>> score = np.array([[0.9, 0.8, 0.1], [0.9, 0.2, 0.3]])
  >>> places, turn = tasks_in_turn(score, count=3)
  >>> places.tolist(), turn.tolist()
  ([0, 2, 1], [1, 1, 2])
  """
  # Of so many at least one is free, as long as fewer are taken.
  best = [np.argsort(-one, kind="stable")[:count] for one in score]
  taken: list[int] = []
  _deal(np.stack(best), np.ones(score.shape[1], np.bool_), taken, count)
  turn = np.arange(len(taken)) // len(score) + 1
  return np.array(taken, np.int64), turn.astype(np.int32)


def round_robin(
  vectors: Any,
  rows: Int[np.ndarray, " n"],
  targets: Float[np.ndarray, "m d"],
  *,
  count: int,
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
  """Each target example in turn takes its nearest candidate that is free.

  The nearest 1,024 or more are known of each target example at once; the pool
  is read again when one of them has none left that is free. A pass takes
  2 m d FLOPs a candidate, and memory 8 KB a target example or more.

  Args:
    vectors: vectors[rows] is an array [n, d].
    rows: of the candidates, in the order that decides ties.
    targets: of the target examples, in the order of their turns.
    count: of the candidates to take, at most n.

  Returns:
    Places in n in the order in which they are taken, and the round of each,
    from 1.

  Raises:
    errors.InputError: a vector that is not finite.

  >>> pool, targets = np.eye(3)[[0, 0, 1, 2]], np.eye(3)[:2]
  >>> places, turn = round_robin(pool, np.arange(4), targets, count=4)
  >>> places.tolist(), turn.tolist()
  ([0, 2, 1, 3], [1, 1, 2, 2])
  """
  # Those after `count` never get a turn.
  targets = _whole(targets[:count])
  free = np.ones(len(rows), np.bool_)
  taken: list[int] = []
  known = max(_KNOWN, 1 << (4 * count // max(len(targets), 1)).bit_length())
  while len(taken) < count:
    nearest = _nearest(vectors, rows, targets, free, known=known)
    _deal(nearest, free, taken, count)
  places = np.array(taken, np.int64)
  turn = np.arange(len(places)) // max(len(targets), 1) + 1
  return places, turn.astype(np.int32)


def _deal(
  nearest: Int[np.ndarray, "m k"],
  free: Bool[np.ndarray, " n"],
  taken: list[int],
  count: int,
) -> None:
  """Goes on with the turns until all are taken, or a list has nothing free.

  Args:
    nearest: places of the nearest candidates of each, free at the start; -1
      where there were no more.
    free: of the candidates; changed.
    taken: places so far; appended to.
    count: of the candidates to take.
  """
  seen = [0] * len(nearest)
  lists = nearest.tolist()
  while len(taken) < count:
    one = len(taken) % len(lists)
    own, at = lists[one], seen[one]
    while at < len(own) and own[at] >= 0 and not free[own[at]]:
      at += 1
    if at == len(own) or own[at] < 0:
      return
    free[own[at]] = False
    taken.append(own[at])
    seen[one] = at + 1


def _nearest(
  vectors: Any,
  rows: Int[np.ndarray, " n"],
  targets: Float[np.ndarray, "m d"],
  free: Bool[np.ndarray, " n"],
  *,
  known: int,
) -> Int[np.ndarray, "m k"]:
  """The nearest free candidates of each target example, nearest first."""
  mesh = mesh_lib.current()
  placed = mesh_lib.put_rows(_filled(targets), mesh)
  best = (
    mesh_lib.put_rows(np.full((len(placed), known), -np.inf, np.float32), mesh),
    mesh_lib.put_rows(np.full((len(placed), known), -1, np.int32), mesh),
  )
  desc = "nearest candidates"
  with progress.counter(len(rows), desc=desc, unit="examples") as advance:
    for start, block in _blocks(vectors, rows, _block_rows(len(placed))):
      here = free[start : start + len(block)]
      is_free = np.pad(here, (0, len(block) - len(here)))
      best = _merge(best, placed, block, is_free, np.int32(start), mesh=mesh)
      advance(len(here))
  return mesh_lib.fetch(best[1])[: len(targets)]


def _filled(targets: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "p d"]:
  """The last row again and again, to one of few sizes: each is compiled."""
  size = 1 << max(len(targets) - 1, 0).bit_length()
  return np.pad(targets, ((0, size - len(targets)), (0, 0)), mode="edge")


def _blocks(
  vectors: Any, rows: Int[np.ndarray, " n"], size: int
) -> Iterator[tuple[int, Float[np.ndarray, "b d"]]]:
  """Blocks of rounded rows, all of one size: zeros follow the last row."""
  size = min(size, max(1 << (len(rows) - 1).bit_length(), _BLOCK_ROWS[0]))

  def read() -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), size):
      block = _whole(vectors[rows[start : start + size]])
      yield start, np.pad(block, ((0, size - len(block)), (0, 0)))

  return prefetch.ahead(read(), depth=1)


def _whole(vectors: Any) -> Float[np.ndarray, "k d"]:
  """`rounded`, of vectors that are looked at first."""
  bad = np.flatnonzero(~np.isfinite(np.asarray(vectors)).all(axis=1))
  if len(bad):
    raise errors.InputError(
      f"config.model.path: {len(bad):,} embeddings by the base are not finite; "
      "allowed: finite numbers. Its weights or config.model.dtype may be wrong."
    )
  return rounded(vectors)


def _block_rows(targets: int) -> int:
  """Rows of a block of products, a power of two."""
  wanted = max(_BLOCK_FLOATS // targets, 1)
  return int(np.clip(1 << (wanted.bit_length() - 1), *_BLOCK_ROWS))


@jax.jit
def _greatest(
  block: Float[Array, "b d"], targets: Float[Array, "m d"]
) -> Float[Array, " b"]:
  return jnp.dot(block, targets.T, precision=neighbours.EXACT).max(axis=1)


@functools.partial(jax.jit, static_argnames="mesh", donate_argnames="best")
def _merge(
  best: tuple[Float[Array, "m k"], Int[Array, "m k"]],
  targets: Float[Array, "m d"],
  block: Float[Array, "b d"],
  is_free: Bool[Array, " b"],
  start: Int[Array, ""],
  *,
  mesh: Mesh,
) -> tuple[Float[Array, "m k"], Int[Array, "m k"]]:
  """The best of those so far and of a block; of equals the first.

  Target examples are split over the devices, each of which sees the block.
  """
  block = lax.with_sharding_constraint(
    block, NamedSharding(mesh, mesh_lib.REPLICATED)
  )
  like = jnp.dot(targets, block.T, precision=neighbours.EXACT)
  like = jnp.where(is_free[None], like, -jnp.inf)
  place = jnp.where(is_free, start + jnp.arange(len(block)), -1)
  places = jnp.broadcast_to(place[None], like.shape)
  # Those so far stand at lower places, and `top_k` keeps the first of equals.
  values = jnp.concatenate([best[0], like], axis=1)
  places = jnp.concatenate([best[1], places], axis=1)
  top, at = lax.top_k(values, best[0].shape[1])
  found = top, jnp.take_along_axis(places, at, axis=1)
  by_row = NamedSharding(mesh, mesh_lib.BATCH)
  return lax.with_sharding_constraint(found, (by_row, by_row))
