"""The paper's settings: each preset loads, is foretold and has its shapes.

The folders of the models hold what is published but for the weights. The pools
are as those of the paper are written; no budget of theirs fits such small ones.
"""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import pytest

from ila_jax import config_parsing, errors, presets
from ila_jax.dry_run import dry_run
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import losses
from ila_jax.models.folders import causal_configs, json_fields
from tests.support import model_folders, published, tiny

_MODELS = {
  "llama3_8b": "Meta-Llama-3-8B",
  "qwen2_1_5b": "Qwen2-1.5B",
  "qwen2_5_3b": "Qwen2.5-3B",
  "qwen2_7b": "Qwen2-7B",
}
_ABILITIES = ("Math", "Writing", "Programming")


def _infinity(i, row):
  """A record as Infinity-Instruct has them."""
  return {
    "id": i,
    "conversations": [
      {"from": "human", "value": row["instruction"]},
      {"from": "gpt", "value": row["output"]},
    ],
    "label": {"ability_en": _ABILITIES[: 1 + i % 3], "ability_zh": []},
    "langdetect": "en",
    "source": "flan",
  }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Pools, and what is published of the models but for their weights."""
  folder = tmp_path_factory.mktemp("paper")
  rows = tiny.records(600)
  texts = [row["instruction"] for row in rows]
  tiny.write(
    folder / "infinity.jsonl", [_infinity(i, r) for i, r in enumerate(rows)]
  )
  tiny.write(
    folder / "math.jsonl",
    [{"problem": r["instruction"], "solution": r["output"]} for r in rows],
  )
  model_folders.llama(folder / "tokenizer", texts)
  folders = {
    "bge": published.ENCODERS["bge-base-en-v1.5"],
    **{name: published.DECODERS[of][0] for name, of in _MODELS.items()},
  }
  for name, values in folders.items():
    (folder / name).mkdir()
    for path in (folder / "tokenizer").glob("*token*"):
      shutil.copy(path, folder / name)
    (folder / name / "config.json").write_text(json.dumps(values))
  return folder


def _preset(name, folder, pool, **fields):
  config = presets.load(name)
  config.update_from_flattened_dict(
    {
      "pool.source": str(folder / pool),
      "model.path": str(folder / name),
      "encoder.path": str(folder / "bge"),
      "pool.dev_examples": 20,
      "score.reference_examples": 100,
      **{name.replace("__", "."): value for name, value in fields.items()},
    }
  )
  return config_parsing.parse(config)


def _costs(name, folder, pool, *, budget, **fields):
  config = _preset(name, folder, pool, select__budget=float(budget), **fields)
  return dry_run.run(
    config,
    folder / "work",
    stages=("embed", "score", "finetune"),
    topology="h100:8",
  )


@pytest.mark.parametrize("name", _MODELS)
def test_each_setting_is_foretold(name, folder, capsys):
  few = _costs(name, folder, "infinity.jsonl", budget=50)
  many = _costs(name, folder, "infinity.jsonl", budget=400)
  said = capsys.readouterr().err
  weights = published.DECODERS[_MODELS[name]][1]
  assert f"a decoder of {weights:,} weights" in said
  assert "600 examples" in said and "Fits with --config.mesh." in said
  assert "labels = label.ability_en" in said
  assert few["score"].flops > 2 * weights * 600
  # Weights, gradient and two moments in float32, and the base, on 8 chips.
  assert few["finetune"].device_bytes > 16 * weights / 8
  assert few["score"] == many["score"]
  assert 0 < few["finetune"].flops < many["finetune"].flops


def test_a_math_pool_has_no_labels(folder, capsys):
  with pytest.raises(errors.InputError, match=r"labels is 'label\.ability_en'"):
    _costs("qwen2_7b", folder, "math.jsonl", budget=50)
  labels = {"pool__fields__labels": ""}
  found = _costs("qwen2_7b", folder, "math.jsonl", budget=50, **labels)
  assert found["score"].flops > 0
  said = capsys.readouterr().err
  assert "prompt = problem, response = solution" in said


@pytest.mark.parametrize("name", _MODELS)
def test_each_base_has_its_shapes(name, folder):
  """A batch of the preset through the published sizes, and its gradient."""
  config = _preset(name, folder, "infinity.jsonl")
  values = published.DECODERS[_MODELS[name]][0]
  sizes = causal_configs.read(json_fields.Fields("config.json", values))
  sizes = dataclasses.replace(
    sizes, dtype=config.model.dtype, remat=config.train.remat
  )
  model = decoder_lib.abstract(sizes)
  length = config.tokens.max_tokens
  rows = config.score.batch_tokens // length
  tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)

  def loss(model, tokens):
    segments = jnp.ones_like(tokens)
    places = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    hidden = model.hidden(tokens, places, segments)
    targets = jnp.ones(tokens.shape, bool)
    nll = losses.token_nll(hidden, model.head_weights(), tokens, targets)
    return nll.sum(), (hidden, nll)

  of_weights = jax.grad(loss, has_aux=True)
  grads, (hidden, nll) = jax.eval_shape(of_weights, model, tokens)
  assert hidden.shape == (rows, length, sizes.width)
  assert hidden.dtype == jnp.bfloat16
  assert nll.shape == (rows, length) and nll.dtype == jnp.float32
  shapes = [leaf.shape for leaf in jax.tree.leaves(grads)]
  assert shapes == [leaf.shape for leaf in jax.tree.leaves(model)]
