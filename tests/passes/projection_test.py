"""The projection against SciPy's Hadamard matrix, and its error in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ila_jax.passes import projection

_WIDTH = 64


def _matrix(n, seed, width=_WIDTH):
  """R, a row for each number of the long vector."""
  key = jax.random.key(seed)
  return np.asarray(projection.project(jnp.eye(n), key, width=width))


def test_it_is_signs_a_hadamard_matrix_and_signs_in_every_block():
  for width in (32, 64):  # An odd and an even power of two.
    key = jax.random.key(5)
    signs = np.asarray(jax.random.rademacher(key, (2, 3, width), np.float32))
    turn = scipy.linalg.hadamard(width) / np.sqrt(width)
    blocks = [b[:, None] * turn * a[None] for b, a in zip(*signs, strict=True)]
    n = 2 * width + 7  # The last block is not full.
    got = _matrix(n, 5, width)
    np.testing.assert_allclose(got, np.concatenate(blocks)[:n], atol=1e-6)


def test_nothing_is_lost_in_a_block_and_between_blocks_all_is_chance():
  n, seeds = 3 * _WIDTH, 300
  grams = np.stack([r @ r.T for r in (_matrix(n, s) for s in range(seeds))])
  same = np.kron(np.eye(3), np.ones((_WIDTH, _WIDTH))) > 0
  eye = np.eye(n)
  np.testing.assert_allclose(
    grams[:, same], eye[same][None] + 0 * grams[:, same], atol=1e-5
  )
  across = grams[:, ~same]
  # Of ±1/8 sums: the mean over seeds is 0, as far as 300 of them tell.
  assert np.abs(across.mean(axis=0)).max() < 5 * across.std() / seeds**0.5
  assert 0.9 < across.std() * _WIDTH**0.5 < 1.1


def test_inner_products_are_off_as_with_a_dense_matrix_of_signs_or_less():
  """Also of vectors whose numbers fall on one place of every block."""
  rng = np.random.default_rng(0)
  n, seeds = 16 * _WIDTH, 200
  comb = np.zeros(n, np.float32)
  comb[::_WIDTH] = 1
  smooth = rng.normal(size=(2, n)).astype(np.float32)
  near = smooth[0] + 0.5 * smooth[1]
  for x, y in ((*smooth,), (smooth[0], near), (comb, comb + 0.2 * smooth[0])):
    both, exact = jnp.stack([x, y]), float(x @ y)
    square = float(x @ x) * float(y @ y)
    ours = [
      np.prod(
        np.asarray(projection.project(both, jax.random.key(s), width=_WIDTH)),
        axis=0,
      ).sum()
      for s in range(seeds)
    ]
    error = np.sqrt(np.mean((np.array(ours) - exact) ** 2))
    dense = np.sqrt((square + exact**2) / _WIDTH)
    assert 0.5 * dense < error < 1.15 * dense
