"""Published models, by their shapes alone; torch holds no weights either."""

import json

import jax
import pytest
from flax import nnx

from ila_jax.models import decoder, encoder
from ila_jax.models.folders import (
  causal_configs,
  encoder_families,
  json_fields,
  tensor_names,
)
from tests.support import published


def _expected(model, table):
  """Their name and shape of each of our weights."""
  flat = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
  found = {}
  for path, leaf in flat:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if not name.startswith("blocks/"):
      found[table[name]] = leaf.shape
      continue
    for layer in range(leaf.shape[0]):
      found[table[name].format(layer)] = leaf.shape[:0:-1]
  return found


def _shapes(theirs):
  return {name: tuple(w.shape) for name, w in theirs.named_parameters()}


def _read(values):
  return causal_configs.read(json_fields.Fields("config.json", values))


@pytest.mark.parametrize("name", published.DECODERS)
def test_a_published_decoder_has_torchs_names_and_shapes(name):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  values, weights = published.DECODERS[name]
  config = _read(values)
  assert decoder.count_parameters(config) == weights
  # transformers fills in what the file lacks, and spells it its newer way.
  their_config = transformers.AutoConfig.for_model(**values).get_text_config()
  assert _read(their_config.to_dict()) == config
  assert _read(causal_configs.write(config)) == config
  with torch.device("meta"):
    theirs = transformers.AutoModelForCausalLM.from_config(their_config)
  assert theirs.num_parameters() == weights
  ours, names = (
    decoder.abstract(config),
    causal_configs.family_of(config).tensors,
  )
  assert _expected(ours, names.table) == _shapes(theirs)


@pytest.mark.parametrize("name", published.ENCODERS)
def test_a_published_encoder_has_torchs_names_and_shapes(name, tmp_path):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  values = published.ENCODERS[name]
  (tmp_path / "config.json").write_text(json.dumps(values))
  config = encoder_families.encoder_config(tmp_path, dtype="float32")
  with torch.device("meta"):
    theirs = transformers.AutoModel.from_config(
      transformers.AutoConfig.for_model(**values), add_pooling_layer=False
    )
  ours = encoder.abstract(config)
  assert _expected(ours, tensor_names.ENCODER) == _shapes(theirs)
  assert config.max_positions == (8192 if name == "bge-m3" else 512)
