"""What a run needs on its disk, by hand where that is short."""

import dataclasses

import pytest
from etils import epath

from ila_jax import errors
from ila_jax.dry_run import disk
from ila_jax.run import stages as stages_lib
from tests.support import tiny

KNOWN = disk.Sizes(
  examples=10_000,
  stored=700.0,
  record=1000.0,
  selected=500.0,
  width=384,
  tokenizer=1e6,
  base=1e9,
  tuned=1e9,
  state=3e9,
  base_state=3e9,
)


def _needs(*stages, known=KNOWN, **changes):
  config = tiny.config("pool.jsonl", model__path="a/model", **changes)
  return disk.forecast(config, known, stages or stages_lib.NAMES)


def test_what_is_large_is_there():
  needs = _needs()
  assert tuple(needs) == stages_lib.NAMES
  assert needs["pool"].kept == pytest.approx(7.3e6, rel=0.1)
  # 384 numbers of 4 bytes each.
  assert needs["embed"].kept == pytest.approx(15.36e6, rel=0.1)
  # Two references, a third checkpoint while two are kept.
  assert needs["score"].kept == pytest.approx(2e9, rel=0.01)
  assert needs["score"].passing == needs["finetune"].passing == 9e9
  assert needs["select"].kept > 500_000
  assert disk.most(needs.values()) == pytest.approx(12e9, rel=0.02)


def test_only_what_is_asked_for():
  assert tuple(_needs("embed")) == ("embed",)
  scratch = {"model__path": "scratch"}
  config = tiny.config("pool.jsonl", **scratch)
  assert tuple(disk.forecast(config, KNOWN, ("embed",))) == ("embed",)
  assert set(disk.forecast(config, KNOWN, ("score",))) == {"score", "model"}


def test_a_map_that_is_joined_or_small():
  fitted = _needs("landscape", landscape__fit_examples=5000)["landscape"]
  axes = _needs("landscape", landscape__projection="pca")["landscape"]
  assert fitted.kept - axes.kept == pytest.approx(5000 * 4 * 386)


def test_what_is_there_needs_no_room():
  need = disk.Need(2e9, 9e9)
  assert disk._left(need, 0) == need
  assert disk._left(need, int(1.5e9)) == disk.Need(0.5e9, 0.0)
  assert disk._left(need, int(3e9)) == disk.Need(0.0, 0.0)


@pytest.mark.parametrize(
  ("unit", "budget", "wanted"),
  [("examples", 40.0, 40), ("tokens", 400.0, 8), ("fraction", 0.5, 460)],
)
def test_the_budget_in_examples(unit, budget, wanted):
  config = tiny.config("pool.jsonl", select__unit=unit, select__budget=budget)
  # 20 are held out, and two times 30 are the reference.
  assert disk.selected(config, 1000, 50.0) == wanted


@pytest.mark.parametrize(
  ("free", "said"), [(13e9, ""), (9e9, "warning"), (3e9, "refused")]
)
def test_a_close_disk_is_told_and_a_full_one_refused(
  tmp_path, monkeypatch, capsys, free, said
):
  monkeypatch.setattr(disk, "free", lambda folder: int(free))
  monkeypatch.setattr(disk, "sizes", lambda *_, **__: KNOWN)
  monkeypatch.setattr(disk.base, "sizes", lambda config: None)
  monkeypatch.setattr(disk, "_pool", lambda workdir: (10_000, 1000.0, 50.0))
  monkeypatch.setattr(
    disk.stage_record, "read_record", lambda path: {"done": path.name == "pool"}
  )
  config = tiny.config("pool.jsonl", model__path="a/model")
  run = config, epath.Path(tmp_path), ("score", "report")
  if said == "refused":
    with pytest.raises(errors.InputError, match=r"3\.00 GB free, and about 11"):
      disk.check(*run)
    return
  disk.check(*run)
  told = capsys.readouterr().err
  assert said in told and bool(told) == bool(said)


def test_a_bucket_is_taken_to_be_large_enough(tmp_path):
  assert disk.free("gs://bucket/run") is None
  assert disk.shortage("gs://bucket/run", 1e30) is None
  assert "will be written" in disk.shortage(tmp_path / "a/b", 1e30)


def test_adapters_are_small():
  small = dataclasses.replace(KNOWN, tuned=5e7, state=1.5e8)
  needs = _needs("score", "finetune", known=small)
  assert disk.most(needs.values()) < 1e9
