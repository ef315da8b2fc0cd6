"""The stage `select` alone: a pool that passes by parts against a whole one."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
from etils import epath
from scipy.spatial import distance as scipy_distance

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.methods import candidates, method
from ila_jax.methods import table as table_lib
from ila_jax.methods.diversity import novelselect
from ila_jax.pool import shards
from ila_jax.run import context, draws, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.selection import compare, scored_pool
from ila_jax.selection import stage as selection_stage
from tests.support import tiny

_POOL, _SHARD = 500, 128


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """What the stages before leave: examples, of which 9 have no finite loss."""
  folder = epath.Path(tmp_path_factory.mktemp("work"))
  rng = np.random.default_rng(0)
  ids = rng.integers(0, 2**64, _POOL, np.uint64)
  split = np.where(rng.random(_POOL) < 0.1, "dev", "pool")
  files.write_table(
    folder / "pool/index.parquet",
    {
      "id": ids,
      "split": split,
      "n_response_tokens": rng.integers(1, 90, _POOL),
      "domain": [""] * _POOL,
    },
  )
  reference = np.sort(rng.choice(np.flatnonzero(split == "pool"), 40, False))
  files.write_table(
    folder / "score/reference.parquet", {"row": np.r_[reference, reference]}
  )
  row = np.sort(rng.choice(_POOL, _POOL - 9, replace=False))
  files.write_table(
    folder / "landscape/cells.parquet",
    {
      "row": row,
      "id": ids[row],
      "cell": np.floor(40 * rng.random(len(row)) ** 2).astype(np.int32),
      "depth": rng.integers(-3, 9, len(row)).astype(np.float32) / 4,
      "relative_depth": rng.random(len(row)).astype(np.float32),
      "domain": np.zeros(len(row), np.int32),
    },
  )
  files.write_json(folder / "landscape/map.json", {"num_cells": 49})
  vectors = rng.normal(size=(_POOL, 5)).astype(np.float32)
  for shard, start in enumerate(range(0, _POOL, _SHARD)):
    rows = range(start, min(start + _SHARD, _POOL))
    files.write_array(
      tables.EMBEDDINGS.path(folder, shard=shard), vectors[rows]
    )
    lists = ("turns", "tokens", "is_response")
    columns = {name: [[]] * len(rows) for name in lists}
    columns |= {"row": list(rows), "id": ids[rows]}
    columns["record"] = [json.dumps({"n": row}) for row in rows]
    table = pa.table(columns, schema=shards.SCHEMA)
    shards.write_records(folder, shard, table)
  for stage in ("pool", "embed", "score", "landscape"):
    path = folder / stage / stage_record.RECORD
    files.write_json(path, {"done": True, "output": "made by hand"})
  return folder


def _config(**overrides):
  settings = {"budget": 60.0, "unit": "examples", "compare": ("coverage_only",)}
  return tiny.config(
    "none", **{f"select__{k}": v for k, v in (settings | overrides).items()}
  )


def _run(workdir, tmp_path, **overrides):
  """Runs the stage in a copy, and returns what it wrote."""
  work = epath.Path(tmp_path)
  for stage in ("pool", "embed", "score", "landscape"):
    (tmp_path / stage).symlink_to(workdir / stage)
  config = _config(**overrides)
  selection_stage.run(context.Run(config, work, mesh.make()))
  return (
    files.read_table(work / "select/ranking.parquet"),
    (work / "select/selected.jsonl").read_text(),
    files.read_json(work / "select/coverage.json")["table"],
  )


def test_options_reach_the_method(workdir, tmp_path):
  """The depth that counts is the relative one."""
  cells = files.read_table(workdir / "landscape/cells.parquet")
  ranking = _run(
    workdir,
    tmp_path,
    options={"ila": {"rank_by": "relative_depth"}},
  )[0]
  place = np.searchsorted(cells["row"], ranking["row"])
  first = ranking["round"] == 1
  relative = cells["relative_depth"][place][first]
  assert (np.diff(relative) <= 0).all() and len(relative) > 20
  assert (np.diff(ranking["depth"][first]) > 0).any()


def test_chance_goes_by_the_seed_of_the_run(workdir):
  orders = []
  for seed in (0, 5):
    config = dataclasses.replace(_config(), seed=seed)
    pool = scored_pool.load(tiny.run(config, workdir))
    order = scored_pool.rank(config, pool, "random").order
    uniform = draws.keyed_uniform(
      pool.candidates.ids[order], seed=seed, purpose="select"
    )
    orders.append(order.tolist())
    assert (np.diff(uniform.astype(np.float32)) >= 0).all()
  assert orders[0] != orders[1] and set(orders[0]) == set(orders[1])


def test_the_seconds_of_each_order_are_told(workdir, tmp_path):
  _run(workdir, tmp_path, compare=("longest", "random"))
  record = stage_record.read_record(epath.Path(tmp_path) / "select")
  assert list(record["parts"]) == ["ila", "longest", "random"]
  assert 0 <= sum(record["parts"].values()) <= record["seconds"]


def _toy(order, rest, warning=""):
  """A method that orders `order` rows by id, and says `rest` of the others."""

  def rank(c, _):
    kept = c.candidate & (np.cumsum(c.candidate) <= order)
    ranking = candidates.ranking(c, (c.id_rank,), among=kept, rest=rest)
    return dataclasses.replace(ranking, warning=warning)

  return method.Method(name="toy", rank=rank, needs=(), colour="#000000")


@pytest.mark.parametrize(
  ("budget", "unit", "wants"),
  [
    (51.0, "examples", "51 examples; allowed: up to 50 examples of "),
    (9000.0, "tokens", "9,000 tokens; allowed: up to 50 examples of "),
    (0.5, "fraction", r"\d+ examples; allowed: up to 50 examples of "),
  ],
)
def test_a_budget_beyond_the_head_of_an_order_is_refused(
  workdir, tmp_path, monkeypatch, budget, unit, wants
):
  monkeypatch.setitem(table_lib.METHODS, "toy", _toy(50, "they are late."))
  toy = {"strategy": "toy", "compare": ()}
  with pytest.raises(
    errors.InputError,
    match=rf"config.select.budget: 'toy' is to order {wants}.*The rest is "
    "left out: they are late. "
    "Lower config.select.budget, or choose another method",
  ):
    _run(workdir, tmp_path, budget=budget, unit=unit, **toy)


def test_what_makes_an_order_worth_little_is_told(
  workdir, tmp_path, monkeypatch, capsys
):
  toy = _toy(_POOL, "", "all are alike.")
  monkeypatch.setitem(table_lib.METHODS, "toy", toy)
  table = _run(workdir, tmp_path, compare=("toy", "longest"))[2]
  told = {row["strategy"]: row.get("warning") for row in table}
  assert told == {"ila": None, "toy": "all are alike.", "longest": None}
  assert "warning: toy: all are alike." in capsys.readouterr().err


def test_a_rival_that_orders_too_few_is_compared_with_what_it_has(
  workdir, tmp_path, monkeypatch, capsys
):
  toy = _toy(50, "they are odd.")
  monkeypatch.setitem(table_lib.METHODS, "toy", toy)
  table = _run(workdir, tmp_path, compare=("toy", "longest"))[2]
  ours, short, longest = table
  assert (ours["n_examples"], short["n_examples"]) == (60, 50)
  assert longest["n_examples"] == 60 and "left_out" not in longest
  assert short["left_out"] == "they are odd."
  assert "orders 50 examples, fewer than" in short["warning"]
  said = capsys.readouterr().err
  assert "toy leaves some out: they are odd." in said


@pytest.mark.parametrize("lost", ["", "3 have no label. "])
def test_a_head_alone_is_no_loss(workdir, tmp_path, monkeypatch, lost):
  rest = f"{lost}toy orders 1,234, as many as the budget may buy."
  monkeypatch.setitem(table_lib.METHODS, "toy", _toy(60, rest))
  table = _run(workdir, tmp_path, compare=("toy",))[2]
  assert ("left_out" in table[1]) == bool(lost)


def test_a_rival_that_orders_nothing_is_refused(workdir, tmp_path, monkeypatch):
  monkeypatch.setitem(table_lib.METHODS, "toy", _toy(0, "they are odd."))
  with pytest.raises(errors.InputError, match="they are odd"):
    _run(workdir, tmp_path, compare=("toy",))


def test_the_head_of_an_order_is_enough_for_its_own_length(
  workdir, tmp_path, monkeypatch
):
  """A rival that orders few has a curve that ends there."""
  monkeypatch.setitem(table_lib.METHODS, "toy", _toy(60, "they are late."))
  ranking, _, table = _run(workdir, tmp_path, compare=("toy",))
  assert [row["n_examples"] for row in table] == [60, 60]
  curves = files.read_json(tmp_path / "select/coverage.json")["curves"]
  assert curves["toy"]["budgets"][-1] == 60
  assert curves["ila"]["budgets"][-1] == len(ranking["row"])


@pytest.mark.parametrize(
  ("budget", "unit"), [(40.0, "examples"), (900.0, "tokens"), (0.1, "fraction")]
)
def test_a_method_is_told_how_many_rows_are_wanted(workdir, budget, unit):
  config = _config(budget=budget, unit=unit)
  pool = scored_pool.load(tiny.run(config, workdir))
  for name in ("ila", "coverage_only"):
    ranking = scored_pool.rank(config, pool, name)
    k = scored_pool.cut(config, pool, ranking, name)
    assert k <= pool.candidates.wanted <= len(ranking.order)
    by_tokens = unit == "tokens"
    assert by_tokens or k == pool.candidates.wanted
    assert pool.candidates.wanted_tokens == (budget if by_tokens else None)


def test_curves_have_the_budget_of_their_own_strategy_alone(workdir, tmp_path):
  compare = ("longest", "random", "depth_only")
  _run(workdir, tmp_path, budget=900.0, unit="tokens", compare=compare)
  found = files.read_json(tmp_path / "select/coverage.json")
  size = {row["strategy"]: row["n_examples"] for row in found["table"]}
  budgets = {name: set(c["budgets"]) for name, c in found["curves"].items()}
  assert len(set(size.values())) == len(size) == 4
  common = set.intersection(*budgets.values())
  for name, mine in budgets.items():
    assert mine == common | {size[name]}


def test_what_methods_are_like_and_where_they_disagree(workdir, tmp_path):
  compare = ("longest", "random")
  ranking, _, table = _run(workdir, tmp_path, compare=compare)
  found = files.read_json(tmp_path / "select/coverage.json")
  cells = files.read_table(workdir / "landscape/cells.parquet")
  lengths = files.read_table(workdir / "pool/index.parquet")[
    "n_response_tokens"
  ]
  rows = ranking["row"][:60]
  depth = cells["depth"][np.searchsorted(cells["row"], rows)]
  assert table[0]["mean_depth"] == pytest.approx(depth.mean())
  assert table[0]["median_tokens"] == np.median(lengths[rows])
  assert table[0]["domains"] == table[0]["effective_domains"] == 1
  every = ranking["row"]
  assert found["candidates"]["median_tokens"] == np.median(lengths[every])
  longest = sorted(every, key=lambda row: -lengths[row])[:60]
  assert table[1]["median_tokens"] == np.median(lengths[longest])
  assert found["overlap"]["strategies"] == ["ila", *compare]
  assert "features" not in table[0]
  for side, is_ours in (("missed", False), ("alone", True)):
    for one in found["disagreement"][side]:
      assert (one["row"] in rows) == is_ours == ("ila" in one["chosen_by"])
      assert ranking["id"][every.tolist().index(one["row"])] == one["id"]
  (tmp_path / "alone").mkdir()
  _run(workdir, tmp_path / "alone", compare=())
  alone = files.read_json(tmp_path / "alone/select/coverage.json")
  assert not {"overlap", "disagreement"} & {*alone}


def test_features_are_told_where_a_method_needs_them(
  workdir, tmp_path, monkeypatch
):
  """Of all methods; here each row has a feature of its own, and one more."""
  bits = np.packbits(np.eye(_POOL, 512) > 0, axis=1, bitorder="little")
  bits[:, -1] = 128
  cells = files.read_table(workdir / "landscape/cells.parquet", ["row"])
  monkeypatch.setattr(
    scored_pool.inputs_lib,
    "Inputs",
    lambda *_: {"sae_features": bits[cells["row"]]},
  )
  monkeypatch.setattr(scored_pool, "made_from", lambda *_: {})
  ranking, _, table = _run(workdir, tmp_path, compare=("sae_greedy",))
  for row in table:
    on = len(ranking["row"]) + 1
    assert row["features"] == pytest.approx(61 / on)
    assert row["features_often"] == pytest.approx(1 / on)
  found = files.read_json(tmp_path / "select/coverage.json")["features"]
  assert found["rival"] == "sae_greedy"
  # Each adds as many, so that the lower ids go first.
  by_id = ranking["row"][np.argsort(ranking["id"])]
  ours, rival = {*ranking["row"][:60].tolist()}, {*by_id[:60].tolist()}
  for side, only in (("gained", ours - rival), ("lost", rival - ours)):
    assert found[side]["features"] == len(only)
    for one in found[side]["shown"]:
      assert one["latent"] in only and one["chosen"] == one["pool"] == 1


def test_distances_are_those_of_scipy(workdir, tmp_path):
  ranking, selected, (ours, rival) = _run(workdir, tmp_path)
  vectors = np.concatenate(
    [files.read_array(p) for p in sorted((workdir / "embed").glob("*.npy"))]
  )
  cells = files.read_table(workdir / "landscape/cells.parquet")
  near = scipy_distance.cdist(
    vectors[cells["row"]], vectors[ranking["row"][:60]]
  ).min(axis=1)
  assert ours["mean_distance"] == pytest.approx(near.mean(), rel=1e-5)
  assert ours["p95_distance"] == pytest.approx(
    np.percentile(near, 95), rel=1e-5
  )
  assert [json.loads(line)["n"] for line in selected.splitlines()] == (
    ranking["row"][:60].tolist()
  )
  assert rival["strategy"] == "coverage_only"


def test_novelsum_is_of_the_pool_that_stands_for_all(workdir, tmp_path):
  ranking, _, table = _run(workdir, tmp_path)
  vectors = np.concatenate(
    [files.read_array(p) for p in sorted((workdir / "embed").glob("*.npy"))]
  )
  rows = files.read_table(workdir / "landscape/cells.parquet")["row"]
  chosen = np.searchsorted(rows, ranking["row"][:60])
  want = novelselect.novelsum(vectors[rows], chosen)
  assert table[0]["novelsum"] == pytest.approx(want, rel=1e-5)
  assert table[1]["novelsum"] != table[0]["novelsum"]


def test_members_of_the_lowest_ids_stand_for_a_large_selection(
  workdir, tmp_path, monkeypatch
):
  monkeypatch.setattr(compare, "_NOVELSUM_EXAMPLES", 59)
  monkeypatch.setattr(compare, "_NOVELSUM_MEMBERS", 20)
  asked = []

  def novelsum(x, rows, sample, members):
    asked.append((len(rows), members))
    return 0.5

  monkeypatch.setattr(novelselect, "novelsum", novelsum)
  ranking, _, table = _run(workdir, tmp_path)
  assert [row["novelsum"] for row in table] == [0.5, 0.5]
  ids = np.sort(ranking["id"][:60])[:20]
  assert asked[0][0] == 60
  assert set(ranking["id"][:60][asked[0][1]]) == set(ids)
  monkeypatch.setattr(compare, "_NOVELSUM_MOST", 59)
  (tmp_path / "again").mkdir()
  again = _run(workdir, tmp_path / "again")[2]
  assert again[0]["novelsum"] is None


def test_distances_of_a_large_pool_are_those_of_the_lowest_ids(
  workdir, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(compare, "_DISTANCE_EXAMPLES", 100)
  monkeypatch.setattr(compare, "_PART_ROWS", 32)
  ranking, _, (ours, _) = _run(workdir, tmp_path)
  found = files.read_json(tmp_path / "select/coverage.json")
  assert found["distance_examples"] == 100
  told = f"of 100 examples, drawn by id, stand for those of all {_POOL - 9}"
  assert told in capsys.readouterr().err
  vectors = np.concatenate(
    [files.read_array(p) for p in sorted((workdir / "embed").glob("*.npy"))]
  )
  cells = files.read_table(workdir / "landscape/cells.parquet")
  lowest = cells["row"][np.argsort(cells["id"])[:100]]
  near = scipy_distance.cdist(
    vectors[lowest], vectors[ranking["row"][:60]]
  ).min(axis=1)
  assert ours["mean_distance"] == pytest.approx(near.mean(), rel=1e-5)
  chosen = np.array(ranking["row"][:60])
  want = novelselect.novelsum(vectors, chosen, sample=lowest)
  assert ours["novelsum"] == pytest.approx(want, rel=1e-5)


def test_a_ranking_is_written_part_by_part(workdir, tmp_path, monkeypatch):
  (tmp_path / "whole").mkdir()
  (tmp_path / "parts").mkdir()
  whole = _run(workdir, tmp_path / "whole")
  monkeypatch.setattr(selection_stage, "_WRITE_ROWS", 7)
  parts = _run(workdir, tmp_path / "parts")
  for name, column in whole[0].items():
    np.testing.assert_array_equal(column, parts[0][name])
  assert parts[1:] == whole[1:]
  cells = files.read_table(workdir / "landscape/cells.parquet")
  place = np.searchsorted(cells["row"], whole[0]["row"])
  text = [f"{number:016x}" for number in cells["id"][place].tolist()]
  assert whole[0]["id"].tolist() == text
