"""The stage `embed` with models, from prompts on disk to vectors on disk."""

import gc
import os
import pathlib
import shutil
import tempfile
import tracemalloc
import weakref

import numpy as np
import pytest
from etils import epath
from etils.epath import testing

from ila_jax import errors, pipeline
from ila_jax.dry_run import dry_run
from ila_jax.embed import rows as rows_lib
from ila_jax.embed import stage as embed_stage
from ila_jax.models.folders import encoder_families
from ila_jax.passes import forward
from ila_jax.pool import shards
from ila_jax.run import tables
from ila_jax.run.disk import buckets, local_copies
from ila_jax.run.disk import files as files_lib
from tests.support import model_folders, tiny

PREFIX = "Query: "
SHARD = 25


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """(folder, torch's BERT): a pool of three shards, a Llama and a BERT."""
  pytest.importorskip("torch")
  folder = tmp_path_factory.mktemp("embed")
  rows = tiny.records(60)
  tiny.write(folder / "pool.jsonl", rows)
  texts = [f"{row['instruction']}\n\n{row['input']}" for row in rows]
  model_folders.llama(folder / "llama", texts)
  theirs = model_folders.bert(folder / "bert", texts)
  pipeline.run(_config(folder), folder / "pool", stages=["pool"])
  assert shards.count(folder / "pool") == 3
  return folder, theirs


def _config(folder, **overrides):
  return tiny.config(
    folder / "pool.jsonl",
    pool__dev_examples=5,
    pool__shard_examples=SHARD,
    score__reference_examples=5,
    model__path=str(folder / "llama"),
    **{"encoder__path": str(folder / "bert"), "encoder__prefix": PREFIX}
    | overrides,
  )


def _embed(made, tmp_path, **overrides):
  """(config, workdir, embeddings) of a run on the pool that is there."""
  config = _config(made[0], **overrides)
  workdir = tmp_path / "work"
  if not workdir.exists():
    shutil.copytree(made[0] / "pool", workdir)
  pipeline.run(config, workdir, stages=["embed"])
  files = sorted((workdir / "embed").glob("*.npy"))
  assert len(files) == 3
  return config, workdir, np.concatenate([np.load(file) for file in files])


def _prompts(workdir):
  tables = shards.iterate(workdir, ["turns"])
  turns = [turns for table in tables for turns in shards.turns_of(table)]
  # Of one question and one answer each.
  assert {len(both) for both in turns} == {2}
  return [both[0].text for both in turns]


def _witness(model, token_lists):
  """The mean of torch's hidden states of each text alone, of norm 1."""
  import torch

  means = []
  for ids in token_lists:
    with torch.no_grad():
      hidden = model(torch.tensor([ids])).last_hidden_state[0]
    means.append(hidden.mean(dim=0).numpy())
  means = np.stack(means)
  return means / np.linalg.norm(means, axis=1, keepdims=True)


def _bert_tokens(folder, prompts):
  """By hand: prefix, lower case, [CLS], as many tokens as fit, [SEP]."""
  from transformers import AutoTokenizer

  tokenizer = AutoTokenizer.from_pretrained(folder / "bert")
  cls, sep = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
  lists = []
  for prompt in prompts:
    pieces = tokenizer.tokenize((PREFIX + prompt).lower())
    ids = tokenizer.convert_tokens_to_ids(pieces)
    lists.append([cls, *ids[: model_folders.LONGEST - 2], sep])
  lengths = {len(ids) for ids in lists}
  assert min(lengths) < max(lengths) == model_folders.LONGEST
  return lists


@pytest.mark.parametrize("layout", ["buckets", "pack"])
def test_an_encoder_folder_equals_torch(made, tmp_path, layout):
  config, workdir, found = _embed(made, tmp_path, encoder__layout=layout)
  folder, theirs = made
  ids = _bert_tokens(folder, _prompts(workdir))
  wanted = _witness(theirs, ids)
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  # Vectors that were all alike would be equal to anything.
  assert (found @ found.T).min() < 0.99
  stage = files_lib.read_json(workdir / "manifest.json")["stages"]["embed"]
  lengths = np.array([len(i) for i in ids])
  sizes = encoder_families.encoder_config(folder / "bert", dtype="float32")
  assert stage["tokens"] == lengths.sum()
  assert stage["flops"] == forward.flops(sizes, lengths)
  assert stage["examples"] == stage["distinct_prompts"] == len(ids) == 60
  assert stage["distinct_inputs"] == len(set(map(tuple, ids)))
  most = lengths == model_folders.LONGEST
  assert 0 < stage["cut"] <= most.sum() and 0 < stage["cut_share"] < 1
  assert 0 <= stage["padding"] == 1 - stage["tokens"] / stage["cells"] < 1
  # The rate is measured on cores that others may use meanwhile.
  assert 0 < stage["utilisation"] < 1.5
  rate = stage["tokens"] / stage["seconds"]
  assert stage["tokens_per_second"] == pytest.approx(rate, rel=0.01)
  # A dry run counts the encoder's own tokens, the prefix among them.
  found = dry_run.run(config, workdir, stages=("embed",))
  assert list(found) == ["embed"]
  cost = found["embed"]
  assert cost.flops == pytest.approx(stage["flops"], rel=1e-9)


def test_prompts_that_the_encoder_reads_alike_are_refused_early(
  made, tmp_path, monkeypatch
):
  rows = tiny.records(60)
  for row in rows:
    row["instruction"] = "Correct the sentence. " * 40 + row["instruction"]
  source = tiny.write(tmp_path / "long.jsonl", rows)
  config = _config(made[0], pool__source=str(source))
  pipeline.run(config, tmp_path / "run", stages=["pool"])
  # Nothing is embedded first, and nothing is left that is in the way.
  monkeypatch.setattr(embed_stage.encode, "encode", None)
  with pytest.raises(errors.InputError, match=r"of 60 .* 1 differ.*or 'lsa'"):
    pipeline.run(config, tmp_path / "run", stages=["embed"])
  config = _config(made[0], pool__source=str(source), encoder__path="lsa")
  pipeline.run(config, tmp_path / "run", stages=["embed"])
  record = files_lib.read_json(tmp_path / "run/embed/stage.json")
  assert record["distinct_inputs"] == 60


def test_the_base_as_encoder_equals_torch(made, tmp_path):
  config, workdir, found = _embed(
    made, tmp_path, encoder__path="base", encoder__prefix=""
  )
  from transformers import AutoModel, AutoTokenizer

  theirs = AutoModel.from_pretrained(made[0] / "llama").eval()
  tokenizer = AutoTokenizer.from_pretrained(made[0] / "llama")
  ids = tokenizer(_prompts(workdir))["input_ids"]
  np.testing.assert_allclose(found, _witness(theirs, ids), atol=1e-5)
  assert (found @ found.T).min() < 0.99
  stage = files_lib.read_json(workdir / "manifest.json")["stages"]["embed"]
  assert stage["tokens"] == sum(map(len, ids))
  cost = dry_run.run(config, workdir, stages=("embed",))["embed"]
  # The tokens of the text, without those of a template.
  assert cost.flops == pytest.approx(stage["flops"], rel=1e-9)


def test_a_shard_that_is_lost_is_made_anew(made, tmp_path):
  _, workdir, whole = _embed(made, tmp_path)
  record = files_lib.read_json(workdir / "embed/stage.json")
  files_lib.write_json(workdir / "embed/stage.json", record | {"done": False})
  lost = tables.EMBEDDINGS.path(workdir, shard=1)
  kept = [tables.EMBEDDINGS.path(workdir, shard=i) for i in (0, 2)]
  lost.unlink()
  before = [path.stat().mtime for path in kept]
  _, _, again = _embed(made, tmp_path)
  np.testing.assert_array_equal(again, whole)
  assert [path.stat().mtime for path in kept] == before
  assert files_lib.read_json(workdir / "embed/stage.json")["done"]


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """(x, what is copied): six shards in gs://pool, and a local disk apart."""
  x = np.random.default_rng(0).normal(size=(6 * 4096 - 96, 64))
  x = x.astype(np.float32)
  for i, part in enumerate(np.split(x, range(4096, len(x), 4096))):
    files_lib.write_array(
      tmp_path / f"cloud/embed/embeddings-{i:05d}.npy", part
    )
  disk, copied = tmp_path / "disk", []
  disk.mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(disk))

  def here(path):
    return os.fspath(path).replace("gs://pool", str(tmp_path / "cloud"))

  def there(true, path):
    return true(here(path))

  def copy(path, target):
    copied.append(path.name)
    return shutil.copy(here(path), target)

  def look(path):
    size = os.path.getsize(here(path))
    return buckets.Object(size=size, version="1", crc32c=None)

  monkeypatch.setattr(local_copies, "copy", copy)
  monkeypatch.setattr(buckets, "look", look)
  monkeypatch.setattr(
    buckets, "read", lambda path: pathlib.Path(here(path)).read_bytes()
  )
  opened = testing.mock_epath(
    **dict.fromkeys(("exists", "stat", "listdir"), there),
    open=lambda true, path, mode: true(here(path), mode),
  )
  with opened:
    yield x, copied, disk


def test_embeddings_of_a_bucket_pass_by_the_disk(bucket):
  x, copied, disk = bucket
  chosen = np.setdiff1d(np.arange(len(x)), np.arange(8000, 17_000))
  tracemalloc.start()
  rows = rows_lib.Rows(epath.Path("gs://pool"), chosen)
  assert copied == ["embeddings-00000.npy"] and rows.width == 64
  rng = np.random.default_rng(1)
  for _ in range(20):
    places = rng.integers(len(chosen), size=100)
    np.testing.assert_array_equal(rows[places], x[chosen[places]])
  some = rows.of(np.array([5, 15_000, 7]))
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  # Less than a shard, though all was asked for again and again.
  assert peak < 4096 * 64 * 4 / 2
  # Each shard once, and none of which no row is asked for.
  assert sorted(copied) == [f"embeddings-{i:05d}.npy" for i in (0, 1, 4, 5)]
  del rows
  np.testing.assert_array_equal(some[np.array([1, 0])], x[chosen[[15_000, 5]]])
  del some
  gc.collect()
  assert not list(disk.iterdir())
  whole = rows_lib.load(epath.Path("gs://pool"), chosen)
  np.testing.assert_array_equal(whole, x[chosen])


def test_few_shards_are_open_at_once(bucket, tmp_path, monkeypatch):
  monkeypatch.setattr(rows_lib, "_MAPPED_SHARDS", 2)
  alive, true = weakref.WeakSet(), np.load

  def load(*args, **kwargs):
    found = true(*args, **kwargs)
    alive.add(found.base)
    return found

  monkeypatch.setattr(np, "load", load)
  x = bucket[0]
  rows = rows_lib.Rows(epath.Path(tmp_path / "cloud"), np.arange(len(x)))
  for _ in range(2):
    np.testing.assert_array_equal(rows[np.arange(len(x))[::-7]], x[::-7])
    assert 0 < len(alive) <= 3  # One more is in hand while the next is opened.
