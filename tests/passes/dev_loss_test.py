"""Held-out losses against one example at a time, and against their batches."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import dev_loss, layouts, token_set

_CONFIG = architecture.DecoderConfig(
  vocab=32, layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=16
)


@pytest.fixture(scope="module")
def decoder() -> decoder_lib.Decoder:
  return decoder_lib.Decoder(_CONFIG, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def data() -> token_set.TokenSet:
  rng = np.random.default_rng(0)
  lengths = [2, 31, 5, 16, 17, 9, 2, 30, 12]
  tokens = [rng.integers(0, 32, n).astype(np.int32) for n in lengths]
  masks = [rng.random(n) < 0.5 for n in lengths]
  for mask in masks:
    mask[-1] = True
  # Marked, but nothing stands before it: it must not count.
  masks[0][0] = True
  return token_set.TokenSet(tokens, masks)


def _alone(decoder, data) -> tuple[list[float], list[int]]:
  """Each example on its own, unpadded, from full logits in NumPy."""
  totals, counts = [], []
  for ids, mask in zip(data.tokens, data.is_response, strict=True):
    t = len(ids)
    logits = np.asarray(
      decoder.logits(
        jnp.array(ids[None]), jnp.arange(t)[None], jnp.ones((1, t), int)
      )[0],
      np.float64,
    )
    where = [i for i in range(1, t) if mask[i]]
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    totals.append(-sum(logp[i - 1, ids[i]] for i in where))
    counts.append(len(where))
  return totals, counts


def _layout(data, batch_tokens):
  return layouts.choose(data.lengths, batch_tokens=batch_tokens)


@pytest.mark.parametrize("batch_tokens", [1, 64])
def test_batches_and_padding_change_nothing(decoder, data, batch_tokens):
  totals, counts = _alone(decoder, data)
  losses = dev_loss.losses(
    decoder, data, layout=_layout(data, batch_tokens), mesh=mesh.make()
  )
  np.testing.assert_allclose(losses.nll, totals, rtol=1e-5)
  assert losses.n_tokens.tolist() == counts
  found = dev_loss.summarise(*losses)
  assert found["n_examples"] == 9
  assert found["n_tokens"] == sum(counts)
  micro = math.fsum(totals) / sum(counts)
  means = [t / c for t, c in zip(totals, counts, strict=True)]
  np.testing.assert_allclose(found["micro"], micro, rtol=1e-5)
  np.testing.assert_allclose(found["macro"], math.fsum(means) / 9, rtol=1e-5)
  assert abs(found["micro"] - found["macro"]) > 1e-4


def test_the_order_of_examples_changes_nothing(decoder, data):
  rows = [3, 1, 8, 0, 2, 7, 4, 6, 5]
  fields = {"layout": _layout(data, 64), "mesh": mesh.make()}
  found = dev_loss.losses(decoder, data.subset(rows), **fields)
  wanted = dev_loss.losses(decoder, data, **fields)
  np.testing.assert_allclose(found.nll, wanted.nll[rows], rtol=1e-5)
  assert found.n_tokens.tolist() == wanted.n_tokens[rows].tolist()


def test_equal_lengths_make_micro_and_macro_equal():
  nll = np.array([1.0, 2.0, 6.0], np.float32)
  found = dev_loss.summarise(nll, np.array([4, 4, 4]))
  assert found["micro"] == found["macro"] == 0.75


def test_one_example_is_its_own_mean():
  found = dev_loss.summarise(np.array([3.0], np.float32), np.array([2]))
  assert found == {
    "micro": 1.5,
    "macro": 1.5,
    "n_examples": 1,
    "n_tokens": 2,
  }


@pytest.mark.parametrize(
  ("nll", "n_tokens", "message"),
  [
    ([], [], "no held-out examples"),
    ([1.0, np.nan], [1, 1], r"1 of 2 .* number 1 with loss nan"),
    ([np.inf, 1.0], [3, 1], r"number 0 with loss inf over 3 tokens"),
    ([0.0], [0], r"number 0 with loss 0.0 over 0 tokens"),
  ],
)
def test_what_has_no_mean_is_refused(nll, n_tokens, message):
  with pytest.raises(errors.InputError, match=message):
    dev_loss.summarise(np.array(nll, np.float32), np.array(n_tokens, np.int32))


def test_an_empty_set_is_refused(decoder):
  with pytest.raises(errors.InputError, match="no held-out examples"):
    nothing = token_set.TokenSet([], [])
    found = dev_loss.losses(
      decoder, nothing, layout=_layout(nothing, 64), mesh=mesh.make()
    )
    dev_loss.summarise(*found)
