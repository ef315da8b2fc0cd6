"""How far a run is, told from its folder alone."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
from etils import epath

from ila_jax import errors, main
from ila_jax.run import stages as stages_lib
from ila_jax.run import status, tables
from ila_jax.run.disk import folders
from ila_jax.run.disk.lock import holder

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_SEEDS = {"score": {"reference_seeds": [0, 1]}}


def _write(path: pathlib.Path, value="") -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  text = value if isinstance(value, str) else json.dumps(value)
  path.write_text(text)


def _record(workdir, name, *, done, settings=None, **more) -> None:
  inputs = {"config": settings or {}}
  record = {"stage": name, "done": done, "inputs": inputs} | more
  _write(workdir / name / tables.RECORD.file(), record)


@pytest.fixture
def run(tmp_path):
  """A run that scores: three shards, two of them done under three models."""
  _write(tables.MANIFEST.path(tmp_path), {"ila_jax": "0.1.0"})
  _record(tmp_path, "pool", done=True, seconds=75.0)
  for shard in range(3):
    _write(tmp_path / f"pool/records-{shard:05d}.parquet")
  _record(tmp_path, "embed", done=True, seconds=2.0)
  _write(tmp_path / "embed/embeddings-00000.npy")
  method = _SEEDS | {"train": {"method": "full"}}
  spent = {"seconds": 9.0}
  _record(tmp_path, "score", done=False, settings=method, spent=spent)
  for name in ("base-00000", "base-00001", "sft-0-00000", "sft-0-00001"):
    _write(tmp_path / f"score/{name}.parquet")
  _write(tmp_path / "score/scores.parquet")
  _write(tmp_path / folders.LOCK, holder.note())
  work = {"what": "sft-0", "done": 1200, "total": 3000, "unit": "examples"}
  work |= {"seconds": 40.0, "left": 60.0}
  at = {"stage": "score", "since": "2026-01-02", "works": [work]}
  _write(tables.PROGRESS.path(tmp_path), at)
  _write(tables.LOG.path(tmp_path), "one\nthe last one\n")
  return tmp_path


def _states(found):
  return {name: stage["state"] for name, stage in found["stages"].items()}


def test_a_run_at_work(run):
  found = status.find(run)
  assert json.loads(json.dumps(found)) == found
  assert found["life"] == "alive" and found["seconds"] < 60
  assert tuple(found["stages"]) == stages_lib.NAMES
  assert list(_states(found).values())[:4] == [
    *("done", "done", "running", "not begun"),
  ]
  parts = {n: (s["done"], s["total"]) for n, s in found["stages"].items()}
  assert parts["pool"] == (3, 3) and parts["embed"] == (1, 3)
  assert parts["score"] == (4, 9) and parts["landscape"] == (None, None)
  lines = status.told(found).splitlines()
  assert f"process {os.getpid()} on host" in lines[0]
  assert "is at work there" in lines[0]
  assert "  pool       done      1 min 15 s  3/3 shards" in lines
  assert "  score      running        9.0 s  4/9 shards" in lines
  assert lines[-2:] == [
    "  now: sft-0: 1,200/3,000 examples in 40.0 s, about 1 min 00 s left",
    "  log.txt ends: the last one",
  ]


def test_adapters_pass_with_the_base(run):
  settings = _SEEDS | {"train": {"method": "lora"}}
  _record(run, "score", done=False, settings=settings)
  for shard in range(2):
    _write(run / f"score/base-and-sft-{shard:05d}.parquet")
  for name in ("base", "sft-0"):
    for shard in range(2):
      (run / f"score/{name}-{shard:05d}.parquet").unlink()
  stage = status.find(run)["stages"]["score"]
  assert (stage["done"], stage["total"]) == (2, 3)


def test_lines_are_counted_where_there_are_no_shards(run):
  _record(run, "finetune", done=False)
  _write(run / "finetune/evaluations.jsonl", "{}\n{}\n")
  design = {"scaling": {"subsets": 36, "held_out": 6}}
  _record(run, "scaling", done=False, settings=design)
  stages = status.find(run)["stages"]
  assert (stages["finetune"]["done"], stages["scaling"]["done"]) == (2, 0)
  assert stages["scaling"]["total"] == 42


def test_signals_are_told_beside_the_stages(run):
  _record(run, "signals/nll", done=False)
  for shard in range(2):
    _write(run / f"signals/nll/values-{shard:05d}.npy")
  _write(run / "signals/notes.txt", "of the user")
  found = status.find(run)
  stage = found["stages"]["signals/nll"]
  assert (stage["done"], stage["total"], stage["parts"]) == (2, 3, "shards")
  assert [n for n in found["stages"] if "/" in n] == ["signals/nll"]
  assert "  signals/nll begun" in status.told(found)


def test_a_signal_of_target_examples_has_their_shards(run):
  record = {"stage": "signals/near", "done": False, "inputs": {"target": "x"}}
  _write(run / "signals/near" / tables.RECORD.file(), record)
  _write(run / "beside/target/pool/records-00000.parquet")
  assert status.find(run)["stages"]["signals/near"]["total"] == 1


def test_a_dead_process_is_known(run):
  process = subprocess.Popen([sys.executable, "-c", ""])
  process.wait()
  note = holder.note() | {"process": process.pid}
  _write(run / folders.LOCK, note)
  found = status.find(run)
  assert found["life"] == "dead" and found["now"] == []
  assert _states(found)["score"] == "begun"
  assert "is dead: run the same command again" in status.told(found)
  # Of another container the number of a process tells nothing.
  _write(run / folders.LOCK, note | {"numbered_in": "pid:[1]"})
  assert status.find(run)["life"] == "alive"


@pytest.mark.parametrize(
  ("seconds", "life"), [(5, "alive"), (-100, "alive"), (600, "silent")]
)
def test_another_machine_is_known_by_its_sign_of_life(run, seconds, life):
  lock = run / folders.LOCK
  _write(lock, holder.note() | {"host": "node7"})
  old = time.time() - seconds  # Clocks differ.
  for path in (lock, tables.PROGRESS.path(run), tables.LOG.path(run)):
    os.utime(path, (old, old))
  found = status.find(run)
  assert found["life"] == life
  assert found["seconds"] == pytest.approx(max(seconds, 0), abs=5)
  said = status.told(found)
  assert "node7" in said
  assert ("is silent" in said) == (life == "silent")
  assert ("10 min 0" in said) == (life == "silent")


def test_no_run_is_at_work(run):
  (run / folders.LOCK).unlink()
  tables.PROGRESS.path(run).unlink()
  found = status.find(run)
  assert found["holder"] is found["life"] is None
  assert _states(found)["score"] == "begun"
  assert "no run is at work there; the last sign of life" in status.told(found)


def test_what_is_damaged_is_told_and_nothing_else_is_lost(run):
  _write(run / "embed" / tables.RECORD.file(), "{")
  _write(tables.PROGRESS.path(run), '{"stage": "sc')
  _write(run / folders.LOCK, "")
  tables.LOG.path(run).unlink()
  tables.MANIFEST.path(run).unlink()
  found = status.find(run)
  assert list(_states(found).values())[:3] == ["done", "damaged", "begun"]
  assert found["last"] is None
  status.told(found)


@pytest.mark.parametrize("content", [None, {}, {"manifest.json": '{"a": 1}'}])
def test_what_is_no_run_is_refused(tmp_path, content, monkeypatch, capsys):
  folder = tmp_path / "exp[1]"
  for name, text in (content or {}).items():
    _write(folder / name, text)
  if content is not None:
    folder.mkdir(exist_ok=True)
  with pytest.raises(errors.InputError, match="no run has worked there"):
    status.find(folder)
  # Of the command line it is bad input.
  command = ["ila_jax", "status", str(folder)]
  monkeypatch.setattr(sys, "argv", command)
  assert main.main() == errors.BAD_INPUT
  assert "the folder " in capsys.readouterr().err


def test_a_bucket_without_its_package_is_told(monkeypatch):
  def exists(path):
    raise ImportError("Please install gcsfs to access Google Storage")

  monkeypatch.setattr(type(epath.Path("gs://bucket")), "exists", exists)
  with pytest.raises(errors.InputError, match="gcsfs, which reads such paths"):
    status.find("gs://bucket/run")


def test_a_reader_who_has_enough_is_no_error(run):
  command = f"{sys.executable} -m ila_jax status {run} | head -n 1"
  done = subprocess.run(
    ["bash", "-o", "pipefail", "-c", command],
    cwd=CHECKOUT,
    capture_output=True,
    text=True,
  )
  assert done.stdout.startswith(str(run)) and done.stderr == ""


def test_the_command_line_only_looks(run):
  def seen():
    stats = ((p, p.stat()) for p in sorted(run.rglob("*")))
    return [(p, s.st_mtime_ns, s.st_size) for p, s in stats]

  before = seen()
  program = (
    "import sys; from ila_jax import main; status = main.main()\n"
    "print(status, [n for n in ('jax', 'ila_jax.config') if n in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, "status", str(run)],
    cwd=CHECKOUT,
    capture_output=True,
    text=True,
    check=True,
  )
  lines = done.stdout.splitlines()
  assert lines[0].startswith(str(run)) and lines[1].startswith("  pool")
  # Without JAX: neither seconds nor devices.
  assert lines[-1] == "0 []"
  assert done.stderr == ""
  assert seen() == before
