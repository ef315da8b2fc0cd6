import json

import jax
import numpy as np
import pytest
from sklearn import datasets, decomposition

from ila_jax import errors
from ila_jax.compute import mesh, neighbours
from ila_jax.landscape.maps import projections
from ila_jax.run.disk import checksums

KEY = jax.random.key(0)


def _digits(n):
  return (datasets.load_digits().data[:n] / 16).astype(np.float32)


def _fit(x, name="pca", **options):
  return projections.fit(
    x, name=name, key=KEY, options=projections.Options(**options)
  )


@pytest.mark.parametrize("dimensions", [2, 3, 7])
def test_pca_equals_sklearn(dimensions):
  x = _digits(400)
  found = _fit(x[::2], dimensions=dimensions)
  theirs = decomposition.PCA(dimensions).fit(x[::2])
  wanted = theirs.transform(x)
  ours = np.asarray(found.place(x))
  signs = np.sign((wanted * ours).sum(axis=0))
  np.testing.assert_allclose(ours, wanted * signs, atol=2e-3)
  share = theirs.explained_variance_ratio_.sum()
  np.testing.assert_allclose(found.notes["variance_share"], share, rtol=1e-4)
  assert found.notes["fitted"] == 200


@pytest.mark.parametrize("dimensions, spread", [(2, 0.2), (64, 0.05)])
def test_random_projection_is_linear_and_keeps_mean_distances(
  dimensions, spread
):
  x = np.random.default_rng(0).normal(size=(300, 500)).astype(np.float32)
  found = _fit(x, "random", dimensions=dimensions)
  ours = np.asarray(found.place(x))
  doubled = np.asarray(found.place(2 * x - np.asarray(found.arrays["mean"])))
  np.testing.assert_allclose(doubled, 2 * ours, atol=1e-3)
  # E|Ax|^2 = |x|^2, with a scatter of about sqrt(2 / (dimensions d)).
  ratio = np.mean(np.sum(ours**2, axis=1)) / np.mean(np.sum(x**2, axis=1))
  assert 1 - spread < ratio < 1 + spread


@pytest.fixture(scope="module")
def fitted_tsne():
  return _fit(_digits(150), "tsne", iterations=250, perplexity=15.0)


def test_placed_again_the_fitted_points_land_on_themselves(fitted_tsne):
  ours = fitted_tsne.place(_digits(300))
  np.testing.assert_array_equal(ours[:150], fitted_tsne.arrays["positions"])
  assert fitted_tsne.notes["perplexity"] == 15
  assert 0 < fitted_tsne.notes["kl"] < 2


def test_tsne_keeps_neighbours_of_the_placed(fitted_tsne):
  xy = fitted_tsne.place(_digits(300))
  labels = datasets.load_digits().target[:300]
  near = np.asarray(neighbours.nearest(xy[150:], xy[:150], k=1).index)
  assert np.mean(labels[near[:, 0]] == labels[150:]) > 0.8


@pytest.mark.parametrize("name", projections.PROJECTIONS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_samples_have_a_map(name, n):
  found = _fit(_digits(n), name, iterations=50)
  assert found.dimensions == 2
  assert found.place(_digits(5)).shape == (5, 2)
  assert found.place(_digits(0)).shape == (0, 2)
  assert np.all(np.isfinite(found.place(_digits(5))))
  assert all(np.isfinite(value) for value in found.notes.values())


@pytest.mark.parametrize("name", projections.PROJECTIONS)
def test_equal_points_share_a_place(name):
  x = np.repeat(_digits(1), 12, axis=0)
  xy = _fit(x[:4], name, iterations=50).place(x)
  assert np.all(np.isfinite(xy))
  assert len(np.unique(xy[4:], axis=0)) == 1


@pytest.mark.parametrize("name", projections.PROJECTIONS)
def test_shards_and_devices_change_no_bit(name, tmp_path):
  x = _digits(480)
  steps, epochs = [], []
  found = _fit(
    x[::3],
    name,
    iterations=50,
    on_progress=lambda done, kl: steps.append(done),
    on_epoch=lambda done, error: epochs.append(done),
  )
  # What takes a while tells how far it is.
  kind = projections.PROJECTIONS[name]
  assert steps[-1:] == [50] * kind.by_tsne
  assert epochs == list(range(1, len(epochs) + 1))
  assert bool(epochs) == (kind.epochs > 0)
  assert len(epochs) <= kind.epochs
  whole = np.asarray(found.place(x))
  parts = [found.place(part) for part in np.split(x, [1, 100, 333])]
  np.testing.assert_array_equal(np.concatenate(parts), whole)
  many = found.place(mesh.put(x, mesh.make()))
  np.testing.assert_array_equal(many, whole)
  assert not many.sharding.is_fully_replicated
  # Nor does the way through a file.
  projections.save(found, tmp_path)
  loaded = projections.load(tmp_path, width=64)
  np.testing.assert_array_equal(loaded.place(x), whole)
  assert (loaded.name, loaded.notes) == (name, found.notes)
  assert loaded.dimensions == 2


@pytest.mark.parametrize(
  "change, message",
  [
    (
      {"name": "umap"},
      "landscape.projection is 'umap'; allowed: parametric, pca, random, tsne",
    ),
    ({"x": np.zeros((0, 2), np.float32)}, "map has no point to be fitted"),
    ({"x": np.full((9, 2), np.nan, np.float32)}, "embedding holds NaN"),
    (
      {"options": projections.Options(dimensions=1)},
      "landscape.dimensions is 1; allowed with projection 'pca': 2 or more",
    ),
    (
      {"name": "tsne", "options": projections.Options(dimensions=3)},
      "landscape.dimensions is 3; allowed with projection 'tsne': 2.",
    ),
  ],
)
def test_bad_input_is_named(change, message):
  arguments = {"x": _digits(9), "name": "pca", "key": KEY}
  with pytest.raises(errors.InputError, match=message):
    projections.fit(**(arguments | change))


def test_embeddings_of_another_encoder_are_refused(tmp_path):
  found = _fit(_digits(9))
  message = "'pca' was fitted on embeddings 64 wide, and is given some 3 wide"
  with pytest.raises(errors.InputError, match=message):
    found.place(np.zeros((2, 3), np.float32))
  projections.save(found, tmp_path)
  with pytest.raises(errors.InputError, match=message):
    projections.load(tmp_path, width=3)
  assert projections.load(tmp_path).width == 64


def _edit(folder, **change):
  path = folder / "projection.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize(
  "harm, message",
  [
    (lambda f: (f / "projection.json").unlink(), "has no projection.json"),
    (
      lambda f: (f / "projection.safetensors").unlink(),
      "has no projection.safetensors",
    ),
    (lambda f: _edit(f, version=99), "is a map 'pca' of version 99; allowed"),
    (lambda f: _edit(f, name="umap"), "is a map 'umap' of version 1; allowed"),
    (lambda f: _edit(f, arrays={}), "holds a damaged map"),
    (lambda f: (f / "projection.json").write_text("[]"), "damaged map"),
    (
      lambda f: (f / "projection.safetensors").write_bytes(b"0" * 99),
      "holds a damaged map",
    ),
  ],
)
def test_damaged_maps_are_refused(tmp_path, harm, message):
  projections.save(_fit(_digits(9)), tmp_path)
  (tmp_path / checksums.FILE).unlink()  # As of a map that came without.
  harm(tmp_path)
  with pytest.raises(errors.InputError, match=message):
    projections.load(tmp_path)


def test_a_map_that_is_not_as_it_was_written_is_refused(tmp_path):
  projections.save(_fit(_digits(9)), tmp_path)
  _edit(tmp_path, notes={})
  with pytest.raises(errors.InputError, match=r"projection.json is damaged"):
    projections.load(tmp_path)
