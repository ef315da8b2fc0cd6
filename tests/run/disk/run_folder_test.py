"""No run touches what is not its own; what a killed one left is cleared up."""

import os
import pathlib

import pytest
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors, pipeline, redo
from ila_jax.run import stage_record, tables
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files as files_lib
from ila_jax.run.disk import folders
from tests.support import tiny

# A stage, and all that follows from it.
_TUNED = ("finetune", "scaling", "laboratory")
REDONE = {
  "pool": set(stages_lib.NAMES) - {"report"},
  "embed": {"embed", "landscape", "select", *_TUNED},
  "score": {"score", "landscape", "select", *_TUNED},
  "landscape": {"landscape", "select", *_TUNED},
  "select": {"select", "finetune"},
  "finetune": {"finetune"},
  "scaling": {"scaling"},
  "laboratory": {"laboratory"},
  "report": {"report"},
}


def _files(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
  """All files, but for the log, which tells of every run."""
  files = (p for p in folder.rglob("*") if p.is_file() and p.name != "log.txt")
  return {path: path.read_bytes() for path in files}


def _finish(workdir: pathlib.Path, *names: str, inputs: int = 0) -> None:
  """Stages that are done, each with one file."""
  if not tables.MANIFEST.path(workdir).exists():
    files_lib.write_json(tables.MANIFEST.path(workdir), {"ila_jax": "0.1.0"})
  for name in names:
    stage = stage_record.Stage(workdir, name, {"inputs": inputs})
    assert not stage.begin()
    files_lib.write_bytes(workdir / name / "made", f"{name} {inputs}".encode())
    stage.finish()


@pytest.fixture
def stages(monkeypatch):
  """The pipeline with stages that write one file each; (ran, config).

  A stage named in `fails` refuses; one in `dies` is killed after its file.
  """
  ran: list[str] = []
  fails: set[str] = set()
  dies: set[str] = set()

  def run_stage(run, name):
    config, workdir = run.config, run.workdir
    stage = stage_record.Stage(workdir, name, {"inputs": config.seed})
    if stage.begin(replace="all" if name == "report" else "nothing"):
      return
    ran.append(name)
    if name in fails:
      raise errors.InputError(f"{name} fails")
    made = f"{name} {config.seed}".encode()
    files_lib.write_bytes(workdir / name / "made", made)
    if name in dies:
      raise SystemExit
    stage.finish()

  monkeypatch.setattr(pipeline.encoders, "check", lambda config, stages: None)
  monkeypatch.setattr(pipeline, "_after_pool", lambda *_: None)
  monkeypatch.setattr(pipeline, "_run_stage", run_stage)
  return ran, fails, dies


def _config(seed: int = 0) -> config_lib.Config:
  return tiny.config("pool.jsonl", seed=seed)


@pytest.mark.parametrize("stage", stages_lib.NAMES)
def test_redo_sets_aside_what_follows(tmp_path, stage):
  made = redo.gone(_config(), stage)
  assert made - {stages_lib.SIGNALS, stages_lib.BESIDE} == REDONE[stage]
  _finish(tmp_path, *stages_lib.NAMES)
  pipeline._set_aside(_config(), epath.Path(tmp_path), stage)
  left = {name for name in stages_lib.NAMES if (tmp_path / name).exists()}
  assert left == set(stages_lib.NAMES) - REDONE[stage]
  pipeline._put_back(epath.Path(tmp_path))
  for name in stages_lib.NAMES:
    assert (tmp_path / name / "made").read_text() == f"{name} 0"
  assert not (tmp_path / ".old").exists()


def test_another_budget_takes_the_map_along(
  stages, tmp_path, monkeypatch, capsys
):
  """The map comes back, too, where the selection could not be made."""
  ran, fails, _ = stages
  _finish(tmp_path, "pool", "embed", "score", "landscape", "select")
  monkeypatch.setattr(redo, "has_cells_of_another_budget", lambda *_: True)
  before = (tmp_path / "landscape/made").stat().st_mtime_ns
  fails.add("landscape")
  names = ("pool", "landscape", "select")
  with pytest.raises(errors.InputError, match="landscape fails"):
    pipeline.run(_config(), tmp_path, stages=names, redo="select")
  assert (tmp_path / "landscape/made").stat().st_mtime_ns == before
  assert (tmp_path / "select/made").exists()
  fails.clear()
  ran.clear()
  pipeline.run(_config(), tmp_path, stages=names, redo="select")
  assert ran == ["landscape", "select"]
  assert "the map is made anew, too" in capsys.readouterr().err
  assert not (tmp_path / ".old").exists()


@pytest.mark.parametrize("redo", [None, "report"])
@pytest.mark.parametrize("manifest", ['{"name": "web app"}', "[]", "{", None])
def test_a_folder_of_another_program_is_refused(
  stages, tmp_path, manifest, redo
):
  (tmp_path / "report").mkdir()
  (tmp_path / "report/thesis.txt").write_text("precious")
  if manifest is not None:
    (tmp_path / "manifest.json").write_text(manifest)
  before = _files(tmp_path)
  with pytest.raises(errors.InputError, match=r"manifest\.json"):
    pipeline.run(_config(), tmp_path, redo=redo)
  assert _files(tmp_path) == before
  assert not stages[0]


@pytest.mark.parametrize("record", [None, "{", "{}", '{"stage": "select"}'])
def test_redo_moves_only_what_a_record_of_ours_made(stages, tmp_path, record):
  _finish(tmp_path, "pool", "embed", "score", "landscape", "select")
  (tmp_path / "finetune").mkdir()
  (tmp_path / "finetune/thesis.txt").write_text("precious")
  if record is not None:
    (tmp_path / "finetune/stage.json").write_text(record)
  before = _files(tmp_path)
  with pytest.raises(errors.InputError, match="finetune holds files that no"):
    pipeline.run(_config(), tmp_path, redo="select")
  assert _files(tmp_path) == before
  # What the message says works.
  (tmp_path / "finetune").rename(tmp_path.parent / f"{tmp_path.name}-moved")
  pipeline.run(_config(seed=1), tmp_path, stages=("select",), redo="select")
  assert (tmp_path / "select/made").read_text() == "select 1"


@pytest.mark.parametrize("place", ["select/notes.txt", "finetune/plots/1.pdf"])
def test_redo_loses_nothing_that_no_run_made(stages, tmp_path, place):
  _finish(tmp_path, "pool", "embed", "score", "landscape", "select", "finetune")
  (tmp_path / place).parent.mkdir(exist_ok=True)
  (tmp_path / place).write_text("precious")
  (tmp_path / "select/.DS_Store").write_text("litter")
  before = _files(tmp_path)
  with pytest.raises(errors.InputError, match=rf"{place} was made by no run"):
    pipeline.run(_config(), tmp_path, redo="select")
  assert _files(tmp_path) == before
  # What the message says works.
  (tmp_path / place).rename(tmp_path / "mine")
  pipeline.run(_config(seed=1), tmp_path, stages=("select",), redo="select")
  assert (tmp_path / "select/made").read_text() == "select 1"
  assert (tmp_path / "mine").read_text() == "precious"


def test_a_report_made_anew_loses_nothing_that_no_run_made(stages, tmp_path):
  _finish(tmp_path, *stages_lib.NAMES)
  (tmp_path / "report/notes.txt").write_text("precious")
  with pytest.raises(errors.InputError, match=r"notes.txt was made by no run"):
    pipeline.run(_config(seed=1), tmp_path, stages=("report",))
  (tmp_path / "report/notes.txt").rename(tmp_path / "mine")
  pipeline.run(_config(seed=1), tmp_path, stages=("report",))
  assert (tmp_path / "report/made").read_text() == "report 1"


def test_the_log_of_all_runs_stays(stages, tmp_path):
  pipeline.run(_config(), tmp_path)
  pipeline.run(_config(seed=1), tmp_path, stages=("pool",), redo="pool")
  log = (tmp_path / "log.txt").read_text()
  assert log.count("run by process") == log.count("ended: done") == 2


def test_a_folder_named_like_ours_is_left_alone(stages, tmp_path):
  for name in (".old/mine.txt", ".old/2024/mine.txt", "notes/pool.txt"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("precious")
  before = _files(tmp_path)
  _finish(tmp_path, "pool")
  pipeline.run(_config(), tmp_path, stages=("pool",))
  pipeline.run(_config(seed=1), tmp_path, stages=("pool",), redo="pool")
  after = _files(tmp_path)
  assert {path: after[path] for path in before} == before
  assert not (tmp_path / ".old/pool").exists()


def test_a_lost_manifest_is_written_anew(stages, tmp_path):
  pipeline.run(_config(), tmp_path, stages=("pool",))
  manifest = tables.MANIFEST.path(tmp_path)
  manifest.write_text('{"ila_jax"')
  with pytest.raises(
    errors.InputError, match=r"manifest.json is damaged.*Remove"
  ):
    pipeline.run(_config(), tmp_path, stages=("pool",))
  manifest.unlink()
  pipeline.run(_config(), tmp_path, stages=("pool",))
  assert "ila_jax" in files_lib.read_json(manifest)
  assert stages[0] == ["pool"]


def test_litter_of_the_dead_is_swept(stages, tmp_path):
  _finish(tmp_path, "score")
  dead = [
    tmp_path / ".manifest.json.0123456789abcdef.tmp",
    tmp_path / "score/.scores.parquet.77.tmp",
    tmp_path / "score/reference-0/.model.safetensors.0123456789abcdef.tmp",
    tmp_path / "score/checkpoints-reference-0/.removed",
  ]
  mine = tmp_path / "notes/.scores.parquet.77.tmp"
  for path in (*dead, mine):
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
  pipeline.run(_config(), tmp_path, stages=("score",))
  assert not any(path.exists() for path in dead)
  assert mine.exists()
  assert not (tmp_path / "score/checkpoints-reference-0").exists()


def test_a_redo_that_fails_puts_all_back(stages, tmp_path):
  _, fails, _ = stages
  pipeline.run(_config(), tmp_path)
  before = _files(tmp_path)
  fails.add("score")
  with pytest.raises(errors.InputError, match="score fails"):
    pipeline.run(_config(seed=1), tmp_path, stages=("score",), redo="score")
  assert _files(tmp_path) == before


def test_a_kill_while_the_old_is_thrown_away(stages, tmp_path, monkeypatch):
  """Nothing that was made from the old comes back beside the new."""
  pipeline.run(_config(), tmp_path)
  true, left = folders.remove, [2]

  def remove(folder):
    if not left[0]:
      raise SystemExit
    left[0] -= 1
    true(folder)

  monkeypatch.setattr(folders, "remove", remove)
  with pytest.raises(SystemExit):
    pipeline.run(_config(seed=1), tmp_path, stages=("score",), redo="score")
  assert os.listdir(tmp_path / ".old")
  left[0] = 100
  pipeline.run(_config(seed=1), tmp_path, stages=("score",))
  assert not (tmp_path / ".old").exists()
  assert (tmp_path / "score/made").read_text() == "score 1"
  assert not (tmp_path / "select").exists()


def test_a_redo_killed_in_the_middle_goes_on(stages, tmp_path):
  ran, _, dies = stages
  pipeline.run(_config(), tmp_path)
  dies.add("landscape")
  with pytest.raises(SystemExit):
    pipeline.run(_config(seed=1), tmp_path, stages=("score",), redo="score")
    pipeline.run(_config(seed=1), tmp_path, stages=("landscape",))
  dies.clear()
  ran.clear()
  pipeline.run(_config(seed=1), tmp_path, stages=("landscape", "select"))
  assert ran == ["landscape", "select"]
  assert not (tmp_path / ".old").exists()
  assert not list(tmp_path.rglob(folders.LOCK))


def test_a_run_that_ends_badly_leaves_no_lock(stages, tmp_path):
  _, fails, dies = stages
  for group, error in ((fails, errors.InputError), (dies, SystemExit)):
    group.add("pool")
    with pytest.raises(error):
      pipeline.run(_config(), tmp_path, stages=("pool",))
    group.clear()
    assert not (tmp_path / folders.LOCK).exists()
