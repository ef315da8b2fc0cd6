"""Damaged artifacts are named, and made anew to the same bits."""

import pathlib
import shutil

import pytest

from ila_jax import errors, pipeline
from ila_jax.run.disk import checksums, files
from tests.support import damage, tiny

# One of each kind that a run leaves, and which stages read it.
FILES = (
  "pool/index.parquet",
  "pool/rejects.jsonl",
  "pool/records-00000.parquet",
  "pool/records-00002.parquet",
  "pool/tokenizer/tokenizer.json",
  "embed/embeddings-00001.npy",
  "model/model.safetensors",
  "score/base-00001.parquet",
  "score/sft-0-00000.parquet",
  "score/scores.parquet",
  "score/metrics-reference-0.jsonl",
  "score/reference-0/model.safetensors",
  "landscape/map/projection.safetensors",
  "landscape/map.json",
  "landscape/cells.parquet",
  "landscape/duplicate_pairs.parquet",
  "landscape/duplicates.json",
  "select/ranking.parquet",
  "select/selected.jsonl",
  "finetune/evaluations.jsonl",
  "finetune/dev_losses.parquet",
  "finetune/comparison.json",
  "finetune/model/model.safetensors",
  "finetune/metrics-random-equal-tokens.jsonl",
  "scaling/runs.jsonl",
  "report/map.html",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A whole run of the smallest kind: (config, workdir)."""
  folder = tmp_path_factory.mktemp("run")
  rows = tiny.records(220)
  rows[7]["output"] = ""  # a reject
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", rows),
    landscape__projection="pca",
    landscape__stability=(),
    score__reference_seeds=(0,),
    finetune__compare=("random",),
    scaling__subsets=2,
    scaling__held_out=0,
  )
  pipeline.run(config, folder / "work")
  return config, folder / "work"


def _contents(workdir: pathlib.Path) -> dict[str, bytes]:
  """All artifacts but records, the log and pages, which tell seconds."""
  return {
    str(path.relative_to(workdir)): path.read_bytes()
    for path in workdir.rglob("*")
    if path.is_file()
    and path.name not in ("stage.json", "manifest.json", "checksums.json")
    and path.name != "log.txt"
    and path.parts[len(workdir.parts)] not in ("compiled", "report")
  }


def _copy(whole: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  return pathlib.Path(shutil.copytree(whole, folder / "work"))


@pytest.mark.parametrize("name", FILES)
def test_what_is_damaged_is_named_and_made_anew(run, tmp_path, capsys, name):
  config, whole = run
  workdir = _copy(whole, tmp_path)
  kind = damage.KINDS[FILES.index(name) % len(damage.KINDS)]
  damage.damage(workdir / name, kind)
  with pytest.raises(checksums.Damaged, match=pathlib.PurePath(name).name):
    files.read_bytes(workdir / name)
  # The base is looked at when a stage asks for it.
  redo = "scaling" if name.startswith("model") else None
  pipeline.run(config, workdir, redo=redo)
  said = capsys.readouterr().err
  assert said.count("is damaged") == 1
  assert f"{name} is damaged" in said
  folders = filter(pathlib.Path.is_dir, workdir.iterdir())
  assert not any(map(checksums.find_damage, folders))
  assert _contents(workdir) == _contents(whole)


@pytest.mark.parametrize("name", ["landscape/map", "finetune/model"])
@pytest.mark.parametrize("all_of_it", [True, False])
def test_a_folder_without_its_ledger_is_made_anew(
  run, tmp_path, capsys, name, all_of_it
):
  config, whole = run
  workdir = _copy(whole, tmp_path)
  if all_of_it:
    shutil.rmtree(workdir / name)
  else:
    (workdir / name / "checksums.json").unlink()
  pipeline.run(config, workdir)
  assert f"{name}/checksums.json is damaged" in capsys.readouterr().err
  assert _contents(workdir) == _contents(whole)


@pytest.mark.parametrize("kind", ["flip", "gone"])
def test_a_shard_of_half_a_stage_is_not_trusted(run, tmp_path, capsys, kind):
  config, whole = run
  workdir = _copy(whole, tmp_path)
  record = files.read_json(workdir / "score/stage.json")
  files.write_json(workdir / "score/stage.json", record | {"done": False})
  files.remove(workdir / "score/scores.parquet")
  damage.damage(workdir / "score/base-00001.parquet", kind)
  pipeline.run(config, workdir)
  said = capsys.readouterr().err
  # A shard that is not there is one that is to come.
  assert ("base-00001.parquet is damaged" in said) == (kind != "gone")
  assert _contents(workdir) == _contents(whole)


@pytest.mark.parametrize(
  ("name", "stage", "kind"),
  [
    ("pool/records-00002.parquet", "embed", "gone"),
    ("pool/records-00002.parquet", "score", "flip"),
    ("pool/index.parquet", "score", "flip"),
    ("embed/embeddings-00002.npy", "landscape", "gone"),
    ("embed/embeddings-00001.npy", "landscape", "flip"),
    ("score/scores.parquet", "landscape", "flip"),
    ("landscape/cells.parquet", "select", "flip"),
    ("select/ranking.parquet", "report", "flip"),
  ],
)
def test_nothing_is_computed_from_what_is_damaged(
  run, tmp_path, name, stage, kind
):
  config, whole = run
  workdir = _copy(whole, tmp_path)
  damage.damage(workdir / name, kind)
  with pytest.raises(checksums.Damaged, match=pathlib.PurePath(name).name):
    pipeline.run(config, workdir, stages=[stage], redo=stage)
  assert (workdir / stage / "stage.json").exists()  # What was there is back.


@pytest.mark.parametrize(
  ("name", "kind"),
  [
    ("stage.json", "flip"),
    ("stage.json", "empty"),
    ("checksums.json", "cut"),
    ("checksums.json", "gone"),
  ],
)
def test_a_stage_without_its_record_is_refused_and_can_be_made_anew(
  run, tmp_path, name, kind
):
  config, whole = run
  workdir = _copy(whole, tmp_path)
  damage.damage(workdir / "select" / name, kind)
  with pytest.raises(errors.InputError, match=r"Remove (that folder|.*select)"):
    pipeline.run(config, workdir)
  shutil.rmtree(workdir / "select")
  pipeline.run(config, workdir)
  assert _contents(workdir) == _contents(whole)


def test_a_pool_whose_source_is_gone_is_not_made_of_less(run, tmp_path, capsys):
  config, whole = run
  workdir = _copy(whole, tmp_path)
  source = pathlib.Path(config.pool.sources[0])
  damage.damage(workdir / "pool/records-00001.parquet", "flip")
  hidden = source.rename(source.with_suffix(".hidden"))
  try:
    with pytest.raises(errors.InputError, match=r"pool\.jsonl"):
      pipeline.run(config, workdir)
  finally:
    hidden.rename(source)
  assert "records-00001.parquet is damaged" in capsys.readouterr().err
  pipeline.run(config, workdir)
  assert _contents(workdir) == _contents(whole)


def test_no_checkpoint_stays(run):
  _, workdir = run
  assert not list(workdir.rglob("checkpoints-*"))
