"""How alike prompts are, in whole numbers: the same on any number of devices.

A greedy choice compares likenesses for equality and order, and one bit that
differs changes all that follows. So embeddings are rounded to whole coordinates
of so few bits that products and all their partial sums stay below 2^24, where
float32 is exact, and no order of a sum matters.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours
from ila_jax.methods import candidates
from ila_jax.run import progress

# The length of a row, rounding included, stays below 4096 to width 36,000.
SCALE = 4000
# Less than any product, and more.
NEVER, CHOSEN = np.iinfo(np.int32).min, np.iinfo(np.int32).max
# Rows that are read at once, looked at together, and rounds of that between two
# signs of life.
_BLOCK_ROWS, _TOGETHER, _ROUNDS = 65_536, 32, 8

# From the state and the likeness of all rows to the one just chosen, to the
# next state [n].
Update = Callable[[Int[Array, " n"], Int[Array, " n"]], Int[Array, " n"]]


def of_cosine(cosine: float) -> int:
  """The whole number that stands for a cosine.

  >>> of_cosine(1.0)
  16000000
  """
  return round(cosine * SCALE**2)


def rounded(
  embeddings: Any, rows: Int[np.ndarray, " m"]
) -> Int[np.ndarray, "m d"]:
  """Embeddings of some rows in whole coordinates, int16.

  A cosine of these differs from that of the embeddings by less than 1e-3.

  Args:
    embeddings: of unit norm; embeddings[rows] is float32 [m, d].
    rows: in the order that decides ties.

  Raises:
    ValueError: rows that are longer than 1, of which products are not exact.

  >>> rounded(np.array([[0.6, 0.8]]), np.array([0])).tolist()
  [[2400, 3200]]
  """
  parts = []
  for part in np.split(rows, range(_BLOCK_ROWS, len(rows), _BLOCK_ROWS)):
    whole = np.rint(np.asarray(embeddings[part]) * SCALE)
    if (np.einsum("nd,nd->n", whole, whole) >= 2**24).any():
      raise ValueError("embeddings are not of unit norm")
    parts.append(whole.astype(np.int16))
  return np.concatenate(parts)


def scales(x: Float[Array, "n d"]) -> Float[Array, " n"]:
  """What rows of `rounded` are multiplied by, to be of one length."""
  length = jnp.sqrt(jnp.sum(x * x, axis=1))
  return jnp.where(length > 0, SCALE / length, 0.0)


def alike(
  rows: Float[Array, "a d"],
  scale: Float[Array, " a"],
  others: Float[Array, "b d"],
  scale_others: Float[Array, " b"],
) -> Int[Array, "a b"]:
  """The likeness of rows to others; that of copies is the greatest.

  Rounded rows are not of one length, and a copy has to be as like as can be:
  hence the scales. The rows come first, which a rounding may show.
  """
  product = jnp.dot(rows, others.T, precision=neighbours.EXACT)
  product = product * scale[:, None] * scale_others[None]
  return jnp.round(product).astype(jnp.int32)


def greedy(
  x: Int[np.ndarray, "m d"],
  state: Int[np.ndarray, " m"],
  update: Update,
  *,
  count: int,
  desc: str,
) -> Int[np.ndarray, " k"]:
  """Chooses rows one after the other: of the lowest state, the first.

  After each choice `update` sees how like all rows are to the chosen one; a row
  whose state is `CHOSEN` is not chosen any more. States never fall: so the rows
  of the lowest states are looked at together, and are chosen from while none
  of the others can be lower.

  Args:
    x: of `rounded`.
    state: at the start [m].
    update: jittable, the same function each time; it lowers no state.
    count: of the rows to choose, at most.
    desc: of the work, for the progress.

  Returns:
    Places in m, in the order of the choice; fewer than `count` where no row is
    left.
  """
  if len(x) < 2:  # Nothing to look at together.
    return np.flatnonzero(state < CHOSEN)[:count]
  mesh = mesh_lib.current()
  placed = mesh_lib.put_rows(x.astype(np.float32), mesh)
  filled = np.full(len(placed), CHOSEN, np.int32)
  filled[: len(state)] = state
  left = mesh_lib.put(filled, mesh)
  chosen: list[np.ndarray] = []
  with progress.counter(count, desc=desc, unit="examples") as advance:
    while count > 0:
      left, block = _choose(placed, left, update)
      places = mesh_lib.fetch(block)
      places = places[places >= 0][:count]
      chosen.append(places)
      advance(len(places))
      count -= len(places)
      if not len(places):
        break
  return np.concatenate([np.zeros(0, np.int32), *chosen])


def _choose(
  x: Float[Array, "p d"], state: Int[Array, " p"], update: Update
) -> tuple[Int[Array, " p"], Int[Array, " c"]]:
  """Some rounds of choices; -1 where no row was chosen."""
  together = min(_TOGETHER, len(x) - 1)

  scale = scales(x)

  def after(state: Array, like: Array) -> Array:
    return jnp.where(state == CHOSEN, CHOSEN, update(state, like))

  def a_round(state: Array, _: None) -> tuple[Array, Array]:
    # Of equal states the first; `~` turns the order of whole numbers around.
    lowest = lax.top_k(~state, together + 1)[1].astype(jnp.int32)
    other = lowest[together]
    bound = state[other]
    places = jnp.sort(lowest[:together])
    members = x[places], scale[places]
    among = alike(*members, *members)

    def one(
      carry: tuple[Array, Array], _: None
    ) -> tuple[tuple[Array, Array], Array]:
      own, goes_on = carry
      place = jnp.argmin(own)
      first = (own[place] == bound) & (places[place] < other)
      goes_on &= (own[place] != CHOSEN) & ((own[place] < bound) | first)
      new = after(own, among[place]).at[place].set(CHOSEN)
      own = jnp.where(goes_on, new, own)
      return (own, goes_on), jnp.where(goes_on, place.astype(jnp.int32), -1)

    start = state[places], jnp.bool_(True)
    winners = lax.scan(one, start, length=together)[1]
    likes = alike(*members, x, scale)

    def follow(state: Array, winner: Array) -> tuple[Array, None]:
      new = after(state, likes[winner]).at[places[winner]].set(CHOSEN)
      return jnp.where(winner >= 0, new, state), None

    state = lax.scan(follow, state, winners)[0]
    return state, jnp.where(winners >= 0, places[winners], -1)

  state, chosen = lax.scan(a_round, state, length=_ROUNDS)
  return state, chosen.reshape(-1)


_choose = jax.jit(_choose, static_argnums=2)


def rows_by_tie(c: candidates.Candidates) -> Int[np.ndarray, " m"]:
  """The candidates in the order in which they win ties."""
  rows = np.flatnonzero(c.candidate)
  return rows[np.argsort(c.id_rank[rows])]


def wanted(c: candidates.Candidates, among: Bool[np.ndarray, " m"]) -> int:
  """How many a method that orders a head chooses of those it may choose."""
  left = int(among.sum())
  return left if c.wanted is None else min(c.wanted, left)
