"""Examples without a finite loss, from scoring to fine-tuning."""

import collections
import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax import errors, pipeline
from ila_jax.compute import mesh
from ila_jax.models.folders import weights
from ila_jax.passes import example_loss, layouts, token_set
from ila_jax.pool import shards
from ila_jax.run.disk import files
from ila_jax.score import split
from tests.support import model_folders, tiny

# Each is a token in a few records.
_RARE = "αβγδεζηθικλμ"
STAGES = ("pool", "embed", "score", "landscape", "select", "finetune")


def _config(folder, model, **overrides):
  return tiny.config(
    folder / "pool.jsonl",
    pool__dev_examples=12,
    pool__shard_examples=45,
    model__path=str(folder / model),
    score__reference_examples=5,
    landscape__projection="pca",
    finetune__compare=(),
    **{"pool__max_reject_fraction": 0.5} | overrides,
  )


def _pool(workdir):
  """(index, tokens of every example, which of them are response)."""
  index = files.read_table(workdir / "pool/index.parquet")
  columns = ["tokens", "is_response"]
  sets = [token_set.tokens_of(t) for t in shards.iterate(workdir, columns)]
  ids = [ids for data in sets for ids in data.tokens]
  return index, ids, [mask for data in sets for mask in data.is_response]


def _rare_token(config, index, ids):
  """(token, its rows): in a few examples, some of them dev and none of R."""
  rows_of = collections.defaultdict(set)
  for row, example in enumerate(ids):
    for token in set(example.tolist()):
      rows_of[token].add(row)
  is_dev = index["split"] == "dev"
  drawn = split.references(config, index["prompt_id"], is_dev).values()
  reference = set(np.flatnonzero(np.any(list(drawn), axis=0)).tolist())
  dev = set(np.flatnonzero(is_dev).tolist())
  for token, rows in sorted(rows_of.items()):
    if 3 <= len(rows) <= 12 and rows & dev and not rows & reference:
      return token, sorted(rows)
  raise AssertionError("no such token; choose other records")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
  """(folder, index, rows that a bad Llama spoils, losses of a whole one)."""
  folder = tmp_path_factory.mktemp("not_finite")
  rows = tiny.records(90)
  for i, row in enumerate(rows):
    row["instruction"] += f" {_RARE[i % len(_RARE)]}"
  tiny.write(folder / "pool.jsonl", rows)
  texts = [f"{row['instruction']}\n\n{row['output']}" for row in rows]
  sizes, model = model_folders.llama(folder / "whole", texts)
  config = _config(folder, "whole")
  pipeline.run(config, folder / "work", stages=["pool"])
  index, ids, masks = _pool(folder / "work")
  token, lost = _rare_token(config, index, ids)
  layout = layouts.choose(
    np.array([len(i) for i in ids], np.int32), batch_tokens=512, kind="buckets"
  )
  nll = example_loss.example_nll(
    model, ids, masks, layout=layout, mesh=mesh.make()
  )[:, 0]
  sound = model.embedding[...]
  for name, value in (("nan", jnp.nan), ("inf", jnp.inf)):
    model_folders.llama(folder / name, texts)
    model.embedding[...] = sound.at[token, 3].set(value)
    weights.save_decoder(folder / name, sizes, model)
  return folder, index, lost, nll


@pytest.mark.parametrize(
  ("name", "layout", "method"),
  [("nan", "buckets", "full"), ("inf", "pack", "lora")],
)
def test_a_run_goes_on_without_them(pool, tmp_path, name, layout, method):
  folder, index, lost, nll = pool
  config = _config(
    folder,
    name,
    score__layout=layout,
    train__method=method,
    train__lora_rank=2,
    score__reference_seeds=(0, 1) if method == "lora" else (0,),
  )
  workdir = tmp_path / "work"
  pipeline.run(config, workdir, stages=STAGES)
  rejects = files.read_jsonl(workdir / "score/rejects.jsonl")
  assert [reject["row"] for reject in rejects] == lost
  assert [int(reject["id"], 16) for reject in rejects] == (
    index["id"][lost].tolist()
  )
  assert {reject["reason"] for reject in rejects} == {"loss is not finite"}
  scores = files.read_table(workdir / "score/scores.parquet")
  others = np.setdiff1d(index["row"], lost)
  np.testing.assert_array_equal(scores["row"], others)
  # Whoever shared a batch or a row with them has the loss of the whole model.
  np.testing.assert_allclose(scores["nll_base"], nll[others], rtol=1e-5)
  stages = files.read_json(workdir / "manifest.json")["stages"]
  assert stages["score"]["not_finite"] == len(lost)
  ranking = files.read_table(workdir / "select/ranking.parquet")
  assert not set(ranking["row"]) & set(lost)
  dev = others[index["split"][others] == "dev"]
  assert len(dev) < (index["split"] == "dev").sum()
  found = files.read_jsonl(workdir / "finetune/evaluations.jsonl")
  assert [line["name"] for line in found] == ["base", "ila"]
  for line in found:
    assert line["n_examples"] == len(dev)
    assert np.isfinite([line["micro"], line["macro"]]).all()


def test_too_many_of_them_end_the_run(pool, tmp_path):
  folder, _, lost, _ = pool
  shutil.copytree(folder / "work", tmp_path / "work")
  # The whole model's pool: the tokenizers are equal.
  config = _config(folder, "whole", pool__max_reject_fraction=0.01)
  broken = dataclasses.replace(config.model, path=str(folder / "nan"))
  config = dataclasses.replace(config, model=broken)
  with pytest.raises(
    errors.InputError, match=rf"{len(lost)} of 90 examples.*0\.01"
  ):
    pipeline.run(config, tmp_path / "work", stages=["score"])
  assert not (tmp_path / "work/score/scores.parquet").exists()
