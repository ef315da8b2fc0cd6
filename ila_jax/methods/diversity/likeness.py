"""How alike prompts are, in whole numbers: the same on any number of devices.

A greedy choice compares likenesses for equality and order, and one bit that
differs changes all that follows. So embeddings are rounded to 16 bits, and
their products are summed as integers, in which no order of a sum matters.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.methods import candidates
from ila_jax.run import progress

# Of a coordinate, which fits int16; the product of unit vectors is at most its
# square and a bit, which fits int32.
_SCALE = 32_000
# Less than any product, and more.
NEVER, CHOSEN = np.iinfo(np.int32).min, np.iinfo(np.int32).max
# Rows that are read at once, and chosen between two signs of life.
_BLOCK_ROWS, _BLOCK_CHOSEN = 65_536, 256

# From the state and the likeness of all rows to the one just chosen, to the
# next state [n].
Update = Callable[[Int[Array, " n"], Int[Array, " n"]], Int[Array, " n"]]


def of_cosine(cosine: float) -> int:
  """The whole number that stands for a cosine.

  >>> of_cosine(1.0)
  1024000000
  """
  return round(cosine * _SCALE**2)


def rounded(
  embeddings: Any, rows: Int[np.ndarray, " m"]
) -> Int[jax.Array, "p d"]:
  """Embeddings of some rows as int16, split over the devices.

  A cosine of these differs from that of the embeddings by less than 1e-4.

  Args:
    embeddings: of unit norm; embeddings[rows] is float32 [m, d].
    rows: in the order that decides ties.

  Returns:
    p >= m rows: the last is repeated, so that the devices share them.
  """
  parts = [
    np.rint(np.asarray(embeddings[part]) * _SCALE).astype(np.int16)
    for part in np.split(rows, range(_BLOCK_ROWS, len(rows), _BLOCK_ROWS))
  ]
  mesh = jax.sharding.get_mesh()
  return mesh_lib.put_rows(
    np.concatenate(parts), mesh_lib.make() if mesh.empty else mesh
  )


def greedy(
  x: Int[jax.Array, "p d"],
  state: Int[np.ndarray, " m"],
  update: Update,
  *,
  count: int,
  desc: str,
) -> Int[np.ndarray, " k"]:
  """Chooses rows one after the other: of the lowest state, the first.

  After each choice `update` sees how like all rows are to the chosen one; a row
  whose state is `CHOSEN` is not chosen any more.

  Args:
    x: of `rounded`.
    state: at the start [m].
    update: jittable, the same function each time.
    count: of the rows to choose, at most.
    desc: of the work, for the progress.

  Returns:
    Places in m, in the order of the choice; fewer than `count` where no row is
    left.
  """
  sharding = jax.sharding.NamedSharding(x.sharding.mesh, x.sharding.spec)
  filled = np.full(len(x), CHOSEN, np.int32)
  filled[: len(state)] = state
  left = jax.device_put(filled, sharding)
  chosen: list[np.ndarray] = []
  with progress.counter(count, desc=desc, unit="examples") as advance:
    while count > 0:
      left, block = _choose(x, left, update)
      places = mesh_lib.fetch(block)
      places = places[places >= 0][:count]
      chosen.append(places)
      advance(len(places))
      count -= len(places)
      if len(places) < _BLOCK_CHOSEN:
        break
  return np.concatenate([np.zeros(0, np.int32), *chosen])


def _choose(
  x: Int[Array, "p d"], state: Int[Array, " p"], update: Update
) -> tuple[Int[Array, " p"], Int[Array, " b"]]:
  """A block of choices; -1 where no row was left."""

  def one(state: Array, _: None) -> tuple[Array, Array]:
    place = jnp.argmin(state)
    is_left = state[place] != CHOSEN
    own = x[place].astype(jnp.int32)
    like = jnp.sum(x.astype(jnp.int32) * own[None], axis=1)
    after = jnp.where(state == CHOSEN, CHOSEN, update(state, like))
    after = after.at[place].set(CHOSEN)
    return (
      jnp.where(is_left, after, state),
      jnp.where(is_left, place.astype(jnp.int32), -1),
    )

  return lax.scan(one, state, length=_BLOCK_CHOSEN)


_choose = jax.jit(_choose, static_argnums=2)


def rows_by_tie(c: candidates.Candidates) -> Int[np.ndarray, " m"]:
  """The candidates in the order in which they win ties."""
  rows = np.flatnonzero(c.candidate)
  return rows[np.argsort(c.id_rank[rows])]


def wanted(c: candidates.Candidates, among: Bool[np.ndarray, " m"]) -> int:
  """How many a method that orders a head chooses of those it may choose."""
  left = int(among.sum())
  return left if c.wanted is None else min(c.wanted, left)
