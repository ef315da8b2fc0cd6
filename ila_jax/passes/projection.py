"""Random projection: long vectors become short ones, inner products are kept.

A vector is cut into blocks of `width` numbers. Each block is turned by random
signs, a Hadamard matrix and random signs again, and the blocks are added
(Ailon and Chazelle 2009, and Johnson and Lindenstrauss 1984). Within a block
nothing is lost; between two blocks what is added is random and zero in the
mean. So ⟨Rx, Ry⟩ deviates from ⟨x, y⟩ by √((|x|²|y|² + ⟨x, y⟩²) / width) or
less, as with a dense matrix of random signs. But where that matrix would have
n · width signs, and as many products a vector, here there are 2 n signs and
2 n √width products, and all of it is a function of a key.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ila_jax.models import layers


def project(
  x: Float[Array, "b n"], key: Array, *, width: int
) -> Float[Array, "b w"]:
  """Projects each row to `width` numbers, the same way for all rows.

  Args:
    x: float32 vectors.
    key: of the signs; two keys give projections that have nothing in common.
    width: w, a power of two.

  Returns:
    float32. If n is not above `width`, only turned: no inner product changes.

  >>> x = jnp.arange(12.0).reshape(2, 6)
  >>> y = project(x, jax.random.key(0), width=8)
  >>> y.shape, bool(jnp.allclose(y @ y.T, x @ x.T))
  ((2, 8), True)
  """
  blocks = -(-x.shape[1] // width)
  padded = jnp.pad(x, ((0, 0), (0, blocks * width - x.shape[1])))
  cut = padded.reshape(-1, blocks, width)
  before, after = jax.random.rademacher(key, (2, blocks, width), x.dtype)
  return (_turn(cut * before[None]) * after[None]).sum(axis=1)


def _turn(x: Float[Array, "b k w"]) -> Float[Array, "b k w"]:
  """Multiplies by the Hadamard matrix of unit rows, as two small factors."""
  power = x.shape[2].bit_length() - 1
  left, right = (_hadamard(p) for p in (power // 2, power - power // 2))
  y = x.reshape(*x.shape[:2], len(left), len(right))
  y = layers.dot("bkij,ia->bkaj", y, left)
  y = layers.dot("bkaj,jc->bkac", y, right)
  return y.reshape(x.shape)


def _hadamard(power: int) -> Float[Array, "m m"]:
  """Sylvester's matrix of ±1 / √m, for m = 2^power."""
  i = np.arange(2**power)
  odd = np.bitwise_count(i[:, None] & i) % 2
  return jnp.asarray((1 - 2.0 * odd) / np.sqrt(len(i)), jnp.float32)


def flops(n: int, *, width: int) -> int:
  """FLOPs of the products of one vector's projection.

  >>> flops(8192, width=8192)
  3145728
  """
  power = width.bit_length() - 1
  factors = 2 ** (power // 2) + 2 ** (power - power // 2)
  return 2 * -(-n // width) * width * factors
