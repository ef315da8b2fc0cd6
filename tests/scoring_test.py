"""Response losses against torch, in any batch, on any number of devices."""

import jax
import numpy as np
import pytest

from ila_jax import forward, layouts, mesh, scoring
from ila_jax.models import weights
from tests import torch_models


def _examples(count: int, seed: int = 0):
  rng = np.random.default_rng(seed)
  tokens, is_response = [], []
  for _ in range(count):
    length = int(rng.integers(2, 60))
    begin = int(rng.integers(1, length))
    tokens.append(rng.integers(0, 97, length).astype(np.int32))
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
  found = scoring.example_nll(
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


def test_eight_devices_equal_one(pair):
  _, ours = pair
  tokens, is_response = _examples(33)
  one = jax.make_mesh(
    (1, 1, 1),
    mesh.AXES,
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[:1],
  )
  found = [
    scoring.example_nll(
      ours, tokens, is_response, layout=_layout(tokens), mesh=devices
    )
    for devices in (one, mesh.make())
  ]
  np.testing.assert_allclose(*found, rtol=1e-6)


def test_a_prompt_is_not_counted_and_every_batch_is_told(pair):
  _, ours = pair
  tokens, _ = _examples(10)
  none = [np.zeros(len(ids), np.bool_) for ids in tokens]
  told = []
  found = scoring.example_nll(
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
  found = scoring.example_nll(
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
