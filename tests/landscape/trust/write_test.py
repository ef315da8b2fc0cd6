"""What the stage says of other maps, on a pool made by hand."""

import json
import pathlib

import numpy as np
import pytest
import scipy.spatial
from etils import epath

from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import grid as grid_lib
from ila_jax.landscape import stage as landscape_stage
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import fitted, write
from ila_jax.methods import candidates as candidates_lib
from ila_jax.methods import ila
from ila_jax.run import draws, stage_record, tables
from ila_jax.run.disk import files as files_lib
from ila_jax.score import losses as losses_lib
from tests.support import tiny

N, BUDGET = 240, 40
ROWS = np.arange(N)


def write_pool(
  workdir: pathlib.Path, *, adapters: bool = False, order: np.ndarray = ROWS
) -> dict[str, np.ndarray]:
  """A pool that was embedded and scored under two references."""
  rng = np.random.default_rng(0)
  ids = rng.permutation(np.arange(N, dtype=np.uint64))
  split = np.where(rng.random(N) < 0.1, "dev", "pool")
  tokens, labels = rng.integers(2, 40, N), rng.integers(1, 4, N)
  base = rng.uniform(20, 60, N).astype(np.float32)
  gain = rng.normal(5, 3, N)
  sft = [
    (base - gain + rng.normal(0, 1, N)).astype(np.float32) for _ in range(2)
  ]
  blob = rng.integers(0, 6, N)
  x = rng.normal(0, 3, (6, 5))[blob] + rng.normal(0, 0.6, (N, 5))
  ids, split, tokens, labels = (a[order] for a in (ids, split, tokens, labels))
  base, x, sft = base[order], x[order], [nll[order] for nll in sft]
  table = files_lib.write_table
  index = {"row": ROWS, "id": ids, "split": split, "domain": np.full(N, "")}
  index |= {"n_response_tokens": tokens, "n_labels": labels}
  table(workdir / "pool/index.parquet", index)
  reference = np.flatnonzero((tokens < 8) & (split == "pool"))
  table(workdir / "score/reference.parquet", {"row": reference})
  scores = {"row": ROWS, "id": ids, "nll_base": base, "n_tokens": tokens}
  scores["nll_sft"] = np.mean(sft, axis=0)
  scores["nll_sft_std"] = np.std(sft, axis=0, ddof=1)
  table(workdir / "score/scores.parquet", scores)
  for shard, here in enumerate(np.split(ROWS, [100, 200])):
    if adapters:
      files = {"base-and-sft": (base, *sft)}
    else:
      files = {"base": (base,), "sft-0": sft[:1], "sft-1": sft[1:]}
    for name, losses in files.items():
      table(
        tables.LOSSES.path(workdir, losses=name, shard=shard),
        {"row": here}
        | {f"nll_{model}": nll[here] for model, nll in enumerate(losses)},
      )
    table(tables.RECORDS.path(workdir, shard=shard), {"row": here})
    files_lib.write_array(
      tables.EMBEDDINGS.path(workdir, shard=shard),
      x[here].astype(np.float32),
    )
  for name in ("embed", "score"):
    files_lib.write_json(
      workdir / name / stage_record.RECORD, {"done": True, "output": name}
    )
  free = (split == "pool") & ~np.isin(ROWS, reference)
  pool = {"ids": ids, "tokens": tokens, "free": free}
  return pool | {"base": base, "sft": np.stack(sft)}


def _config(axes, **changes):
  return tiny.config(
    "pool.jsonl",
    landscape__stability=axes,
    landscape__duplicate_cosine=None,
    landscape__iterations=60,
    select__budget=BUDGET,
    select__unit="examples",
    **changes,
  )


def _study(config, workdir, count=N):
  """Runs the part as the stage does; its answer."""
  ids = files_lib.read_table(workdir / "score/scores.parquet", ["id"])["id"]
  drawn = draws.draw(
    ids,
    count=count,
    seed=config.seed,
    purpose="fit the map",
    allowed=np.ones(N, np.bool_),
  )
  rows = np.flatnonzero(drawn)
  rows = rows[np.argsort(ids[rows])]
  run = tiny.run(config, workdir)
  write.run_into(run, rows=rows, budget=BUDGET)
  return json.loads(tables.STABILITY.path(workdir).read_text()), rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  workdir = epath.Path(tmp_path_factory.mktemp("run"))
  pool = write_pool(workdir)
  config = _config(())
  landscape_stage.run(tiny.run(config, workdir))
  return workdir, pool


def test_every_axis_is_reported(run):
  workdir, pool = run
  axes = ("map_seed", "perplexity", "grid", "projection", "reference_seed")
  found, _ = _study(_config(axes), workdir)
  assert found["examples"] == N and found["budget"] == BUDGET
  assert found["candidates"] == pool["free"].sum()
  by_axis = {}
  for row in found["rows"]:
    by_axis.setdefault(row["axis"], []).append(row)
  assert {axis: len(rows) for axis, rows in by_axis.items()} == {
    **{"run": 1, "chance": 2, "map_seed": 2, "perplexity": 2, "grid": 2},
    **{"projection": len(projections.PROJECTIONS), "reference_seed": 3},
  }
  own = by_axis["run"][0]
  assert own["jaccard"] == own["kept"] == own["coverage"][0] == 1
  for row in found["rows"][1:]:
    assert 0 <= row["jaccard"] <= 1 and 0 <= row["kept"] <= 1
    # One reference set alone may choose what the mean of all chooses.
    assert row["jaccard"] < 1 or row["axis"] == "reference_seed"
    # Both choose as many, so one number follows from the other.
    assert row["jaccard"] == pytest.approx(row["kept"] / (2 - row["kept"]))
  assert min(row["jaccard"] for row in by_axis["reference_seed"]) < 1
  # A grid varies the cells of one map; depth has no part in it.
  for row in by_axis["grid"]:
    assert row["neighbours_kept"] == own["neighbours_kept"]
    assert row["depth"] is None
  coarse, fine = by_axis["grid"]
  assert coarse["cells"] < own["cells"] < fine["cells"]
  for row in by_axis["reference_seed"]:
    assert 0.8 < row["depth"][0] < 1
    assert row["coverage"] is None and row["neighbours_kept"] is None
    assert row["cells"] == own["cells"]
  # Half of the mean is a set's own depth: two sets agree less.
  alone = min(row["depth"][0] for row in by_axis["reference_seed"][:2])
  assert by_axis["reference_seed"][2]["depth"][0] < alone
  # A map that learns nothing keeps fewer neighbours than t-SNE.
  random = {row["variant"]: row for row in by_axis["projection"]}[
    "grid over random"
  ]
  assert random["neighbours_kept"] < own["neighbours_kept"]
  cells = [row["coverage"][0] for row in by_axis["chance"][:1]]
  assert cells[0] < 0.5 and by_axis["chance"][1]["coverage"] is None


def test_the_runs_own_cells_and_selection_are_those_of_the_stages(run):
  workdir, pool = run
  for changes in ({}, {"landscape__grid": 7}):
    config = _config((), **changes)
    found, rows = _study(config, workdir)
    table = files_lib.read_table(workdir / "landscape/cells.parquet")
    here = fitted.read(tiny.run(config, workdir), rows=rows, budget=BUDGET)
    own = write._cells(config, here, write._own(config), here.xy)
    if not changes:
      np.testing.assert_array_equal(own, table["cell"][rows])
    else:
      assert own.max() < 49
    candidates = candidates_lib.candidates(
      pool["ids"],
      cell=_unsorted(own, rows),
      depth=table["depth"],
      relative_depth=table["relative_depth"],
      n_tokens=pool["tokens"],
      domain=table["domain"],
      candidate=pool["free"],
      seed=0,
    )
    wanted = ila.METHOD(candidates).order[:BUDGET]
    chosen = rows[write._choose(here, own, here.depths[None])]
    np.testing.assert_array_equal(chosen, wanted)
    covered = len(np.unique(own[_place(rows, wanted)])) / len(np.unique(own))
    assert found["rows"][0]["covers"] == covered
    x = rows_lib.load(workdir, np.arange(N))
    distance = scipy.spatial.distance.cdist(x, x[wanted]).min(axis=1)
    assert found["rows"][0]["mean_distance"] == pytest.approx(
      distance.mean(), rel=1e-4
    )


def test_a_map_in_space_has_its_cells_in_space(tmp_path):
  workdir = epath.Path(tmp_path)
  write_pool(workdir)
  changes = {"landscape__projection": "pca", "landscape__dimensions": 3}
  landscape_stage.run(tiny.run(_config((), **changes), workdir))
  config = _config(("grid",), **changes)
  found, _ = _study(config, workdir)
  table = files_lib.read_table(workdir / "landscape/cells.parquet")
  assert found["rows"][0]["cells"] == len(np.unique(table["cell"]))
  assert found["rows"][0]["covers"] > found["rows"][1]["covers"]
  # As many as no plane through the map would have.
  grid = json.loads((workdir / "landscape/map.json").read_text())["grid"]
  plane = np.stack([table["x"], table["y"]], axis=1)
  flat = grid_lib.grid_cells(plane, grid=grid)
  assert len(np.unique(flat)) < found["rows"][0]["cells"]


@pytest.mark.parametrize("cells", ["grid", "kmeans"])
def test_a_joined_map_is_the_runs_own(tmp_path, cells):
  old, new = epath.Path(tmp_path / "old"), epath.Path(tmp_path / "new")
  for workdir in (old, new):
    write_pool(workdir)
  kind = {"landscape__cells": cells}
  there = {"landscape__projection": "pca", "landscape__perplexity": 7.0}
  count = {"landscape__grid": 5} if cells == "grid" else {}
  landscape_stage.run(tiny.run(_config((), **kind, **there, **count), old))
  joins = _config(
    ("projection",), **kind, landscape__map=str(old / "landscape")
  )
  landscape_stage.run(tiny.run(joins, new))
  found = json.loads(tables.STABILITY.path(new).read_text())
  table = files_lib.read_table(old / "landscape/cells.parquet")
  assert found["rows"][0]["cells"] == len(np.unique(table["cell"]))
  names = {row["variant"] for row in found["rows"]}
  if cells == "grid":
    assert found["rows"][0]["coverage"][0] == 1
    assert {"grid over tsne", "k-means cells"} <= names
    assert "grid over pca" not in names


def _place(rows, wanted):
  return np.argsort(rows)[wanted]


def _unsorted(values, rows):
  found = np.empty_like(values)
  found[rows] = values
  return found


def test_a_part_of_the_pool_has_its_part_of_budget_and_grid(run):
  workdir, pool = run
  config = _config((), landscape__grid=8)
  found, rows = _study(config, workdir, count=N // 4)
  share = pool["free"][rows].sum() / pool["free"].sum()
  assert found["examples"] == N // 4
  assert found["budget"] == round(BUDGET * share)
  assert 2**2 < found["rows"][0]["cells"] <= 4**2
  # Clusters go with the examples, the side of the grid with their root.
  config = _config(("grid",), landscape__cells="kmeans", landscape__clusters=64)
  found, _ = _study(config, workdir, count=N // 4)
  cells = {row["variant"]: row["cells"] for row in found["rows"]}
  assert cells["the run itself"] == 16
  assert cells["4/9 of the clusters"] == 7
  assert cells["9/4 of the clusters"] == 36
  assert found["rows"][0]["neighbours_kept"] is None


def test_a_permuted_pool_is_the_same_pool(run, tmp_path):
  config = _config(("grid", "reference_seed"))
  wanted, _ = _study(config, run[0])
  workdir = epath.Path(tmp_path)
  write_pool(workdir, order=np.random.default_rng(1).permutation(N))
  landscape_stage.run(tiny.run(_config(()), workdir))
  found, _ = _study(config, workdir)
  assert found["rows"] == wanted["rows"]


def test_what_is_there_is_kept_and_what_is_new_is_added(run, monkeypatch):
  workdir, _ = run
  path = tables.STABILITY.path(workdir)
  path.unlink(missing_ok=True)
  first, _ = _study(_config(("grid",)), workdir)
  compared = []
  compare = write._compare

  def count(config, here, own, variant):
    compared.append(variant.axis)
    return compare(config, here, own, variant)

  monkeypatch.setattr(write, "_compare", count)
  again, _ = _study(_config(("grid",)), workdir)
  assert again == first and not compared
  more, _ = _study(_config(("grid", "reference_seed")), workdir)
  assert set(compared) == {"reference_seed"}
  assert more["rows"][: len(first["rows"])] == first["rows"]
  # Of another map nothing is kept.
  _study(_config(("grid",), landscape__grid=5), workdir)
  assert compared[3:] == ["run", "chance", "chance", "grid", "grid"]


@pytest.mark.parametrize("adapters", [False, True])
def test_losses_are_those_of_each_seed(tmp_path, adapters):
  pool = write_pool(epath.Path(tmp_path), adapters=adapters)
  method = {"train__method": "lora"} if adapters else {}
  rows = np.array([230, 3, 150])
  base, tuned = losses_lib.read(tiny.run(_config((), **method), tmp_path), rows)
  np.testing.assert_array_equal(base, pool["base"][rows])
  assert list(tuned) == [0, 1]
  for seed, nll in tuned.items():
    np.testing.assert_array_equal(nll, pool["sft"][seed][rows])
