"""SemDeDup, by hand and beside a walk in NumPy with scikit-learn's centres."""

import dataclasses

import jax
import numpy as np
import pytest
from sklearn import cluster

from ila_jax.compute import mesh
from ila_jax.landscape import clusters
from ila_jax.landscape.duplicates import pair_search
from ila_jax.methods import candidates, table
from ila_jax.methods.diversity import semdedup
from tests.support import reference_selection as reference

METHOD = table.METHODS["semdedup"]


def _pool(x, seed=0):
  n = len(x)
  pool = reference.pool(n, seed) | {"candidate": np.ones(n, bool)}
  c = candidates.candidates(**pool | {"depth": np.zeros(n)}, seed=seed)
  return dataclasses.replace(c, inputs={"embeddings": np.float32(x)})


def _unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_by_hand():
  """A chain around one centre: 0, 10, 18 and 60 degrees; near is 12 or less."""
  angle = np.radians([0.0, 10.0, 18.0, 60.0])
  c = _pool(np.stack([np.cos(angle), np.sin(angle)], axis=1))
  # The centre lies at 21 degrees: 60, 0, 10, 18 is from far to near.
  near = {"eps": 1 - float(np.cos(np.radians(12.0)))}
  published = METHOD(c, rule="any", **near)
  assert sorted(published.order) == [0, 3]
  # 18 stays, for only 10 is near it, and that is dropped.
  assert sorted(METHOD(c, rule="kept", **near).order) == [0, 2, 3]
  by_draw = sorted(published.order, key=lambda row: c.uniform[row])
  assert published.order.tolist() == by_draw
  assert published.rest.startswith("2 are too like an earlier one of their cl")
  assert "semdedup.eps is 0.0218524; a smaller one keeps more" in published.rest
  assert not METHOD(c, eps=1e-6).rest


@pytest.mark.parametrize("rule", [semdedup.ANY, semdedup.KEPT])
def test_it_is_a_walk_in_each_cluster(rule):
  """Three clusters that any k-means finds; centres are scikit-learn's."""
  random = np.random.default_rng(3)
  middle = np.eye(3, 16)[np.arange(90) % 3]
  x = np.float32(_unit(middle + 0.12 * random.normal(size=(90, 16))))
  model = cluster.KMeans(3, n_init=5, random_state=0).fit(x)
  centres = _unit(model.cluster_centers_)
  want = []
  for mine in range(3):
    rows = np.flatnonzero(model.labels_ == mine)
    rows = rows[np.argsort(x[rows] @ centres[mine], kind="stable")]
    before = []
    for row in rows:
      if all(x[row] @ x[other] < 0.85 for other in before):
        want.append(row)
      elif rule == semdedup.KEPT:
        continue
      before.append(row)
  got = METHOD(_pool(x), rule=rule, eps=0.15, cluster_examples=30)
  assert 3 < len(want) < 87
  assert sorted(got.order) == sorted(want)


@pytest.mark.parametrize("tile", [1, 7, 16, 45, 1000])
def test_tiles_of_any_size_drop_the_same(tile, monkeypatch):
  """Cells of 1 to 20 rows, some longer than a tile, some of two in one."""
  random = np.random.default_rng(8)
  x = np.float32(_unit(random.normal(size=(60, 3))))
  cell = np.repeat(np.arange(7), [1, 20, 3, 16, 2, 2, 16])
  # Of equally far rows the first is visited first.
  squared = np.float32(random.integers(0, 5, 60))
  mixed = random.permutation(60)
  want = np.ones(60, bool)
  for row in range(60):
    for other in np.flatnonzero(cell == cell[row]):
      further = (squared[other], -other) > (squared[row], -row)
      if further and x[row].astype(float) @ x[other] >= 0.9:
        want[row] = False
  assert 10 < want.sum() < 50
  monkeypatch.setattr(semdedup, "_TILE_ROWS", (tile, tile))
  monkeypatch.setattr(pair_search, "_BLOCK_ROWS", (4, 8))
  one = mesh.make(devices=jax.devices()[:1])
  rows, done = semdedup._Part(x, np.arange(60)), []
  got = semdedup._alone(rows, cell, squared, 0.9, one, done.append)
  assert got.tolist() == want.tolist()
  assert sum(done) == 60
  # Cells need not stand together; here no two rows are equally far.
  squared = random.permutation(60).astype(np.float32)
  all_devices = mesh.make(), lambda rows: None
  whole = semdedup._alone(rows, cell, squared, 0.9, *all_devices)
  parts = semdedup._Part(x, mixed), cell[mixed], squared[mixed]
  moved = semdedup._alone(*parts, 0.9, *all_devices)
  assert moved.tolist() == whole[mixed].tolist()


@pytest.mark.parametrize("n", [0, 1, 40])
def test_of_copies_one_is_kept(n):
  x = np.tile(np.float32([[0.6, 0.8]]), (n, 1))
  got = METHOD(_pool(x), eps=1e-6)
  assert len(got.order) == min(n, 1)


def test_many_clusters_are_the_same_on_any_mesh_and_in_any_order():
  x = _unit(np.random.default_rng(4).normal(size=(90, 6)))
  c = _pool(x)
  mix = np.random.default_rng(5).permutation(90)
  mixed = dataclasses.replace(
    c,
    **{f: getattr(c, f)[mix] for f in ("ids", "cell", "depth", "candidate")},
    inputs={"embeddings": np.float32(x)[mix]},
  )
  found = []
  for one in (c, mixed):
    for devices in (1, 8):
      with jax.set_mesh(mesh.make(devices=jax.devices()[:devices])):
        got = METHOD(one, eps=0.1, cluster_examples=10)
        found.append(one.ids[got.order].tolist())
  assert 9 < len(found[0]) < 90
  assert found == [found[0]] * 4


def test_spherical_centres_are_of_unit_norm_and_nearest_by_cosine():
  """Each centre is the direction of the sum of its rows, on any mesh."""
  x = np.float32(_unit(np.random.default_rng(0).normal(size=(60, 5))))
  found = clusters.kmeans(
    x, clusters=4, key=jax.random.key(0), spherical=True, iterations=99
  )
  centers, cell = np.asarray(found.centers), np.asarray(found.cell)
  np.testing.assert_allclose(np.linalg.norm(centers, axis=1), 1, rtol=1e-6)
  assert (np.argmax(x @ centers.T, axis=1) == cell).all()
  sums = np.stack([x[cell == mine].sum(axis=0) for mine in range(4)])
  np.testing.assert_allclose(centers, _unit(sums), atol=1e-5)
