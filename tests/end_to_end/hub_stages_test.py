"""Stages that load models by name: from the cache, without a network."""

import pytest

from ila_jax import errors, pipeline
from ila_jax.run.disk import files
from tests.support import model_folders, tiny

constants = pytest.importorskip("huggingface_hub.constants")

_COMMIT = "0123456789" * 4


@pytest.fixture
def cache(monkeypatch, tmp_path):
  """The empty cache of a process that is offline."""
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
  return tmp_path / "cache"


def _snapshot(cache, name):
  """Where the cache keeps a model; made, and the tip of `main`."""
  repository = cache / f"models--org--{name}"
  (repository / "refs").mkdir(parents=True)
  (repository / "refs/main").write_text(_COMMIT)
  snapshot = repository / "snapshots" / _COMMIT
  snapshot.mkdir(parents=True)
  return snapshot


def test_names_give_what_folders_give(cache, tmp_path):
  pytest.importorskip("torch")
  rows = tiny.records(60)
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  texts = [f"{row['instruction']}\n\n{row['output']}" for row in rows]
  folders = {name: _snapshot(cache, name) for name in ("llama", "bert")}
  model_folders.llama(folders["llama"], texts)
  model_folders.bert(folders["bert"], texts)
  named = {name: f"hf:org/{name}" for name in folders}
  for run, paths in (("folders", folders), ("names", named)):
    config = tiny.config(
      source,
      pool__dev_examples=5,
      model__path=str(paths["llama"]),
      encoder__path=str(paths["bert"]),
      score__reference_examples=5,
      score__reference_seeds=(0,),
    )
    pipeline.run(config, tmp_path / run, stages=["pool", "embed", "score"])
  made = {
    run: {
      str(path.relative_to(tmp_path / run)): path.read_bytes()
      for pattern in ("*.parquet", "*.npy", "*.safetensors")
      for path in (tmp_path / run).rglob(pattern)
    }
    for run in ("folders", "names")
  }
  assert {"score/scores.parquet", "embed/embeddings-00000.npy"} <= set(
    made["names"]
  )
  assert made["names"] == made["folders"]
  # What the name stood for is remembered.
  inputs = files.read_json(tmp_path / "names/score/stage.json")["inputs"]
  assert inputs["model"] == _COMMIT


def test_a_name_that_is_not_there_ends_before_anything_is_made(cache, tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(60))
  config = tiny.config(
    source,
    pool__dev_examples=5,
    model__path="hf:org/absent",
    score__reference_examples=5,
  )
  with pytest.raises(errors.InputError, match="hf download org/absent"):
    pipeline.run(config, tmp_path / "work", stages=["pool"])
  assert not (tmp_path / "work/pool/index.parquet").exists()
