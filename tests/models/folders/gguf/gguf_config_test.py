"""What metadata is read as, and what is refused of it by key."""

import gguf
import pytest

from ila_jax import errors
from ila_jax.models.folders import causal_configs, encoder_families
from ila_jax.models.folders.gguf import gguf_config
from tests.support import gguf_files


def _read(tmp_path, change, case="llama"):
  file = gguf_files.write(tmp_path, case, "F32", change=change)
  return causal_configs.read(gguf_config.read(file))


def _change(key, value):
  def change(writer):
    for values in writer.kv_data:
      if value is None:
        values.pop(key)
      else:
        kind = {
          int: gguf.GGUFValueType.UINT32,
          str: gguf.GGUFValueType.STRING,
          float: gguf.GGUFValueType.FLOAT32,
          list: gguf.GGUFValueType.ARRAY,
        }[type(value)]
        values.pop(key, None)
        writer.add_key_value(key, value, kind)

  return change


@pytest.mark.parametrize(
  ("key", "value", "parts"),
  [
    ("general.architecture", "mamba", ("'mamba'", "llama, qwen2, qwen3")),
    ("general.architecture", None, ("None", "llama, qwen2, qwen3")),
    ("llama.block_count", None, ("lacks llama.block_count", "Convert")),
    ("llama.attention.head_count", [4, 2], ("num_attention_heads", "[4, 2]")),
    ("llama.expert_count", 8, ("llama.expert_count is 8",)),
    ("llama.attention.scale", 0.5, ("llama.attention.scale is 0.5",)),
    ("llama.rope.dimension_count", 8, ("dimension_count is 8", "16")),
    ("llama.rope.scaling.type", "longrope", ("'longrope'", "linear or yarn")),
    ("llama.rope.scaling.type", "yarn", ("llama.rope.scaling.factor",)),
  ],
)
def test_what_is_not_implemented_is_refused_by_key(key, value, parts, tmp_path):
  with pytest.raises(errors.InputError) as error:
    _read(tmp_path, _change(key, value))
  for part in ("m.gguf", *parts):
    assert part in str(error.value)


def test_absent_keys_have_llama_cpps_meaning(tmp_path):
  def change(writer):
    for key in ("head_count_kv", "key_length", "value_length"):
      _change(f"llama.attention.{key}", None)(writer)
    _change("llama.rope.freq_base", None)(writer)

  config = _read(tmp_path, change)
  assert (config.heads, config.kv_heads, config.head_dim) == (4, 4, 16)
  assert config.rope.theta == 1e4


def test_other_frequencies_than_llama_3s_are_refused(tmp_path):
  def change(writer):
    writer.tensors[0]["rope_freqs.weight"].tensor[3] *= 1.5

  with pytest.raises(errors.InputError, match=r"rope_freqs\.weight divides"):
    _read(tmp_path, change, "llama_3")


@pytest.mark.parametrize(("case", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_largest_gemma_scales_by_its_width(case, layers, tmp_path):
  config = _read(tmp_path, _change(f"{case}.embedding_length", 96), case)
  assert config.attention_scale == 16**-0.5
  deep = _change(f"{case}.block_count", layers)
  wide = _change(f"{case}.embedding_length", 96)
  (tmp_path / "deep").mkdir()
  config = _read(tmp_path / "deep", lambda w: (deep(w), wide(w)), case)
  assert config.attention_scale == (96 / 4) ** -0.5


def test_an_encoder_is_no_gguf_file(tmp_path):
  file = gguf_files.write(tmp_path, "llama", "F32")
  with pytest.raises(errors.InputError, match="model alone") as error:
    encoder_families.encoder_config(file, dtype="float32")
  assert "config.encoder.path" in str(error.value)
