"""What the rows of each cluster add up to, in whole numbers.

These add up to the same bits in any order and on any number of devices. So the
sums of one step are those before it and what moved.
"""

import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import row_blocks
from ila_jax.landscape import centers as centers_lib

_BITS = 24  # Bits of a coordinate in a sum: as many as float32 holds.
_TOGETHER = 64  # Rows that moved, added at once: a divisor of a block.

# What comes to the sums of every cluster, and rows that changed their cell.
_Sums = tuple[Int[Array, "c w"], Int[Array, ""]]


def digit_bits(rows: int) -> int:
  """Bits of a digit: so few that the digits of all rows add up in int32."""
  return 31 - rows.bit_length()


def width(coordinates: int, digit_bits: int) -> int:
  """Numbers that are summed for a row: all digits, and 1."""
  return -(-_BITS // digit_bits) * coordinates + 1


def survey(
  x: Float[Array, "n d"],
  cell: Int[Array, " n"],
  real: Bool[Array, " n"],
  centers: Float[Array, "c d"],
  low: Float[Array, " d"],
  high: Float[Array, " d"],
  digit_bits: int,
) -> tuple[Int[Array, " n"], _Sums]:
  """Assigns the rows to centres, and adds up what each centre got and lost.

  Sums are whole, so what moved is all that has to be added: the same bits.
  """
  clusters, width = centers.shape
  digits = -(-_BITS // digit_bits)
  most = 2**_BITS - 1
  scale = most / jnp.where(high > low, high - low, 1.0)

  def add(
    totals: Int[Array, "c w"],
    rows: Float[Array, "b d"],
    cells: tuple[Int[Array, " b"], Int[Array, " b"]],
    moved: Bool[Array, " b"],
  ) -> Int[Array, "c w"]:
    number = jnp.round((rows - low[None]) * scale[None])
    number = jnp.clip(number, 0, most).astype(jnp.int32)
    parts = [
      (number >> (digit_bits * place)) & (2**digit_bits - 1)
      for place in range(digits)
    ]
    parts = jnp.concatenate([*parts, jnp.ones((len(rows), 1), jnp.int32)], 1)
    before, now = cells
    # A row that does not count, or was in no cluster, changes none.
    target = jnp.where(moved, now, clusters)
    source = jnp.where(moved & (before >= 0), before, clusters)
    totals = totals.at[target].add(parts, mode="drop")
    return totals.at[source].add(-parts, mode="drop")

  def block(
    arrays: tuple[Float[Array, "b d"], Int[Array, " b"], Bool[Array, " b"]],
    fresh: Bool[Array, " b"],
    state: _Sums,
  ) -> tuple[Int[Array, " b"], _Sums]:
    rows, before, real = arrays
    totals, changed = state
    cell = centers_lib.nearest(rows, centers)
    moved = real & fresh & (cell != before)
    many = jnp.sum(moved, dtype=jnp.int32)

    at = jnp.nonzero(moved, size=len(rows), fill_value=0)[0]

    def add_some(i: Int[Array, ""], totals: Int[Array, "c w"]) -> Array:
      some = lax.dynamic_slice_in_dim(at, i * _TOGETHER, _TOGETHER)
      counts = i * _TOGETHER + jnp.arange(_TOGETHER) < many
      return add(totals, rows[some], (before[some], cell[some]), counts)

    parts = (many + _TOGETHER - 1) // _TOGETHER
    totals = lax.fori_loop(0, parts, add_some, totals)
    return cell, (totals, changed + many)

  totals = jnp.zeros((clusters, digits * width + 1), jnp.int32)
  arrays = x, cell, real
  return row_blocks.walk(block, arrays, (totals, jnp.int32(0)))


def means(
  totals: Int[Array, "c w"],
  centers: Float[Array, "c d"],
  low: Float[Array, " d"],
  high: Float[Array, " d"],
  digit_bits: int,
) -> Float[Array, "c d"]:
  """The mean of each cluster, from its sums; an empty one keeps its centre."""
  clusters, width = centers.shape
  counts = totals[:, -1:].astype(jnp.float32)
  digits = totals[:, :-1].reshape(clusters, -1, width).astype(jnp.float32)
  worth = np.ldexp(np.float32(1), digit_bits * np.arange(digits.shape[1]))
  number = jnp.sum(digits * worth[None, :, None], axis=1)
  unit = (high - low) / (2**_BITS - 1)
  means = low[None] + number / jnp.maximum(counts, 1.0) * unit[None]
  return jnp.where(counts > 0, means, centers)
