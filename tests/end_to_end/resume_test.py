"""What changed between two calls: refused at its stage, or told."""

import os
import pathlib
import re

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from ila_jax import errors, pipeline
from ila_jax.compute import mesh as mesh_lib
from ila_jax.run import stage_record
from ila_jax.run.disk import files as files_lib
from ila_jax.score import stage as score_stage
from ila_jax.training import trial
from tests.support import model_folders, tiny


def _files(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
  """What a run made; its log tells of those that were refused, too."""
  files = (p for p in folder.rglob("*") if p.is_file() and p.name != "log.txt")
  return {p: p.read_bytes() for p in files}


def _replace(path: pathlib.Path, at: int, content: bytes) -> None:
  """Edits a file in its place; its times are as they were."""
  times = path.stat()
  with path.open("r+b") as file:
    file.seek(at)
    file.write(content)
  os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("place", ["middle", "tail"])
def test_an_edited_source_is_refused_and_redone(tmp_path, place):
  """A file of over 128 KiB, one word of one answer."""
  rows = tiny.records(900)  # Of more LSA leaves out words that are met once.
  for row in rows:
    row["output"] = " ".join([row["output"]] * 4)
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  assert source.stat().st_size > 2**17
  config = tiny.config(source, pool__limit=None, encoder__lsa_width=8)
  stages = ("pool", "embed")
  pipeline.run(config, tmp_path / "work", stages=stages)
  text = source.read_bytes()
  words = [match.start() for match in re.finditer(b"word", text)]
  _replace(source, words[len(words) // 2 if place == "middle" else -1], b"WORD")
  assert source.read_bytes() != text
  before = _files(tmp_path / "work")
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(config, tmp_path / "work", stages=stages)
  said = str(raised.value)
  assert f"{tmp_path}/work/pool was made by another run: sources." in said
  assert "pool.jsonl was" in said and "--redo=pool" in said
  assert _files(tmp_path / "work") == before
  pipeline.run(config, tmp_path / "work", stages=stages, redo="pool")
  pipeline.run(config, tmp_path / "work", stages=stages)
  pipeline.run(config, tmp_path / "alone", stages=stages)
  made = [_made(tmp_path / name) for name in ("work", "alone")]
  assert made[0] == made[1]
  assert not (tmp_path / "work/.old").exists()


def _made(workdir: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(workdir)): path.read_bytes()
    for pattern in ("*/*.parquet", "*/*.npy")
    for path in workdir.glob(pattern)
  }


def test_a_pool_that_was_not_whole_is_begun_anew(tmp_path, monkeypatch, capsys):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(240))
  config = tiny.config(source)
  with monkeypatch.context() as patch:
    patch.setattr(files_lib, "write_parts", _die)
    with pytest.raises(SystemExit):
      pipeline.run(config, tmp_path / "work", stages=("pool",))
  assert (tmp_path / "work/pool/records-00002.parquet").exists()
  tiny.write(source, tiny.records(130))
  pipeline.run(config, tmp_path / "work", stages=("pool",))
  said = capsys.readouterr().err
  assert re.search(r"begun anew, for sources\..*pool.jsonl was .* bytes", said)
  # No shard of the larger pool is left.
  shards = sorted((tmp_path / "work/pool").glob("records-*"))
  assert [path.name[8:13] for path in shards] == ["00000", "00001"]


def _die(*_, **__):
  raise SystemExit


def test_weights_edited_in_the_middle_of_scoring(tmp_path, monkeypatch):
  """Killed, edited, resumed: not half the losses of each model."""
  rows = tiny.records(60)
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  texts = [f"{row['instruction']}\n\n{row['output']}" for row in rows]
  model_folders.llama(tmp_path / "llama", texts)
  config = tiny.config(
    source,
    model__path=str(tmp_path / "llama"),
    pool__dev_examples=5,
    pool__shard_examples=30,
    score__reference_examples=5,
    score__reference_seeds=(0,),
  )
  stages, work = ("pool", "score"), tmp_path / "work"
  with monkeypatch.context() as patch:
    patch.setattr(score_stage.trial, "fit", _die)
    with pytest.raises(SystemExit):
      pipeline.run(config, work, stages=stages)
  assert (work / "score/base-00000.parquet").exists()
  weights = tmp_path / "llama/model.safetensors"
  quarter = weights.stat().st_size // 4
  old = weights.read_bytes()[quarter:-quarter]
  new = bytes(byte ^ 1 for byte in old)
  _replace(weights, quarter, new)
  before = _files(work)
  with pytest.raises(
    errors.InputError, match=r"score was made by.*model.safetensors was.*redo=s"
  ):
    pipeline.run(config, work, stages=stages)
  assert _files(work) == before
  _replace(weights, quarter, old)
  pipeline.run(config, work, stages=stages)
  whole = (work / "score/scores.parquet").read_bytes()
  # The remedy: made anew, of the other weights alone.
  _replace(weights, quarter, new)
  pipeline.run(config, work, stages=stages, redo="score")
  assert (work / "score/scores.parquet").read_bytes() != whole
  # A template that was edited changes the pool first.
  (tmp_path / "llama/chat_template.jinja").write_text("{{ messages }}")
  with pytest.raises(
    errors.InputError, match=r"pool was made by.*chat_template.jinja"
  ):
    pipeline.run(config, work, stages=stages)


def test_scoring_goes_on_with_other_devices(tmp_path, monkeypatch):
  """Begun on eight devices, which a smaller machine does not have."""
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(60))
  config = tiny.config(
    source,
    pool__dev_examples=5,
    pool__shard_examples=30,
    score__reference_examples=5,
    score__reference_seeds=(0,),
  )
  stages, work = ("pool", "score"), tmp_path / "work"
  pipeline.run(config, tmp_path / "whole", stages=stages)
  with monkeypatch.context() as patch:
    patch.setattr(score_stage.trial, "fit", _die_when_tuning(trial.fit))
    with pytest.raises(SystemExit):
      pipeline.run(config, work, stages=stages)
  (work / "score/base-00001.parquet").unlink()  # Not yet there.
  two = jax.make_mesh(
    (2, 1, 1),
    mesh_lib.AXES,
    axis_types=(AxisType.Auto,) * 3,
    devices=jax.devices()[:2],
  )
  begun = (work / "score/base-00000.parquet").stat().st_mtime_ns
  monkeypatch.setattr(mesh_lib, "make", lambda *axes: two)
  pipeline.run(config, work, stages=stages)
  assert (work / "score/base-00000.parquet").stat().st_mtime_ns == begun
  found, wanted = (
    files_lib.read_table(folder / "score/scores.parquet")
    for folder in (work, tmp_path / "whole")
  )
  for name in ("row", "id", "n_tokens", "nll_base"):
    np.testing.assert_array_equal(found[name], wanted[name])
  # The reference was tuned on other devices, which add up in another order.
  np.testing.assert_allclose(found["nll_sft"], wanted["nll_sft"], rtol=1e-4)


def _die_when_tuning(fit):
  def die(*arguments, name, **options):
    if name != "base":
      raise SystemExit
    return fit(*arguments, name=name, **options)

  return die


def test_another_version_is_told_and_not_refused(tmp_path, monkeypatch, capsys):
  made = stage_record.Stage(tmp_path, "score", {"a": 1})
  assert not made.begin()
  made.save_progress()
  ours = {"ila_jax": "7.0.0", "jax": "8.0.0"}
  theirs = files_lib.read_json(tmp_path / "score/stage.json")["versions"]
  assert set(theirs) == set(ours)
  for version in (theirs, ours):
    monkeypatch.setattr(stage_record, "VERSIONS", version)
    stage = stage_record.Stage(tmp_path, "score", {"a": 1})
    assert not stage.begin()
    said = capsys.readouterr().err
    if version == theirs:
      assert not said
  assert "note: stage score was begun by ila_jax" in said
  assert "and this is ila_jax 7.0.0 with JAX 8.0.0" in said
  assert said.count("\n") == 1
  stage.finish()
  record = files_lib.read_json(tmp_path / "score/stage.json")
  assert record["versions"] == ours
  assert record["versions_before"] == [theirs]
  assert stage_record.Stage(tmp_path, "score", {"a": 1}).begin(quiet=True)
  assert not capsys.readouterr().err
  monkeypatch.setattr(stage_record, "VERSIONS", theirs)
  assert stage_record.Stage(tmp_path, "score", {"a": 1}).begin()
  said = capsys.readouterr().err
  assert "was made by ila_jax 7.0.0 with JAX 8.0.0" in said
  assert "(--redo makes a stage anew)" in said


def test_a_workdir_that_looks_like_a_pattern(tmp_path):
  """`exp[1]` beside `exp1`: the neighbour's shards stay, and are not read."""
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(240))
  config = tiny.config(source, pool__limit=130)
  stages = ("pool", "embed")
  pipeline.run(tiny.config(source), tmp_path / "exp1", stages=stages)
  before = _files(tmp_path / "exp1")
  pipeline.run(config, tmp_path / "exp[1]", stages=stages)
  pipeline.run(config, tmp_path / "plain", stages=stages)
  assert _files(tmp_path / "exp1") == before
  assert _made(tmp_path / "exp[1]") == _made(tmp_path / "plain")


def test_the_manifest_tells_the_seeds(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(120))
  config = tiny.config(source, seed=3, score__reference_seeds=(5, 8))
  pipeline.run(config, tmp_path / "work", stages=("pool",))
  manifest = files_lib.read_json(tmp_path / "work/manifest.json")
  assert manifest["seeds"] == {"seed": 3, "reference_seeds": [5, 8]}
