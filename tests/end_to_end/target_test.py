"""A target set, from the command to the selection."""

import subprocess

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.dry_run import dry_run
from ila_jax.embed import rows
from ila_jax.landscape import join
from ila_jax.run.disk import files
from ila_jax.score import losses
from ila_jax.selection import inputs, needs, scored_pool
from ila_jax.selection import target as target_lib
from tests.support import artifacts, reference_selection, tiny

_STAGES = ("pool", "embed", "score", "landscape", "select")
_TARGET = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A pool, and a target that repeats some of it and has two bad records."""
  folder = tmp_path_factory.mktemp("sources")
  rows_ = tiny.records(240)
  tiny.write(folder / "pool.jsonl", rows_)
  wanted = [rows_[i] for i in range(0, 6 * _TARGET, 6)]
  tiny.write(folder / "target.jsonl", [*wanted, {"bad": 1}, {"instruction": 3}])
  return folder


def _config(folder, **overrides):
  fields = {
    "select__target": str(folder / "target.jsonl"),
    "landscape__projection": "pca",
    "landscape__grid": 6,
    "select__compare": ("random", "target_nearest", "rds_plus"),
    "finetune__compare": ("random",),
  }
  return tiny.config(str(folder / "pool.jsonl"), **fields | overrides)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
  workdir = epath.Path(tmp_path_factory.mktemp("run") / "work")
  config = _config(folder, select__cell_weight="target")
  pipeline.run(config, workdir, stages=_STAGES)
  return config, workdir


def _of_pool(workdir, ids):
  """Rows of the pool that have these ids."""
  own = files.read_table(workdir / "pool/index.parquet", ["id"])["id"]
  order = np.argsort(own)
  return order[np.searchsorted(own[order], ids)]


def _check_numbers(config, workdir):
  """Compares the target's numbers with those that its records have in the pool.

  Returns:
    Rows of the pool that the target repeats, and the inputs of methods.
  """
  scores = files.read_table(workdir / "beside/target/score/scores.parquet")
  assert len(scores["id"]) == _TARGET
  row = _of_pool(workdir, scores["id"])
  found = inputs.Inputs(workdir, np.arange(3))
  np.testing.assert_allclose(
    found["target_embeddings"], rows.load(workdir, row), atol=1e-6
  )
  base, by_seed = losses.read(tiny.run(config, workdir), row)
  np.testing.assert_allclose(found["target_nll_base"], base, rtol=1e-5)
  tuned = np.mean([by_seed[seed] for seed in (0, 1)], axis=0)
  np.testing.assert_allclose(found["target_nll_sft"], tuned, rtol=1e-5)
  assert np.abs(tuned - base).max() > 1e-3
  of_target = found["target_rds_embedding"][np.arange(_TARGET)]
  of_pool = inputs.Inputs(workdir, row)["rds_embedding"][np.arange(_TARGET)]
  np.testing.assert_allclose(of_target, of_pool, atol=5e-4)
  np.testing.assert_array_equal(found["target_id"], scores["id"])
  return row, found


def test_adapters_and_a_model_that_embeds(folder, tmp_path):
  config = _config(folder, encoder__path="base", train__method="lora")
  workdir = epath.Path(tmp_path)
  pipeline.run(config, workdir, stages=_STAGES)
  _check_numbers(config, workdir)


def test_a_target_example_has_the_numbers_that_it_has_in_the_pool(run):
  """Embedding, losses, tokens and place."""
  config, workdir = run
  row, found = _check_numbers(config, workdir)
  tokens = found["target_tokens"]
  index = files.read_table(workdir / "pool/index.parquet")
  total = (index["n_prompt_tokens"] + index["n_response_tokens"])[row]
  np.testing.assert_array_equal(tokens.lengths, total)
  cells = files.read_table(workdir / "landscape/cells.parquet")
  there = np.isin(row, cells["row"])
  place = np.searchsorted(cells["row"], row[there])
  placed = files.read_table(workdir / "select/target.parquet")
  np.testing.assert_array_equal(placed["cell"][there], cells["cell"][place])
  np.testing.assert_allclose(placed["x"][there], cells["x"][place], atol=1e-5)


def test_a_dry_run_tells_of_its_signals(run, tmp_path):
  """They are passes of the base without its head, over pool and target."""
  config, workdir = run
  subprocess.run(["cp", "-rp", workdir, tmp_path / "work"], check=True)
  subprocess.run(["rm", "-r", tmp_path / "work/select"], check=True)
  found = dry_run.run(config, epath.Path(tmp_path / "work"), stages=("select",))
  manifest = files.read_json(workdir / "manifest.json")["stages"]
  for name in ("signals/rds_embedding", "signals/target_rds_embedding"):
    assert found[name].seconds > 0 and found[name].device_bytes > 0
    wanted = manifest[name]["flops"]
    # Of the target only the number of its examples is known.
    assert found[name].flops == pytest.approx(wanted, rel=0.3)
  of_pool = found["signals/rds_embedding"].flops
  assert of_pool == pytest.approx(
    manifest["signals/rds_embedding"]["flops"], rel=1e-9
  )


@pytest.mark.parametrize("cells", ["grid", "kmeans"])
def test_the_pool_comes_to_its_own_places(folder, run, tmp_path, cells):
  _, workdir = run
  work = tmp_path / "work"
  subprocess.run(["cp", "-rp", workdir, work], check=True)
  config = _config(folder, landscape__cells=cells, landscape__clusters=7)
  if cells == "kmeans":
    stages = ("landscape",)
    pipeline.run(config, work, stages=stages, redo="landscape")
  here = tiny.run(config, work)
  written = files.read_table(epath.Path(work) / "landscape/cells.parquet")
  x = rows.load(here.workdir, written["row"])
  xy, cell = join.points(here, x)
  np.testing.assert_array_equal(cell, written["cell"])
  np.testing.assert_array_equal(xy[:, 0], written["x"])
  np.testing.assert_array_equal(join.points(here, x[5:6])[1], cell[5:6])


def test_what_it_tells(run):
  _, workdir = run
  record = files.read_json(workdir / "beside/target/stage.json")
  assert (record["examples"], record["rejected"]) == (_TARGET, 2)
  assert record["in_pool"] == _TARGET
  rejects = files.read_jsonl(workdir / "beside/target/pool/rejects.jsonl")
  assert [line["line"] for line in rejects] == [_TARGET + 1, _TARGET + 2]
  told = files.read_json(workdir / "select/stage.json")["target"]
  assert told["in_occupied_cells"] == _TARGET == told["examples"]
  assert told["dev_cosine"] <= 1 and told["cosine"] <= 1
  assert artifacts.faults(workdir) == []


def test_the_nearest_candidate_is_that_of_brute_force(run):
  """Neither a dev example nor a reference, which the target repeats, too."""
  config, workdir = run
  pool = scored_pool.load(tiny.run(config, workdir))
  split = files.read_table(workdir / "pool/index.parquet", ["split"])["split"]
  x = rows.load(workdir, pool.row).astype(np.float64)
  candidate = pool.candidates.candidate
  target = inputs.Inputs(workdir, pool.row)["target_embeddings"]
  cosine = target.astype(np.float64) @ x[candidate].T
  placed = files.read_table(workdir / "select/target.parquet")
  np.testing.assert_allclose(placed["cosine"], cosine.max(axis=1), atol=1e-6)
  assert np.isin(placed["nearest_row"], pool.row[candidate]).all()
  at = np.searchsorted(pool.row, placed["nearest_row"])
  own = (target.astype(np.float64) * x[at]).sum(axis=1)
  np.testing.assert_allclose(own, cosine.max(axis=1), atol=1e-6)
  told = files.read_json(workdir / "select/stage.json")["target"]
  assert told["cosine"] == pytest.approx(cosine.max(axis=1).mean(), abs=1e-6)
  of_dev = (x[split[pool.row] == "dev"] @ x[candidate].T).max(axis=1)
  assert len(of_dev) == 20
  assert told["dev_cosine"] == pytest.approx(of_dev.mean(), abs=1e-6)


def test_the_selection_follows_the_weights(run):
  config, workdir = run
  here = tiny.run(config, workdir)
  pool = scored_pool.weighed(here, scored_pool.load(here))
  c = pool.candidates
  np.testing.assert_array_equal(c.cell_mass, c.cell_weight)
  placed = files.read_table(workdir / "select/target.parquet")
  wanted = reference_selection.weighed(
    c, reference_selection.cell_weights(c.cell, placed["cell"])
  )
  ranking = files.read_table(workdir / "select/ranking.parquet")
  assert ranking["row"].tolist() == pool.row[wanted].tolist()
  plain = scored_pool.rank(config, scored_pool.load(here), "ila").order
  assert plain.tolist() != wanted


def test_cells_that_share_by_a_power_of_their_sizes(folder, run, tmp_path):
  """A number does not ask for the target set; old words and runs are known."""
  _, workdir = run
  work = tmp_path / "work"
  subprocess.run(["cp", "-rp", workdir, work], check=True)
  config = _config(
    folder,
    select__cell_weight=0.5,
    select__target=(),
    select__compare=("random",),
  )
  pipeline.run(config, work, stages=_STAGES, redo="select")
  c = scored_pool.load(tiny.run(config, epath.Path(work))).candidates
  wanted = reference_selection.weighed(
    c, reference_selection.power_weights(c, 0.5)
  )
  ranking = files.read_table(epath.Path(work) / "select/ranking.parquet")
  assert ranking["row"].tolist() == (
    scored_pool.load(tiny.run(config, epath.Path(work))).row[wanted].tolist()
  )
  asked = files.read_json(epath.Path(work) / "select/stage.json")["inputs"]
  assert asked["config"]["select"]["cell_weight"] == 0.5


@pytest.mark.parametrize(
  ("value", "message"),
  [
    (
      "targets",
      r"is 'targets'; allowed: 'target' or a number, 0 to 1\. Did",
    ),
    (1.5, r"cell_weight is 1\.5; allowed: 0 to 1\."),
    (-0.1, r"cell_weight is -0\.1; allowed: 0 to 1\."),
    (True, "cell_weight is True, of type bool; allowed: a number or a text"),
  ],
)
def test_cell_weights_that_are_none(value, message):
  with pytest.raises(errors.InputError, match=message):
    tiny.config("pool.jsonl", select__cell_weight=value)


def test_the_word_of_older_versions_is_read_as_zero():
  one = tiny.config("pool.jsonl", select__cell_weight="equal")
  assert one == tiny.config("pool.jsonl", select__cell_weight=0)
  assert one.select.cell_weight == 0.0


def test_what_is_nearest_comes_first(run):
  config, workdir = run
  here = tiny.run(config, workdir)
  pool = scored_pool.load(here)
  order = scored_pool.rank(config, pool, "target_nearest").order
  x = rows.load(workdir, pool.row).astype(np.float64)
  points = pool.candidates.inputs["target_embeddings"].astype(np.float64)
  cosine = (x @ points.T).max(axis=1)[order]
  assert (np.diff(cosine) <= 1e-6).all() and cosine[0] > cosine[-1] + 0.1


def test_a_target_leaves_what_was_made(folder, run, tmp_path):
  _, workdir = run
  work = epath.Path(tmp_path / "work")
  subprocess.run(["cp", "-rp", workdir, work], check=True)
  tiny.write(folder / "other.jsonl", tiny.records(240)[100:110])
  other = _config(folder, select__target=str(folder / "other.jsonl"))
  with pytest.raises(errors.InputError, match="--redo=target"):
    pipeline.run(other, work, stages=_STAGES)
  kept = {
    p: p.stat().st_mtime_ns
    for name in _STAGES[:-1]
    for p in (tmp_path / "work" / name).rglob("*")
  }
  pipeline.run(other, work, stages=_STAGES, redo="target")
  assert {p: p.stat().st_mtime_ns for p in kept} == kept
  assert files.read_json(work / "beside/target/stage.json")["examples"] == 10
  # Lost, it is made again, and the selection is as it was.
  before = (work / "select/ranking.parquet").read_bytes()
  subprocess.run(["rm", "-r", work / "beside"], check=True)
  pipeline.run(other, work, stages=_STAGES)
  assert (work / "select/ranking.parquet").read_bytes() == before
  assert (work / "beside/target/stage.json").exists()


def test_neither_order_nor_shards_change_the_weights(folder, run, tmp_path):
  """The pool and the target come in another order, in smaller shards."""
  _, workdir = run
  found = []
  for name in ("pool.jsonl", "target.jsonl"):
    lines = (folder / name).read_text().splitlines(keepends=True)
    mixed = np.random.default_rng(0).permutation(lines)
    (tmp_path / name).write_text("".join(mixed))
  weighed = {
    "select__cell_weight": "target",
    "select__strategy": "coverage_only",  # No loss counts, to the last digit.
  }
  mixed = _config(tmp_path, **weighed, pool__shard_examples=20)
  pipeline.run(mixed, tmp_path / "work", stages=_STAGES)
  assert (tmp_path / "work/beside/target/embed/embeddings-00001.npy").exists()
  subprocess.run(["cp", "-rp", workdir, tmp_path / "plain"], check=True)
  plain = _config(folder, **weighed)
  pipeline.run(plain, tmp_path / "plain", stages=_STAGES, redo="select")
  for name in ("work", "plain"):
    table = epath.Path(tmp_path / name) / "select/ranking.parquet"
    found.append(files.read_table(table)["id"].tolist())
  assert found[0] == found[1]


def test_a_kill_is_resumed(folder, run, tmp_path, monkeypatch):
  config, workdir = run
  work = tmp_path / "work"
  subprocess.run(["cp", "-rp", workdir, work], check=True)
  subprocess.run(["rm", "-r", work / "beside"], check=True)

  def dies(*_):
    raise SystemExit

  with monkeypatch.context() as patch:
    patch.setattr(losses, "score", dies)
    with pytest.raises(SystemExit):
      pipeline.run(config, work, stages=_STAGES)
  own = work / "beside/target"
  assert not (own / "score").exists()
  made = [own / "pool/index.parquet", own / "embed/embeddings-00000.npy"]
  before = [path.stat().st_mtime_ns for path in made]
  pipeline.run(config, work, stages=_STAGES)
  assert [path.stat().st_mtime_ns for path in made] == before
  for name in ("score/scores.parquet", "pool/index.parquet"):
    whole = workdir / "beside/target" / name
    assert (own / name).read_bytes() == whole.read_bytes()


def test_without_a_target_nothing_is_there(folder, tmp_path):
  plain = _config(folder, select__target=(), select__compare=("random",))
  pipeline.run(plain, tmp_path, stages=_STAGES)
  assert not (tmp_path / "beside").exists()
  inputs_ = files.read_json(epath.Path(tmp_path) / "select/stage.json")[
    "inputs"
  ]
  assert not {"target", "cell_weight"} & set(inputs_["config"]["select"])
  with pytest.raises(errors.InputError, match="--redo=select"):
    pipeline.run(_config(folder), tmp_path, stages=_STAGES)
  assert not (tmp_path / "beside").exists()


def test_too_many_bad_records_are_refused(folder, run, tmp_path):
  _, workdir = run
  work = tmp_path / "work"
  subprocess.run(["cp", "-rp", workdir, work], check=True)
  tiny.write(folder / "bad.jsonl", [{"bad": 1}] * 9 + tiny.records(1))
  bad = {"select__target": str(folder / "bad.jsonl")}
  config = _config(folder, **bad, pool__max_reject_fraction=0.5)
  with pytest.raises(errors.InputError, match="9 of 10 records"):
    pipeline.run(config, work, stages=_STAGES, redo="target")
  # What was set aside is there again.
  assert files.read_json(epath.Path(work) / "beside/target/stage.json")["done"]
  gone = _config(folder, select__target=str(folder / "gone.jsonl"))
  with pytest.raises(errors.InputError, match=r"config\.select\.target is"):
    pipeline.run(gone, work, stages=_STAGES, redo="target")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"select__strategy": "target_nearest"}, "'target_nearest' needs it"),
    ({"finetune__compare": ("target_nearest",)}, "select.target=FILE"),
    ({"select__cell_weight": "target"}, "config.select.cell_weight needs it"),
    (
      {"select__cell_weight": "target", "select__strategy": "longest"},
      "'longest', which does not weigh cells so; allowed with it: coverage_on",
    ),
    ({"select__exclude_near_evaluation": 0.9}, "names no evaluation set"),
  ],
)
def test_what_is_missing_is_named(fields, message):
  with pytest.raises(errors.InputError, match=message):
    tiny.config("pool.jsonl", **fields)


def test_weights_follow_the_formula():
  cell = np.array([0, 0, 3, 4, 4])
  weight = target_lib.weights(cell, np.array([3, 3, 4, 9]))
  # m = 3 of 4 examples in K = 3 cells: W = t + 3 / 30.
  np.testing.assert_allclose(weight / 30, [0.1, 0.1, 2.1, 1.1, 1.1])
  assert target_lib.weights(cell, np.array([9])) is None


def test_a_target_of_no_use_is_refused_before_any_model_runs(folder, tmp_path):
  bad = tiny.write(tmp_path / "bad.jsonl", [{"instruction": "x"}] * 9)
  config = _config(folder, select__target=str(bad))
  with pytest.raises(errors.InputError, match="9 of 9 records"):
    pipeline.run(config, tmp_path / "work", stages=_STAGES)
  assert not (tmp_path / "work/score").exists()


def test_a_target_without_answers_says_what_it_needs(folder, run, tmp_path):
  _, workdir = run
  subprocess.run(["cp", "-rp", workdir, tmp_path / "work"], check=True)
  asked = tiny.write(tmp_path / "asked.jsonl", [{"question": "1 + 1?"}] * 9)
  config = _config(folder, select__target=str(asked))
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(config, tmp_path / "work", stages=_STAGES, redo="target")
  said = str(raised.value)
  assert said.startswith("config.select.target: 9 of 9 records")
  assert "need a prompt and an answer" in said
  assert "--config.pool.overrides=" in said


def test_fields_of_a_target_are_no_part_of_the_pool(folder, run, tmp_path):
  """They are named when the pool is long there, and the file may go."""
  _, workdir = run
  work = tmp_path / "work"
  subprocess.run(["cp", "-rp", workdir, work], check=True)
  rows_ = [
    {"ask": row["instruction"], "say": row["output"]} for row in tiny.records(9)
  ]
  target = tiny.write(tmp_path / "asked.jsonl", rows_)
  config = _config(
    folder,
    select__target=str(target),
    pool__overrides={"ask*": {"prompt": "ask", "response": "say"}},
  )
  before = artifacts.written(work, "pool", "embed", "score")
  pipeline.run(config, work, stages=_STAGES, redo="target")
  assert files.read_json(epath.Path(work) / "beside/target/stage.json")[
    "examples"
  ] == len(rows_)
  target.unlink()
  pipeline.run(config, work, stages=_STAGES)
  assert artifacts.written(work, "pool", "embed", "score") == before


def test_a_target_that_changes_nothing_is_told(
  folder, run, tmp_path, monkeypatch
):
  _, workdir = run
  subprocess.run(["cp", "-rp", workdir, tmp_path / "work"], check=True)
  said = []
  monkeypatch.setattr(needs.progress, "say", said.append)
  for fields, is_told in (
    ({"select__strategy": "ila"}, True),
    ({"select__strategy": "ila", "select__cell_weight": "target"}, False),
    ({"select__strategy": "target_nearest"}, False),
  ):
    said.clear()
    config = _config(folder, **{"select__compare": ("random",)} | fields)
    pipeline.run(config, tmp_path / "work", stages=_STAGES, redo="select")
    unused = [line for line in said if "changes nothing" in line]
    assert bool(unused) == is_told, fields


def test_prompts_of_which_nothing_is_read_do_not_count(
  folder, run, tmp_path, capsys
):
  """They would all lie on one spot, and draw the budget there."""
  _, workdir = run
  work = tmp_path / "work"
  subprocess.run(["cp", "-rp", workdir, work], check=True)
  rows_ = tiny.records(8)
  blank = [{"instruction": "☃" * n, "output": "Snow."} for n in range(1, 5)]
  mixed = tiny.write(tmp_path / "mixed.jsonl", rows_ + blank)
  config = _config(folder, select__target=str(mixed))
  pipeline.run(config, work, stages=_STAGES, redo="target")
  assert "nothing of 4 of 12 prompts" in capsys.readouterr().err
  record = files.read_json(work / "beside/target/stage.json")
  assert (record["examples"], record["unread"]) == (12, 4)
  assert files.read_json(work / "select/stage.json")["target"]["examples"] == 8
  none = tiny.write(tmp_path / "none.jsonl", blank)
  config = _config(folder, select__target=str(none))
  with pytest.raises(errors.InputError, match="nothing of any of its 4"):
    pipeline.run(config, work, stages=_STAGES, redo="target")
