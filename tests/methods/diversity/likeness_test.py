"""Greedy choices by likeness, beside brute force and scikit-learn."""

import dataclasses
import itertools

import numpy as np
import pytest
from sklearn import metrics

from ila_jax.methods import candidates, table
from ila_jax.methods.diversity import likeness, repr_filter
from tests.support import reference_selection as reference


def _pool(n, seed, **columns):
  random = np.random.default_rng(seed)
  x = random.normal(size=(n, 12)) + 2 * random.normal(size=(1, 12))
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  pool = reference.pool(n, seed) | {"candidate": random.random(n) < 0.9}
  pool["depth"] = random.normal(size=n)
  made = candidates.candidates(**(pool | columns), seed=seed)
  return dataclasses.replace(made, inputs={"embeddings": np.float32(x)}), x


def test_kcenter_is_the_farthest_first_traversal():
  """Each choice is the farthest from those before it, but for rounding."""
  for seed in range(5):
    c, x = _pool(60, seed)
    order = table.METHODS["kcenter"](c).order.tolist()
    rows = np.flatnonzero(c.candidate)
    assert sorted(order) == rows.tolist()
    assert order[0] == rows[np.argmin(c.uniform[rows])]
    like = 1 - metrics.pairwise_distances(x.astype(np.float64), metric="cosine")
    for place in range(1, len(order)):
      nearest = like[:, order[:place]].max(axis=1)
      assert nearest[order[place]] <= nearest[order[place:]].min() + 1e-3


def test_kcenter_covers_within_twice_the_best():
  """Of eleven points three: the best of all triples by brute force."""
  for seed in range(5):
    c, x = _pool(11, seed, candidate=np.ones(11, bool))
    far = metrics.pairwise_distances(x)

    def radius(some, far=far):
      return far[:, list(some)].min(axis=1).max()

    best = min(map(radius, itertools.combinations(range(11), 3)))
    got = table.METHODS["kcenter"](c).order[:3]
    assert best <= radius(got.tolist()) <= 2 * best


@pytest.mark.parametrize("most", [0.3, 0.8, 0.95, 1.0])
def test_the_repr_filter_is_a_walk_by_depth(most):
  for seed in range(5):
    c, x = _pool(60, seed)
    got = table.METHODS["repr_filter"](c, most=most)
    taken = []
    for row in np.argsort(-c.depth, kind="stable"):
      if c.candidate[row] and all(x[row] @ x[t] <= most for t in taken):
        taken.append(int(row))
    assert got.order.tolist() == taken
    left = len(taken) < c.candidate.sum()
    assert ("repr_filter.most" in got.rest) == left


def test_the_repr_filter_takes_the_same_in_any_blocks(monkeypatch):
  c, _ = _pool(60, 2)
  method = table.METHODS["repr_filter"]
  for wanted in (3, 9, 30):
    some = dataclasses.replace(c, wanted=wanted)
    want = method(some, most=0.8).order.tolist()
    with monkeypatch.context() as patch:
      patch.setattr(repr_filter, "_FIRST", 4)
      patch.setattr(repr_filter, "_LONGEST", 16)
      patch.setattr(repr_filter, "_BLOCKS", 1)
      patch.setattr(repr_filter, "_ROOM", 7)
      assert method(some, most=0.8).order.tolist() == want


def test_copies_come_last_or_never():
  c, x = _pool(20, 0, candidate=np.ones(20, bool))
  twice = np.float32(np.concatenate([x[:10], x[:10]]))
  c = dataclasses.replace(c, inputs={"embeddings": twice})
  order = table.METHODS["kcenter"](c).order
  assert sorted(order[:10] % 10) == sorted(order[10:] % 10) == list(range(10))
  got = table.METHODS["repr_filter"](c, most=0.9999).order
  assert sorted(got % 10) == list(range(10))


def test_more_than_one_block_is_chosen(monkeypatch):
  c, _ = _pool(60, 1)
  whole = table.METHODS["kcenter"](c).order.tolist()
  monkeypatch.setattr(likeness, "_TOGETHER", 7)
  monkeypatch.setattr(likeness, "_ROUNDS", 2)
  likeness._choose.clear_cache()
  assert table.METHODS["kcenter"](c).order.tolist() == whole
  likeness._choose.clear_cache()
