"""Windows of long examples: each target once, and losses as torch has them."""

import jax
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models.folders import weights
from ila_jax.passes import (
  dev_loss,
  example_loss,
  layouts,
  token_set,
  windows,
)
from tests.support import torch_models


def _data(count, longest, seed=0, vocab=97):
  """Examples of all lengths; their responses are in several places."""
  rng = np.random.default_rng(seed)
  tokens, masks = [], []
  for _ in range(count):
    length = int(rng.integers(2, longest))
    mask = np.zeros(length, np.bool_)
    for _ in range(int(rng.integers(1, 4))):
      begin = int(rng.integers(1, length))
      mask[begin : begin + int(rng.integers(1, length))] = True
    tokens.append(rng.integers(0, vocab, length).astype(np.int32))
    masks.append(mask)
  return token_set.TokenSet(tokens, masks)


def _places(length):
  """Tokens that say where they stand."""
  return np.arange(length, dtype=np.int32)


@pytest.mark.parametrize("max_tokens", [2, 3, 8, 31, 200])
def test_each_response_token_is_a_target_once(max_tokens):
  data = _data(200, longest=150)
  data = token_set.TokenSet(
    [_places(len(ids)) for ids in data.tokens], data.is_response
  )
  parts = windows.split(data, max_tokens=max_tokens)
  targets = [[] for _ in range(len(data))]
  assert (np.diff(parts.example) >= 0).all()
  for ids, mask, example in zip(
    parts.data.tokens, parts.data.is_response, parts.example, strict=True
  ):
    assert len(ids) <= max_tokens and ids[0] == 0 and not mask[0]
    assert mask.any()
    # But for the first token, a piece of the example as it stands there.
    assert len(ids) == 2 or (np.diff(ids[1:]) == 1).all()
    targets[example] += ids[mask].tolist()
    first = int(mask.argmax())
    assert first >= min(max_tokens // 2, ids[mask][0])
  for mask, found in zip(data.is_response, targets, strict=True):
    assert found == np.flatnonzero(mask).tolist()
  count = windows.lengths(data.lengths, max_tokens=max_tokens)
  assert len(parts.data) <= len(count) and count.max() <= max_tokens


def test_a_window_has_as_much_before_its_targets_as_fits():
  mask = np.arange(100) >= 97
  parts = windows.split(
    token_set.TokenSet([_places(100)], [mask]), max_tokens=10
  )
  assert [ids.tolist() for ids in parts.data.tokens] == [[0, *range(91, 100)]]


def test_what_fits_is_left_as_it_is():
  data = _data(20, longest=50)
  parts = windows.split(data, max_tokens=50)
  assert parts.data is data
  nll = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
  np.testing.assert_array_equal(parts.total(nll), nll)
  assert windows.lengths(data.lengths, max_tokens=50).tolist() == (
    data.lengths.tolist()
  )


def test_each_example_is_begun_once_in_any_order():
  parts = windows.split(_data(50, longest=80), max_tokens=16)
  order = np.random.default_rng(0).permutation(len(parts.data))
  batches = np.array_split(order, 7)
  assert sum(map(parts.begun, batches)) == 50


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """A torch model and ours with the same weights."""
  theirs = torch_models.make_decoder("qwen2_gqa")
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("model"))
  return theirs, weights.load_decoder(folder)[1]


def _nll(decoder, data, *, max_tokens, kind="pack", mesh=None):
  parts = windows.split(data, max_tokens=max_tokens)
  nll = example_loss.example_nll(
    decoder,
    parts.data.tokens,
    parts.data.is_response,
    layout=layouts.choose(parts.data.lengths, batch_tokens=64, kind=kind),
    mesh=mesh or mesh_lib.make(),
  )
  return parts.total(nll)[:, 0]


def _strided(theirs, ids, mask, max_tokens):
  """Loss by windows as torch computes it, one target after the other.

  The windows are found anew here: for each target the one that it belongs to.
  """
  total, end = 0.0, 0
  stop = int(np.flatnonzero(mask)[-1]) + 1
  for place in np.flatnonzero(mask):
    if place >= end:
      begin = 0
      if len(ids) > max_tokens:
        begin = max(0, min(place - max_tokens // 2, stop - max_tokens))
      end = len(ids) if len(ids) <= max_tokens else begin + max_tokens
    seen = np.concatenate([ids[:1], ids[begin + 1 : place + 1]])
    alone = np.arange(len(seen)) == len(seen) - 1
    total += torch_models.torch_nll(theirs, seen, alone)
  return total


@pytest.mark.parametrize("kind", ["buckets", "pack"])
def test_losses_are_those_of_torch_on_the_windows(pair, kind):
  theirs, ours = pair
  data = _data(12, longest=60)
  found = _nll(ours, data, max_tokens=16, kind=kind)
  wanted = [
    _strided(theirs, ids, mask, 16)
    for ids, mask in zip(data.tokens, data.is_response, strict=True)
  ]
  np.testing.assert_allclose(found, wanted, rtol=2e-5)
  # And windows lose context, so they are not the losses of the whole.
  whole = _nll(ours, data, max_tokens=60, kind=kind)
  assert not np.allclose(found, whole, rtol=1e-3)


def test_one_device_is_as_eight(pair):
  _, ours = pair
  data = _data(12, longest=60)
  one = jax.make_mesh(
    (1, 1, 1),
    mesh_lib.AXES,
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[:1],
  )
  found = [
    _nll(ours, data, max_tokens=16, mesh=mesh)
    for mesh in (one, mesh_lib.make())
  ]
  np.testing.assert_allclose(*found, rtol=1e-5)


def test_the_dev_loss_counts_examples_and_not_windows(pair):
  _, ours = pair
  data = _data(12, longest=60)
  parts = windows.split(data, max_tokens=16)
  assert len(parts.data) > len(data)
  losses = dev_loss.losses(
    ours,
    data,
    layout=layouts.choose(parts.data.lengths, batch_tokens=64),
    mesh=mesh_lib.make(),
    parts=parts,
  )
  found = dev_loss.summarise(*losses)
  nll = _nll(ours, data, max_tokens=16)
  count = np.array([mask.sum() for mask in data.is_response])
  assert (found["n_examples"], found["n_tokens"]) == (12, count.sum())
  np.testing.assert_allclose(found["micro"], nll.sum() / count.sum(), rtol=1e-5)
  np.testing.assert_allclose(found["macro"], (nll / count).mean(), rtol=1e-5)
