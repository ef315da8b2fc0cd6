"""Which features are on in each example, as bits on the devices.

The signal `sae_features` has a row of bytes for each example: bit j, counted
from the lowest of the first byte, says whether latent j of the sparse
autoencoder is on. Here these are words of 32 bits, split over the devices by
rows. How many features a row adds to those that are covered is the number of
bits of `words & ~covered`: a whole number, the same on any number of devices.

Memory: latents / 8 bytes an example, over all devices together, and once on the
hosts while they read. 131,072 latents are 16 KB: 1.6 GB for 100 thousand
examples, 16.4 GB for a million, which is one chip of 32 GB or two of 16.
"""

import functools
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, UInt8, UInt32

from ila_jax.compute import mesh as mesh_lib
from ila_jax.run import progress

# Rows that are read at once, and steps between two signs of life.
_BLOCK_ROWS, _BLOCK_STEPS = 8192, 128
# Bounds that a device renews at once.
_RENEWED = 256


def to_words(packed: UInt8[np.ndarray, "m w"]) -> UInt32[np.ndarray, "m v"]:
  """The same bits as words of 32; the last is filled up with zeros.

  >>> to_words(np.array([[1, 0, 0, 0, 3]], np.uint8)).tolist()
  [[1, 3]]
  """
  spare = -packed.shape[1] % 4
  filled = np.ascontiguousarray(np.pad(packed, ((0, 0), (0, spare))))
  return filled.view("<u4").astype(np.uint32, copy=False)


class _Words:
  """Words of some rows, which each host reads for its devices."""

  def __init__(self, features: Any, rows: Int[np.ndarray, " m"]) -> None:
    self._features, self._rows = features, rows

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(
    self, places: Int[np.ndarray, " k"]
  ) -> UInt32[np.ndarray, "k v"]:
    rows = self._rows[places]
    width = to_words(np.asarray(self._features[rows[:1]])).shape[1]
    words = np.empty((len(rows), width), np.uint32)
    for start in range(0, len(rows), _BLOCK_ROWS):
      part = slice(start, start + _BLOCK_ROWS)
      words[part] = to_words(np.asarray(self._features[rows[part]]))
    return words


def words(
  features: Any, rows: Int[np.ndarray, " m"]
) -> UInt32[jax.Array, "p v"]:
  """The features of some rows, split over the devices.

  Args:
    features: of `sae_features`; features[rows] is uint8 [m, w].
    rows: at least one, in the order that decides ties.

  Returns:
    p >= m rows: the last is repeated, so that the devices share them.

  >>> words(np.array([[1], [2], [4]], np.uint8), np.array([2, 0]))[:2].tolist()
  [[4], [1]]
  """
  return mesh_lib.put_rows(_Words(features, rows), mesh_lib.current())


def count_on(words: UInt32[Array, "*rows v"]) -> Int[Array, "*rows"]:
  """How many features are on in each row, int32.

  >>> count_on(jnp.array([[1, 3], [0, 0]], jnp.uint32)).tolist()
  [3, 0]
  """
  return jnp.sum(lax.population_count(words).astype(jnp.int32), axis=-1)


count_each = jax.jit(count_on)


def without_features(on: Int[np.ndarray, " m"]) -> list[str]:
  """What to say of rows without features, which no method can place.

  Args:
    on: how many features are on in each.

  >>> without_features(np.array([3, 0]))
  ['1 of 2 have no feature that is on, and are left out.']
  """
  none = int((on == 0).sum())
  if not none:
    return []
  return [
    f"{none:,} of {len(on):,} have no feature that is on, and are left out."
  ]


def greedy(
  words: UInt32[jax.Array, "p v"],
  bound: Int[np.ndarray, " m"],
  *,
  count: int,
  reset: bool,
  desc: str,
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
  """Chooses the row that adds most to what is covered, one after the other.

  Among equals the first row goes first. It is lazy and exact (Minoux 1978):
  what a row adds only falls while the covered grows, so that what it added
  before is a bound; only rows with the highest bounds are counted anew.

  Args:
    words: of `words`.
    bound: how many features are on in a row; -1 for one that may not be chosen.
    count: of the rows to choose; no more than there are with features.
    reset: whether to forget what is covered once no row adds anything; else
      the choice ends there.
    desc: of the work, for the progress.

  Returns:
    Places in m, in the order of the choice, and the round of each: 1 and one
    more for each reset.

  >>> places, turns = greedy(words(np.array([[1], [3], [2]], np.uint8),
  ...   np.arange(3)), np.array([1, 2, 1]), count=3, reset=True, desc="greedy")
  >>> places.tolist(), turns.tolist()
  ([1, 0, 2], [1, 2, 2])
  """
  mesh, (axes, *_) = words.sharding.mesh, words.sharding.spec
  filled = np.full(len(words), -1, np.int32)
  filled[: len(bound)] = bound
  at_first = jax.device_put(filled, NamedSharding(mesh, PartitionSpec(axes)))
  covered = jnp.zeros(words.shape[1], jnp.uint32)
  state = (
    jax.device_put(covered, NamedSharding(mesh, PartitionSpec())),
    at_first,
  )
  chosen = np.zeros(0, np.int32)
  with progress.counter(count, desc=desc, unit="examples") as advance:
    while (left := count - int((chosen >= 0).sum())) > 0:
      steps = np.int32(min(left, _BLOCK_STEPS))
      state, block = _choose(
        words, at_first, state, steps, mesh=mesh, axes=axes
      )
      block = mesh_lib.fetch(block)[:steps]
      chosen = np.concatenate([chosen, block])
      advance(int((block >= 0).sum()))
      if not reset and (block < 0).any():
        chosen = chosen[: np.argmax(chosen < 0)]
        break
  turn = 1 + np.cumsum(chosen < 0)
  is_row = chosen >= 0
  return chosen[is_row], turn[is_row].astype(np.int32)


_State = tuple[UInt32[Array, " v"], Int[Array, " p"]]


@functools.partial(jax.jit, static_argnames=("mesh", "axes"))
def _choose(
  words: UInt32[Array, "p v"],
  at_first: Int[Array, " p"],
  state: _State,
  steps: Int[Array, ""],
  *,
  mesh: Mesh,
  axes: Any,
) -> tuple[_State, Int[Array, " b"]]:
  """At most b choices; -1 where no row added anything: a reset."""
  by_row, whole = PartitionSpec(axes), PartitionSpec()

  def on_device(
    words: Array, at_first: Array, state: _State, steps: Array
  ) -> tuple[_State, Array]:
    def one(i: Array, both: tuple[_State, Array]) -> tuple[_State, Array]:
      state, chosen = both
      state, place = _step(words, at_first, state, axes=axes)
      return state, chosen.at[i].set(place)

    chosen = jnp.full(_BLOCK_STEPS, -1, jnp.int32)
    return lax.fori_loop(0, steps, one, (state, chosen))

  return jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(by_row, by_row, (whole, by_row), whole),
    out_specs=((whole, by_row), whole),
    check_vma=False,
  )(words, at_first, state, steps)


def _step(
  words: UInt32[Array, "q v"],
  at_first: Int[Array, " q"],
  state: _State,
  *,
  axes: Any,
) -> tuple[_State, Int[Array, ""]]:
  """One choice, on the rows of one device."""
  covered, bound = state
  first = lax.axis_index(axes).astype(jnp.int32) * len(bound)
  bound, (gain, place) = _renew(words, covered, bound, first, axes=axes)
  own = place - first
  is_own = (own >= 0) & (own < len(bound))
  own = jnp.clip(own, 0, len(bound) - 1)
  row = lax.psum(jnp.where(is_own, words[own], jnp.uint32(0)), axes)
  after = bound.at[own].set(jnp.where(is_own, -1, bound[own]))
  is_reset = gain <= 0
  covered = jnp.where(is_reset, jnp.uint32(0), covered | row)
  again = jnp.where(bound < 0, -1, at_first)
  return (
    (covered, jnp.where(is_reset, again, after)),
    jnp.where(is_reset, -1, place),
  )


_Best = tuple[Int[Array, ""], Int[Array, ""]]  # Gain, and place among all.


def _renew(
  words: UInt32[Array, "q v"],
  covered: UInt32[Array, " v"],
  bound: Int[Array, " q"],
  first: Int[Array, ""],
  *,
  axes: Any,
) -> tuple[Int[Array, " q"], _Best]:
  """Counts the highest bounds anew until the best of all is known.

  Returns:
    The bounds, and what the best row adds, and its place among all.
  """

  def best(gain: Int[Array, " q"]) -> _Best:
    most = lax.pmax(jnp.max(gain), axes)
    place = first + jnp.argmax(gain).astype(jnp.int32)
    last = jnp.int32(np.iinfo(np.int32).max)
    return most, lax.pmin(jnp.where(jnp.max(gain) == most, place, last), axes)

  def is_open(state: tuple[Array, _Best, _Best]) -> Bool[Array, ""]:
    _, (gain, place), (other, other_place) = state
    return (other > gain) | ((other == gain) & (other_place < place))

  def count(
    state: tuple[Array, _Best, _Best],
  ) -> tuple[Array, _Best, _Best]:
    bound, _, _ = state
    # Floats hold these whole numbers, and a CPU sorts them sooner.
    _, top = lax.top_k(bound.astype(jnp.float32), min(_RENEWED, len(bound)))
    gain = count_on(words[top] & ~covered[None])
    bound = bound.at[top].set(jnp.where(bound[top] < 0, -1, gain))
    is_top = jnp.zeros(len(bound), jnp.bool_).at[top].set(True)
    known = best(jnp.where(is_top, bound, -2))
    return bound, known, best(jnp.where(is_top, -2, bound))

  nothing, all_open = jnp.int32(-3), jnp.int32(np.iinfo(np.int32).max)
  unknown = (bound, (nothing, nothing), (all_open, nothing))
  bound, known, _ = lax.while_loop(is_open, count, unknown)
  return bound, known
