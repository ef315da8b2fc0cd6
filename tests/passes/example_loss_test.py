"""Response losses against torch, in any batch, on any number of devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax.compute import mesh
from ila_jax.models import architecture, lora
from ila_jax.models import decoder as decoder_lib
from ila_jax.models.folders import weights
from ila_jax.passes import example_loss, forward, layouts
from tests.support import torch_models

_TINY = architecture.DecoderConfig(
  vocab=40,
  layers=1,
  width=16,
  heads=8,
  kv_heads=4,
  head_dim=2,
  mlp_width=24,
  tied=False,
)
_LORA = lora.LoraConfig(rank=2, alpha=4, targets=("query", "value", "down"))


@functools.cache
def _decoder():
  decoder = decoder_lib.Decoder(_TINY, rngs=nnx.Rngs(0))
  # Sharper than a fresh start, so that losses differ.
  nnx.update(decoder, jax.tree.map(lambda p: p * 10, nnx.state(decoder)))
  return decoder


def _adapters():
  """Three models: the base, and two whose both factors are random."""
  rng = np.random.default_rng(0)
  shapes = lora.shapes(_TINY, _LORA)
  drawn = [
    {
      target: {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in factors.items()
      }
      for target, factors in shapes.items()
    }
    for _ in range(2)
  ]
  return [lora.zero(drawn[0]), *drawn]


def _mesh(*shape):
  return jax.make_mesh(
    shape,
    mesh.AXES,
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[: np.prod(shape)],
  )


def _examples(count: int, seed: int = 0, vocab: int = 97):
  rng = np.random.default_rng(seed)
  tokens, is_response = [], []
  for _ in range(count):
    length = int(rng.integers(2, 60))
    begin = int(rng.integers(1, length))
    tokens.append(rng.integers(0, vocab, length).astype(np.int32))
    is_response.append(np.arange(length) >= begin)
  return tokens, is_response


def _layout(tokens, kind="buckets", batch_tokens=64):
  lengths = np.array([len(ids) for ids in tokens], np.int32)
  return layouts.choose(lengths, batch_tokens=batch_tokens, kind=kind)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """A torch model and ours with the same weights."""
  theirs = torch_models.make_decoder("qwen2_gqa")
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("model"))
  return theirs, weights.load_decoder(folder)[1]


def _torch_nll(model, ids: np.ndarray, mask: np.ndarray) -> float:
  """One example alone: no batch, no padding."""
  logits = torch_models.torch_logits(model, ids[None])[0].astype(np.float64)
  shifted = logits[:-1] - logits[:-1].max(axis=-1, keepdims=True)
  log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
  at = np.flatnonzero(mask)
  return -log_p[at - 1, ids[at]].sum()


@pytest.mark.parametrize("batch_tokens", [16, 256])
@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_losses_equal_torch_one_by_one(pair, kind, batch_tokens):
  theirs, ours = pair
  tokens, is_response = _examples(40)
  found = example_loss.example_nll(
    ours,
    tokens,
    is_response,
    layout=_layout(tokens, kind, batch_tokens),
    mesh=mesh.make(),
  )
  wanted = [
    _torch_nll(theirs, ids, mask)
    for ids, mask in zip(tokens, is_response, strict=True)
  ]
  assert found.dtype == np.float32
  np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-5)


@functools.cache
def _placed(shape, kind, with_adapters):
  """Losses as a run makes them: weights by the table, under the mesh."""
  tokens, is_response = _examples(24, vocab=40)
  lengths = np.array([len(ids) for ids in tokens])
  # One width and one batch, so one program.
  layout = layouts.choose(
    lengths,
    batch_tokens=2048,
    kind=kind,
    pack_tokens=128,
    program_tokens=10**9,
  )
  graphdef, state = nnx.split(_decoder())
  devices = _mesh(*shape)
  adapters = None
  with jax.set_mesh(devices):
    state = jax.device_put(state, decoder_lib.shardings(state, devices))
    if with_adapters:
      adapters = jax.device_put(
        _adapters(), lora.shardings(_adapters(), devices)
      )
      adapters = lora.stack(_LORA, adapters)
    found = example_loss.example_nll(
      nnx.merge(graphdef, state),
      tokens,
      is_response,
      layout=layout,
      mesh=devices,
      adapters=adapters,
    )
  assert found.shape == (24, 3 if with_adapters else 1)
  return found


@pytest.mark.parametrize(
  ("shape", "kind", "with_adapters"),
  [
    *(
      (shape, kind, False)
      for kind in ("buckets", "pack")
      for shape in ((8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2), (1, 2, 2))
    ),
    ((2, 2, 2), "pack", True),
  ],
  ids=str,
)
def test_many_devices_equal_one(shape, kind, with_adapters):
  want = _placed((1, 1, 1), kind, with_adapters)
  found = _placed(shape, kind, with_adapters)
  # Examples and models that were equal would hide a wrong order.
  assert len(np.unique(want.round(3))) == want.size
  np.testing.assert_allclose(found[:, 0], want[:, 0], rtol=1e-6)
  # Those of adapters round more, by how a processor orders its sums.
  np.testing.assert_allclose(found, want, rtol=4e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_one_bad_example_spoils_no_other(kind, value):
  rng = np.random.default_rng(0)
  tokens = [rng.integers(0, 38, n).astype(np.int32) for n in (9, 30, 4, 17, 25)]
  is_response = [np.arange(len(ids)) > 1 for ids in tokens]
  tokens[3][5] = 39
  layout = _layout(tokens, kind, 128)
  run = functools.partial(
    example_loss.example_nll,
    tokens=tokens,
    is_response=is_response,
    layout=layout,
    mesh=_mesh(1, 1, 1),
  )
  broken = nnx.clone(_decoder())
  broken.embedding[...] = broken.embedding[...].at[39].set(value)
  want, found = run(_decoder()), run(broken)
  rows = layouts.plan(np.array([len(ids) for ids in tokens]), layout)[0].rows
  assert max(map(len, rows)) == (5 if kind == "pack" else 1)
  assert np.isfinite(want).all()
  assert np.isfinite(found[:, 0]).tolist() == [True, True, True, False, True]
  others = [0, 1, 2, 4]
  np.testing.assert_allclose(found[others], want[others], rtol=1e-6)


@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_programs_are_few_however_many_shards(kind):
  # A shard of each: more than there may be programs.
  pool = [np.array([60, 60] * n + [6]) for n in range(1, 11)]
  layout = layouts.choose(
    np.concatenate(pool),
    batch_tokens=2048,
    kind=kind,
    pack_tokens=128,
    program_tokens=300,
  )
  before = example_loss.batch_nll._cache_size()
  for lengths in pool:
    tokens = [np.zeros(n, np.int32) for n in lengths]
    is_response = [np.arange(n) > 0 for n in lengths]
    example_loss.example_nll(
      _decoder(), tokens, is_response, layout=layout, mesh=_mesh(1, 1, 1)
    )
  made = example_loss.batch_nll._cache_size() - before
  assert len(layout.widths) == (1 if kind == "pack" else 2)
  most = len(layout.widths) + layouts.LAST_BATCH_PARTS - 1
  assert len(layout.widths) < made <= most


def test_full_logits_are_never_held():
  b, t, v = 8, 512, 151_936
  config = dataclasses.replace(_TINY, vocab=v)
  graphdef, params = nnx.split(decoder_lib.abstract(config))
  batch = {
    name: jax.ShapeDtypeStruct((b, t), dtype)
    for name, dtype in (
      *((x, jnp.int32) for x in ("tokens", "positions", "segment_ids")),
      ("targets", jnp.bool_),
    )
  }
  lowered = example_loss.batch_nll.lower(graphdef, 1, params, None, batch)
  memory = lowered.compile().memory_analysis()
  assert memory.temp_size_in_bytes < 0.01 * 4 * b * t * v


def test_a_prompt_is_not_counted_and_every_batch_is_told(pair):
  _, ours = pair
  tokens, _ = _examples(10)
  none = [np.zeros(len(ids), np.bool_) for ids in tokens]
  told = []
  found = example_loss.example_nll(
    ours,
    tokens,
    none,
    layout=_layout(tokens),
    mesh=mesh.make(),
    on_batch=told.append,
  )
  assert (found == 0).all()
  assert sorted(np.concatenate([b.examples for b in told])) == list(range(10))


def test_no_examples(pair):
  found = example_loss.example_nll(
    pair[1], [], [], layout=_layout([]), mesh=mesh.make()
  )
  assert found.shape == (0, 1)


def test_flops_are_those_of_the_matrix_products(pair):
  config = pair[1].config
  queries, keys = (
    config.heads * config.head_dim,
    config.kv_heads * config.head_dim,
  )
  block = config.width * (2 * queries + 2 * keys + 3 * config.mlp_width)
  by_hand = config.layers * (2 * 3 * block + 4 * (1 + 2 + 3) * queries)
  by_hand += 2 * 2 * config.vocab * config.width
  found = forward.flops(config, np.array([3]), response_tokens=2)
  assert found == by_hand
