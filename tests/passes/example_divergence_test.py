"""Divergences of examples: in any batch, and of an adapter as of its model."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ila_jax.compute import mesh
from ila_jax.models import architecture, lora
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import example_divergence, layouts, token_set

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
_LORA = lora.LoraConfig(rank=2, alpha=4, targets=("down",))


def _models():
  """The base, an adapter, and the whole model that the two make."""
  base = decoder_lib.Decoder(_TINY, rngs=nnx.Rngs(0))
  # Sharper than a fresh start, so that divergences differ.
  nnx.update(base, jax.tree.map(lambda p: p * 5, nnx.state(base)))
  rng = np.random.default_rng(0)
  adapter = {
    target: {
      name: jnp.asarray(rng.normal(size=shape).astype(np.float32))
      for name, shape in factors.items()
    }
    for target, factors in lora.shapes(_TINY, _LORA).items()
  }
  return base, adapter, lora.merge(base, _LORA, adapter)


def _data():
  rng = np.random.default_rng(1)
  tokens = [rng.integers(0, 39, n).astype(np.int32) for n in (9, 30, 4, 17, 25)]
  return token_set.TokenSet(tokens, [np.arange(len(i)) > 1 for i in tokens])


def _jsd(base, other, data, kind, **more):
  layout = layouts.choose(data.lengths, batch_tokens=128, kind=kind)
  return example_divergence.example_jsd(
    base, other, data, layout=layout, mesh=mesh.make(), **more
  )


def test_an_adapter_is_the_model_that_it_makes():
  base, adapter, merged = _models()
  data, told = _data(), []
  beside = lora.stack(_LORA, [adapter])
  found = _jsd(
    base, base, data, "buckets", adapters=beside, on_batch=told.append
  )
  assert sorted(np.concatenate([b.examples for b in told])) == list(range(5))
  np.testing.assert_allclose(found, _jsd(base, merged, data, "pack"), rtol=1e-4)
  assert len(np.unique(found.round(3))) == 5
  assert not _jsd(base, base, data, "pack").any()


def test_one_bad_example_spoils_no_other():
  base, _, merged = _models()
  data = _data()
  wanted = _jsd(base, merged, data, "pack")
  data.tokens[3][5] = 39
  merged.embedding[...] = merged.embedding[...].at[39].set(np.nan)
  found = _jsd(base, merged, data, "pack")
  assert np.flatnonzero(~np.isfinite(found)).tolist() == [3]
  others = [0, 1, 2, 4]
  np.testing.assert_allclose(found[others], wanted[others], rtol=1e-5)
