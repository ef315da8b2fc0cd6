"""The stage of the laboratory, on a tiny run."""

import shutil

import numpy as np
import pytest

from ila_jax import errors, pipeline
from ila_jax.laboratory import bench, budgets, choices, held_out, runs
from ila_jax.pool import index
from ila_jax.run import account, stage_record
from ila_jax.run.disk import files
from ila_jax.score import dev_set
from ila_jax.selection import needs, scored_pool
from ila_jax.training import base, together, trial
from tests.benchmarks import laboratory_methods
from tests.support import tiny

_ARMS = {"ours": {"strategy": "ila"}}
_SETTINGS = {
  "laboratory__arms": _ARMS,
  "laboratory__draws": 2,
  "laboratory__budgets": (300,),
  "laboratory__curve": (0.5, 1.0),
  "laboratory__resamples": 100,
  "score__reference_seeds": (0,),
}


def _config(source, **overrides):
  return tiny.config(source, **(_SETTINGS | overrides))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A finished run with one arm: its source, and its folder."""
  folder = tmp_path_factory.mktemp("laboratory")
  source = tiny.write(folder / "pool.jsonl", tiny.records(240))
  stages = ("pool", "embed", "score", "landscape", "laboratory")
  pipeline.run(_config(source), folder / "run", stages=stages)
  return source, folder / "run"


def _lines(workdir):
  lines = files.read_jsonl(workdir / "laboratory/runs.jsonl")
  return {line["name"]: line for line in lines}


def test_arms_equal_chance_and_losses_are_those_of_the_lines(made):
  source, workdir = made
  lines = _lines(workdir)
  assert len(lines) == 2 * (2 + 4)
  run = tiny.run(_config(source), workdir)
  dev = held_out.load(run)
  assert 0 < len(dev.data) < 20
  for name, line in lines.items():
    nll = files.read_array(workdir / f"laboratory/losses-{name}.npy")
    micro = nll.sum(dtype=np.float64) / dev.about.n_tokens.sum()
    assert line["micro"] == pytest.approx(micro, rel=1e-6)
    chance = lines[f"random-tokens-300-{line['draw']}"]
    if line["equal"] == budgets.EXAMPLES or line["equal"] == budgets.LENGTHS:
      assert line["examples"] == chance["examples"]
    if line["equal"] == budgets.STEPS:
      assert line["steps"] == chance["steps"]
    assert sum(line["examples_of"].values()) == line["examples"]
    assert sum(line["tokens_of"].values()) == line["tokens"]
  told = files.read_json(workdir / "laboratory/contrasts.json")
  assert [one["equal"] for one in told["contrasts"]] == list(budgets.EQUAL)
  (judged,) = told["verdict"]
  assert judged["arm"] == "ours" and not judged["missing"]


def test_the_base_is_measured_before_any_tuning(made, capsys):
  source, workdir = made
  run = tiny.run(_config(source), workdir)
  path = workdir / "laboratory/base.json"
  before = files.read_json(path)
  own = trial.Tuned(base.load(run, account.Account()))
  dev = held_out.load(run)
  nll = trial.dev_losses(own, dev.data, run=run, account=account.Account()).nll
  micro = nll.sum(dtype=np.float64) / dev.about.n_tokens.sum()
  assert before["micro"] == pytest.approx(micro, rel=1e-6)
  # Damaged, it is measured again, and no run is.
  lines = _lines(workdir)
  path.write_text("{}")
  pipeline.run(_config(source), workdir, stages=("laboratory",))
  assert files.read_json(path) == before
  assert _lines(workdir) == lines
  at = [x for x in lines.values() if x["arm"] == "random"]
  loss = np.mean([x["macro"] for x in at if x["budget"] == 300])
  gain = f"{loss:.3f} nats a token, {before['macro'] - loss:.3f} below"
  assert gain in capsys.readouterr().err


def test_runs_side_by_side_are_as_alone(made, tmp_path, monkeypatch):
  source, workdir = made
  shutil.copytree(workdir, tmp_path / "run")
  tune, groups = together.tune, []

  def noted(decoder, data, *args, **given):
    groups.append(len(data))
    if len(groups) == 1:  # Of a group that fails, each is tuned alone.
      raise errors.NotFiniteError("a loss is nan")
    return tune(decoder, data, *args, **given)

  monkeypatch.setattr(together, "tune", noted)
  pipeline.run(
    _config(source, train__runs_a_device=1),
    tmp_path / "run",
    stages=("laboratory",),
    redo="laboratory",
  )
  # Eight devices; a run of equal steps waits for its random subset.
  assert groups == [4, 1, 1, 1, 1, 6, 2]
  alone, found = _lines(workdir), _lines(tmp_path / "run")
  assert list(found) == list(alone)
  for name, line in found.items():
    for field in ("micro", "macro", "pool", "steps", "examples"):
      assert line[field] == pytest.approx(alone[name][field], rel=1e-4)


def test_the_other_half_is_held_back(made):
  source, workdir = made
  halves = [
    held_out.load(
      tiny.run(_config(source, laboratory__dev_half=which), workdir)
    )
    for which in ("first", "second")
  ]
  assert sum(len(half.data) for half in halves) == 20
  groups = [set(half.about.group.tolist()) for half in halves]
  assert not groups[0] & groups[1]
  # Shares are of the pool's response tokens, dev examples left out.
  run = tiny.run(_config(source), workdir)
  pool = scored_pool.load(run)
  c = pool.candidates
  free = ~index.is_dev(workdir)[pool.row]
  tokens = [
    c.n_tokens[free & (c.domain == block)].sum()
    for block in np.unique(c.domain)
  ]
  np.testing.assert_allclose(
    halves[0].about.share, np.array(tokens) / np.sum(tokens)
  )


def test_more_arms_are_added(made, capsys):
  """What was made stays, and what is done is done."""
  source, workdir = made
  before, told = _lines(workdir), stage_record.output(workdir, "laboratory")
  # The first wants nothing, the next a signal, and the last one model more.
  more = {"covered": "coverage_only", "hard": "ifd", "late": "ila_marginal"}
  arms = _ARMS | {name: {"strategy": more[name]} for name in more}
  pipeline.run(
    _config(source, laboratory__arms=arms), workdir, stages=("laboratory",)
  )
  after = _lines(workdir)
  assert {name: after[name] for name in before} == before
  assert {line["arm"] for line in after.values()} == {"random", "ours", *more}
  # The report is made anew.
  assert stage_record.output(workdir, "laboratory") != told
  pipeline.run(
    _config(source, laboratory__arms=arms), workdir, stages=("laboratory",)
  )
  assert "skipped: it is done" in capsys.readouterr().err


def test_a_method_is_asked_for_as_many_as_its_arm_may_get(made, monkeypatch):
  """Some methods order otherwise when asked for more."""
  source, workdir = made
  run, asked = tiny.run(_config(source), workdir), []
  rank = scored_pool.rank

  def counting(config, pool, strategy):
    c = pool.candidates
    asked.append((c.wanted, c.wanted_tokens))
    return rank(config, pool, strategy)

  monkeypatch.setattr(scored_pool, "rank", counting)
  bench = choices.Choices(run, needs.laboratory_of(run.config))
  for equal in ("examples", "tokens", "lengths"):
    bench.of(runs.Planned("ours", equal, 300, 0))
  chance = bench.of(runs.Planned("random", "tokens", 300, 0)).rows
  drawn = bench._drawn(0)
  tokens = np.sort(drawn.n_tokens[drawn.candidate])
  most = int((np.cumsum(tokens) < 300).sum()) + 1  # It ends in the last.
  gets = int(drawn.n_tokens[chance].sum())
  every = int(drawn.candidate.sum())
  assert asked == [(len(chance), None), (most, gets), (every, gets)]


def test_a_run_that_fails_ends_no_other(made, monkeypatch, capsys):
  source, workdir = made
  arms = _ARMS | {"long": {"strategy": "longest"}}
  fit = trial.fit

  def failing(*args, **given):
    if given["name"] == "long-tokens-300-0":
      raise errors.NotFiniteError("training: loss is nan at step 1")
    return fit(*args, **given)

  monkeypatch.setattr(trial, "fit", failing)
  pipeline.run(
    _config(source, laboratory__arms=arms), workdir, stages=("laboratory",)
  )
  lines = _lines(workdir)
  failed = [name for name, line in lines.items() if "failed" in line]
  assert failed == ["long-tokens-300-0"]
  assert "1 of 20 runs failed" in capsys.readouterr().err
  told = files.read_json(workdir / "laboratory/contrasts.json")["contrasts"]
  draws = {
    (one["arm"], one["equal"]): one["draws"]
    for one in told
    if one["rival"] == "random"
  }
  assert ("long", "tokens") not in draws and draws["long", "examples"] == 2


def test_losses_that_are_damaged_are_made_anew(made):
  source, workdir = made
  name = "ours-tokens-300-1"
  path = workdir / f"laboratory/losses-{name}.npy"
  before, whole = _lines(workdir), path.read_bytes()
  path.write_bytes(whole[:-4])
  pipeline.run(_config(source), workdir, stages=("laboratory",))
  assert path.read_bytes() == whole
  after = _lines(workdir)
  assert after[name]["micro"] == before[name]["micro"]
  lines = files.read_jsonl(workdir / "laboratory/runs.jsonl")
  assert len(lines) == len(after)


@pytest.mark.parametrize(
  "fields",
  [
    {"strategy": "longest"},
    {"cell_weight": 0.5},
    {"options": {"ila": {"rank_by": "relative_depth"}}},
  ],
)
def test_an_arm_that_was_another_is_refused(made, fields):
  source, workdir = made
  arms = {"ours": _ARMS["ours"] | fields}
  with pytest.raises(errors.InputError, match=r"arms\.ours: .*another name"):
    pipeline.run(
      _config(source, laboratory__arms=arms), workdir, stages=("laboratory",)
    )


def test_first_arms_are_added_to_a_run_without(made, tmp_path, monkeypatch):
  source, workdir = made
  copy = shutil.copytree(workdir, tmp_path / "copy")
  shutil.rmtree(copy / "laboratory")
  stages = ("laboratory",)
  pipeline.run(_config(source, laboratory__arms={}), copy, stages=stages)

  def begins(_, planned):
    raise InterruptedError(len(planned))

  monkeypatch.setattr(bench.Bench, "train", begins)
  with pytest.raises(InterruptedError):
    pipeline.run(_config(source), copy, stages=stages)


def test_examples_of_another_file_judge(made, tmp_path):
  source, workdir = made
  own = tiny.write(tmp_path / "dev.jsonl", tiny.records(270)[240:])
  config = _config(source, laboratory__dev=str(own))
  other = shutil.copytree(workdir, tmp_path / "other")
  dev_set.run(tiny.run(config, workdir))
  dev = held_out.load(tiny.run(config, workdir))
  assert 5 < len(dev.data) < 25 and dev.names == ["all"]
  shared = tiny.write(tmp_path / "shared.jsonl", tiny.records(250)[230:])
  config = _config(source, laboratory__dev=str(shared))
  with pytest.raises(errors.InputError, match="10 of 20 prompts stand"):
    dev_set.run(tiny.run(config, other))


def test_an_arm_by_target_waits_for_the_selection(made, tmp_path):
  """Stage `select` writes where the target examples lie."""
  source, workdir = made
  own = tiny.write(tmp_path / "target.jsonl", tiny.records(20))
  arms = {"near": {"strategy": "ila", "cell_weight": "target"}}
  config = _config(source, laboratory__arms=arms, select__target=str(own))
  copy = shutil.copytree(workdir, tmp_path / "copy")
  with pytest.raises(errors.InputError, match="stage 'select' is needed"):
    pipeline.run(config, copy, stages=("laboratory",))


def test_the_choices_of_a_laboratory_are_made_again(made):
  """What the study tells beside losses: seconds, and who chooses alike."""
  _, workdir = made
  found = laboratory_methods.choices(str(workdir))
  assert set(found["seconds"]) == set(found["alike"])
  for arm, others in found["alike"].items():
    assert all(found["alike"][one][arm] == others[one] for one in others)
    assert others and all(0 <= value <= 1 for value in others.values())


def test_a_budget_above_a_draw_is_refused(made):
  source, workdir = made
  with pytest.raises(
    errors.InputError, match="response tokens; allowed: up to"
  ):
    pipeline.run(
      _config(source, laboratory__budgets=(10**6,)),
      workdir,
      stages=("laboratory",),
    )
