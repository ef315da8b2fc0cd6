"""T-SHIRT's pick by hand: the threshold, the mean and then the deviation."""

import dataclasses

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from ila_jax.score.signals import noisy_ifd
from ila_jax.selection import budget as budget_lib
from tests.support import reference_selection as reference

_TSHIRT = table.METHODS["tshirt"]


def _pool(changes):
  n = len(changes)
  pool = reference.pool(n, 0) | {"candidate": np.ones(n, bool)}
  pool |= {"depth": np.zeros(n), "ids": np.arange(n, dtype=np.uint64)}
  made = candidates.candidates(**pool, seed=0)
  kept = [noisy_ifd.of_changes(np.float32(change)) for change in changes]
  return dataclasses.replace(made, inputs={"noisy_ifd": np.stack(kept)})


# D of two neighbours with two tokens each: half of the sixteen are 0.01, which
# a token ratio of 0.5 leaves out.
_CHANGES = [
  [[-0.5, 0.01], [-0.5, 0.01]],  # S-IFD exp(-0.5) twice: mean 0.61
  [[-0.2, 0.01], [-0.4, 0.01]],  # 0.82 and 0.67: mean 0.74, they differ
  [[-0.3, 0.01], [-0.3, 0.01]],  # 0.74 twice
  [[0.5, 0.01], [0.5, 0.01]],  # An IFD above 1 is left out.
]


def _pick(changes, k, tau):
  """The rule of the paper, for one threshold, by brute force."""
  rows = []
  for row, change in enumerate(changes):
    change = np.array(change)
    each = [
      np.exp(own[np.abs(own) > tau].mean()) if (np.abs(own) > tau).any() else 1
      for own in change
    ]
    if np.exp(change.mean(axis=1)).mean() < 1:
      rows.append((row, np.mean(each), np.std(each)))
  best = sorted(rows, key=lambda one: (-one[1], one[0]))[: 2 * k]
  steady = sorted(best, key=lambda one: (one[2], one[0]))
  return [row for row, *_ in steady[:k]]


def test_by_hand(capsys):
  c = _pool(_CHANGES)
  got = _TSHIRT(c)
  assert got.order.tolist() == [0, 2, 1]
  assert got.rest == "1 have a mean IFD of 1 or more."
  said = capsys.readouterr().err
  assert "50.0% of the tokens count (wanted: 50.0%)" in said
  # The two best means are of 1 and 2; the steadier of them is 2.
  one = _TSHIRT(dataclasses.replace(c, wanted=1))
  assert one.order.tolist() == [2]
  assert "T-SHIRT orders 1, as many as the budget may buy." in one.rest
  # All tokens: exp of the mean of each neighbour.
  assert _TSHIRT(c, token_ratio=1.0).order.tolist() == [0, 2, 1]


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 1.0])
def test_it_is_the_rule_of_the_paper_for_the_share_it_tells(ratio, capsys):
  for seed in range(10):
    random = np.random.default_rng(seed)
    changes = [
      random.normal(-0.2, 0.5, (3, random.integers(1, 9))) for _ in range(60)
    ]
    changes = [np.float32(change) for change in changes]
    sizes = np.abs(np.concatenate([change.ravel() for change in changes]))
    shares = (sizes > noisy_ifd.THRESHOLDS[:, None]).mean(axis=1)
    at = np.abs(shares - ratio).argmin()
    # The threshold is near the quantile, and the share near what is wanted.
    assert abs(shares[at] - ratio) < 0.03
    for k in (1, 7, 30):
      got = _TSHIRT(
        dataclasses.replace(_pool(changes), wanted=k), token_ratio=ratio
      )
      wanted = _pick(changes, k, noisy_ifd.THRESHOLDS[at])
      assert got.order.tolist() == wanted
    assert f"{shares[at]:.1%} of the tokens" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(6))
def test_of_a_budget_in_tokens_k_is_the_number_that_it_buys(seed):
  """And not of how many of the shortest, twice which may be all."""
  random = np.random.default_rng(seed)
  changes = np.float32(random.normal(-0.2, 0.5, (60, 3, 4)))
  n_tokens = random.integers(1, 40, 60).astype(np.int32)
  c = dataclasses.replace(_pool(changes), n_tokens=n_tokens)
  budget = int(0.15 * n_tokens.sum())
  most = budget_lib.most_rows(n_tokens, budget=budget, unit="tokens")
  c = dataclasses.replace(c, wanted=most, wanted_tokens=budget)
  order = _TSHIRT(c, token_ratio=1.0).order.tolist()
  picks = [_pick(changes, k, noisy_ifd.THRESHOLDS[0]) for k in range(61)]
  pays = [n_tokens[pick].sum() <= budget for pick in picks]
  ours = [k for k in range(60) if pays[k] and not pays[k + 1]]
  assert sum(order[:k] == picks[k] for k in ours) == 1
  assert len(order) == len({*order}) == min(most, len(picks[60]))


def test_of_answers_of_one_length_tokens_are_examples():
  random = np.random.default_rng(0)
  c = _pool(np.float32(random.normal(-0.2, 0.5, (60, 3, 4))))
  c = dataclasses.replace(c, n_tokens=np.full(60, 7, np.int32), wanted=9)
  by_count = _TSHIRT(c)
  by_tokens = _TSHIRT(dataclasses.replace(c, wanted_tokens=68))
  assert by_tokens.order.tolist() == by_count.order.tolist()
  more = dataclasses.replace(c, wanted=60, wanted_tokens=68)
  assert _TSHIRT(more).order[:9].tolist() == by_count.order.tolist()


@pytest.mark.parametrize(("k", "warns"), [(1, False), (2, True), (3, False)])
def test_it_says_where_twice_the_budget_is_all(k, warns):
  """Three can be chosen; a budget of all three leaves none out."""
  got = _TSHIRT(dataclasses.replace(_pool(_CHANGES), wanted=k))
  assert ("twice the 2 that the budget buys" in got.warning) == warns


def test_what_is_not_finite_is_left_out_and_told():
  got = _TSHIRT(_pool([*_CHANGES, [[np.nan, 0.1], [0.1, 0.1]]]))
  assert 4 not in got.order
  assert got.rest.endswith("1 have no finite IFD.")
