"""Peaks against NumPy, bits against packbits, the top of each latent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.score.sae import autoencoder, features, top


@pytest.mark.parametrize("axes", [(1, 1, 1), (2, 2, 2)])
def test_peaks_are_the_greatest_of_a_record(axes, monkeypatch):
  monkeypatch.setattr(features, "BLOCK", 16)  # More blocks than one.
  rng = np.random.default_rng(0)
  weights = autoencoder.Weights(
    *(
      rng.normal(size=shape).astype(np.float32)
      for shape in ((6, 48), (48,), (48, 6), (6,), (48,))
    )
  )
  ids = np.array([[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1]] * 4)
  counted = (ids > 0) & (rng.random(ids.shape) < 0.7)
  counted[:, 0] = False
  x = rng.normal(size=(8, 6, 6)).astype(np.float32)
  x[0, 5] = np.nan  # Padding is whatever.
  devices = jax.devices()[: np.prod(axes)]
  mesh = mesh_lib.make(*axes, devices=devices)
  given = mesh_lib.put((x, counted, ids), mesh)
  peaks = jax.jit(features.peaks, static_argnames="segments")
  found = peaks(features.reader(weights, mesh), *given, segments=3)
  wanted = np.zeros((8, 3, 48))
  for row, place in zip(*np.nonzero(counted), strict=True):
    z = (x[row, place] - weights.bias) @ weights.encoder + weights.encoder_bias
    z = np.where(z > np.maximum(weights.gate, 0), z, 0)
    own = wanted[row, ids[row, place] - 1]
    np.maximum(own, z, out=own)
  assert (wanted > 0).any() and not wanted[:, 2].any()
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_bits_are_those_of_numpy():
  on = np.random.default_rng(0).random((3, 2, 40)) < 0.4
  bits = np.asarray(features.pack(jnp.array(on)))
  wanted = np.packbits(on, axis=2, bitorder="little")
  np.testing.assert_array_equal(bits, wanted)
  np.testing.assert_array_equal(features.unpack(bits[:, 0]), on[:, 0])


@pytest.mark.parametrize("order", [1, -1])
def test_the_top_is_the_same_in_any_order(order):
  """Of equals the lower rows are kept."""
  peak = np.random.default_rng(0).integers(0, 4, (30, 16)).astype(np.float32)
  row = np.arange(30, dtype=np.int32) + 100
  found = features.no_top(16, 3)
  for part in np.split(np.arange(30)[::order], 5):
    found = features.merge(found, peak[part], row[part])
  for latent in range(16):
    wanted = np.lexsort((row, -peak[:, latent]))[:3]
    np.testing.assert_array_equal(found.peak[latent], peak[wanted, latent])
    is_on = peak[wanted, latent] > 0
    np.testing.assert_array_equal(found.row[latent][is_on], row[wanted][is_on])


def test_tables_of_shards_are_merged_by_latent(tmp_path):
  """A record that came once for each of its windows is there once."""
  ids = np.array([9, 8, 7, 6], np.uint64)
  parts = [
    features.Top(
      np.array([[3.0, 2.0], [0.0, 0.0]]), np.array([[0, 0], [0, 0]])
    ),
    features.Top(
      np.array([[3.0, 0.0], [5.0, 0.0]]), np.array([[3, 0], [2, 0]])
    ),
  ]
  for shard, (first, part) in enumerate(zip((0, 2), parts, strict=True)):
    found = top.columns(part, first, ids[first : first + 2])
    path = top.tables.SHARD_TOP.path(tmp_path, shard=shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    top.files.write_table(path, found)
  top.write(tmp_path, 2, np.array([0.5, 0.25]))
  found = top.read(tmp_path)
  assert {name: column.tolist() for name, column in found.items()} == {
    "latent": [0, 0, 1],
    "rank": [1, 2, 1],
    "row": [3, 0, 2],  # Of equals the lower id.
    "id": [6, 9, 7],
    "activation": [3, 3, 5],
    "share": [0.5, 0.5, 0.25],
  }


def test_sizes_of_the_paper_by_shapes():
  """131,072 latents of Llama 3.1 8B, in the bytes that are promised."""
  first = jax.eval_shape(
    lambda: autoencoder.init(jax.random.key(0), width=4096, latents=131_072)
  )
  shape = jax.ShapeDtypeStruct((4096, 4096), jnp.float32)
  z = jax.eval_shape(lambda w, x: autoencoder.active(w, x, 128), first, shape)
  assert z.shape == (4096, 131_072)
  on = jax.ShapeDtypeStruct((2, 16, 131_072), jnp.bool_)
  assert jax.eval_shape(features.pack, on).shape == (2, 16, 16_384)
