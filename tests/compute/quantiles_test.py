"""Strata of like length, by plain loops."""

import numpy as np
import pytest

from ila_jax.compute import quantiles


def _slowly(n_tokens, domain, bins):
  """Which domain, and which part of its lengths, row by row."""
  found = []
  for length, own in zip(n_tokens, domain, strict=True):
    peers = [t for t, d in zip(n_tokens, domain, strict=True) if d == own]
    count = min(max(len(peers) // 10, 1), bins)
    below = sum(t < length for t in peers) + peers.count(length) / 2
    found.append((int(own), int(count * (below / len(peers)))))
  return found


@pytest.mark.parametrize("seed", range(5))
def test_strata_are_those_of_plain_loops(seed):
  rng = np.random.default_rng(seed)
  n_tokens = rng.integers(1, 30, 120)
  domain = rng.choice(4, 120, p=[0.6, 0.25, 0.1, 0.05])
  got = quantiles.length_strata(n_tokens, domain, bins=5).tolist()
  wanted = _slowly(n_tokens.tolist(), domain.tolist(), 5)
  assert len(set(got)) == len(set(wanted)) == len(set(zip(got, wanted)))  # noqa: B905
