"""The walk by features, beside a fixture by hand and sets."""

import fractions

import numpy as np
import pytest

from ila_jax.methods.features import sae_simscale
from tests.methods.features import sae_greedy_test as sets_lib


def walk(c, sets, *, overlap, first, reset=True):
  """One loop a sentence of the method; shares are exact."""

  def size(i):
    return len(sets[i]) if first == "most_features" else int(c.n_tokens[i])

  left = [i for i in np.flatnonzero(c.candidate) if sets[i]]
  left.sort(key=lambda i: (-size(i), c.ids[i]))
  order, turn = [], 1
  while left and (reset or turn == 1):
    covered, skipped = set(), []
    for i in left:
      share = fractions.Fraction(len(sets[i] & covered), len(sets[i]))
      if share <= overlap:
        covered |= sets[i]
        order.append((int(i), turn))
      else:
        skipped.append(i)
    left, turn = skipped, turn + 1
  return order


def test_by_hand():
  bits = np.array(
    [
      [1, 1, 1, 1, 0, 0],  # four: first
      [0, 0, 1, 1, 1, 0],  # three, two of them covered: 0.67
      [0, 0, 0, 0, 1, 1],  # two, one of them covered by row 1: 0.5
      [0, 0, 0, 0, 0, 0],  # none: never
      [1, 0, 0, 0, 0, 0],  # one, which is covered
    ]
  )
  c, _ = sets_lib.pool(
    bits, ids=np.arange(5, dtype=np.uint64), n_tokens=np.array([1, 9, 2, 9, 3])
  )
  pairs, rest = sets_lib.got("sae_simscale", c, overlap=0.7)
  assert pairs == [(0, 1), (1, 1), (2, 1), (4, 2)]
  assert rest == "1 of 5 have no feature that is on, and are left out."
  pairs, _ = sets_lib.got("sae_simscale", c, overlap=0.6)
  assert pairs == [(0, 1), (2, 1), (1, 2), (4, 2)]
  pairs, rest = sets_lib.got("sae_simscale", c, overlap=0.0, reset=False)
  assert pairs == [(0, 1), (2, 1)] and "2 have more than 0 of their" in rest
  # 1 is the longest, then 4, 2 and 0.
  pairs, _ = sets_lib.got("sae_simscale", c, overlap=0.5, first="longest")
  assert pairs == [(1, 1), (4, 1), (2, 1), (0, 2)]


@pytest.mark.parametrize("first", ["most_features", "longest"])
@pytest.mark.parametrize("overlap", ["0", "0.3", "0.8", "1"])
def test_it_is_the_walk_over_sets(overlap, first, monkeypatch):
  monkeypatch.setattr(sae_simscale, "_BLOCK_ROWS", 16)
  for seed in range(3):
    random = np.random.default_rng(seed)
    bits = random.random((70, 90)) < random.choice([0, 0.02, 0.1, 0.3], (70, 1))
    c, sets = sets_lib.pool(bits, seed, candidate=random.random(70) < 0.9)
    options = {"overlap": float(overlap), "first": first}
    pairs, _ = sets_lib.got("sae_simscale", c, **options)
    options["overlap"] = fractions.Fraction(overlap)
    assert pairs == walk(c, sets, **options)
    pairs, _ = sets_lib.got(
      "sae_simscale", c, reset=False, **{**options, "overlap": float(overlap)}
    )
    assert pairs == walk(c, sets, reset=False, **options)


def test_a_share_is_at_most_that_of_exact_numbers():
  on = np.arange(1, 2000)
  for share in ("0", "0.29", "0.7", "0.8", "0.9", "1"):
    exact = [int(fractions.Fraction(share) * int(count)) for count in on]
    assert sae_simscale.at_most(on, float(share)).tolist() == exact
