"""The greedy choice by features, beside a fixture by hand and sets."""

import dataclasses

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from ila_jax.methods.features import packed
from tests.support import reference_selection as reference


def pool(bits, seed=0, **columns):
  """Candidates whose features are some bits [n, latents], and sets of them."""
  n = len(bits)
  every = {"candidate": np.ones(n, bool), "depth": np.zeros(n)}
  made = candidates.candidates(
    **(reference.pool(n, seed) | every | columns), seed=seed
  )
  features = np.packbits(bits, axis=1, bitorder="little")
  sets = [frozenset(np.flatnonzero(row).tolist()) for row in bits]
  return dataclasses.replace(made, inputs={"sae_features": features}), sets


def greedy(c, sets, *, reset=True):
  """One loop a sentence of the method."""
  left = sorted(
    (i for i in np.flatnonzero(c.candidate) if sets[i]), key=lambda i: c.ids[i]
  )
  covered, order, turn = set(), [], 1
  while left:
    best = max(left, key=lambda i: len(sets[i] - covered))
    if not sets[best] - covered:
      if not reset:
        break
      covered, turn = set(), turn + 1
      continue
    covered |= sets[best]
    order.append((int(best), turn))
    left.remove(best)
  return order


def got(name, c, **options):
  ranking = table.METHODS[name](c, **options)
  pairs = zip(ranking.order.tolist(), ranking.round.tolist(), strict=True)
  return list(pairs), ranking.rest


def test_by_hand():
  """Four features, five examples; their ids are in the order of the rows."""
  bits = np.array(
    [
      [1, 1, 0, 0],  # two: after row 1, it adds one
      [0, 1, 1, 1],  # three: first
      [0, 0, 0, 0],  # none: never
      [1, 0, 0, 0],  # adds as many as row 0, which has the lower id
      [0, 0, 1, 0],
    ]
  )
  c, _ = pool(bits, ids=np.arange(5, dtype=np.uint64))
  pairs, rest = got("sae_greedy", c)
  # 1 and 0 cover all; then anew: 3 and 4, which cover one each.
  assert pairs == [(1, 1), (0, 1), (3, 2), (4, 2)]
  assert rest == "1 of 5 have no feature that is on, and are left out."
  pairs, rest = got("sae_greedy", c, reset=False)
  assert pairs == [(1, 1), (0, 1)]
  assert "2 add no feature to those that are taken" in rest


def test_it_is_the_maximum_coverage_of_apricot():
  """Recorded with apricot-select 0.6.1, scikit-learn, NumPy 2.4.6.

  MaxCoverageSelection(30, optimizer="naive").fit(bits.astype(float)).ranking
  and .gains, up to the first gain of 0; bits as below.
  """
  i, j = np.ogrid[:60, :80]
  mixed = i * i * 7919 + j * j * 104_729 + i * j * 31_337
  bits = mixed * 2_654_435_761 % 2**32 < 2**32 // 12
  ranking = [31, 30, 14, 8, 41, 0, 12, 54, 57, 18, 1, 9, 34, 11, 28, 47]
  gains = [14, 12, 8, 7, 6, 5, 5, 5, 4, 3, 2, 2, 2, 1, 1, 1]
  c, sets = pool(bits, ids=np.arange(60, dtype=np.uint64))
  pairs, _ = got("sae_greedy", c, reset=False)
  order = [row for row, _ in pairs]
  assert order == ranking
  united = [
    len(frozenset().union(*(sets[r] for r in order[:k])))
    for k in range(len(order) + 1)
  ]
  assert np.diff(united).tolist() == gains


@pytest.mark.parametrize("reset", [True, False])
def test_it_is_the_loop_over_sets(reset):
  for seed in range(6):
    random = np.random.default_rng(seed)
    bits = random.random((70, 90)) < random.choice([0, 0.02, 0.1, 0.3], (70, 1))
    c, sets = pool(bits, seed, candidate=random.random(70) < 0.9)
    pairs, _ = got("sae_greedy", c, reset=reset)
    assert pairs == greedy(c, sets, reset=reset)


def test_more_rows_than_bounds_are_renewed_at_once(monkeypatch):
  """And more choices than a block holds."""
  bits = np.random.default_rng(3).random((70, 90)) < 0.1
  c, sets = pool(bits, 3)
  monkeypatch.setattr(packed, "_RENEWED", 2)
  monkeypatch.setattr(packed, "_BLOCK_STEPS", 7)
  packed._choose.clear_cache()
  assert got("sae_greedy", c)[0] == greedy(c, sets)
  packed._choose.clear_cache()
