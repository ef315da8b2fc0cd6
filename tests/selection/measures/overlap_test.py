"""Where selections agree, beside sets."""

import numpy as np

from ila_jax.selection.measures import overlap


def _chosen(seed):
  random = np.random.default_rng(seed)
  names = ["ours", *(f"rival{i}" for i in range(5))]
  chosen = {
    name: random.permutation(60)[: random.integers(5, 40)] for name in names
  }
  return chosen, random.permutation(60).astype(np.uint64)


def test_jaccard_is_that_of_sets():
  chosen, _ = _chosen(0)
  sets = [set(rows.tolist()) for rows in chosen.values()]
  wanted = [[len(a & b) / len(a | b) for b in sets] for a in sets]
  np.testing.assert_allclose(overlap.jaccard(chosen), wanted)


def test_disagreement_is_that_of_loops():
  for seed in range(5):
    chosen, ids = _chosen(seed)
    ours, *rivals = chosen.values()
    votes = {row: sum(row in some for some in rivals) for row in range(60)}
    others = [row for row in range(60) if votes[row] and row not in ours]
    others.sort(key=lambda row: (-votes[row], ids[row]))
    alone = sorted(ours, key=lambda row: votes[row])
    found = overlap.disagreement(chosen, ids, count=6)
    assert found.missed.tolist() == others[:6]
    assert found.alone.tolist() == alone[:6]
    assert found.counts == {
      "missed": sum(votes[row] >= 3 for row in others),
      "alone": sum(votes[row] == 0 for row in ours),
    }
    for row, names in found.is_chosen.items():
      assert names == [name for name, some in chosen.items() if row in some]


def test_equal_selections_disagree_on_nothing():
  same = np.array([3, 1])
  found = overlap.disagreement(
    {"ours": same, "a": same[::-1]}, np.arange(5, dtype=np.uint64), count=4
  )
  assert not len(found.missed) and found.alone.tolist() == [3, 1]
  assert found.counts == {"missed": 0, "alone": 0}
