"""Feature coverage, beside NumPy and sets."""

import numpy as np
import pytest

from ila_jax.methods.features import feature_coverage as lib


@pytest.mark.parametrize("rows", [0, 1, 5, 64])
def test_latents_are_counted_as_numpy_counts_them(rows, monkeypatch):
  monkeypatch.setattr(lib, "_BLOCK_ROWS", 24)
  random = np.random.default_rng(rows)
  bits = random.random((64, 40)) < 0.3
  features = np.packbits(bits, axis=1, bitorder="little")
  some = random.permutation(64)[:rows]
  counts = lib.rows_with(features, some)
  np.testing.assert_array_equal(counts, bits[some].sum(axis=0))


def test_coverage_is_that_of_sets():
  random = np.random.default_rng(0)
  bits = random.random((50, 60)) < random.choice([0, 0.01, 0.2], (1, 60))
  pool = {f for row in bits for f in np.flatnonzero(row)}
  some = random.permutation(50)[:12]
  chosen = {f for row in bits[some] for f in np.flatnonzero(row)}
  counts, total = bits[some].sum(axis=0), bits.sum(axis=0)
  assert lib.feature_coverage(counts, total) == len(chosen) / len(pool)
  often = sum(counts[f] >= 3 for f in pool)
  got = lib.feature_coverage(counts, total, times=3)
  assert got == often / len(pool)
  assert lib.feature_coverage(total, total) == 1.0
  assert lib.feature_coverage(0 * total, 0 * total) == 0.0
