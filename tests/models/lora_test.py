"""Adapters against merged weights, against peft, and over devices."""

import contextlib
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.models.folders import peft as peft_lib
from ila_jax.models.folders import weights
from ila_jax.passes import example_loss
from ila_jax.training import optim
from tests.support import torch_models

# Sizes that are all different, so that no two axes can be mistaken.
TINY = architecture.DecoderConfig(
  vocab=40,
  layers=2,
  width=16,
  heads=4,
  kv_heads=2,
  head_dim=6,
  mlp_width=32,
  qkv_bias=True,
)
LORA = lora_lib.LoraConfig(rank=3, alpha=5, targets=lora_lib.TARGETS)


@functools.cache
def _decoder(config=TINY) -> decoder_lib.Decoder:
  decoder = decoder_lib.Decoder(config, rngs=nnx.Rngs(0))
  # Sharper than a fresh start, so that attention differs by token.
  nnx.update(decoder, jax.tree.map(lambda p: p * 2, nnx.state(decoder)))
  return decoder


def _adapter(seed: int, lora=LORA, config=TINY) -> lora_lib.Adapter:
  """An adapter whose both factors are random."""
  rng = np.random.default_rng(seed)
  return {
    target: {
      factor: jnp.asarray(rng.normal(size=shape) / 6, jnp.float32)
      for factor, shape in factors.items()
    }
    for target, factors in lora_lib.shapes(config, lora).items()
  }


def _rows(n: int = 8, t: int = 12):
  """Tokens, positions and segments: two examples a row, then padding."""
  tokens = np.random.default_rng(0).integers(0, TINY.vocab, (n, t))
  segments = np.repeat([[1, 2, 0]], n, axis=0).repeat([5, t - 7, 2], axis=1)
  positions = np.concatenate([np.arange(5), np.arange(t - 5)])[None]
  positions = positions.repeat(n, axis=0)
  return tuple(x.astype(np.int32) for x in (tokens, positions, segments))


@functools.partial(jax.jit, static_argnums=0)
def _hidden(graphdef, weights, rows, adapters=None):
  return nnx.merge(graphdef, weights).hidden(*rows, adapters=adapters)


def _real(hidden) -> np.ndarray:
  return np.asarray(hidden)[:, :10]  # without the padding


@functools.cache
def _wanted() -> list[np.ndarray]:
  """What the base and two merged models make of the rows, each alone."""
  tuned = [lora_lib.merge(_decoder(), LORA, _adapter(i)) for i in (1, 2)]
  made = [_hidden(*nnx.split(m), _rows()) for m in (_decoder(), *tuned)]
  return [_real(hidden) for hidden in made]


@pytest.mark.parametrize("axes", [None, (8, 1, 1), (2, 2, 2)], ids=str)
def test_base_and_tuned_in_one_pass_equal_each_alone(axes):
  graphdef, state = nnx.split(_decoder())
  adapters = [_adapter(1), _adapter(2)]
  rows = tuple(np.repeat(x, 3, axis=0) for x in _rows())
  mesh = mesh_lib.make(*axes or (8, 1, 1))
  if axes:
    state = jax.device_put(state, decoder_lib.shardings(state, mesh))
    adapters = jax.device_put(adapters, lora_lib.shardings(adapters, mesh))
    rows = mesh_lib.put(rows, mesh)
  stacked = lora_lib.stack(LORA, [lora_lib.zero(adapters[0]), *adapters])
  with jax.set_mesh(mesh) if axes else contextlib.nullcontext():
    got = _real(_hidden(graphdef, state, rows, stacked))
  base, first, second = _wanted()
  # Adapters that did little would be equal to anything.
  assert min(np.abs(base - first).mean(), np.abs(first - second).mean()) > 0.1
  for place, want in enumerate((base, first, second)):
    np.testing.assert_allclose(got[place::3], want, atol=5e-5)


def test_a_pass_with_adapters_moves_no_activations_between_devices():
  mesh = mesh_lib.make(8, 1, 1)
  graphdef, state = nnx.split(_decoder())
  whole = functools.partial(mesh_lib.put, mesh=mesh, spec=mesh_lib.REPLICATED)
  stacked = whole(lora_lib.stack(LORA, [_adapter(i) for i in range(3)]))
  rows = mesh_lib.put(_rows(24), mesh)
  with jax.set_mesh(mesh):
    lowered = _hidden.lower(graphdef, whole(state), rows, stacked)
    text = lowered.compile().as_text()
  for moved in ("all-gather", "all-to-all", "all-reduce", "collective-permute"):
    assert moved not in text


def test_models_share_the_weights_they_are_scored_with():
  config = dataclasses.replace(TINY, vocab=2000, width=64, mlp_width=256)
  graphdef, params = nnx.split(decoder_lib.abstract(config))

  def memory(models, rows):
    adapters = [_adapter(i, config=config) for i in range(models)]
    batch = {
      name: jax.ShapeDtypeStruct((rows, 64), dtype)
      for name, dtype in (
        *((x, jnp.int32) for x in ("tokens", "positions", "segment_ids")),
        ("targets", jnp.bool_),
      )
    }
    stacked = lora_lib.stack(LORA, adapters)
    lowered = example_loss.batch_nll.lower(graphdef, 1, params, stacked, batch)
    return lowered.compile().memory_analysis()

  # As many rows in all.
  one, four = memory(1, 16), memory(4, 4)
  adapter = sum(x.nbytes for x in jax.tree.leaves(_adapter(0, config=config)))
  batch = 64 * (3 * 4 + 1)
  grown = four.argument_size_in_bytes - one.argument_size_in_bytes
  weights = sum(4 * x.size for x in jax.tree.leaves(params))
  assert grown == 3 * adapter - 12 * batch
  assert one.argument_size_in_bytes == weights + adapter + 16 * batch
  # Nor are the weights or the rows multiplied inside.
  assert four.temp_size_in_bytes < 1.3 * one.temp_size_in_bytes


def test_what_another_adapter_makes_of_a_row_does_not_matter():
  bad = _adapter(2)
  bad = {t: ab | {"a": ab["a"] * jnp.nan} for t, ab in bad.items()}
  stacked = lora_lib.stack(LORA, [_adapter(1), bad])
  rows = tuple(np.repeat(x, 2, axis=0) for x in _rows())
  got = _real(_hidden(*nnx.split(_decoder()), rows, stacked))
  np.testing.assert_allclose(got[::2], _wanted()[1], atol=5e-5)
  assert np.isnan(got[1::2]).all()


def test_a_bfloat16_base_computes_in_bfloat16_with_float32_adapters():
  half = dataclasses.replace(TINY, dtype="bfloat16", param_dtype="bfloat16")
  graphdef = nnx.split(decoder_lib.abstract(half))[0]
  state = jax.tree.map(lambda p: p.astype("bfloat16"), nnx.state(_decoder()))
  stacked = lora_lib.stack(LORA, [_adapter(1)])
  near = _hidden(graphdef, state, _rows(), stacked)
  assert near.dtype == jnp.bfloat16
  error = np.abs(_real(near.astype(jnp.float32)) - _wanted()[1]).mean()
  # Nearer to the float32 model than to the base, which has no adapter.
  assert 0 < error < np.abs(_wanted()[0] - _wanted()[1]).mean() / 4


def test_merging_keeps_the_base_and_its_dtype():
  half = nnx.clone(_decoder())
  nnx.update(
    half, jax.tree.map(lambda p: p.astype("bfloat16"), nnx.state(half))
  )
  before = nnx.to_pure_dict(nnx.state(half))
  lora = dataclasses.replace(LORA, targets=("down",))
  adapter = _adapter(0, lora)
  after = nnx.to_pure_dict(nnx.state(lora_lib.merge(half, lora, adapter)))
  ab = {k: np.float64(v) for k, v in adapter["down"].items()}
  want = np.float64(before["blocks"]["down"]) + 5 / 3 * ab["a"] @ ab["b"]
  found = after["blocks"].pop("down")
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.float64(found), want, rtol=2**-8, atol=1e-6)
  before["blocks"].pop("down")
  jax.tree.map(np.testing.assert_array_equal, after, before)
  assert nnx.state(half).blocks.down.dtype == jnp.bfloat16
  assert not (
    nnx.to_pure_dict(nnx.state(half))["blocks"]["down"] == found
  ).all()


def test_an_adapter_starts_as_in_peft_and_by_its_key():
  torch = pytest.importorskip("torch")
  config = dataclasses.replace(TINY, width=256, mlp_width=144)
  lora = lora_lib.LoraConfig(rank=16, alpha=16, targets=("query", "down"))
  adapter = lora_lib.init(config, lora, jax.random.key(0))
  for target, width_in in (("query", 256), ("down", 144)):
    a, b = adapter[target]["a"], adapter[target]["b"]
    assert a.shape == (2, width_in, 16) and not b.any()
    theirs = torch.empty(16, width_in)
    torch.nn.init.kaiming_uniform_(theirs, a=5**0.5)
    for layer in np.asarray(a):
      np.testing.assert_allclose(layer.std(), theirs.std().item(), rtol=0.05)
      np.testing.assert_allclose(
        np.abs(layer).max(), theirs.abs().max().item(), rtol=0.01
      )
    assert not (a[0] == a[1]).any()
  other = lora_lib.init(config, lora, jax.random.key(1))
  assert not (other["query"]["a"] == adapter["query"]["a"]).any()
  alone = dataclasses.replace(lora, targets=("down",))
  np.testing.assert_array_equal(
    lora_lib.init(config, alone, jax.random.key(0))["down"]["a"],
    adapter["down"]["a"],
  )


def test_adapters_lie_as_their_matrices_do():
  mesh = mesh_lib.make(2, 2, 2)
  weights_at = nnx.to_pure_dict(
    decoder_lib.shardings(nnx.state(_decoder()), mesh)
  )["blocks"]
  lora = dataclasses.replace(LORA, rank=2)  # which two devices divide
  adapter = _adapter(0, lora)
  state = {"params": adapter, "optimizer": optim.adamw().init(adapter)}
  placed = lora_lib.shardings(state, mesh)
  for target in lora_lib.TARGETS:
    _, width_in, width_out = weights_at[target].spec
    assert {width_in, width_out} == {"fsdp", "tensor"}
    factors = placed["params"][target]
    assert tuple(factors["a"].spec) == (None, width_in, None)
    assert tuple(factors["b"].spec) == (None, None, width_out)
  moments = placed["optimizer"][1]
  assert moments.mu == moments.nu == placed["params"]
  # Side by side they lie as each did.
  adapter = jax.device_put(adapter, placed["params"])
  stacked = lora_lib.stack(lora, [adapter, adapter])
  a, b = stacked["query"]["a"], stacked["query"]["b"]
  assert tuple(a.sharding.spec)[:3] == (None, None, "fsdp")
  assert tuple(b.sharding.spec) == (None, None, None, "tensor")


def test_scales():
  lora = lora_lib.LoraConfig(rank=4, alpha=10, targets=("up",))
  assert lora.scale == 2.5
  assert dataclasses.replace(lora, rank_stabilized=True).scale == 5.0


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("rank", 0, "rank is 0; allowed: 1 or more"),
    ("alpha", 0.0, "alpha is 0.0; allowed: a number above 0"),
    ("alpha", float("nan"), "alpha is nan"),
    ("alpha", float("inf"), "alpha is inf"),
    ("targets", (), "targets are none; allowed: one or more of query, key"),
    ("targets", ("q_proj",), "targets are q_proj; allowed: .* down, each once"),
    ("targets", ("up", "up"), "targets are up, up; allowed"),
    ("targets", ("up", "norm"), "targets are up, norm; allowed"),
  ],
)
def test_recipes_that_make_no_adapter_are_refused(field, value, message):
  with pytest.raises(errors.InputError, match=message):
    dataclasses.replace(LORA, **{field: value})


# peft reads a property that transformers means to rename.
_peft = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")


@pytest.fixture(scope="module", params=["llama_gqa", "qwen2_gqa"])
def base(request, tmp_path_factory):
  """Their base model, its folder, and ours."""
  theirs = torch_models.make_decoder(request.param)
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("base"))
  return request.param, folder, *weights.load_decoder(folder)


def _assert_same_logits(theirs, config, decoder, lora, adapter):
  rng = np.random.default_rng(0)
  tokens = rng.integers(0, config.vocab, (2, 9)).astype(np.int32)
  positions = np.arange(9, dtype=np.int32)[None].repeat(2, axis=0)
  rows = (tokens, positions, np.ones_like(tokens))
  stacked = lora_lib.stack(lora, [adapter])
  hidden = _hidden(*nnx.split(decoder), rows, stacked)
  got = np.asarray(hidden) @ np.asarray(decoder.head_weights()).T
  want = torch_models.torch_logits(theirs, tokens)
  plain = _hidden(*nnx.split(decoder), rows)
  assert np.abs(hidden - plain).mean() > 0.1  # so the adapter is at work
  # What float32 rounds is a share of the largest logit; processors differ.
  atol = 2e-5 * float(np.abs(want).max())
  np.testing.assert_allclose(got, want, atol=atol)


@_peft
@pytest.mark.parametrize(
  ("targets", "stabilized"),
  [(lora_lib.TARGETS, False), (("query", "down"), True)],
  ids=["all", "two, rslora"],
)
def test_peft_reads_what_we_save(base, tmp_path, targets, stabilized):
  peft = pytest.importorskip("peft")
  family, folder, config, decoder = base
  lora = lora_lib.LoraConfig(
    rank=3, alpha=5, targets=targets, rank_stabilized=stabilized
  )
  adapter = _adapter(0, lora, config)
  peft_lib.save(tmp_path, lora, adapter, base_name=str(folder))
  theirs = torch_models.make_decoder(family)
  theirs = peft.PeftModel.from_pretrained(theirs, tmp_path)
  _assert_same_logits(theirs, config, decoder, lora, adapter)
  found, again = peft_lib.load(tmp_path, config)
  assert found == lora
  jax.tree.map(np.testing.assert_array_equal, again, adapter)


def _peft_folder(base, folder, dtype="float32", **fields):
  """A random adapter as the peft library saves it, and its model."""
  peft = pytest.importorskip("peft")
  torch = pytest.importorskip("torch")
  options = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"]}
  theirs = peft.get_peft_model(
    torch_models.make_decoder(base[0]),
    peft.LoraConfig(task_type="CAUSAL_LM", **options | fields),
  )
  torch.manual_seed(0)
  with torch.no_grad():
    for name, weight in theirs.named_parameters():
      if "lora_" in name:
        weight.copy_(torch.randn(weight.shape).to(getattr(torch, dtype)) / 4)
        weight.data = weight.data.to(getattr(torch, dtype))
  theirs.save_pretrained(folder)
  return theirs


@_peft
@pytest.mark.parametrize(
  "fields",
  [
    {},
    {"use_rslora": True, "lora_dropout": 0.5, "target_modules": "all-linear"},
    {"dtype": "bfloat16", "target_modules": r".*\.(v_proj|gate_proj)"},
  ],
  ids=["plain", "rslora", "bfloat16"],
)
def test_we_read_what_peft_saves(base, tmp_path, fields):
  theirs = _peft_folder(base, tmp_path, **fields).float().eval()
  _, _, config, decoder = base
  lora, adapter = peft_lib.load(tmp_path, config)
  assert (lora.rank, lora.alpha) == (4, 6)
  assert {leaf.dtype for leaf in jax.tree.leaves(adapter)} == {
    np.dtype("float32")
  }
  _assert_same_logits(theirs, config, decoder, lora, adapter)


@pytest.fixture
def saved(tmp_path):
  peft_lib.save(tmp_path, LORA, _adapter(0), base_name="base")
  return tmp_path


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("use_dora", True, "use_dora is True; allowed: null, false or empty"),
    ("bias", "lora_only", "bias is 'lora_only'; allowed: 'none'"),
    ("modules_to_save", ["lm_head"], "modules_to_save is .'lm_head'.; allowed"),
    ("rank_pattern", {"q_proj": 2}, "rank_pattern is {'q_proj': 2}; allowed"),
    ("alpha_pattern", {"q_proj": 2}, "alpha_pattern is"),
    ("layers_to_transform", [0], "layers_to_transform is"),
    ("fan_in_fan_out", True, "fan_in_fan_out is True"),
    ("not_yet_invented", 1, "not_yet_invented is 1"),
    ("peft_type", "IA3", "peft_type is 'IA3'; allowed: 'LORA'"),
    ("init_lora_weights", "pissa", "init_lora_weights is 'pissa'; allowed"),
    ("r", 0, "r is 0; allowed: a number above 0"),
    ("r", 2.5, "r is 2.5; allowed"),
    ("lora_alpha", None, "lora_alpha is None; allowed"),
  ],
)
def test_variants_that_are_not_implemented_are_refused(
  saved, field, value, message
):
  file = saved / "adapter_config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
  with pytest.raises(
    errors.InputError, match=f"adapter_config.json: {message}"
  ):
    peft_lib.load(saved, TINY)


def _rename(tensors):
  name = next(name for name in tensors if "layers.1.mlp.up_proj" in name)
  tensors[name.replace("up_proj", "sideways")] = tensors.pop(name)


def _cut(tensors):
  name = next(name for name in tensors if "layers.0.mlp.up_proj" in name)
  tensors[name] = tensors[name][:, :2].copy()


def _spoil(tensors):
  name = next(name for name in tensors if "layers.0.mlp.up_proj" in name)
  tensors[name] = tensors[name] * np.float32("inf")


def _clear(tensors):
  only = next(iter(tensors.values()))
  tensors.clear()
  tensors["base_model.model.lm_head.lora_A.weight"] = only


@pytest.mark.parametrize(
  ("edit", "message"),
  [
    (_rename, r"layers.1.mlp.sideways.*not known; .*up_proj.* is missing"),
    (_cut, r"layers.0.mlp.up_proj.* is of shape \(3, 2\), not \(3, 16\)"),
    (_spoil, r"layers.0.mlp.up_proj.* holds numbers that are not finite"),
    (_clear, r"and \d+ more"),
  ],
)
def test_tensors_that_do_not_fit_are_refused(saved, edit, message):
  file = saved / "adapter_model.safetensors"
  tensors = safetensors.numpy.load_file(file)
  edit(tensors)
  safetensors.numpy.save_file(tensors, file)
  with pytest.raises(errors.InputError, match=message):
    peft_lib.load(saved, TINY)


def test_missing_and_damaged_files_are_told(saved):
  file = saved / "adapter_model.safetensors"
  file.write_bytes(file.read_bytes()[:100])
  with pytest.raises(errors.InputError, match="cannot be read as safetensors"):
    peft_lib.load(saved, TINY)
  file.rename(saved / "adapter_model.bin")
  with pytest.raises(errors.InputError, match=r"is missing .*is a pickle"):
    peft_lib.load(saved, TINY)
  (saved / "adapter_config.json").unlink()
  with pytest.raises(errors.InputError, match="cannot be read as JSON"):
    peft_lib.load(saved, TINY)


def test_adapters_are_read_onto_the_mesh_and_saved_from_it(tmp_path):
  mesh = mesh_lib.make(2, 2, 2)
  adapter = _adapter(0)
  placed = jax.device_put(adapter, lora_lib.shardings(adapter, mesh))
  peft_lib.save(tmp_path, LORA, placed, base_name="base")
  _, again = peft_lib.load(tmp_path, TINY, mesh=mesh)
  jax.tree.map(np.testing.assert_array_equal, again, adapter)
  for found, want in zip(*map(jax.tree.leaves, (again, placed)), strict=True):
    assert found.sharding == want.sharding
