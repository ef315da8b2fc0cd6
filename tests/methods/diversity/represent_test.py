"""Facility location beside a walk through all gains, apricot and submodlib."""

import dataclasses

import numpy as np
import pytest

from ila_jax.compute import row_blocks
from ila_jax.methods import candidates, table
from ila_jax.methods.diversity import gains, likeness, represent
from tests.support import reference_selection as reference

# The first twelve of `_rows(seed, width=384)`, by
#   apricot-select 0.6.1: FacilityLocationSelection(12, metric="precomputed",
#     optimizer="lazy").fit((1 + x @ x.T) / 2).ranking
#   submodlib-py 0.0.3: FacilityLocationFunction(n=90, mode="dense", data=x,
#     metric="euclidean", separate_rep=False).maximize(12, "LazyGreedy")
RECORDED = {
  "cosine": {
    1: [39, 45, 58, 3, 64, 23, 8, 26, 35, 89, 80, 52],
    2: [72, 53, 34, 85, 7, 83, 54, 64, 26, 0, 18, 49],
    3: [21, 33, 63, 65, 68, 71, 54, 29, 34, 12, 38, 56],
  },
  "euclidean": {
    1: [39, 45, 35, 3, 64, 23, 8, 26, 89, 58, 80, 52],
    2: [72, 25, 26, 85, 7, 83, 54, 64, 18, 2, 9, 49],
    3: [29, 33, 63, 65, 68, 34, 54, 12, 7, 38, 56, 23],
  },
}


def _rows(seed, n=90, width=24):
  random = np.random.default_rng(seed)
  topics = 1.5 * random.normal(size=(7, width))
  x = topics[random.integers(0, 7, n)] + random.normal(size=(n, width))
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  return likeness.rounded(np.float32(x), np.arange(n)), x


def _walk(like, first, count):
  """Greedy, every gain of every row anew; the first of equals."""
  chosen = [first]
  while len(chosen) < count:
    covered = like[:, chosen].max(axis=1, keepdims=True)
    gain = np.maximum(like - covered, 0).sum(axis=0)
    gain[chosen] = -1
    chosen.append(int(np.argmax(gain)))
  return chosen


def _likeness(whole, similarity):
  """In steps, and not yet; by integers and float32."""
  whole = whole.astype(np.int64)
  product = whole @ whole.T
  if similarity == "cosine":
    return product // 2048, product
  norm = np.diag(product)
  squared = np.float32(norm[:, None] + norm[None] - 2 * product)
  steps = np.round(7812 * (2 - np.sqrt(squared) / np.float32(4000)))
  return steps, steps


@pytest.mark.parametrize("similarity", RECORDED)
def test_lazy_is_the_walk_through_all_gains(similarity, monkeypatch):
  monkeypatch.setattr(represent, "_AGAIN", 8)  # Many blocks, few are kept.
  monkeypatch.setattr(represent, "_KEPT_BYTES", 4000)
  for seed in range(4):
    whole, _ = _rows(seed)
    whole[60:] = whole[:30]  # Copies: of equal gains the first.
    for ground in (np.arange(90), np.arange(0, 90, 3)):
      like, first = _likeness(whole, similarity)
      got = represent.greedy(
        whole, ground, count=90, similarity=similarity, desc=""
      )
      first = np.argmax(first[ground].sum(axis=0))
      assert got.tolist() == _walk(like[ground], int(first), 90)


@pytest.mark.parametrize("similarity", RECORDED)
def test_the_usual_packages_choose_the_same(similarity):
  """Eight in the same order; then gains differ by less than we round."""
  for seed, want in RECORDED[similarity].items():
    whole, x = _rows(seed, width=384)
    got = represent.greedy(
      whole, np.arange(90), count=12, similarity=similarity, desc=""
    ).tolist()
    assert got[:8] == want[:8]
    like = x @ x.T
    if similarity == "euclidean":
      like = 2 - np.sqrt(np.maximum(2 - 2 * like, 0))
    ours, theirs = (like[:, some].max(axis=1).sum() for some in (got, want))
    assert abs(ours / theirs - 1) < 1e-5


def test_rounded_cosines_are_near_those_of_float64():
  whole, x = _rows(0, n=300, width=384)
  products = whole.astype(int) @ whole.T.astype(int)
  assert products.max() < 2**24
  assert np.abs(products / 4000**2 - x @ x.T).max() < 1e-3


def test_sums_fit_their_numbers():
  """Of the widest rows, whose rounding adds most to their length."""
  longest = (likeness.SCALE + np.sqrt(36_000) / 2) ** 2
  assert longest < 2**24
  steps = 2 * longest / 2048
  assert steps * row_blocks.ROWS < 2**24
  assert steps * represent.MOST < 2**31
  assert 2 * gains._STEPS < gains.COVERED < 2**15


def test_rows_that_are_too_long_are_refused():
  with pytest.raises(ValueError, match="not of unit norm"):
    likeness.rounded(np.full((1, 2), 0.8), np.arange(1))


def test_more_than_can_be_represented_is_refused():
  with pytest.raises(ValueError, match="131,073 are represented; at most 131,"):
    represent.greedy(
      np.zeros((1, 2), np.int16),
      np.zeros(represent.MOST + 1, int),
      count=1,
      similarity="cosine",
      desc="",
    )


def test_a_draw_stands_for_the_pool():
  """The draw is by id: the order of the pool does not count, and it is told."""
  whole, x = _rows(5)
  pool = reference.pool(90, 5)
  pool |= {"candidate": np.ones(90, bool), "depth": np.zeros(90)}
  c = candidates.candidates(**pool, seed=0)
  c = dataclasses.replace(c, inputs={"embeddings": np.float32(x)}, wanted=9)
  method = table.METHODS["facility_location"]
  got = method(c, represented=40)
  by_id = np.argsort(pool["ids"])
  want = represent.greedy(
    whole[by_id], np.arange(40), count=9, similarity="cosine", desc=""
  )
  assert got.order.tolist() == by_id[want].tolist()
  assert got.rest == (
    "facility location orders 9 by how they represent 40 of 90, drawn by id, "
    "as many as the budget may buy."
  )
  assert "draw" not in method(c, represented=90).rest
  assert not method(dataclasses.replace(c, wanted=None)).rest
