"""Damaged artifacts are named, and made anew to the same bits."""

import pathlib
import shutil

import pytest

from ila_jax import artifacts, checksums, pipeline
from tests import tiny

# One of each kind that a run leaves, and which stages read it.
FILES = (
  "pool/index.parquet",
  "pool/counts.json",
  "pool/rejects.jsonl",
  "pool/records-00000.parquet",
  "pool/records-00002.parquet",
  "pool/tokenizer/tokenizer.json",
  "embed/embeddings-00001.npy",
  "model/model.safetensors",
  "score/base-00001.parquet",
  "score/sft-0-00000.parquet",
  "score/scores.parquet",
  "score/reference.parquet",
  "score/metrics-reference-0.jsonl",
  "score/reference-0/model.safetensors",
  "landscape/map/projection.safetensors",
  "landscape/map/projection.json",
  "landscape/map.json",
  "landscape/cells.parquet",
  "landscape/duplicates.parquet",
  "landscape/duplicate_pairs.parquet",
  "landscape/near_reference.parquet",
  "landscape/duplicates.json",
  "select/ranking.parquet",
  "select/selected.jsonl",
  "select/coverage.json",
  "finetune/evaluations.jsonl",
  "finetune/model/model.safetensors",
  "finetune/metrics-random-equal-tokens.jsonl",
  "scaling/runs.jsonl",
  "scaling/fits.json",
  "report/map.html",
)
KINDS = ("flip", "cut", "empty", "gone")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A whole run of the smallest kind: (config, workdir)."""
  folder = tmp_path_factory.mktemp("run")
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", tiny.records(220)),
    landscape__projection="pca",
    landscape__stability=(),
    score__reference_seeds=(0,),
    finetune__compare=("random",),
    scaling__subsets=2,
    scaling__held_out=0,
  )
  pipeline.run(config, folder / "work")
  return config, folder / "work"


def _damage(file: pathlib.Path, kind: str) -> None:
  content = bytearray(file.read_bytes())
  if kind == "gone":
    file.unlink()
    return
  if kind == "cut":
    content = content[: len(content) // 2]
  elif kind == "empty":
    content = bytearray()
  else:
    content[len(content) // 2] ^= 4
  file.write_bytes(content)


def _contents(workdir: pathlib.Path) -> dict[str, bytes]:
  """All artifacts but records and pages, which tell seconds."""
  return {
    str(path.relative_to(workdir)): path.read_bytes()
    for path in workdir.rglob("*")
    if path.is_file()
    and path.name not in ("stage.json", "manifest.json", "checksums.json")
    and path.parts[len(workdir.parts)] not in ("compiled", "report")
  }


def test_the_table_has_every_kind_of_file(run):
  _, workdir = run
  made = {
    path.parent.relative_to(workdir) for path in workdir.rglob("*.parquet")
  }
  assert made <= {pathlib.PurePath(name).parent for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_what_is_damaged_is_named_and_made_anew(run, tmp_path, capsys, name):
  config, whole = run
  workdir = tmp_path / "work"
  shutil.copytree(whole, workdir)
  kind = KINDS[FILES.index(name) % len(KINDS)]
  _damage(workdir / name, kind)
  assert not checksums.is_whole(workdir / name)
  with pytest.raises(checksums.Damaged, match=pathlib.PurePath(name).name):
    artifacts.read_bytes(workdir / name)
  pipeline.run(config, workdir)
  assert f"{name} is damaged" in capsys.readouterr().err
  folders = filter(pathlib.Path.is_dir, workdir.iterdir())
  assert not any(map(checksums.find_damage, folders))
  assert _contents(workdir) == _contents(whole)
