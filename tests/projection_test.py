import jax
import numpy as np
import pytest
from sklearn import datasets, decomposition

from ila_jax import errors, mesh, neighbours, projection

KEY = jax.random.key(0)


def _digits(n):
  return (datasets.load_digits().data[:n] / 16).astype(np.float32)


def _project(x, name="pca", rows=None, **options):
  rows = np.arange(len(x)) if rows is None else rows
  return projection.project(
    x,
    name=name,
    fit_rows=rows,
    key=KEY,
    options=projection.Options(**options),
  )


def test_pca_equals_sklearn():
  x = _digits(400)
  found = _project(x, rows=np.arange(0, 400, 2))
  theirs = decomposition.PCA(2).fit(x[::2])
  wanted = theirs.transform(x)
  signs = np.sign((wanted * found.xy).sum(axis=0))
  np.testing.assert_allclose(found.xy, wanted * signs, atol=1e-3)
  share = theirs.explained_variance_ratio_.sum()
  np.testing.assert_allclose(found.notes["variance_share"], share, rtol=1e-4)
  assert found.notes["fitted"] == 200


def test_random_projection_is_linear_and_keeps_mean_distances():
  x = np.random.default_rng(0).normal(size=(300, 500)).astype(np.float32)
  xy = np.asarray(_project(x, "random").xy)
  doubled = np.asarray(_project(2 * x, "random").xy)
  np.testing.assert_allclose(doubled, 2 * xy, atol=1e-3)
  # E|Ax|^2 = |x|^2; over two Gaussian axes it scatters by a few per cent here.
  ratio = np.mean(np.sum(xy**2, axis=1)) / np.mean(np.sum(x**2, axis=1))
  assert 0.8 < ratio < 1.2


def _fitted_tsne():
  x = _digits(300)
  found = _project(x, "tsne", np.arange(150), iterations=250, perplexity=15.0)
  return x, found


def test_tsne_places_the_rest_and_leaves_the_fitted_where_they_are():
  x, found = _fitted_tsne()
  alone = _project(x[:150], "tsne", iterations=250, perplexity=15.0)
  np.testing.assert_array_equal(found.xy[:150], alone.xy)
  assert found.notes["perplexity"] == 15
  assert found.notes["kl"] == alone.notes["kl"]
  # Shepard's formula in float64.
  squared = ((x[150:, None].astype(np.float64) - x[None, :150]) ** 2).sum(-1)
  near = np.argsort(squared, axis=1, kind="stable")[:, :3]
  weight = 1 / np.take_along_axis(squared, near, axis=1)
  weight /= weight.sum(axis=1, keepdims=True)
  wanted = (weight[..., None] * np.asarray(found.xy)[near]).sum(axis=1)
  placed = np.asarray(found.xy[150:])
  # Integer pixels make ties at the third neighbour; there are few.
  off = np.abs(placed - wanted).max(axis=1) > 1e-3
  assert off.mean() < 0.05


def test_placed_again_a_point_lands_on_itself_and_so_does_its_duplicate():
  x = _digits(60)
  positions = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
  fitted = projection.NeighbourMap(x, jax.numpy.asarray(positions), 3)
  np.testing.assert_array_equal(fitted.place(x), positions)
  # Two fitted points with the same embedding: half-way between them.
  twins = projection.NeighbourMap(
    x[[0, 0, 1]], jax.numpy.asarray(positions[:3]), 3
  )
  middle = (positions[0] + positions[1]) / 2
  np.testing.assert_allclose(twins.place(x[:1])[0], middle, atol=1e-6)


@pytest.mark.parametrize("name", projection.PROJECTIONS)
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_small_pools_have_a_map(name, n):
  found = _project(_digits(n), name, iterations=50)
  assert found.xy.shape == (n, 2)
  assert np.all(np.isfinite(found.xy))
  assert all(np.isfinite(value) for value in found.notes.values())


@pytest.mark.parametrize("name", projection.PROJECTIONS)
def test_equal_points_share_a_place(name):
  x = np.repeat(_digits(1), 12, axis=0)
  found = _project(x, name, np.arange(4), iterations=50)
  assert np.all(np.isfinite(found.xy))
  assert len(np.unique(found.xy[4:], axis=0)) == 1


@pytest.mark.parametrize("name", projection.PROJECTIONS)
def test_eight_devices_equal_one(name):
  x = _digits(240)
  sharded = mesh.put(x, mesh.make())
  rows = np.arange(0, 240, 3)
  one, many = (_project(y, name, rows, iterations=50) for y in (x, sharded))
  # The fit is the same to the bit; matrix products round by their block.
  np.testing.assert_allclose(many.xy, one.xy, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(list(many.notes), list(one.notes))
  assert not many.xy.sharding.is_fully_replicated


def test_map_keeps_neighbours_of_the_placed():
  _, found = _fitted_tsne()
  labels = datasets.load_digits().target[:300]
  near = np.asarray(
    neighbours.nearest(found.xy[150:], found.xy[:150], k=1).index
  )
  assert np.mean(labels[near[:, 0]] == labels[150:]) > 0.8


@pytest.mark.parametrize(
  "change, message",
  [
    (
      {"name": "umap"},
      "landscape.projection is 'umap'; allowed: pca, random, tsne",
    ),
    (
      {"fit_rows": np.zeros(0, int)},
      "map of 9 points has no point to be fitted",
    ),
    ({"x": np.full((9, 2), np.nan, np.float32)}, "embedding holds NaN"),
  ],
)
def test_bad_input_is_named(change, message):
  arguments = {
    "x": _digits(9),
    "name": "pca",
    "fit_rows": np.arange(9),
    "key": KEY,
  }
  with pytest.raises(errors.InputError, match=message):
    projection.project(**(arguments | change))
