"""A method that needs a signal, from the command to the selection."""

import dataclasses
import re
import subprocess

import numpy as np
import pytest

from ila_jax import errors, pipeline, redo
from ila_jax.dry_run import dry_run
from ila_jax.run.disk import files
from ila_jax.score.signals import nll_without_prompt
from tests.support import artifacts, tiny

_STAGES = ("pool", "embed", "score", "landscape", "select")
_NAME = "nll_without_prompt"

_made = artifacts.written


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  return tiny.write(
    tmp_path_factory.mktemp("source") / "pool.jsonl", tiny.records(120)
  )


def _config(source, **overrides):
  fields = {
    "pool__shard_examples": 50,
    "score__reference_seeds": (0,),
    "landscape__projection": "pca",
    "select__compare": ("random",),
    "finetune__compare": ("random",),
  }
  return tiny.config(source, **fields | overrides)


def _ifd(source, **overrides):
  return _config(
    source,
    **{"select__strategy": "ifd", "select__options__ifd__most": 1e6}
    | overrides,
  )


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
  """A finished selection by ILA."""
  workdir = tmp_path_factory.mktemp("run") / "work"
  pipeline.run(_config(source), workdir, stages=_STAGES)
  assert not (workdir / "signals").exists()  # Nobody needs one.
  return workdir


@pytest.fixture
def workdir(run, tmp_path):
  subprocess.run(["cp", "-rp", run, tmp_path / "work"], check=True)
  return tmp_path / "work"


def test_a_method_with_a_signal_leaves_what_is_scored(source, workdir, capsys):
  before = _made(workdir, "pool", "embed", "score", "landscape")
  with pytest.raises(errors.InputError, match="--redo=select"):
    pipeline.run(_ifd(source), workdir, stages=_STAGES)
  pipeline.run(_ifd(source), workdir, stages=_STAGES, redo="select")
  assert _made(workdir, "pool", "embed", "score", "landscape") == before
  assert f"[signals/{_NAME}]" in capsys.readouterr().err
  scores = files.read_table(workdir / "score/scores.parquet")
  ranking = files.read_table(workdir / "select/ranking.parquet")
  values = [
    np.load(path)
    for path in sorted((workdir / "signals" / _NAME).glob("values-*.npy"))
  ]
  alone = np.concatenate(values)[scores["row"]]
  ratio = scores["nll_base"] / alone
  place = np.searchsorted(scores["row"], ranking["row"])
  order = np.lexsort((ranking["id"], -ratio[place]))
  np.testing.assert_array_equal(order, np.arange(len(place)))
  manifest = files.read_json(workdir / "manifest.json")
  record = manifest["stages"][f"signals/{_NAME}"]
  assert record["done"] and record["flops"] > 0 and record["tokens"] > 0
  # The same command again has nothing to do.
  pipeline.run(_ifd(source), workdir, stages=_STAGES)
  said = capsys.readouterr().err
  assert said.count("skipped: it is done") == len(_STAGES) + 1
  # The bill of the report has it, too.
  pipeline.run(_ifd(source), workdir, stages=("report",))
  assert f"signals/{_NAME}" in (workdir / "report/index.html").read_text()


def test_other_rivals_make_another_report(source, workdir):
  """They are no part of the selection, whose output stays what it was."""
  page = workdir / "report/index.html"
  pipeline.run(_config(source), workdir, stages=("report",))
  assert "<td>longest</td>" not in page.read_text()
  other = _config(source, select__compare=("random", "longest"))
  pipeline.run(other, workdir, stages=("select", "report"), redo="select")
  assert "<td>longest</td>" in page.read_text()


def test_a_kill_within_a_signal_is_resumed(source, workdir, monkeypatch):
  config = _ifd(source, select__strategy="ila", finetune__compare=("ifd",))
  whole, killed = workdir.parent / "whole", workdir
  subprocess.run(["cp", "-rp", workdir, whole], check=True)
  stages = (*_STAGES, "finetune")
  pipeline.run(config, whole, stages=stages)
  compute = nll_without_prompt.SIGNAL.compute
  calls = []

  def dies(*arguments):
    of_shard = compute(*arguments)

    def first_only(table):
      if calls:
        raise SystemExit
      calls.append(len(table))
      return of_shard(table)

    return first_only

  with monkeypatch.context() as patch:
    dying = dataclasses.replace(nll_without_prompt.SIGNAL, compute=dies)
    table = {_NAME: dying}
    patch.setattr(pipeline.needs.signals_table, "SIGNALS", table)
    with pytest.raises(SystemExit):
      pipeline.run(config, killed, stages=stages)
  folder = f"signals/{_NAME}"
  first = killed / folder / "values-00000.npy"
  written = first.stat().st_mtime_ns
  assert not (killed / folder / "values-00001.npy").exists()
  pipeline.run(config, killed, stages=stages)
  assert first.stat().st_mtime_ns == written
  for path in sorted((whole / folder).glob("*.npy")):
    assert path.read_bytes() == (killed / folder / path.name).read_bytes()
  name = "finetune/evaluations.jsonl"
  lines = files.read_jsonl(killed / name)
  assert lines == files.read_jsonl(whole / name)
  assert [line["name"] for line in lines][2:] == [
    *("ifd-equal-examples", "ifd-equal-tokens"),
  ]


def test_what_is_chosen_by_a_signal_is_done_once(source, workdir, capsys):
  """The tuning reads the signal by the selection: the next run skips both."""
  config = _ifd(source, finetune__epochs=0.1)
  stages = (*_STAGES, "finetune")
  pipeline.run(config, workdir, stages=stages, redo="select")
  capsys.readouterr()
  pipeline.run(config, workdir, stages=stages)
  assert capsys.readouterr().err.count("skipped: it is done") >= len(stages)


def test_redo_of_a_signal_takes_what_was_made_from_it(source, workdir):
  config = _ifd(source)
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  before = _made(workdir, "signals", "select")
  kept = _made(workdir, "pool", "embed", "score", "landscape")
  pipeline.run(config, workdir, stages=_STAGES, redo=_NAME)
  after = _made(workdir, "signals", "select")
  assert after.keys() == before.keys()
  for path in before:
    if path.suffix in (".npy", ".parquet", ".jsonl"):
      assert after[path][1] == before[path][1]
      assert after[path][0] > before[path][0]  # It is made anew.
  assert _made(workdir, "pool", "embed", "score", "landscape") == kept
  assert not (workdir / ".old").exists()
  with pytest.raises(errors.InputError, match="a signal that no stage of"):
    pipeline.run(_config(source), workdir, stages=_STAGES, redo=_NAME)
  # A signal is made from the pool.
  pipeline.run(_config(source), workdir, stages=_STAGES, redo="pool")
  assert not (workdir / "signals" / _NAME).exists()
  assert not (workdir / ".old").exists()


def test_a_redo_of_a_signal_that_was_killed_is_undone(source, workdir):
  config = _ifd(source)
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  before = _made(workdir, "signals", "select")
  pipeline._set_aside(config, pipeline.epath.Path(workdir), _NAME)
  assert not (workdir / "signals" / _NAME).exists()
  pipeline.run(config, workdir, stages=_STAGES)
  assert {
    p: c for p, (_, c) in _made(workdir, "signals", "select").items()
  } == {path: content for path, (_, content) in before.items()}
  assert not (workdir / ".old").exists()


def test_a_redo_of_a_signal_takes_only_what_was_ranked_by_it(source, workdir):
  rival = _ifd(source, select__strategy="ila", finetune__compare=("ifd",))
  folder = f"signals/{_NAME}"
  assert redo.gone(rival, _NAME) == {folder, "finetune"}
  chosen = _ifd(source)
  assert redo.gone(chosen, _NAME) == {folder, "select", "finetune"}
  pipeline.run(chosen, workdir, stages=_STAGES, redo="select")
  before = _made(workdir, "signals", "select")
  with pytest.raises(errors.InputError, match="throws 'select' away"):
    pipeline.run(chosen, workdir, stages=("finetune",), redo=_NAME)
  assert _made(workdir, "signals", "select") == before


def test_no_signal_is_computed_for_a_stage_that_is_refused(source, workdir):
  plain = _config(source)
  pipeline.run(plain, workdir, stages=_STAGES, redo="select")
  subprocess.run(["rm", "-r", workdir / "signals"], check=False)
  with pytest.raises(errors.InputError, match="Add --redo=select"):
    pipeline.run(_ifd(source), workdir, stages=_STAGES)
  assert not (workdir / "signals").exists()


def test_a_signal_that_is_lost_is_made_again(source, workdir):
  config = _ifd(source)
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  selection = _made(workdir, "select")
  shards = sorted((workdir / "signals" / _NAME).iterdir())
  values = {p: p.read_bytes() for p in shards if p.suffix == ".npy"}
  subprocess.run(["rm", "-r", workdir / "signals"], check=True)
  pipeline.run(config, workdir, stages=_STAGES)
  assert values and {p: p.read_bytes() for p in values} == values
  assert _made(workdir, "select") == selection


def test_a_budget_beyond_what_a_method_orders_is_refused(source, workdir):
  config = _ifd(source, select__options__ifd__most=0.0)
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(config, workdir, stages=_STAGES, redo="select")
  said = str(raised.value)
  assert re.search(
    r"config.select.budget: 'ifd' is to order \d+ examples", said
  )
  assert "allowed: up to 0 examples" in said
  assert "above config.select.options.ifd.most, 0." in said
  assert (workdir / "select/selected.jsonl").exists()  # It was put back.


def test_options_of_a_rival_are_no_part_of_the_selection(source, workdir):
  rivals = {
    "select__compare": ("trim",),
    "select__options__trim__quantile": 0.9,
  }
  before = files.read_json(workdir / "select/stage.json")["output"]
  with pytest.raises(errors.InputError, match="compare was"):
    pipeline.run(_config(source, **rivals), workdir, stages=_STAGES)
  pipeline.run(
    _config(source, **rivals), workdir, stages=_STAGES, redo="select"
  )
  assert files.read_json(workdir / "select/stage.json")["output"] == before
  rivals["select__options__trim__quantile"] = 0.1
  with pytest.raises(
    errors.InputError, match=r"rivals.trim.options.quantile was 0.9 and"
  ):
    pipeline.run(_config(source, **rivals), workdir, stages=_STAGES)


def test_a_dry_run_tells_of_the_signal(source, workdir, capsys):
  select = {"stages": ("select",)}
  assert list(dry_run.run(_config(source), workdir, **select)) == ["select"]
  found = dry_run.run(_ifd(source), workdir, **select)
  folder = f"signals/{_NAME}"
  assert list(found) == [folder, "select"]
  assert folder in capsys.readouterr().err
  assert found[folder].seconds > 0 and found[folder].device_bytes > 0
  # The answers alone are passed, as they then are.
  pipeline.run(_ifd(source), workdir, redo="select", **select)
  record = files.read_json(workdir / "manifest.json")["stages"][folder]
  assert found[folder].flops == pytest.approx(record["flops"], rel=1e-9)
