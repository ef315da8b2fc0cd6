"""The stage `landscape` alone: parts, maps that are joined."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from etils import epath
from jax.sharding import AxisType
from scipy import stats

from ila_jax import errors, pipeline
from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import dry_run
from ila_jax.landscape import clusters, join
from ila_jax.landscape import place as place_lib
from ila_jax.landscape import stage as landscape_stage
from ila_jax.landscape.duplicates import write
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import write as trust_write
from ila_jax.run import context, interrupts, stage_record, tables
from ila_jax.run.disk import files
from tests.support import artifacts, tiny

N = 300


def _write(folder, *, rows=None, width=6, domains=("a", "b")):
  """Artifacts of the stages before, of some rows of one pool."""
  rng = np.random.default_rng(0)
  rows = np.arange(N) if rows is None else rows
  ids = rng.permutation(np.arange(N, dtype=np.uint64))[rows]
  blobs = rng.normal(0, 2, (8, width))[rng.integers(8, size=N)]
  x = (blobs + rng.normal(0, 0.5, (N, width))).astype(np.float32)[rows]
  base, gain = rng.uniform(20, 60, N), rng.normal(5, 3, N)
  n_tokens = rng.integers(2, 40, N)[rows]
  row = np.arange(len(rows))
  index = {"row": row, "id": ids, "prompt_id": ids, "n_labels": 0 * row + 1}
  index |= {"split": np.full(len(row), "pool"), "n_response_tokens": n_tokens}
  index["domain"] = np.where(rng.random(N) < 0.5, *domains)[rows]
  files.write_table(folder / "pool/index.parquet", index)
  scores = {"row": row, "id": ids, "n_tokens": n_tokens}
  scores["nll_base"] = base[rows].astype(np.float32)
  scores["nll_sft"] = (base - gain)[rows].astype(np.float32)
  scores["nll_sft_std"] = np.zeros(len(row), np.float32)
  files.write_table(folder / "score/scores.parquet", scores)
  reference = np.zeros(0, np.int64)
  files.write_table(folder / "score/reference.parquet", {"row": reference})
  for shard, here in enumerate(np.split(row, range(128, len(row), 128))):
    path = folder / f"embed/embeddings-{shard:05d}.npy"
    files.write_array(path, x[here])
  for name in ("embed", "score"):
    record = {"done": True, "output": f"{name} {len(rows)}"}
    files.write_json(folder / name / stage_record.RECORD, record)
  return epath.Path(folder)


def _config(**changes):
  settings = {
    "landscape__projection": "pca",
    "landscape__fit_examples": 160,
    "landscape__grid": 6,
    "landscape__duplicate_cosine": None,
  }
  return tiny.config("pool.jsonl", **(settings | changes))


TSNE = {
  "landscape__projection": "tsne",
  "landscape__iterations": 90,
  "landscape__perplexity": 12.0,
}


def _run(folder, config, mesh=None):
  run = context.Run(config, folder, mesh or mesh_lib.make())
  landscape_stage.run(run)
  about = files.read_json(folder / "landscape/map.json")
  return files.read_table(folder / "landscape/cells.parquet"), about


def test_a_score_that_is_depth_is_an_input_by_its_values(tmp_path):
  """Of one name, other values make another map."""
  folder, seen = _write(tmp_path), []
  config = _config(landscape__depth="score:worth", pool__fields__scores="worth")
  run = context.Run(config, folder, mesh_lib.make())
  for number, value in enumerate(("1a", "2b")):
    stage = stage_record.Stage(folder / "signals", "scores", {"of": number})
    stage.begin(replace="all")
    stage.finish(scores=[{"name": "worth", "hash": value}])
    seen.append(landscape_stage._inputs(run)["config"].pop("scores"))
  assert seen == [{"worth": "1a"}, {"worth": "2b"}]


@pytest.fixture
def small_parts(monkeypatch):
  monkeypatch.setattr(place_lib, "_PART_ROWS", 64)


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch, small_parts):
  whole, _ = _run(_write(tmp_path / "whole"), _config(**TSNE))
  folder = _write(tmp_path / "killed")
  placed, place = [], projections.Map.place

  def dies(found, x):
    if len(placed) == 3:
      raise KeyboardInterrupt
    placed.append(len(x))
    return place(found, x)

  monkeypatch.setattr(projections.Map, "place", dies)
  with pytest.raises(KeyboardInterrupt):
    _run(folder, _config(**TSNE))
  monkeypatch.setattr(projections, "fit", None)  # The map is kept.
  placed.clear()
  resumed, _ = _run(folder, _config(**TSNE))
  assert placed == [64, 48]  # Of 300 in parts of 64, on eight devices.
  for name, column in whole.items():
    np.testing.assert_array_equal(resumed[name], column, err_msg=name)
  assert not list(folder.glob("landscape/places-*"))


@pytest.mark.parametrize(
  ("changes", "not_made"),
  [
    (TSNE, "map/projection.json"),
    ({"landscape__cells": "kmeans", "landscape__clusters": 9}, "centers.npy"),
  ],
)
def test_a_stop_does_not_wait_for_the_end_of_a_fit(
  tmp_path, monkeypatch, changes, not_made
):
  """Of several hosts all ask at the same iterations, and begin it anew."""
  config = _config(**{"landscape__grid": "auto"} | changes)
  whole, _ = _run(_write(tmp_path / "whole"), config)
  folder = _write(tmp_path / "stopped")
  asked = itertools.count()  # k-means comes after the places.
  monkeypatch.setattr(interrupts, "is_requested", lambda: next(asked) == 1)
  with pytest.raises(interrupts.Stopped):
    _run(folder, config)
  assert not (folder / "landscape" / not_made).exists()
  assert (folder / "landscape/map").exists() == (changes is not TSNE)
  monkeypatch.undo()
  resumed, _ = _run(folder, config)
  for name, column in whole.items():
    np.testing.assert_array_equal(resumed[name], column, err_msg=name)


def _killed(*_, **__):
  raise KeyboardInterrupt


@pytest.mark.parametrize("part", [write, trust_write])
def test_a_kill_after_the_cells_loses_none_of_them(tmp_path, monkeypatch, part):
  folder, made = _write(tmp_path), []

  def finds(run):
    made.append("duplicates")
    files.write_json(tables.DUPLICATES.path(run.workdir), {})

  monkeypatch.setattr(write, "run_into", finds)
  monkeypatch.setattr(trust_write, "run_into", lambda *_, **__: made.append(1))
  config = _config(
    landscape__duplicate_cosine=0.9, landscape__stability=("grid",)
  )
  with monkeypatch.context() as patch:
    patch.setattr(part, "run_into", _killed)
    with pytest.raises(KeyboardInterrupt):
      _run(folder, config)
  # The map stands before it is told how far it may be trusted.
  record = files.read_json(folder / "landscape" / stage_record.RECORD)
  assert record["done"] == (part is trust_write)
  path = folder / "landscape/cells.parquet"
  before = path.read_bytes(), path.stat().mtime
  monkeypatch.setattr(projections.Map, "place", None)
  monkeypatch.setattr(landscape_stage, "_write_cells", None)
  _run(folder, config)
  assert (path.read_bytes(), path.stat().mtime) == before
  assert made == ["duplicates", 1]
  assert not list(folder.glob("landscape/places-*"))


def test_a_kill_after_the_duplicates_finds_them_once(tmp_path, monkeypatch):
  folder, found = _write(tmp_path), []

  def finds(run):
    found.append(1)
    cosines = tables.NEAR_REFERENCE.path(run.workdir)
    files.write_table(cosines, {"row": np.zeros(0, np.int64)})
    # Where the search was refused, there are neither pairs nor groups.
    files.write_json(tables.DUPLICATES.path(run.workdir), {"refused": "many"})

  monkeypatch.setattr(write, "run_into", finds)
  with monkeypatch.context() as patch:
    patch.setattr(place_lib, "drop_parts", _killed)
    with pytest.raises(KeyboardInterrupt):
      _run(folder, _config(landscape__duplicate_cosine=0.9))
  _run(folder, _config(landscape__duplicate_cosine=0.9))
  assert found == [1]


def test_parts_and_devices_change_nothing(tmp_path, monkeypatch):
  whole, _ = _run(_write(tmp_path / "whole"), _config())
  monkeypatch.setattr(place_lib, "_PART_ROWS", 71)
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
    TSNE,
    TSNE | {"landscape__projection": "parametric"},
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
  joins |= {"landscape__projection": "random", "landscape__dimensions": 2}
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
  assert artifacts.faults(new, "landscape") == []
  # A run that joins the one that joined stands on the same map.
  third = _write(tmp_path / "third", rows=order[:50])
  joins["landscape__map"] = str(new / "landscape")
  found, _ = _run(third, _config(**joins))
  np.testing.assert_array_equal(found["cell"], second["cell"][:50])


def test_what_joins_from_afar_is_at_the_border(tmp_path, capsys):
  old = _write(tmp_path / "old", rows=np.arange(280), domains=("", ""))
  first, about = _run(old, _config())
  new = _write(tmp_path / "new", domains=("", ""))
  path = new / "embed/embeddings-00002.npy"
  x = np.load(path)
  x[-20:] *= 50
  files.write_array(path, x)
  joins = {"landscape__map": str(old / "landscape")}
  second, _ = _run(new, _config(**joins, landscape__projection="random"))
  assert "joining the pca map of" in capsys.readouterr().err
  place = {name: i for i, name in enumerate(second["id"])}
  again = [place[name] for name in first["id"]]
  np.testing.assert_array_equal(second["cell"][again], first["cell"])
  # Whatever the numbers of the domains, they hold the same examples.
  pairs = set(zip(first["domain"], second["domain"][again], strict=True))
  assert len(pairs) == len(set(first["domain"])) > 9
  assert len({b for _, b in pairs}) == len(pairs)

  def at_the_border(grid):
    wanted = 0
    for axis, low, high in zip("xy", about["low"], about["high"], strict=True):
      edges = np.linspace(low, high, grid + 1)[1:-1]
      index = np.searchsorted(edges, second[axis], side="right")
      wanted = wanted * grid + index
    return wanted

  np.testing.assert_array_equal(second["cell"], at_the_border(6))
  domains = np.unique(at_the_border(8), return_inverse=True)[1]
  pairs = set(zip(second["domain"], domains, strict=True))
  assert len(pairs) == len(set(domains)) == len(set(second["domain"]))
  outside = (second["x"] < about["low"][0]) | (second["x"] > about["high"][0])
  assert outside.sum() > 9


def test_a_joined_run_needs_the_other_no_more(
  tmp_path, monkeypatch, small_parts
):
  old, moved = tmp_path / "old", tmp_path / "moved"
  kind = {"landscape__cells": "kmeans", "landscape__clusters": 20}
  kind["landscape__grid"] = "auto"
  _run(_write(old, rows=np.arange(220)), _config(**kind))
  joins = _config(**kind, landscape__map=str(old / "landscape"))
  whole, _ = _run(_write(tmp_path / "whole"), joins)
  new, fresh = _write(tmp_path / "new"), _write(tmp_path / "fresh")
  with monkeypatch.context() as patch:
    patch.setattr(projections.Map, "place", _killed)
    with pytest.raises(KeyboardInterrupt):
      _run(new, joins)
  old.rename(moved)
  join.check(joins, new)
  found, _ = _run(new, joins)
  np.testing.assert_array_equal(found["cell"], whole["cell"])
  # What is gone and was not copied is asked for at once, as a redo would.
  for refused in (
    lambda: _run(fresh, joins),
    lambda: pipeline.run(joins, fresh / "run"),
    lambda: pipeline.run(joins, new, redo="embed"),
    lambda: dry_run.run(joins, fresh / "run"),
  ):
    with pytest.raises(
      errors.InputError, match=r"landscape.map is .*/old/.*no"
    ):
      refused()
  assert not (fresh / "run").exists()
  # Where it lies now makes no other run of it, but another map does.
  monkeypatch.setattr(landscape_stage, "_make", None)
  there = {"landscape__map": str(moved / "landscape")}
  _run(new, _config(**kind, **there))
  centers = np.load(moved / "landscape/centers.npy")
  np.save(moved / "landscape/centers.npy", centers + 1)
  with pytest.raises(errors.InputError, match="made by another run: joined"):
    _run(new, _config(**kind, **there))


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


def test_clusters_may_be_more_than_are_looked_at(tmp_path, monkeypatch):
  monkeypatch.setattr(place_lib, "_CLUSTERED_EXAMPLES", 100)
  kind = {"landscape__cells": "kmeans", "landscape__grid": "auto"}
  kind |= {"select__budget": 200.0, "select__unit": "examples"}
  cells, about = _run(_write(tmp_path), _config(**kind))
  assert about["num_cells"] == len(np.unique(cells["cell"])) == 200


@pytest.mark.parametrize("fitted", [4, N])
def test_an_embedding_that_is_not_finite_is_named(tmp_path, fitted):
  folder, config = _write(tmp_path), _config(landscape__fit_examples=fitted)
  ids = files.read_table(folder / "score/scores.parquet")["id"]
  row = N - 1
  assert (row in place_lib.fit_rows(config, ids)) == (fitted == N)
  path = folder / "embed/embeddings-00002.npy"
  x = np.load(path)
  x[-1, 3] = np.nan
  files.write_array(path, x)
  message = rf"config.encoder.path: 1 of .* that of row {row} of the pool"
  with pytest.raises(errors.InputError, match=message):
    _run(folder, config)


@pytest.mark.parametrize("used", [12.0, 6.5])
def test_a_perplexity_that_is_lowered_is_told(
  tmp_path, monkeypatch, capsys, used
):
  fit = projections.fit

  def lowers(x, *, name, **rest):
    found = fit(x, name="random", **rest)
    return dataclasses.replace(found, notes={"perplexity": used})

  monkeypatch.setattr(projections, "fit", lowers)
  _run(_write(tmp_path), _config(**TSNE))
  told = "perplexity is 12, and 6.5 is used" in capsys.readouterr().err
  assert told == (used < 12)


def test_a_map_that_tells_nothing_is_refused_and_the_remedy_works(tmp_path):
  folder = _write(tmp_path)
  unfolded = TSNE | {"landscape__iterations": 3}
  with pytest.raises(errors.InputError, match=r"is 'tsne', .* not be trusted"):
    _run(folder, _config(**unfolded))
  assert not (folder / "landscape/map").exists()
  _, about = _run(folder, _config(landscape__projection="pca"))
  notes = about["notes"]
  assert notes["kept_by_chance"] == pytest.approx(10 / 159)
  assert notes["kept_by_chance"] < notes["neighbours_kept"] < 1


def test_relative_depth_is_that_of_scipy_in_every_domain(tmp_path):
  cells, _ = _run(_write(tmp_path), _config())
  for domain in np.unique(cells["domain"]):
    own = cells["domain"] == domain
    deep = cells["depth"][own]
    wanted = stats.percentileofscore(deep, deep, kind="mean") / 100
    np.testing.assert_allclose(cells["relative_depth"][own], wanted, rtol=1e-6)


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
    (there | {"landscape__dimensions": 3}, "dimensions is 3, .*; allowed: 2."),
    (
      there | TSNE | {"landscape__stability": ("perplexity",)},
      "'perplexity' would vary nothing",
    ),
  ):
    new = _write(tmp_path / f"new{len(list(tmp_path.iterdir()))}")
    with pytest.raises(errors.InputError, match=message):
      _run(new, _config(**changes))
  wide = _write(tmp_path / "wide", width=7)
  with pytest.raises(errors.InputError, match="6 wide, and is given some 7"):
    _run(wide, _config(**there))
