"""Every family and some types, against safetensors of the same weights."""

import dataclasses

import gguf
import jax
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.models.folders import weights
from ila_jax.models.folders.gguf import gguf_tensors
from tests.support import gguf_files

CASES = [(case, "F32") for case in gguf_files.FAMILIES]
CASES += [("llama", kind) for kind in ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1")]
CASES += [("gemma3", "Q8_0"), ("qwen2", "Q4_0")]


def _assert_equal(got, want):
  got, want = (nnx.to_pure_dict(nnx.state(model)) for model in (got, want))
  assert jax.tree.structure(got) == jax.tree.structure(want)
  # Gemma's norms have 1 added, and taken off again.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), got, want
  )


@pytest.mark.parametrize(("case", "kind"), CASES)
def test_a_gguf_file_is_read_as_the_safetensors_of_its_weights(
  case, kind, tmp_path
):
  file = gguf_files.write(tmp_path, case, kind)
  want_config, want = weights.load_decoder(tmp_path / "hf")
  config, got = weights.load_decoder(file)
  assert config == want_config
  _assert_equal(got, want)
  # And of a tuned model a folder is made, of the same family.
  weights.save_decoder(tmp_path / "saved", config, got)
  again, saved = weights.load_decoder(tmp_path / "saved")
  assert (again, again.family) == (config, config.family)
  _assert_equal(saved, want)


@pytest.mark.parametrize("case", ["llama", "gemma2"])
def test_slices_go_to_eight_devices(case, tmp_path):
  file = gguf_files.write(tmp_path, case, "Q8_0")
  spread = mesh.make(fsdp=4)
  _, want = weights.load_decoder(tmp_path / "hf")
  _, got = weights.load_decoder(file, mesh=spread, param_dtype="bfloat16")
  whole = jax.tree.map(
    lambda x: np.asarray(x, np.float32), nnx.to_pure_dict(nnx.state(got))
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0.01),
    whole,
    nnx.to_pure_dict(nnx.state(want)),
  )


def test_missing_and_unknown_tensors_are_named(tmp_path):
  def change(writer):
    tensors = writer.tensors[0]
    tensors["blk.0.attn_q_norm.weight"] = tensors.pop("output_norm.weight")

  file = gguf_files.write(tmp_path, "llama", "F32", change=change)
  with pytest.raises(errors.InputError) as error:
    weights.load_decoder(file)
  for part in (str(file), "output_norm.weight is missing", "convert_hf_to_"):
    assert part in str(error.value)
  assert "blk.0.attn_q_norm.weight is not known" in str(error.value)


def test_no_tensor_is_made_whole_for_a_slice(tmp_path, monkeypatch):
  file = gguf_files.write(tmp_path, "llama", "Q8_0")
  rows = []
  plain = gguf.dequantize
  monkeypatch.setattr(
    gguf, "dequantize", lambda d, k: (rows.append(len(d)), plain(d, k))[1]
  )
  monkeypatch.setattr(gguf_tensors, "_ROWS", 8)
  query = gguf_tensors.open_tensors(file)["blk.1.attn_q.weight"]
  rows.clear()
  part = query[4:16, 3:5]
  assert rows == [8, 4] and part.shape == (12, 2)
  np.testing.assert_array_equal(part, query[:][4:16, 3:5])
  ordered = dataclasses.replace(query, order=None)
  assert (ordered[4:16, 3:5] != part).any()
