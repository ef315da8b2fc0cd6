"""The stages together: the contract, resuming, refusing."""

import dataclasses
import pathlib
import shutil
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.compute import hardware, mesh
from ila_jax.dry_run import disk, dry_run, plans
from ila_jax.forecast import here, pool_sample, work
from ila_jax.pool import shards
from ila_jax.report import map_page, map_points
from ila_jax.run import progress, stage_record
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files as files_lib
from ila_jax.run.disk import folders
from ila_jax.training import base
from tests.support import artifacts, tiny

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

CONTRACT = {
  "pool/index.parquet": {
    *("row", "id", "source", "n_prompt_tokens", "n_response_tokens"),
    *("n_labels", "domain"),
  },
  "score/scores.parquet": {
    *("row", "id", "nll_base", "nll_sft", "nll_sft_std", "n_tokens"),
  },
  "landscape/cells.parquet": {
    *("row", "id", "x", "y", "cell", "depth", "relative_depth"),
  },
  "select/ranking.parquet": {"row", "id", "rank", "cell", "round", "depth"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """One whole run on a file of records: (config, workdir, records)."""
  folder = tmp_path_factory.mktemp("run")
  rows = tiny.records(240)
  rows[7]["output"] = ""  # a reject
  rows[9] = rows[8]  # a duplicate
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", rows), pool__fields__labels="tags"
  )
  pipeline.run(config, folder / "work")
  return config, folder / "work", rows


def test_every_file_is_declared_with_its_columns(run):
  assert artifacts.faults(run[1]) == []


def test_a_run_knows_its_own_files(run):
  for folder in (path for path in run[1].iterdir() if path.is_dir()):
    if folder.name != "compiled":
      assert folders.theirs(folder) == [], folder
  (run[1] / "report/notes.txt").write_text("precious")
  assert folders.theirs(run[1] / "report")
  (run[1] / "report/notes.txt").unlink()


def test_stages_are_made_from_what_the_graph_says(run):
  made = {n: stage_record.output(run[1], n) for n in stages_lib.NAMES}
  for name in stages_lib.NAMES:
    inputs = stage_record.read_record(run[1] / name)["inputs"]
    parents = {n: value for n, value in made.items() if inputs.get(n) == value}
    made_from = stages_lib.GRAPH[name].made_from
    assert tuple(parents) == tuple(n for n in made_from if n in made)


def test_the_disk_is_foretold(run, monkeypatch, capsys):
  config, workdir, _ = run
  workdir = epath.Path(workdir)
  sample = pool_sample.draw(config, workdir)
  decoder = dataclasses.replace(base.sizes(config), vocab=len(sample.tokenizer))
  devices = mesh.make()
  machine = here.Here(devices)
  known = work.PlannedRun(config, devices, sample, decoder, machine).sizes
  found = plans.in_order(config, stages_lib.NAMES)
  needs = {name: plan.need(known) for name, plan in found.items()}
  assert needs.keys() == {*stages_lib.NAMES, "model"}
  written = {name: stage_record.bytes_in(workdir / name) for name in needs}
  factors = {name: needs[name].kept / written[name] for name in needs}
  assert all(1 / 1.5 < factor < 1.5 for factor in factors.values()), factors
  total = sum(need.kept for need in needs.values())
  assert 1 / 1.5 < total / sum(written.values()) < 1.5
  # All is there: no disk is too small for what is left, which is nothing.
  monkeypatch.setattr(disk, "free", lambda folder: 10)
  disk.check(config, workdir, stages_lib.NAMES)
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize("free", [10_000, 800_000, 10**7])
def test_a_disk_that_is_too_small_is_refused(
  run, tmp_path, monkeypatch, capsys, free
):
  """Before the first stage after the pool, not in its midst."""
  config, workdir, _ = run
  shutil.copytree(workdir / "pool", tmp_path / "work/pool")
  shutil.copy(workdir / "manifest.json", tmp_path / "work")
  monkeypatch.setattr(disk, "free", lambda folder: free)
  ran = []
  monkeypatch.setattr(
    pipeline, "_run_stage", lambda run, name: ran.append(name)
  )
  stages = ("pool", "embed", "score", "select")
  if free == 10_000:
    with pytest.raises(errors.InputError, match=r"10\.0 kB free, and"):
      pipeline.run(config, tmp_path / "work", stages=stages)
    assert ran == ["pool"]
    # What is small enough may run.
    pipeline.run(config, tmp_path / "work", stages=("pool",))
  else:
    pipeline.run(config, tmp_path / "work", stages=stages)
    assert ran == list(stages)
    # Room for one checkpoint, and not for three.
    said = capsys.readouterr().err
    assert ("warning: the disk of" in said) == (free == 800_000)


@pytest.mark.parametrize("name", CONTRACT)
def test_tables_have_their_columns(run, name):
  _, workdir, _ = run
  assert CONTRACT[name] <= set(files_lib.read_table(workdir / name))


def test_used_and_rejected_are_all_that_was_read(run):
  _, workdir, rows = run
  index = files_lib.read_table(workdir / "pool/index.parquet")
  rejects = files_lib.read_jsonl(workdir / "pool/rejects.jsonl")
  assert len(index["id"]) + len(rejects) == len(rows)
  assert [(r["line"], r["reason"]) for r in rejects] == [
    (8, "empty response"),
    (10, "duplicate"),
  ]


def test_selected_records_are_equal_to_what_was_read(run):
  _, workdir, rows = run
  ranking = files_lib.read_table(workdir / "select/ranking.parquet")
  selected = files_lib.read_jsonl(workdir / "select/selected.jsonl")
  # Rows of the pool skip the two rejects, lines 8 and 10.
  usable = [row for i, row in enumerate(rows) if i not in (7, 9)]
  assert selected
  assert selected == [usable[r] for r in ranking["row"][: len(selected)]]


def test_dev_reference_and_selection_are_disjoint(run):
  _, workdir, _ = run
  index = files_lib.read_table(workdir / "pool/index.parquet")
  reference = files_lib.read_table(workdir / "score/reference.parquet")
  ranking = files_lib.read_table(workdir / "select/ranking.parquet")
  prompts = {
    "dev": set(index["prompt_id"][index["split"] == "dev"]),
    "reference": set(index["prompt_id"][reference["row"]]),
    "ranked": set(index["prompt_id"][ranking["row"]]),
  }
  assert not prompts["dev"] & prompts["reference"]
  assert not prompts["dev"] & prompts["ranked"]
  assert not prompts["reference"] & prompts["ranked"]
  assert sum(map(len, prompts.values())) == len(set(index["prompt_id"]))


def test_depth_is_equation_5(run):
  _, workdir, rows = run
  scores = files_lib.read_table(workdir / "score/scores.parquet")
  cells = files_lib.read_table(workdir / "landscape/cells.parquet")
  index = files_lib.read_table(workdir / "pool/index.parquet")
  gain = scores["nll_base"] - scores["nll_sft"]
  usable = [row for i, row in enumerate(rows) if i not in (7, 9)]
  labels = np.array([max(len(set(row["tags"])), 1) for row in usable])
  np.testing.assert_array_equal(index["n_labels"], labels)
  np.testing.assert_allclose(
    cells["depth"], gain / scores["n_tokens"] * labels, rtol=1e-5
  )


def test_two_reference_seeds_give_a_mean_and_a_deviation(run):
  _, workdir, _ = run
  scores = files_lib.read_table(workdir / "score/scores.parquet")
  parts = [
    np.concatenate(
      [
        files_lib.read_table(path)["nll_0"]
        for path in sorted((workdir / "score").glob(f"sft-{seed}-*.parquet"))
      ]
    )
    for seed in (0, 1)
  ]
  np.testing.assert_allclose(
    scores["nll_sft"], np.mean(parts, axis=0), rtol=1e-6
  )
  np.testing.assert_allclose(
    scores["nll_sft_std"], np.std(parts, axis=0, ddof=1), rtol=1e-4, atol=1e-6
  )


def test_manifest_tells_what_was_run(run):
  config, workdir, _ = run
  manifest = files_lib.read_json(workdir / "manifest.json")
  assert manifest["config"]["select"]["budget"] == config.select.budget
  assert manifest["pool_fingerprint"] == stage_record.output(workdir, "pool")
  for name in ("pool", "embed", "score", "landscape", "select", "finetune"):
    stage = manifest["stages"][name]
    assert stage["done"]
    assert stage["seconds"] > 0
    assert stage["bytes"] > 0


@pytest.mark.parametrize("name", ["score", "finetune", "scaling", "model"])
def test_the_account_of_stages_that_compute(run, name):
  _, workdir, _ = run
  stage = files_lib.read_json(workdir / "manifest.json")["stages"][name]
  assert 0 < stage["tokens"] <= stage["cells"]
  assert 0 <= stage["padding"] == 1 - stage["tokens"] / stage["cells"] < 1
  rate = stage["tokens"] / stage["seconds"]
  assert stage["tokens_per_second"] == pytest.approx(rate, rel=0.01)
  # A share of a rate that is measured on cores that others may use meanwhile.
  share = stage["flops"] / stage["seconds"] / stage["matrix_rate"]
  assert stage["utilisation"] == pytest.approx(share, rel=0.01)
  assert 0 < stage["utilisation"] < 1.5


def test_finetuned_model_loads_in_torch_transformers(run):
  pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  _, workdir, _ = run
  model = transformers.AutoModelForCausalLM.from_pretrained(
    workdir / "finetune/model"
  )
  assert model.config.vocab_size == 400


def test_report_is_one_page_with_escaped_text(run):
  _, workdir, _ = run
  page = (workdir / "report/index.html").read_text()
  assert "<b>" not in page
  assert "&lt;b&gt;" in page
  assert (workdir / "report/map.png").stat().st_size > 10_000


def _text(name: int | str) -> str:
  """An id as people read it, which the ranking has already."""
  return name if isinstance(name, str) else f"{name:016x}"


@pytest.mark.parametrize("limit", [10_000, 60, 20])
def test_the_map_to_explore_shows_what_the_stages_found(run, limit):
  _, workdir, _ = run
  points = map_points.points(epath.Path(workdir), selected=True, limit=limit)
  index, records, cells, ranking = (
    {
      _text(line["id"]): line
      for path in sorted(workdir.glob(name))
      for line in pq.read_table(path).to_pylist()
    }
    for name in (
      *("pool/index.parquet", "pool/records-*.parquet"),
      *("landscape/cells.parquet", "select/ranking.parquet"),
    )
  )
  chosen = files_lib.read_json(workdir / "select/stage.json")["selected"]
  drawn = pq.read_table(workdir / "score/reference.parquet")["id"].to_pylist()
  drawn = list(map(_text, drawn))
  kept = set(list(ranking)[:chosen]) | set(drawn)
  assert points.pool_size == len(cells)
  assert (points.selected_size, points.kept_size) == (chosen, len(kept))
  shown = set(points.id)
  assert len(points.id) == len(shown) == min(len(cells), limit)
  assert kept <= shown if len(kept) <= limit else shown <= kept
  for i, name in enumerate(points.id.tolist()):
    line, place = cells[name], ranking.get(name, {"rank": 0, "round": 0})
    ask, answer = records[name]["turns"]
    assert points.instruction[i] == map_page.brief(ask["text"])
    assert points.response[i] == map_page.brief(answer["text"])
    assert points.roles[i] == "user, assistant"
    assert tuple(points.xy[i]) == (line["x"], line["y"])
    assert points.depth[i] == line["depth"]
    assert points.relative_depth[i] == line["relative_depth"]
    assert points.cell[i] == line["cell"]
    assert points.n_tokens[i] == index[name]["n_response_tokens"]
    assert points.source[i] == index[name]["source"]
    assert points.domain[i] == index[name]["domain"]
    assert (points.rank[i], points.round[i]) == (place["rank"], place["round"])
    assert points.selected[i] == (0 < place["rank"] <= chosen)
    assert points.reference[i] == (name in drawn)
  assert (workdir / "report/map.html").stat().st_size > 300_000


def test_a_finished_run_is_skipped(run, monkeypatch, capsys):
  config, workdir, _ = run
  # Nor is any record read again.
  monkeypatch.setattr(shards, "iterate", None)
  monkeypatch.setattr(shards, "gather", None)
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*.parquet")}
  capsys.readouterr()
  compiled = progress.compile_seconds()
  pipeline.run(config, workdir)
  after = {p: p.stat().st_mtime_ns for p in workdir.rglob("*.parquet")}
  assert before == after
  # Nothing is compiled for it: it ends in seconds.
  assert progress.compile_seconds() == compiled
  lines = capsys.readouterr().err.splitlines()
  assert lines[0] == f"{hardware.describe()}; folder {workdir}"
  assert lines[1 : 1 + 2 * len(stages_lib.NAMES)] == [
    line
    for stage in stages_lib.NAMES
    for line in (f"[{stage}]", "  skipped: it is done")
  ]


def test_another_budget_is_refused_and_redo_replaces(run, tmp_path):
  _, workdir, _ = run
  config = tiny.config(
    workdir.parent / "pool.jsonl",
    pool__fields__labels="tags",
    select__strategy="depth_only",
  )
  kept = (workdir / "select/selected.jsonl").read_bytes()
  with pytest.raises(errors.InputError, match=r"select.strategy was 'ila' and"):
    pipeline.run(config, workdir, stages=["select"])
  assert (workdir / "select/selected.jsonl").read_bytes() == kept
  copy = tmp_path / "copy"
  subprocess.run(["cp", "-r", workdir, copy], check=True)
  pipeline.run(config, copy, stages=["select"], redo="select")
  assert (copy / "select/selected.jsonl").read_bytes() != kept
  assert not (copy / "finetune").exists()


@pytest.mark.parametrize(
  ("redo", "change", "message"),
  [
    ("pool", {"pool__source": "typo.jsonl"}, "no such file"),
    (
      "landscape",
      {"landscape__cells": "kmeans", "landscape__clusters": 10**6},
      "landscape.clusters is 1000000",
    ),
    (
      "select",
      {"select__budget": 0.5},
      "cells of the map follow it .* has scaling",
    ),
  ],
)
def test_a_redo_that_fails_destroys_nothing(run, redo, change, message):
  _, workdir, _ = run
  source = change.get("pool__source", workdir.parent / "pool.jsonl")
  fields = {k: v for k, v in change.items() if k != "pool__source"}
  config = tiny.config(source, pool__fields__labels="tags", **fields)
  before = {
    p: p.read_bytes()
    for p in workdir.rglob("*")
    if p.is_file() and p.name != "log.txt"
  }
  with pytest.raises(errors.InputError, match=message):
    pipeline.run(config, workdir, redo=redo)
  after = {
    p: p.read_bytes()
    for p in workdir.rglob("*")
    if p.is_file() and p.name != "log.txt"
  }
  assert before == after


def test_a_redo_killed_before_it_began_is_undone(run, tmp_path):
  config, workdir, _ = run
  copy = tmp_path / "copy"
  subprocess.run(["cp", "-r", workdir, copy], check=True)
  pipeline._set_aside(config, epath.Path(copy), "score")
  assert not (copy / "score").exists()
  pipeline.run(config, copy)  # All is there again, and is skipped.
  for name in ("score/scores.parquet", "select/selected.jsonl"):
    assert (copy / name).read_bytes() == (workdir / name).read_bytes()
  assert not (copy / ".old").exists()


def test_a_base_that_cannot_read_the_pool_is_refused(run, tmp_path):
  config, workdir, _ = run
  copy = tmp_path / "copy"
  subprocess.run(["cp", "-r", workdir, copy], check=True)
  counts = files_lib.read_json(copy / "pool/counts.json")
  files_lib.write_json(
    copy / "pool/counts.json", counts | {"largest_token": 10**6}
  )
  with pytest.raises(errors.InputError, match="tokenizer makes token"):
    pipeline.run(config, copy, redo="score")
  assert (copy / "score/scores.parquet").exists()


def test_a_report_made_early_is_made_anew(run, tmp_path):
  config, workdir, _ = run
  copy = tmp_path / "copy"
  subprocess.run(["cp", "-r", workdir, copy], check=True)
  for name in ("finetune", "scaling", "report"):
    shutil.rmtree(copy / name)
  pipeline.run(config, copy, stages=["report"])
  early = (copy / "report/index.html").read_text()
  assert "stage scaling was not run" in early
  assert "--stages=finetune,report at its end" in early
  shutil.copytree(workdir / "finetune", copy / "finetune")
  pipeline.run(config, copy, stages=["report"])
  assert (copy / "report/index.html").read_text() != early


def test_draws_do_not_depend_on_the_order_of_reading(run, tmp_path):
  _, workdir, rows = run
  order = np.random.default_rng(0).permutation(len(rows))
  permuted = tiny.config(
    tiny.write(tmp_path / "pool.jsonl", [rows[i] for i in order]),
    pool__fields__labels="tags",
  )
  pipeline.run(permuted, tmp_path / "work", stages=["pool"])
  dev = []
  for folder in (workdir, tmp_path / "work"):
    index = files_lib.read_table(folder / "pool/index.parquet")
    dev.append(set(index["id"][index["split"] == "dev"]))
  assert dev[0] == dev[1]
  assert len(dev[0]) == 20


def test_a_dry_run_tells_what_the_run_takes(run, tmp_path, capsys, monkeypatch):
  config, workdir, _ = run
  stages = files_lib.read_json(workdir / "manifest.json")["stages"]
  known = dry_run.run(config, workdir)
  # FLOPs need no trial.
  monkeypatch.setattr(here, "_MOST_SECONDS", 0.0)
  fresh = dry_run.run(config, tmp_path / "none")
  # Of the pool that is there nothing is left to do; a base may be made anew.
  assert list(fresh) == ["pool", *known]
  assert set(known) == {"model", *stages_lib.NAMES} - {"pool"}
  for name in ("model", "score", "finetune", "scaling"):
    taken = stages[name]["flops"]
    assert known[name].flops == pytest.approx(taken, rel=0.2)
    # The tokenizer is trained as the run trains it: the same tokens.
    assert fresh[name].flops == pytest.approx(known[name].flops, rel=1e-6)
    assert known[name].device_bytes > 4 * 20_000
  assert known["model"].flops == pytest.approx(stages["model"]["flops"], 1e-3)
  assert not (tmp_path / "none").exists()
  assert "to compile" in capsys.readouterr().err


def test_models_are_looked_at_where_they_are_needed(run, monkeypatch):
  config, workdir, _ = run

  def gone(config):
    raise errors.InputError("the model is gone")

  monkeypatch.setattr(pipeline.encoders.base, "sizes", gone)
  pipeline.run(config, workdir, stages=("landscape", "select", "report"))
  with pytest.raises(errors.InputError, match="the model is gone"):
    pipeline.run(config, workdir, stages=("score",))
