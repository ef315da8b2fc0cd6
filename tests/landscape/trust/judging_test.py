"""A map that tells nothing is refused; one of structureless points is not."""

import re

import jax
import numpy as np
import pytest
from sklearn import datasets, neighbors

from ila_jax import errors
from ila_jax.landscape import grid
from ila_jax.landscape.maps import projections, repulsion, tsne
from ila_jax.landscape.trust import agreement, judging

KEY = jax.random.key(0)


def _unit(x):
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def _digits(n):
  return (datasets.load_digits().data[:n] / 16).astype(np.float32)


def _normal(n, d=384, seed=0):
  return _unit(np.random.default_rng(seed).normal(size=(n, d)))


def _fit(x, name="tsne", **options):
  chosen = projections.Options(**options)
  return projections.fit(x, name=name, key=KEY, options=chosen)


@pytest.fixture(scope="module")
def digits():
  x = _digits(300)
  return x, _fit(x)


def test_what_is_kept_is_noted(digits):
  x, found = digits
  notes = judging.judged(found, x).notes
  # As many as by scikit-learn's neighbours, whose order is that of distances.
  near = [_nearest(space) for space in (x, np.asarray(found.place(x)))]
  kept = [len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)]
  assert notes["neighbours_kept"] == pytest.approx(np.mean(kept), abs=1e-3)
  assert notes["kept_by_chance"] == pytest.approx(10 / 299)
  assert notes["kl"] < notes["kl_of_one_place"] / 3
  assert notes.items() > found.notes.items()


def _nearest(points):
  index = neighbors.NearestNeighbors(n_neighbors=10).fit(points)
  return index.kneighbors(return_distance=False)


@pytest.mark.parametrize("name", ["parametric", "pca", "random"])
def test_every_kind_of_map_has_the_note(name):
  x = _digits(60)
  notes = judging.judged(_fit(x, name, iterations=100), x).notes
  assert 10 / 59 < notes["neighbours_kept"] <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 31])
def test_tiny_pools_are_not_refused(n):
  notes = judging.judged(_fit(_normal(n), iterations=50), _normal(n)).notes
  assert ("neighbours_kept" in notes) == (n > 2)


@pytest.mark.parametrize("n", [40, 400])
def test_structureless_points_are_not_refused(n):
  x = _normal(n)
  judging.judged(_fit(x), x)


def test_a_straight_line_is_not_refused():
  x = np.linspace(-1, 1, 50)[:, None] * np.ones((1, 5))
  x = x.astype(np.float32)
  judging.judged(_fit(x, iterations=250), x)


def test_the_neighbours_of_duplicates_are_kept():
  x = np.repeat(_digits(10), 20, axis=0)
  notes = judging.judged(_fit(x, iterations=250), x).notes
  assert notes["neighbours_kept"] > 0.99


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda xy, _: 1e-9 * xy, "all points lie within .*e-08 of the middle"),
    (
      lambda xy, _: xy * np.array([[1.0, 1e-6]]),
      "all points lie on a line, .*e-0. times as wide as it is long",
    ),
    (lambda xy, rng: xy[rng.permutation(len(xy))], "% of neighbours are kept"),
  ],
)
def test_positions_that_tell_nothing_are_named(digits, change, message):
  x, found = digits
  xy = change(np.asarray(found.arrays["positions"]), np.random.default_rng(0))
  kept = agreement.map_quality(x, xy, rows=np.arange(300))["neighbours_kept"]
  told = agreement.fault(x, xy, kl=0.5, kl_of_one_place=2.0, kept=kept)
  assert re.search(message, told)


def test_a_cost_like_that_of_one_place_is_named(digits):
  x, found = digits
  xy = np.asarray(found.arrays["positions"])
  numbers = {"kl_of_one_place": 2.0, "kept": 0.5}
  told = agreement.fault(x, xy, kl=1.99, **numbers)
  assert (
    told == "KL(P || Q) is 1.9900; with all points in one place it is 2.0000"
  )
  assert agreement.fault(x, xy, kl=1.9, **numbers) is None
  assert agreement.fault(x, xy, kl=float("nan"), **numbers)


def test_a_fit_that_never_unfolds_is_refused_and_the_remedy_works():
  x = _digits(100)
  with pytest.raises(errors.InputError) as caught:
    judging.judged(_fit(x, iterations=3), x)
  message = str(caught.value)
  assert "projection is 'tsne', and its map of 100 examples" in message
  assert "projection='pca'" in message and "iterations (1000 are)" in message
  judging.judged(_fit(x, "pca"), x)
  judging.judged(_fit(x, iterations=250), x)


def test_equal_embeddings_are_refused_and_the_remedy_works():
  x = np.ones((120, 6), np.float32)
  with pytest.raises(
    errors.InputError, match="all 120 embeddings are the same"
  ):
    judging.judged(_fit(x, iterations=60), x)
  found = judging.judged(_fit(x, "pca"), x)
  cells = grid.grid_cells(found.place(x), grid=10)
  assert len(np.unique(cells)) == 1


def test_a_map_wider_than_its_grid_is_refused_and_the_remedy_works(monkeypatch):
  x = _digits(tsne.EXACT_BELOW)
  options = {"iterations": 300, "perplexity": 10.0}
  found = _fit(x, **options)
  assert 0 < found.notes["grid_spacing"] <= repulsion.SPACING
  judging.judged(found, x)
  # The same map where there is no finer grid.
  monkeypatch.setattr(repulsion, "NODES", (64,))
  coarse = _fit(x, **options)
  reach = np.abs(coarse.arrays["positions"]).max()
  assert coarse.notes["grid_spacing"] == pytest.approx(reach / 29)
  with pytest.raises(errors.InputError) as caught:
    judging.judged(coarse, x)
  message = str(caught.value)
  assert re.search(r"points lie up to \d+ .* grid 1\.\d apart", message)
  assert "config.landscape.fit_examples (10000 are)" in message
  fewer = x[:200]
  assert (
    "grid_spacing" not in judging.judged(_fit(fewer, **options), fewer).notes
  )


@pytest.mark.parametrize("spacing", [0.51, 7.0, float("inf"), float("nan")])
def test_a_coarse_grid_is_named(digits, spacing):
  x, found = digits
  xy = np.asarray(found.arrays["positions"])
  told = {"kl": 0.5, "kl_of_one_place": 2.0, "kept": 0.5}
  assert "apart; more than 0.5" in agreement.fault(
    x, xy, grid_spacing=spacing, **told
  )
  assert agreement.fault(x, xy, grid_spacing=0.5, **told) is None
