"""Metrics as TensorBoard and Weights & Biases themselves read them."""

import importlib.util
import json
import struct
import sys
import time
import types

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.compute import mesh
from ila_jax.run import tables
from ila_jax.run.disk import files
from ila_jax.training import metrics
from tests.support import tiny


@pytest.fixture(autouse=True)
def _nothing_has_failed(monkeypatch):
  monkeypatch.setattr(metrics, "_failed", set())


@pytest.fixture
def workdir(tmp_path):
  return epath.Path(tmp_path)


def _read(folder):
  """Scalars by name, as (step, value), by TensorBoard's own reader."""
  accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator"
  )
  read = accumulator.EventAccumulator(str(folder))
  read.Reload()
  return {
    tag: [(event.step, event.value) for event in read.Scalars(tag)]
    for tag in read.Tags()["scalars"]
  }


def _step(number, loss):
  step = {"step": number, "total_steps": 9, "loss": loss, "tokens": 100}
  return step | {"learning_rate": 0.1, "grad_norm": 2.0}


def _write(writers, workdir, steps):
  with metrics.recorder(writers, workdir=workdir, name="finetune/ila") as made:
    for number in steps:
      made.step(_step(number, 1 / number))
    made.add({"dev_loss/micro": 3.0}, step=max(steps))


def test_tensorboard_reads_what_was_written(workdir):
  _write(["tensorboard"], workdir, range(1, 5))
  read = _read(tables.LIVE.path(workdir) / "tensorboard/finetune/ila")
  losses = [(n, pytest.approx(1 / n)) for n in range(1, 5)]
  assert read["loss"] == losses
  assert read["dev_loss/micro"] == [(4, 3.0)]
  rates = read["tokens_per_second"]
  assert [step for step, _ in rates] == [2, 3, 4]
  assert min(rate for _, rate in rates) > 0
  assert set(read) == {
    *("loss", "tokens", "learning_rate", "grad_norm"),
    *("tokens_per_second", "dev_loss/micro"),
  }


def test_steps_that_come_again_count_once(workdir):
  _write(["tensorboard"], workdir, range(1, 8))
  # Killed, and resumed from a checkpoint after step 4.
  _write(["tensorboard"], workdir, range(5, 10))
  read = _read(tables.LIVE.path(workdir) / "tensorboard/finetune/ila")
  assert [step for step, _ in read["loss"]] == list(range(1, 10))


def test_a_dev_loss_after_a_kill_purges_no_step(workdir):
  _write(["tensorboard"], workdir, range(1, 4))
  with metrics.recorder(
    ["tensorboard"], workdir=workdir, name="finetune/ila"
  ) as made:
    made.add({"dev_loss/macro": 2.0}, step=3)
  read = _read(tables.LIVE.path(workdir) / "tensorboard/finetune/ila")
  assert [step for step, _ in read["loss"]] == [1, 2, 3]
  assert read["dev_loss/macro"] == [(3, 2.0)]


def test_nothing_is_opened_where_nobody_asks(workdir):
  _write([], workdir, range(1, 3))
  assert not list(workdir.iterdir())


def test_only_the_first_host_writes(workdir, monkeypatch):
  monkeypatch.setattr(mesh, "is_writer", lambda: False)
  _write(["tensorboard"], workdir, range(1, 3))
  assert not list(workdir.iterdir())


def test_a_writer_that_fails_is_told_once_and_left_alone(
  workdir, monkeypatch, capsys
):
  tried = []

  def init(**settings):
    tried.append(settings)
    raise OSError("no such host\nand more")

  fake = types.ModuleType("wandb")
  fake.login, fake.init = lambda prompt: True, init
  fake.Settings = dict
  monkeypatch.setitem(sys.modules, "wandb", fake)
  for _ in range(2):
    _write(["wandb", "tensorboard"], workdir, range(1, 4))
  said = capsys.readouterr().err
  assert said.count("metrics cannot be given to wandb (no such host)") == 1
  assert len(tried) == 1
  read = _read(tables.LIVE.path(workdir) / "tensorboard/finetune/ila")
  assert [step for step, _ in read["loss"]] == [1, 2, 3]


def test_without_a_login_nobody_is_asked(workdir, monkeypatch, capsys):
  fake = types.ModuleType("wandb")
  fake.login = lambda prompt: prompt
  monkeypatch.setitem(sys.modules, "wandb", fake)
  monkeypatch.setenv("WANDB_MODE", "online")
  _write(["wandb"], workdir, range(1, 3))
  assert "set WANDB_MODE=offline" in capsys.readouterr().err


def _wandb_records(content):
  """Records of a W&B file: in LevelDB's log format, behind 7 bytes."""
  at = 7
  while at + 7 <= len(content):
    _, size, kind = struct.unpack_from("<IHB", content, at)
    assert kind in (0, 1)  # Nothing here is longer than a block.
    at += 7
    if kind:
      yield content[at : at + size]
    at += size


def _wandb_rows(path, pb):
  """The history of a run, as its process has written it by now."""
  rows = []
  for content in _wandb_records(path.read_bytes()):
    record = pb.Record.FromString(content)
    if record.run.run_id:
      assert record.run.display_name == "finetune/ila"
    items = record.history.item
    rows.append({i.nested_key[0]: json.loads(i.value_json) for i in items})
  return [row for row in rows if row]


def test_wandb_keeps_what_was_written(workdir, monkeypatch, capsys):
  pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
  monkeypatch.setenv("WANDB_MODE", "offline")
  _write(["wandb"], workdir, range(1, 4))
  assert "warning" not in capsys.readouterr().err
  folder = tables.LIVE.path(workdir) / "wandb"
  (path,) = folder.glob("offline-run-*/run-*.wandb")
  # A process of its own writes it.
  deadline = time.monotonic() + 20
  while len(rows := _wandb_rows(path, pb)) < 4:
    assert time.monotonic() < deadline, rows
    time.sleep(0.1)
  assert [(row["step"], row["loss"]) for row in rows[:3]] == [
    (n, 1 / n) for n in range(1, 4)
  ]
  assert rows[3]["dev_loss/micro"] == 3.0 and rows[3]["step"] == 3


def test_a_package_that_is_missing_is_told_before_the_run(
  tmp_path, monkeypatch
):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name, *more: None if name == "tensorboardX" else find(name, *more),
  )
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(60))
  with pytest.raises(errors.InputError) as caught:
    tiny.config(source, train__metrics=("tensorboard",))
  assert "pip install 'tensorboardX>=" in str(caught.value)


def test_a_run_gives_every_step_of_every_arm(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(120))
  work = tmp_path / "work"
  config = tiny.config(
    source,
    train__metrics=("tensorboard",),
    landscape__projection="pca",
    finetune__compare=("random",),
  )
  stages = ["pool", "embed", "score", "landscape", "select", "finetune"]
  pipeline.run(config, work, stages=stages)
  board = tables.LIVE.path(work) / "tensorboard"
  by_arm: dict = {}
  for line in files.read_jsonl(tables.METRICS.path(work)):
    by_arm.setdefault(line["name"], []).append(line)
  evaluations = files.read_jsonl(tables.EVALUATIONS.path(work))
  assert {one["name"] for one in evaluations} == {"base", *by_arm}
  for one in evaluations:
    read = _read(board / "finetune" / one["name"])
    last = len(by_arm.get(one["name"], ()))
    assert read["dev_loss/micro"] == [(last, pytest.approx(one["micro"]))]
    assert read["dev_loss/macro"] == [(last, pytest.approx(one["macro"]))]
    for name in ("loss", "learning_rate", "grad_norm", "tokens"):
      steps = by_arm.get(one["name"], ())
      written = np.array([[line["step"], line[name]] for line in steps])
      if len(written):
        np.testing.assert_allclose(read[name], written, rtol=1e-6)
  for seed in (0, 1):
    history = tables.HISTORY.path(work, stage="score", name=f"reference-{seed}")
    read = _read(board / "score" / f"reference-{seed}")
    assert len(read["loss"]) == len(files.read_jsonl(history))
  assert len(_read(board / "model/base")["loss"]) > 0
