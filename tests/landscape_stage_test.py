"""The stage `landscape` alone: parts, maps that are joined, sketches."""

import jax
import numpy as np
import pytest
from etils import epath
from jax.sharding import AxisType

from ila_jax import artifacts, clusters, depth, errors, projection, provenance
from ila_jax import mesh as mesh_lib
from ila_jax.stages import landscape, mapping
from tests import tiny

N = 300


def _write(folder, *, rows=None, width=6):
  """Artifacts of the stages before, of some rows of one pool."""
  rng = np.random.default_rng(0)
  rows = np.arange(N) if rows is None else rows
  ids = rng.permutation([f"{i:016x}" for i in range(N)])[rows]
  blobs = rng.normal(0, 2, (8, width))[rng.integers(8, size=N)]
  x = (blobs + rng.normal(0, 0.5, (N, width))).astype(np.float32)[rows]
  base, gain = rng.uniform(20, 60, N), rng.normal(5, 3, N)
  n_tokens = rng.integers(2, 40, N)[rows]
  row = np.arange(len(rows))
  index = {"row": row, "id": ids, "prompt_id": ids, "n_labels": 0 * row + 1}
  index |= {"split": np.full(len(row), "pool"), "n_response_tokens": n_tokens}
  index["domain"] = np.where(rng.random(N) < 0.5, "a", "b")[rows]
  artifacts.write_table(folder / "pool/index.parquet", index)
  scores = {"row": row, "id": ids, "n_tokens": n_tokens}
  scores["nll_base"] = base[rows].astype(np.float32)
  scores["nll_sft"] = (base - gain)[rows].astype(np.float32)
  scores["nll_sft_std"] = np.zeros(len(row), np.float32)
  artifacts.write_table(folder / "score/scores.parquet", scores)
  reference = np.zeros(0, np.int64)
  artifacts.write_table(folder / "score/reference.parquet", {"row": reference})
  for shard, here in enumerate(np.split(row, range(128, len(row), 128))):
    path = folder / f"embed/embeddings-{shard:05d}.npy"
    artifacts.write_array(path, x[here])
  for name in ("embed", "score"):
    record = {"done": True, "output": f"{name} {len(rows)}"}
    artifacts.write_json(folder / name / provenance.RECORD, record)
  return epath.Path(folder)


def _config(**changes):
  settings = {
    "landscape__projection": "tsne",
    "landscape__iterations": 90,
    "landscape__perplexity": 12.0,
    "landscape__fit_examples": 160,
    "landscape__grid": 6,
    "landscape__duplicate_cosine": None,
  }
  return tiny.config("pool.jsonl", **(settings | changes))


def _run(folder, config, mesh=None):
  landscape.run(config, folder, mesh or mesh_lib.make())
  about = artifacts.read_json(folder / "landscape/map.json")
  return artifacts.read_table(folder / "landscape/cells.parquet"), about


@pytest.fixture
def small_parts(monkeypatch):
  monkeypatch.setattr(mapping, "_PART_ROWS", 64)


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch, small_parts):
  whole, _ = _run(_write(tmp_path / "whole"), _config())
  folder = _write(tmp_path / "killed")
  placed, place = [], projection.Map.place

  def dies(found, x):
    if len(placed) == 3:
      raise KeyboardInterrupt
    placed.append(len(x))
    return place(found, x)

  monkeypatch.setattr(projection.Map, "place", dies)
  with pytest.raises(KeyboardInterrupt):
    _run(folder, _config())
  monkeypatch.setattr(projection, "fit", None)  # The map is kept.
  placed.clear()
  resumed, _ = _run(folder, _config())
  assert placed == [64, 48]  # Of 300 in parts of 64, on eight devices.
  for name, column in whole.items():
    np.testing.assert_array_equal(resumed[name], column, err_msg=name)
  assert not list(folder.glob("landscape/places-*"))


def test_parts_and_devices_change_nothing(tmp_path, monkeypatch):
  whole, _ = _run(_write(tmp_path / "whole"), _config())
  monkeypatch.setattr(mapping, "_PART_ROWS", 71)
  parts, _ = _run(_write(tmp_path / "parts"), _config())
  for name, column in whole.items():
    np.testing.assert_array_equal(parts[name], column, err_msg=name)
  axes = {"axis_types": (AxisType.Auto,) * 3, "devices": jax.devices()[:1]}
  one = jax.make_mesh((1, 1, 1), mesh_lib.AXES, **axes)
  alone, _ = _run(_write(tmp_path / "alone"), _config(), one)
  np.testing.assert_array_equal(alone["cell"], whole["cell"])
  np.testing.assert_allclose(alone["x"], whole["x"], rtol=1e-4, atol=1e-4)


def test_the_order_of_the_pool_changes_nothing(tmp_path):
  order = np.random.default_rng(1).permutation(N)
  first, _ = _run(_write(tmp_path / "first"), _config())
  second, _ = _run(_write(tmp_path / "second", rows=order), _config())
  for name in first.keys() - {"row"}:
    np.testing.assert_array_equal(second[name], first[name][order], name)


@pytest.mark.parametrize(
  "kind",
  [
    {},
    {"landscape__projection": "parametric"},
    {"landscape__projection": "pca", "landscape__dimensions": 3},
    {
      "landscape__cells": "kmeans",
      "landscape__clusters": 20,
      "landscape__grid": "auto",
    },
  ],
)
def test_new_records_join_a_map_that_stays(tmp_path, kind):
  old = _write(tmp_path / "old", rows=np.arange(220))
  first, about = _run(old, _config(**kind))
  before = {p.name: p.read_bytes() for p in (old / "landscape/map").iterdir()}
  # All the old records among new ones, in another order.
  order = np.random.default_rng(2).permutation(N)
  new = _write(tmp_path / "new", rows=order)
  # What kind of map it is the joined map says.
  joins = kind | {"landscape__map": str(old / "landscape")}
  joins["landscape__projection"] = "random"
  second, joined = _run(new, _config(**joins))
  after = {p.name: p.read_bytes() for p in (new / "landscape/map").iterdir()}
  assert before == after
  assert joined["joined"] == joins["landscape__map"]
  assert joined["description"] == about["description"]
  assert joined["num_cells"] == about["num_cells"]
  place = {name: i for i, name in enumerate(second["id"])}
  again = [place[name] for name in first["id"]]
  axes = [name for name in ("x", "y", "z") if name in first]
  assert len(axes) == kind.get("landscape__dimensions", 2)
  for name in (*axes, "cell"):
    np.testing.assert_array_equal(second[name][again], first[name], name)
  # A run that joins the one that joined stands on the same map.
  third = _write(tmp_path / "third", rows=order[:50])
  joins["landscape__map"] = str(new / "landscape")
  found, _ = _run(third, _config(**joins))
  np.testing.assert_array_equal(found["cell"], second["cell"][:50])


def test_cells_of_space_are_those_of_numpy(tmp_path):
  kind = {"landscape__projection": "pca", "landscape__dimensions": 4}
  cells, about = _run(_write(tmp_path), _config(**kind, landscape__grid=3))
  xy = np.stack([cells[name] for name in ("x", "y", "z", "x4")], axis=1)
  edges = [
    np.linspace(low, high, 4)
    for low, high in zip(about["low"], about["high"], strict=True)
  ]
  counts, _ = np.histogramdd(xy.astype(np.float64), edges)
  np.testing.assert_array_equal(
    np.bincount(cells["cell"], minlength=81), counts.ravel()
  )
  assert (about["num_cells"], about["dimensions"]) == (81, 4)


def test_kmeans_cells_are_the_nearest_centers(tmp_path, small_parts):
  kind = {"landscape__cells": "kmeans", "landscape__grid": "auto"}
  folder = _write(tmp_path)
  cells, about = _run(folder, _config(**kind, landscape__clusters=12))
  centers = np.load(folder / "landscape/centers.npy")
  x = np.concatenate([np.load(p) for p in sorted(folder.glob("embed/*.npy"))])
  squared = ((x[:, None].astype(np.float64) - centers) ** 2).sum(-1)
  np.testing.assert_array_equal(cells["cell"], squared.argmin(1))
  assert (about["num_cells"], about["grid"]) == (12, None)
  by_id = np.argsort(cells["id"])
  whole = clusters.kmeans(x[by_id], clusters=12, key=jax.random.key(0))
  np.testing.assert_array_equal(cells["cell"][by_id], whole.cell)


def test_relative_depth_by_sketches_is_within_its_bound(tmp_path):
  exact, about = _run(_write(tmp_path / "exact"), _config())
  assert about["relative_depth_error"] == 0
  changes = {"landscape__exact_examples": 10}
  found, about = _run(_write(tmp_path / "sketch"), _config(**changes))
  wanted = depth.relative_depth(found["depth"], found["domain"])
  np.testing.assert_array_equal(exact["relative_depth"], wanted)
  error = np.abs(found["relative_depth"] - wanted).max()
  assert error <= about["relative_depth_error"] + 1e-6
  assert about["relative_depth_error"] <= 1e-3


def test_what_cannot_be_joined_is_named(tmp_path):
  old = _write(tmp_path / "old")
  _run(old, _config())
  there = {"landscape__map": str(old / "landscape")}
  for changes, message in (
    ({"landscape__map": str(tmp_path)}, "landscape.map is .* has no map.json"),
    (there | {"landscape__grid": 7}, r"grid is 7, .* allowed: 'auto' or 6"),
    (
      there | {"landscape__cells": "kmeans", "landscape__clusters": 9},
      "landscape.cells is 'kmeans', .* has 'grid'",
    ),
  ):
    new = _write(tmp_path / f"new{len(list(tmp_path.iterdir()))}")
    with pytest.raises(errors.InputError, match=message):
      _run(new, _config(**changes))
  wide = _write(tmp_path / "wide", width=7)
  with pytest.raises(errors.InputError, match="6 wide, and is given some 7"):
    _run(wide, _config(**there))
