"""The advice on a tiny run, from its files and from the command line."""

import json
import math
import shutil

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.advice import finished_run, gain, line
from ila_jax.command_line import words
from ila_jax.laboratory import held_out
from ila_jax.pool import index
from ila_jax.report import gather
from ila_jax.run import interrupts, stage_record
from ila_jax.run.disk import files
from ila_jax.score import losses
from ila_jax.selection import scored_pool
from tests.support import tiny

_STAGES = ("pool", "embed", "score", "landscape", "select")
_NAMES = ["even", "odd"]


def _config(source, **overrides):
  fields = {
    "pool__fields__domain": "domain",
    "landscape__projection": "pca",
    "select__compare": ("random", "ila_marginal"),
    "signals__early_examples": 60,
    # So that the last part of the reference set teaches on any machine.
    "score__reference_examples": 40,
    "score__learning_rate": 1e-2,
  }
  return tiny.config(source, **fields | overrides)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A run that has selected, with a sample that was scored."""
  folder = tmp_path_factory.mktemp("advice")
  rows = tiny.records(240)
  for place, row in enumerate(rows):
    row["domain"] = _NAMES[place % 2]
  source = tiny.write(folder / "pool.jsonl", rows)
  pipeline.run(_config(source), folder / "run", stages=_STAGES)
  return source, folder / "run"


@pytest.fixture
def workdir(made, tmp_path):
  """A copy of it, to change."""
  return shutil.copytree(made[1], tmp_path / "run")


@pytest.fixture
def run(made):
  return tiny.run(_config(made[0]), made[1])


def test_the_gain_is_that_of_loops_over_the_files(run):
  first = finished_run.advise(run).lines[0]
  workdir = run.workdir
  names, domain = index.names(workdir, "domain")
  assert sorted(names) == _NAMES
  tokens = index.column(workdir, "n_response_tokens")
  held = files.read_table(workdir / "beside/early_losses/losses.parquet")
  by_seed = losses.read(run, held["row"])[1]
  later = np.mean([*by_seed.values()], axis=0, dtype=np.float64)
  shift = held["nll_early"] - later
  ranking = files.read_table(workdir / "select/ranking.parquet", ["row"])["row"]
  chosen = ranking[: stage_record.read_record(workdir / "select")["selected"]]
  dev = np.flatnonzero(index.is_dev(workdir))

  def count(rows, d):
    return sum(int(tokens[row]) for row in rows if domain[row] == d)

  value = 0.0
  mean = shift.sum() / tokens[held["row"]].sum()
  spent = tokens[chosen].sum()
  for d in range(2):
    inside = domain[held["row"]] == d
    marginal = (shift[inside].sum() + 300 * mean) / (
      count(held["row"], d) + 300
    )
    ours = count(chosen, d)
    random = spent * count(ranking, d) / tokens[ranking].sum()
    seen = [t + gain.KAPPA * (spent - t) / 2 for t in (ours, random)]
    weight = count(dev, d) / tokens[dev].sum()
    value += weight * marginal / math.log(4) * math.log(seen[0] / seen[1])
  assert first.number == pytest.approx(value, rel=1e-5, abs=1e-9)


def test_all_nine_lines_are_there_and_the_report_has_them(run):
  advice = finished_run.advise(run)
  assert [one.name for one in advice.lines] == [
    *("predicted gain", "target", "cells", "depth", "junk"),
    *("length", "starved domains", "cost", "pilot"),
  ]
  assert advice.lines[3].number is not None  # Two references.
  assert "compare=random,ila_marginal,specific" in advice.lines[4].sentence
  assert advice.lines[7].number > 0
  assert advice.calibration is None
  assert gather.gather(run).advice == advice
  made_from = finished_run.made_from(run.workdir)
  assert list(made_from) == ["beside/early_losses"]


def test_the_settings_are_those_of_the_stages(made, run):
  """Another config of a later call changes nothing that was made before."""
  other = _config(made[0], score__reference_seeds=(3,), select__budget=0.5)
  again = finished_run.advise(tiny.run(other, made[1]))
  assert again.lines[:8] == finished_run.advise(run).lines[:8]


def test_without_a_sample_the_command_that_makes_it_is_told(made, workdir):
  shutil.rmtree(workdir / "beside")
  first = finished_run.advise(tiny.run(_config(made[0]), workdir)).lines[0]
  assert (first.verdict, first.number) == (line.UNKNOWN, None)
  assert "--stages=select --config.select.compare=random,ila" in first.sentence
  assert finished_run.made_from(epath.Path(workdir)) == {}


def test_measured_gaps_of_the_same_selection_calibrate(made, workdir):
  # The half that judged counts, and not that of the command.
  config = _config(made[0], laboratory__dev_half="second")
  run = tiny.run(config, workdir)
  select = run.config.select
  arm = {
    "strategy": select.strategy,
    "cell_weight": select.cell_weight,
    "made_from": scored_pool.made_from(run, [select.strategy]),
  }
  others = {"other": arm | {"strategy": "longest"}}
  stage = stage_record.Stage(
    workdir,
    "laboratory",
    {"dev_half": "first"},
    scope={"arms": {"ours": arm} | others},
  )
  stage.begin()
  gap = {"value": -0.1, "low": -0.2, "high": 0.0}
  lines = [
    {"arm": a, "rival": "random", "equal": equal, "budget": 200, "micro": gap}
    for a in ("ours", "other")
    for equal in ("tokens", "examples")
  ]
  files.write_json(workdir / "laboratory/contrasts.json", {"contrasts": lines})
  path = workdir / "laboratory/runs.jsonl"
  files.write_jsonl(path, [])
  stage.finish()
  advice = finished_run.advise(run)
  (each,) = advice.calibration.detail["each"]
  assert each["name"] == "ours, equal tokens, 200 tokens"
  assert each["measured"]["value"] == 0.1
  # The head of the order of 200 tokens is not all that was selected.
  assert each["predicted"]["value"] != advice.lines[0].number
  # Lines that tell the tokens of each domain are of all arms, drawn twice.
  subsets = [{"even": 150, "odd": 50}, {"odd": 0, "even": 200}]
  files.write_jsonl(
    path,
    [
      {"arm": "other", "equal": "tokens", "budget": 200, "tokens_of": one}
      for one in subsets
    ],
  )
  also = finished_run.advise(run).calibration.detail["each"]
  assert also[0] == each and len(also) == 2
  domains = {one["domain"]: one for one in advice.lines[0].detail["domains"]}
  # Domains weigh as in the half of the dev set that judges.
  held = held_out.load(run, half="first")
  assert held.by_domain(["all"]) is None
  judges = np.bincount(held.about.domain, weights=held.about.n_tokens)
  judges = dict(zip(held.names, judges / judges.sum(), strict=True))
  assert judges["even"] != domains["even"]["dev_share"]
  value = 0.0
  for name, tokens in (("even", 175), ("odd", 25)):
    seen = [
      t + gain.KAPPA * (200 - t) / 2
      for t in (tokens, 200 * domains[name]["pool_share"])
    ]
    more = math.log(seen[0] / seen[1])
    value += judges[name] * domains[name]["marginal"] * more
  assert also[1]["predicted"]["value"] == pytest.approx(value)


def test_the_command_advises(made, monkeypatch, capsys, tmp_path):
  monkeypatch.setattr(interrupts, "listen", lambda: None)
  command = words.command(["ila", "advise"])
  before = sorted(made[1].rglob("*"))
  assert command([str(made[1]), "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert len(found["lines"]) == 9 and found["verdict"]
  assert command([str(made[1])]) == 0
  said = capsys.readouterr().out
  assert all(f"\n{k} " in said for k in range(1, 10))
  assert sorted(made[1].rglob("*")) == before  # Nothing is written.
  assert "--json" in words.command_help(["ila", "advise", "--help"])
  with pytest.raises(errors.InputError, match="is not there"):
    command([str(tmp_path / "none")])
  shutil.copytree(made[1] / "pool", tmp_path / "run/pool")
  with pytest.raises(errors.InputError, match="stages=embed,score,landscape"):
    command([str(tmp_path / "run")])
