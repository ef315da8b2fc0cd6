"""Ids that were seen: a Python set, whatever the order and the number."""

import numpy as np
import pytest

from ila_jax.pool import seen as seen_lib


@pytest.mark.parametrize("recent", [1, 3, 64])
def test_equals_a_set(monkeypatch, recent):
  monkeypatch.setattr(seen_lib, "_RECENT", recent)
  rng = np.random.default_rng(recent)
  ours, theirs = seen_lib.Seen(), set()
  edges = [0, 1, 2**63, 2**64 - 1]
  for number in [*edges, *rng.integers(0, 40, 300).tolist(), *edges]:
    assert (number in ours) == (number in theirs)
    if number not in theirs:
      ours.add(number)
      theirs.add(number)
    assert len(ours) == len(theirs)


def test_few_arrays_are_searched(monkeypatch):
  monkeypatch.setattr(seen_lib, "_RECENT", 2)
  seen = seen_lib.Seen()
  for number in range(1000):
    seen.add(number)
  assert len(seen._sorted) <= np.log2(1000)
  assert all(number in seen for number in range(1000))
