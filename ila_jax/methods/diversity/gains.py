"""Programs of facility location: likeness, gains and choices on a mesh.

All numbers are whole, as `represent` says: no order of a sum changes it.
"""

import functools
from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, row_blocks

# The length of a row, rounding included, stays below 4096 to width 36,000.
SCALE = 4000
# Of a product: one step of cosine, whose range is -8191 to 8191.
_STEP = 2048
_STEPS = SCALE**2 // _STEP
# More than any likeness: of a row that nothing can represent better.
COVERED = 2**14
_AXES = mesh_lib.BATCH[0]
BY_COLUMN = PartitionSpec(None, _AXES)

# The state of the choice on the devices: what is covered, which members of the
# block are left, the members chosen in order, their number, all gains.
_Choice = tuple[
  Float[Array, " g"],
  Bool[Array, " b"],
  Int[Array, " b"],
  Int[Array, ""],
  Int[Array, " b"],
]


# From rows [b, d] and candidates [k, d] to whole numbers [b, k] below COVERED.
Likeness = Callable[[Float[Array, "b d"], Float[Array, "k d"]], Array]


def _cosine(
  rows: Float[Array, "b d"], others: Float[Array, "k d"]
) -> Float[Array, "b k"]:
  """The cosine in steps."""
  product = jnp.dot(rows, others.T, precision=neighbours.EXACT)
  return jnp.floor(product / _STEP)


def _euclidean(
  rows: Float[Array, "b d"], others: Float[Array, "k d"]
) -> Float[Array, "b k"]:
  """2 - distance in steps."""
  product = jnp.dot(rows, others.T, precision=neighbours.EXACT)
  own = jnp.sum(rows * rows, axis=1)
  their = jnp.sum(others * others, axis=1)
  squared = (own[:, None] - product) + (their[None] - product)
  distance = jnp.sqrt(jnp.maximum(squared, 0)) / SCALE
  return jnp.round(_STEPS * (2 - distance))


LIKENESS: dict[str, Likeness] = {"cosine": _cosine, "euclidean": _euclidean}
# What is covered where nothing is chosen. Of cosines nothing is compared with
# it: the first choice has a closed form.
NOTHING = {"cosine": -COVERED, "euclidean": 0}


@functools.partial(jax.jit, static_argnames=("likeness", "mesh"))
def cover(
  rows: Float[Array, "g d"],
  covered: Float[Array, " g"],
  block: Float[Array, "1 d"],
  likeness: Likeness,
  mesh: Mesh,
) -> Float[Array, " g"]:
  """What is covered when one more row is chosen."""
  del mesh
  return jnp.maximum(covered, likeness(rows, block)[:, 0])


@functools.partial(jax.jit, static_argnames=("likeness", "mesh"))
def of_block(
  rows: Float[Array, "g d"],
  covered: Float[Array, " g"],
  block: Float[Array, "b d"],
  likeness: Likeness,
  mesh: Mesh,
) -> Int[Array, " b"]:
  """The gain of each row of a block."""

  def on_device(rows: Array, covered: Array, block: Array) -> Array:
    def add(
      tile: tuple[Array, Array], fresh: Array, total: Array
    ) -> tuple[tuple[()], Array]:
      rows, covered = tile
      covered = jnp.where(fresh, covered, COVERED)
      gain = jnp.maximum(likeness(rows, block) - covered[:, None], 0)
      # Of row_blocks.ROWS rows the sum is below 2^24: float32 is exact.
      return (), total + jnp.sum(gain, axis=0).astype(jnp.int32)

    start = jnp.zeros(len(block), jnp.int32)
    _, total = row_blocks.walk(add, (rows, covered), start)
    return lax.psum(total, _AXES)

  return jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(mesh_lib.BATCH, mesh_lib.BATCH, mesh_lib.REPLICATED),
    out_specs=mesh_lib.REPLICATED,
    check_vma=False,
  )(rows, covered, block)


@functools.partial(
  jax.jit, static_argnames=("likeness", "mesh"), donate_argnames="kept"
)
def keep(
  kept: Int[Array, "s g"],
  rows: Float[Array, "g d"],
  block: Float[Array, "b d"],
  places: Int[Array, " b"],
  likeness: Likeness,
  mesh: Mesh,
) -> Int[Array, "s g"]:
  """Puts the likenesses of a block to all rows in some places."""

  def on_device(rows: Array, kept: Array, block: Array, places: Array) -> Array:
    def like(tile: Array, _: Array, state: tuple[()]) -> tuple[Array, tuple]:
      return likeness(tile, block).astype(jnp.int16), state

    columns = row_blocks.walk(like, rows)[0]
    return kept.at[places].set(columns.T)

  return jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(mesh_lib.BATCH, BY_COLUMN, *[mesh_lib.REPLICATED] * 2),
    out_specs=BY_COLUMN,
    check_vma=False,
  )(rows, kept, block, places)


@functools.partial(jax.jit, static_argnames="mesh")
def choose(
  kept: Int[Array, "s g"],
  covered: Float[Array, " g"],
  places: Int[Array, " b"],
  number: Int[Array, " b"],
  others: Int[Array, "3"],
  mesh: Mesh,
) -> tuple[Float[Array, " g"], Int[Array, " b"], Int[Array, " b"]]:
  """Chooses from a block while no other row can have a greater gain.

  Args:
    kept: likenesses.
    covered: of the represented to the nearest chosen.
    places: of a block of candidates among the kept.
    number: which candidates these are, ascending; -1: none.
    others: the greatest bound outside the block, of which row, and the number
      of rows to choose at most.
    mesh: of the represented.

  Returns:
    What is covered then, the places of the chosen in the block (-1 behind
    them), and the gain of each of the block.
  """

  def on_device(
    kept: Array, covered: Array, places: Array, number: Array, others: Array
  ) -> tuple[Array, Array, Array]:
    bound, other, most = others
    likes = kept[places].astype(jnp.float32)

    def all_gains(covered: Array) -> Array:
      gain = jnp.maximum(likes - covered[None], 0).astype(jnp.int32)
      return lax.psum(jnp.sum(gain, axis=1), _AXES)

    def best(state: _Choice) -> tuple[Array, Array]:
      _, left, _, _, gain = state
      gain = jnp.where(left, gain, -1)
      place = jnp.argmax(gain)
      wins = (gain[place] == bound) & (number[place] < other)
      return place, left[place] & ((gain[place] > bound) | wins)

    def go_on(state: _Choice) -> Array:
      return best(state)[1] & (state[3] < most)

    def step(state: _Choice) -> _Choice:
      covered, left, chosen, done, _ = state
      place = best(state)[0]
      covered = jnp.maximum(covered, likes[place])
      left = left.at[place].set(False)
      chosen = chosen.at[done].set(place.astype(jnp.int32))
      return covered, left, chosen, done + 1, all_gains(covered)

    none = jnp.full(len(places), -1, jnp.int32)
    start = covered, number >= 0, none, jnp.int32(0), all_gains(covered)
    covered, _, chosen, _, gain = lax.while_loop(go_on, step, start)
    return covered, chosen, gain

  by_row, whole = mesh_lib.BATCH, mesh_lib.REPLICATED
  return jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(BY_COLUMN, by_row, whole, whole, whole),
    out_specs=(by_row, whole, whole),
    check_vma=False,
  )(kept, covered, places, number, others)
