import contextlib
import json

import pytest

from ila_jax import errors
from ila_jax.embed import encoders
from tests.support import tiny

_SIZES = {
  "vocab_size": 300,
  "num_hidden_layers": 1,
  "hidden_size": 8,
  "num_attention_heads": 2,
  "intermediate_size": 16,
  "max_position_embeddings": 512,
}
_LLAMA = {
  **{"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6},
  **{"num_key_value_heads": 1, "tie_word_embeddings": True},
}
_BERT = {
  **{"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12},
  "type_vocab_size": 2,
}


@pytest.mark.parametrize(
  ("absent", "model", "encoder", "stages", "is_refused"),
  [
    ("llama", "llama", "lsa", ("pool", "score"), True),
    ("llama", "llama", "base", ("pool", "embed"), True),
    ("llama", "llama", "lsa", ("pool", "embed"), False),
    ("bert", "llama", "bert", ("pool", "embed"), True),
    ("bert", "llama", "bert", ("pool", "score"), False),
    ("", "llama", "bert", ("pool", "embed", "score"), False),
    ("", "scratch", "base", ("pool", "embed", "score"), False),
  ],
)
def test_weights_are_looked_for_before_a_pool_is_read(
  tmp_path, monkeypatch, absent, model, encoder, stages, is_refused
):
  monkeypatch.chdir(tmp_path)
  for name, own in (("llama", _LLAMA), ("bert", _BERT)):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps(_SIZES | own))
    if name != absent:
      (tmp_path / name / "model.safetensors").touch()
  config = tiny.config("x.jsonl", model__path=model, encoder__path=encoder)
  refused = pytest.raises(errors.InputError, match=f"^{absent} has no weights")
  with refused if is_refused else contextlib.nullcontext():
    encoders.check(config, stages)
  # A dry run reads none.
  encoders.check(config, stages, with_weights=False)
