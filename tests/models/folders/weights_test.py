import contextlib
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, decoder, rotary
from ila_jax.models.folders import (
  causal_configs,
  encoder_families,
  placement,
  safetensors_files,
  tensor_names,
  weights,
)
from tests.support import torch_models

_INDEX = "model.safetensors.index.json"
CONFIG = architecture.DecoderConfig(
  vocab=31,
  layers=2,
  width=16,
  heads=4,
  kv_heads=2,
  head_dim=6,
  mlp_width=24,
  qkv_bias=True,
  tied=False,
  rope=rotary.Rope(theta=5e4),
)


def _decoder(config=CONFIG, seed=0):
  """A decoder whose norms and biases are random too."""
  graphdef, state = nnx.split(decoder.Decoder(config, rngs=nnx.Rngs(seed)))
  rng = np.random.default_rng(seed)
  state = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape) / 4 + 0.5, x.dtype), state
  )
  return nnx.merge(graphdef, state)


def _assert_same(ours, theirs):
  ours, theirs = nnx.state(ours), nnx.state(theirs)
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for x, y in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
    assert x.dtype == y.dtype
    np.testing.assert_array_equal(x, y)


@pytest.fixture
def folder(tmp_path):
  weights.save_decoder(tmp_path / "model", CONFIG, _decoder())
  return tmp_path / "model"


def _edit(folder: pathlib.Path, **fields) -> None:
  file = folder / "config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def _rewrite(folder: pathlib.Path, change) -> None:
  file = folder / "model.safetensors"
  tensors = safetensors.numpy.load_file(file)
  change(tensors)
  safetensors.numpy.save_file(tensors, file)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_torch_reads_what_is_saved_and_we_read_it_back(tmp_path, tied, bias):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  config = architecture.DecoderConfig(
    **{**vars(CONFIG), "tied": tied, "qkv_bias": bias}
  )
  ours = _decoder(config)
  weights.save_decoder(tmp_path, config, ours, bos_token_id=1, eos_token_id=2)
  theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path, output_loading_info=True
  )
  assert not report["missing_keys"] and not report["unexpected_keys"]
  assert theirs.config.model_type == ("qwen2" if bias else "llama")
  assert (theirs.config.bos_token_id, theirs.config.eos_token_id) == (1, 2)
  assert theirs.dtype == torch.float32
  tokens = np.random.default_rng(0).integers(0, config.vocab, (2, 9))
  tokens = tokens.astype(np.int32)
  positions = np.tile(np.arange(9, dtype=np.int32), (2, 1))
  rows = map(jnp.asarray, (tokens, positions, np.ones_like(tokens)))
  want = torch_models.torch_logits(theirs.eval(), tokens)
  np.testing.assert_allclose(ours.logits(*rows), want, atol=1e-4)

  read, again = weights.load_decoder(tmp_path)
  assert read == config
  _assert_same(again, ours)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
def test_torch_reads_what_is_saved_in_parts(tmp_path, tied, dtype):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  config = architecture.DecoderConfig(
    **{**vars(CONFIG), "tied": tied, "param_dtype": dtype}
  )
  ours = _decoder(config)
  weights.save_decoder(tmp_path / "whole", config, ours)
  limit = 2000
  weights.save_decoder(tmp_path / "parts", config, ours, max_shard_bytes=limit)
  files = sorted((tmp_path / "parts").glob("*.safetensors"))
  assert len(files) > 3
  total = 0
  for number, file in enumerate(files):
    assert file.name == f"model-{number + 1:05}-of-{len(files):05}.safetensors"
    held = safetensors.numpy.load_file(file)
    size = sum(tensor.nbytes for tensor in held.values())
    assert size <= limit or len(held) == 1
    total += size
  index = json.loads((tmp_path / "parts" / _INDEX).read_text())
  assert index["metadata"]["total_size"] == total
  models = [
    transformers.AutoModelForCausalLM.from_pretrained(
      tmp_path / name, output_loading_info=True
    )
    for name in ("whole", "parts")
  ]
  tokens = np.random.default_rng(0).integers(0, config.vocab, (2, 9))
  tokens = tokens.astype(np.int32)
  positions = np.tile(np.arange(9, dtype=np.int32), (2, 1))
  want = ours.logits(*map(jnp.asarray, (tokens, positions, positions * 0 + 1)))
  for model, report in models:
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert model.dtype == getattr(torch, dtype)
    # The weights are what was saved; the arithmetic is float32 on both sides.
    got = torch_models.torch_logits(model.float().eval(), tokens)
    np.testing.assert_allclose(got, want, atol=1e-4)
  for name in ("whole", "parts"):
    again = weights.load_decoder(tmp_path / name, param_dtype=dtype)[1]
    _assert_same(again, ours)


def test_a_saved_folder_is_of_one_model(tmp_path, monkeypatch):
  old, new = _decoder(seed=1), _decoder(seed=2)
  # Whole over parts, parts over whole, fewer parts over many.
  for limit in (2000, 10**9, 3000, 2000):
    weights.save_decoder(tmp_path, CONFIG, old, max_shard_bytes=limit)
    _assert_same(weights.load_decoder(tmp_path)[1], old)
    found = {path.name for path in tmp_path.iterdir()} - {
      "config.json",
      "checksums.json",
    }
    if limit == 10**9:
      assert found == {"model.safetensors"}
    else:
      index = json.loads((tmp_path / _INDEX).read_text())["weight_map"]
      assert found == {_INDEX, *index.values()}
    old, new = new, old
  # A save that is cut short leaves no folder that seems whole.
  fetched = []

  def fail(array):
    fetched.append(array)
    if len(fetched) > 9:
      raise OSError("no space left")
    return np.asarray(array)

  monkeypatch.setattr(mesh_lib, "fetch", fail)
  with pytest.raises(OSError, match="no space left"):
    weights.save_decoder(tmp_path, CONFIG, new, max_shard_bytes=2000)
  with pytest.raises(errors.InputError, match="has no weights"):
    weights.load_decoder(tmp_path)
  assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ([], "has no weights; allowed: model.safetensors, or"),
    (["pytorch_model.bin"], r"\(pytorch_model.bin is a pickle, and is never"),
    (["model-1-of-2.safetensors"], "has no weights"),
    (["a.gguf", "model-1-of-2.safetensors"], "has no weights"),
    ([_INDEX, "model-1-of-2.safetensors"], "model-2-of-2.safetensors does not"),
    ([_INDEX, "model-1-of-2.safetensors", "model-2-of-2.safetensors"], None),
    (["model.safetensors"], None),
    (["a.gguf"], None),
  ],
)
def test_a_folder_without_weights_is_refused_unopened(tmp_path, names, message):
  for name in names:
    (tmp_path / name).touch()
  if _INDEX in names:
    parts = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (tmp_path / _INDEX).write_text(json.dumps({"weight_map": parts}))
  refused = pytest.raises(errors.InputError, match=message)
  with refused if message else contextlib.nullcontext():
    safetensors_files.check(tmp_path)
  # What a name stands for is fetched later.
  safetensors_files.check("org/name")


def test_weights_in_a_bucket_are_looked_for_there(bucket):
  for name in ("", "config.json", "pytorch_model.bin"):
    bucket.put(f"model/{name}", b"{}"[: 2 * bool(name)])
  with pytest.raises(
    errors.InputError, match=r"model has no weights \(pytorch"
  ):
    safetensors_files.check("gs://fake/model")
  bucket.put("model/model.safetensors", b"not opened")
  safetensors_files.check("gs://fake/model")


def test_other_hosts_gather_and_write_nothing(tmp_path, monkeypatch):
  fetched = []
  monkeypatch.setattr(mesh_lib, "is_writer", lambda: False)
  fetch = mesh_lib.fetch
  monkeypatch.setattr(
    mesh_lib, "fetch", lambda array: fetched.append(array) or fetch(array)
  )
  weights.save_decoder(tmp_path, CONFIG, _decoder(), max_shard_bytes=2000)
  assert sum(x.size for x in fetched) == decoder.count_parameters(CONFIG)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_files_are_cast_as_asked(folder, name):
  half = ml_dtypes.bfloat16 if name == "bfloat16" else np.float16
  whole = safetensors.numpy.load_file(folder / "model.safetensors")
  _rewrite(
    folder, lambda t: t.update({k: v.astype(half) for k, v in t.items()})
  )
  _, model = weights.load_decoder(folder)
  want = whole["model.embed_tokens.weight"].astype(half).astype(np.float32)
  np.testing.assert_array_equal(model.embedding[...], want)
  config, model = weights.load_decoder(
    folder, dtype="bfloat16", param_dtype="bfloat16"
  )
  leaves = jax.tree.leaves(nnx.state(model))
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype("bfloat16")}
  weights.save_decoder(folder, config, model)
  _assert_same(weights.load_decoder(folder, param_dtype="bfloat16")[1], model)


def test_files_in_several_parts(tmp_path):
  theirs = torch_models.make_decoder("llama_gqa")
  theirs.save_pretrained(tmp_path / "whole")
  theirs.save_pretrained(tmp_path / "parts", max_shard_size="40KB")
  parts = sorted((tmp_path / "parts").glob("*.safetensors"))
  assert len(parts) > 2
  _, whole = weights.load_decoder(tmp_path / "whole")
  _assert_same(weights.load_decoder(tmp_path / "parts")[1], whole)
  parts[1].unlink()
  with pytest.raises(errors.InputError, match=rf"{parts[1].name} cannot be re"):
    weights.load_decoder(tmp_path / "parts")


@pytest.mark.parametrize(
  ("axes", "stored"),
  [
    ((8, 1, 1), "float32"),
    ((1, 8, 1), "bfloat16"),
    ((1, 1, 8), "float16"),
    ((2, 2, 2), "bfloat16"),
    ((1, 2, 4), "float64"),
  ],
)
def test_every_mesh_holds_the_same_weights(folder, axes, stored):
  _rewrite(
    folder,
    lambda t: t.update({k: v.astype(stored) for k, v in t.items()}),
  )
  mesh = mesh_lib.make(*axes)
  for dtype in ("float32", "bfloat16"):
    _, whole = weights.load_decoder(folder, param_dtype=dtype)
    _, split = weights.load_decoder(folder, param_dtype=dtype, mesh=mesh)
    _assert_same(split, whole)
    state = nnx.state(split)
    for leaf, place in zip(
      *map(jax.tree.leaves, (state, decoder.shardings(state, mesh))),
      strict=True,
    ):
      assert leaf.sharding.is_equivalent_to(place, leaf.ndim)
    file = safetensors.numpy.load_file(folder / "model.safetensors")
    query = file["model.layers.1.self_attn.q_proj.weight"].astype(dtype).T
    np.testing.assert_array_equal(whole.blocks.query[...][1], query)


class _Spy:
  """A lazy tensor that notes what is read of it."""

  def __init__(self, name, tensor, reads):
    self.name, self.tensor, self.reads = name, tensor, reads

  def __getattr__(self, name):
    return getattr(self.tensor, name)

  def __getitem__(self, index):
    part = self.tensor[index]
    self.reads.append((self.name, part.size))
    return part


@pytest.fixture
def reads(monkeypatch):
  """What is read of the files: (name of the tensor, numbers)."""
  noted = []
  opened = safetensors_files.open_tensors

  def spy(*args):
    return {k: _Spy(k, v, noted) for k, v in opened(*args).items()}

  monkeypatch.setattr(safetensors_files, "open_tensors", spy)
  return noted


@pytest.mark.parametrize("axes", [(8, 1, 1), (4, 2, 1), (2, 2, 2)])
def test_a_device_reads_its_share_and_nothing_is_read_twice(
  folder, reads, axes
):
  mesh = mesh_lib.make(*axes)
  _, model = weights.load_decoder(folder, mesh=mesh)
  size = {}
  for path, leaf in weights._flat(nnx.state(model)).items():
    shard = leaf.addressable_shards[0].data.size
    layers = leaf.shape[0] if path.startswith("blocks/") else 1
    for layer in range(layers):
      size[tensor_names.DECODER[path].format(layer)] = shard // layers
  assert {name for name, _ in reads} == size.keys()
  for name, numbers in reads:
    assert numbers == size[name], name
  # Replicas of a slice share one read.
  assert sum(n for _, n in reads) == decoder.count_parameters(CONFIG)


def test_an_encoder_on_every_device_is_read_once(tmp_path, reads):
  bert = torch_models.make_encoder()
  torch_models.save(bert, tmp_path)
  _, _, whole = weights.load_encoder(tmp_path)
  once = len(reads)
  _, _, split = weights.load_encoder(tmp_path, mesh=mesh_lib.make())
  assert len(reads) == 2 * once
  _assert_same(split, whole)


def test_programs_do_not_grow_with_the_layers(tmp_path):
  # Sizes that no other test has compiled for.
  config = architecture.DecoderConfig(**{**vars(CONFIG), "layers": 7})
  model = _decoder(config)
  programs = (placement._write_layer, placement.layer_of, placement._zeros)
  before = [program._cache_size() for program in programs]
  weights.save_decoder(tmp_path, config, model)
  weights.load_decoder(tmp_path)
  shapes = {leaf.shape for leaf in jax.tree.leaves(nnx.state(model.blocks))}
  for program, had in zip(programs, before, strict=True):
    assert program._cache_size() - had == len(shapes) < config.layers


def test_weights_land_on_the_mesh_in_parts(folder):
  mesh = mesh_lib.make(2, 2, 2)
  _, whole = weights.load_decoder(folder)
  _, split = weights.load_decoder(folder, mesh=mesh)
  _assert_same(split, whole)
  query = split.blocks.query[...]
  assert query.sharding.num_devices == 8
  # fsdp and tensor each cut in two; data repeats.
  assert query.addressable_shards[0].data.size == query.size // 4
  # What lies on a mesh is saved whole.
  weights.save_decoder(folder / "again", CONFIG, split)
  _assert_same(weights.load_decoder(folder / "again")[1], whole)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"model_type": "mamba"}, "model_type is 'mamba'; allowed: 'llama' or 'm"),
    ({"model_type": None}, "model_type is None; allowed: 'llama' or 'mistral"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; allowed: 'silu'"),
    ({"layer_types": ["sliding_attention"] * 2}, "layer_types is .*'full_att"),
    ({"attention_bias": True}, "attention_bias is True; allowed: False"),
    ({"mlp_bias": True}, "mlp_bias is True; allowed: False"),
    (
      {"rope_scaling": {"type": "longrope", "factor": 2.0}},
      "rope_scaling.rope_type is 'longrope'; allowed: 'default' or 'linear'",
    ),
    (
      {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
      "rope_parameters.factor is None; allowed: a number above 0",
    ),
    ({"rope_scaling": "yarn"}, "rope_scaling is 'yarn'; allowed: an object"),
    ({"rope_theta": "big"}, "rope_theta is 'big'; allowed: a number above 0"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; allowed:"),
    ({"quantization_config": {"bits": 4}}, "quantization_config is .* None"),
    ({"vocab_size": None}, "vocab_size is None; allowed: a whole number, 1"),
    ({"num_hidden_layers": -1}, "num_hidden_layers is -1; allowed: a whole n"),
    ({"hidden_size": True}, "hidden_size is True; allowed: a whole number"),
    ({"head_dim": 5}, "head_dim is 5; allowed: an even number"),
    ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; allowed: "),
  ],
)
def test_what_is_not_implemented_is_refused(folder, fields, message):
  _edit(folder, **fields)
  with pytest.raises(errors.InputError, match=message):
    weights.load_decoder(folder)


@pytest.mark.parametrize(
  "fields",
  [
    {"rope_theta": None, "rope_parameters": {"rope_theta": 5e4}},
    {"rope_scaling": {"rope_type": "default"}},
    {"torch_dtype": "bfloat16", "dtype": None},
    {"use_sliding_window": False, "sliding_window": 4096},
  ],
)
def test_other_spellings_are_understood(folder, fields):
  _edit(folder, **fields)
  assert weights.load_decoder(folder)[0] == CONFIG


def test_a_published_config(shared):
  config = causal_configs.decoder_config(
    shared / "models" / "qwen2",
    dtype="bfloat16",
    param_dtype="float32",
    remat=True,
  )
  # Qwen2-1.5B.
  assert decoder.count_parameters(config) == 1_543_714_304
  assert (config.rope.theta, config.norm_eps) == (1e6, 1e-6)
  assert config.tied and config.qkv_bias and config.remat


def test_fields_that_older_files_lack(folder):
  _edit(
    folder,
    rope_theta=None,
    num_key_value_heads=None,
    head_dim=None,
    tie_word_embeddings=None,
  )
  config = causal_configs.decoder_config(
    folder, dtype="float32", param_dtype="float32", remat=False
  )
  assert (config.rope.theta, config.kv_heads, config.head_dim) == (1e4, 4, 4)
  assert not config.tied


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda t: t.pop("model.layers.1.mlp.up_proj.weight"),
      "model.layers.1.mlp.up_proj.weight is missing",
    ),
    (lambda t: t.pop("lm_head.weight"), "lm_head.weight is missing"),
    (
      lambda t: t.update({"model.layers.2.x": np.zeros(1)}),
      "model.layers.2.x is not known",
    ),
    (
      lambda t: t.update({"model.norm.weight": np.zeros(17, np.float32)}),
      r"model.norm.weight is of shape \(17,\), not \(16,\)",
    ),
    (
      lambda t: t.update({"model.norm.weight": np.zeros(16, np.int8)}),
      "model.norm.weight holds I8, not floats",
    ),
  ],
)
def test_weights_that_do_not_belong_are_refused(
  folder, change, message, monkeypatch
):
  _rewrite(folder, change)
  monkeypatch.setattr(placement, "read_table", None)
  monkeypatch.setattr(placement, "read_stack", None)
  with pytest.raises(errors.InputError, match=message):
    weights.load_decoder(folder)


def test_constants_beside_the_weights_are_let_be(folder):
  name = "model.layers.0.self_attn.rotary_emb.inv_freq"
  _rewrite(folder, lambda t: t.update({name: np.zeros(3, np.float32)}))
  _assert_same(weights.load_decoder(folder)[1], _decoder())


def _assert_as_torch_reads(folder):
  """Logits of a folder, ours and transformers', which picks the files."""
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  theirs = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32
  )
  config, ours = weights.load_decoder(folder)
  tokens = np.random.default_rng(0).integers(0, config.vocab, (1, 9))
  tokens = tokens.astype(np.int32)
  positions = np.arange(9, dtype=np.int32)[None]
  rows = map(jnp.asarray, (tokens, positions, np.ones_like(tokens)))
  want = torch_models.torch_logits(theirs.eval(), tokens)
  np.testing.assert_allclose(ours.logits(*rows), want, atol=1e-4)


def test_the_whole_file_goes_before_an_index_left_beside_it(tmp_path):
  weights.save_decoder(tmp_path, CONFIG, _decoder(), max_shard_bytes=2000)
  weights.save_decoder(tmp_path / "new", CONFIG, _decoder(seed=1))
  (tmp_path / "new/model.safetensors").rename(tmp_path / "model.safetensors")
  assert (tmp_path / _INDEX).exists()
  _assert_same(weights.load_decoder(tmp_path)[1], _decoder(seed=1))
  _assert_as_torch_reads(tmp_path)


def test_a_tensor_that_stands_in_two_parts(tmp_path):
  weights.save_decoder(tmp_path, CONFIG, _decoder(), max_shard_bytes=2000)
  first, *_, last = sorted(tmp_path.glob("*.safetensors"))
  name = "model.norm.weight"
  for file in (first, last):
    tensors = safetensors.numpy.load_file(file)
    tensors[name] = np.full(16, 1 + (file == last), np.float32)
    safetensors.numpy.save_file(tensors, file, metadata={"format": "pt"})
  _assert_as_torch_reads(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {"a": 1}}'])
def test_an_index_without_its_map_is_refused(tmp_path, content):
  weights.save_decoder(tmp_path, CONFIG, _decoder(), max_shard_bytes=2000)
  (tmp_path / _INDEX).write_text(content)
  with pytest.raises(errors.InputError, match=r"index.json has no weight_map"):
    weights.load_decoder(tmp_path)


def test_a_head_beside_a_tied_embedding(tmp_path, monkeypatch):
  monkeypatch.setattr(weights, "_ROWS", 7)  # CONFIG has 31 entries.
  config = architecture.DecoderConfig(**{**vars(CONFIG), "tied": True})
  weights.save_decoder(tmp_path, config, _decoder(config))
  table = np.asarray(_decoder(config).embedding[...])
  _rewrite(tmp_path, lambda t: t.update({"lm_head.weight": table}))
  _assert_same(weights.load_decoder(tmp_path)[1], _decoder(config))
  for other in (table[:30], np.where(np.arange(31)[:, None] == 30, 1, table)):
    _rewrite(
      tmp_path,
      lambda t, o=other: t.update({"lm_head.weight": o.astype(np.float32)}),
    )
    with pytest.raises(errors.InputError, match="tie_word_embeddings to false"):
      weights.load_decoder(tmp_path)
  # What the message advises is what transformers computes.
  _edit(tmp_path, tie_word_embeddings=False)
  _rewrite(tmp_path, lambda t: t.update({"lm_head.weight": table[::-1].copy()}))
  _assert_as_torch_reads(tmp_path)


def test_an_adapter_is_no_model(tmp_path):
  (tmp_path / "adapter_config.json").write_text("{}")
  with pytest.raises(errors.InputError, match="holds an adapter and no model"):
    weights.load_decoder(tmp_path)


def test_folders_that_hold_no_model(folder, tmp_path):
  file = folder / "model.safetensors"
  content = file.read_bytes()
  file.write_bytes(content[: len(content) // 2])
  with pytest.raises(errors.InputError, match="cannot be read as safetensors"):
    weights.load_decoder(folder)
  file.rename(folder / "pytorch_model.bin")
  with pytest.raises(errors.InputError, match=r"_model.* is a pickle"):
    weights.load_decoder(folder)
  for broken in ("[1", "[" * 100_000):
    (folder / "config.json").write_text(broken)
    with pytest.raises(errors.InputError, match="cannot be read as JSON"):
      weights.load_decoder(folder)
  (folder / "config.json").write_text("[1]")
  with pytest.raises(errors.InputError, match=r"config.json is no JSON dict"):
    weights.load_decoder(folder)
  (folder / "config.json").unlink()
  with pytest.raises(errors.InputError, match=r"has no config.json: it is not"):
    weights.load_decoder(folder)
  for missing in (tmp_path / "none", "./none", "a/b/c"):
    with pytest.raises(errors.InputError, match="does not exist"):
      weights.load_decoder(missing)


def test_a_name_is_a_folder_of_the_hub(monkeypatch, folder):
  hub = pytest.importorskip("huggingface_hub")
  folder.rename(folder.parent / "model-1.5B")
  monkeypatch.setattr(
    hub, "snapshot_download", lambda name, **_: str(folder.parent / name)
  )
  for name in ("model-1.5B", "hf:model-1.5B@main"):
    assert weights.load_decoder(name)[0] == CONFIG


def test_encoders_of_other_makes_are_refused(tmp_path):
  torch_models.save(torch_models.make_encoder(), tmp_path)
  config = (tmp_path / "config.json").read_text()
  for fields, message in (
    ({"model_type": "t5"}, "model_type is 't5'; allowed: 'bert'"),
    ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'; allowed: 'gelu'"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type is"),
    ({"is_decoder": True}, "is_decoder is True; allowed: False"),
  ):
    _edit(tmp_path, **fields)
    with pytest.raises(errors.InputError, match=message):
      weights.load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(config)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_encoder_inside_a_larger_model(tmp_path, family):
  transformers = pytest.importorskip("transformers")
  alone = torch_models.make_encoder(family)
  torch_models.save(alone, tmp_path / "bare")
  masked = transformers.AutoModelForMaskedLM.from_config(alone.config)
  inner = masked.bert if family == "bert" else masked.roberta
  missing = inner.load_state_dict(alone.state_dict(), strict=False)
  assert not missing.missing_keys
  torch_models.save(masked, tmp_path / "masked")
  _, _, bare = weights.load_encoder(tmp_path / "bare")
  _assert_same(weights.load_encoder(tmp_path / "masked")[2], bare)


def test_the_longest_text_that_sentence_transformers_noted(tmp_path, minilm):
  assert encoder_families.reading(tmp_path) == (None, False)
  assert encoder_families.reading(minilm) == (256, False)
  file = tmp_path / "sentence_bert_config.json"
  for values, want in (
    ({"max_seq_length": 512, "do_lower_case": True}, (512, True)),
    ({"max_seq_length": None}, (None, False)),
  ):
    file.write_text(json.dumps(values))
    assert encoder_families.reading(tmp_path) == want
  for values, message in (
    ({"max_seq_length": "long"}, "max_seq_length is 'long'; allowed: a whole"),
    ({"do_lower_case": 3}, "do_lower_case is 3; allowed: False or True"),
  ):
    file.write_text(json.dumps(values))
    with pytest.raises(errors.InputError, match=message):
      encoder_families.reading(tmp_path)


@pytest.mark.parametrize(
  ("values", "want"),
  [
    ({"pooling_mode_cls_token": True, "include_prompt": True}, "cls"),
    (
      {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
      "mean",
    ),
    ({"pooling_mode": "mean", "include_prompt": True}, "mean"),
    ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
    (None, "cls"),
  ],
)
def test_pooling_of_sentence_transformers(tmp_path, values, want):
  if values is not None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(values))
  assert encoder_families.pooling(tmp_path) == want


@pytest.mark.parametrize(
  "values",
  [
    {"pooling_mode_max_tokens": True},
    {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
    {"pooling_mode": "lasttoken"},
    {},
  ],
)
def test_other_poolings_are_refused(tmp_path, values):
  (tmp_path / "1_Pooling").mkdir()
  (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(values))
  with pytest.raises(
    errors.InputError, match=r"the pooling is .*; allowed: cls"
  ):
    encoder_families.pooling(tmp_path)


def test_layers_after_the_pooling_are_refused(tmp_path, minilm):
  shutil.copy(minilm / "modules.json", tmp_path)
  assert encoder_families.pooling(tmp_path) == "cls"
  modules = json.loads((tmp_path / "modules.json").read_text())
  modules.append({"idx": 3, "type": "sentence_transformers.models.Dense"})
  (tmp_path / "modules.json").write_text(json.dumps(modules))
  with pytest.raises(
    errors.InputError, match="type is 'Dense'; allowed: Trans"
  ):
    encoder_families.pooling(tmp_path)
