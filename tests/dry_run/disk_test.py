"""What a run needs on its disk, by hand where that is short."""

import pytest
from etils import epath

from ila_jax import errors
from ila_jax.dry_run import disk, plans
from ila_jax.forecast import costs
from ila_jax.run import stages as stages_lib
from tests.support import planned, tiny


def _needs(*stages, **fields):
  known = planned.known(**fields)
  found = plans.in_order(known.config, stages or stages_lib.NAMES)
  return {name: plan.need(known) for name, plan in found.items()}


def test_what_is_large_is_there():
  needs = _needs()
  assert tuple(needs) == stages_lib.NAMES
  # Models of two references, and a third checkpoint while two are kept.
  assert disk.most(needs.values()) == pytest.approx(12e9, rel=0.02)


def test_adapters_are_small():
  needs = _needs("score", "finetune", train__method="lora")
  assert disk.most(needs.values()) < 1e9


def test_what_is_there_needs_no_room():
  need = costs.Need(2e9, 9e9)
  assert disk._left(need, 0) == need
  assert disk._left(need, int(1.5e9)) == costs.Need(0.5e9, 0.0)
  assert disk._left(need, int(3e9)) == costs.Need(0.0, 0.0)


@pytest.mark.parametrize(
  ("free", "said"), [(13e9, ""), (9e9, "warning"), (3e9, "refused")]
)
def test_a_close_disk_is_told_and_a_full_one_refused(
  tmp_path, monkeypatch, capsys, free, said
):
  monkeypatch.setattr(disk, "free", lambda folder: int(free))
  monkeypatch.setattr(disk.base, "sizes", lambda config: planned.DECODER)
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
