"""Which latents each record has: bits, and the records that have most of one.

A latent is on for a record if it exceeds a threshold at any of its tokens: the
JumpReLU of Yang et al. (arXiv 2502.14050; docs/method.md 15).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt8

from ila_jax.models import layers
from ila_jax.score.sae import autoencoder

# Latents that are computed at once: of all, tokens × latents would not fit.
BLOCK = 2048
# How the encoder's blocks are split over a mesh.
BY_LATENT = PartitionSpec(None, None, "tensor")
_BATCH = ("data", "fsdp")


class Reader(NamedTuple):
  """The half of an autoencoder that reads, its latents in B blocks of m.

  Attributes:
    encoder: of each block.
    encoder_bias: likewise.
    gate: likewise.
    bias: of the hidden states.
  """

  encoder: Float[Array, "B d m"]
  encoder_bias: Float[Array, "B m"]
  gate: Float[Array, "B m"]
  bias: Float[Array, " d"]


def reader(weights: autoencoder.Weights, mesh: Mesh) -> Reader:
  """Lays the encoder out in blocks, each split over `tensor`.

  >>> weights = autoencoder.init(jax.random.key(0), width=4, latents=16)
  >>> mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
  >>> reader(weights, mesh).encoder.shape
  (1, 4, 16)
  """
  count = weights.latents
  size = next(m for m in range(min(BLOCK, count), 0, -1) if count % m == 0)
  split = functools.partial(np.reshape, shape=(-1, size))
  encoder = np.asarray(weights.encoder).reshape(weights.width, -1, size)
  held = Reader(
    encoder.transpose(1, 0, 2),
    split(np.asarray(weights.encoder_bias)),
    split(np.asarray(weights.gate)),
    np.asarray(weights.bias),
  )
  specs = Reader(
    BY_LATENT,
    PartitionSpec(None, "tensor"),
    PartitionSpec(None, "tensor"),
    PartitionSpec(),
  )

  def put(array: np.ndarray, spec: PartitionSpec) -> Array:
    spec = layers.fit(spec, array.shape, mesh.shape)
    return jax.make_array_from_callback(
      array.shape, NamedSharding(mesh, spec), lambda index: array[index]
    )

  return Reader(*map(put, held, specs))


def peaks(
  reader: Reader,
  hidden: Float[Array, "b t d"],
  counted: Bool[Array, "b t"],
  segment_ids: Int[Array, "b t"],
  *,
  segments: int,
) -> Float[Array, "b s l"]:
  """The greatest value of each latent over the tokens of each record.

  Args:
    reader: of the autoencoder.
    hidden: of each token.
    counted: tokens that count.
    segment_ids: 1 and up for the records of a row.
    segments: s, the records that a row has room for.

  Returns:
    0 where a latent is on at no token.

  >>> weights = autoencoder.init(jax.random.key(0), width=4, latents=16)
  >>> mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
  >>> ids = jnp.array([[1, 1, 2]])
  >>> read, x = reader(weights, mesh), jnp.ones((1, 3, 4))
  >>> peaks(read, x, ids > 0, ids, segments=2).shape
  (1, 2, 16)
  """
  own = segment_ids[:, None] == 1 + jnp.arange(segments)[None, :, None]
  own = (own & counted[:, None])[..., None]
  x = hidden - reader.bias[None, None]

  def block(part: tuple[Array, Array, Array]) -> Float[Array, "b s m"]:
    encoder, encoder_bias, gate = part
    z = layers.dot("btd,dm->btm", x, encoder) + encoder_bias[None, None]
    z = jnp.where(z > jnp.maximum(gate, 0)[None, None], z, 0)
    z = layers.constrain(z, _BATCH, None, "tensor")
    return jnp.max(jnp.where(own, z[:, None], 0), axis=2)

  parts = reader.encoder, reader.encoder_bias, reader.gate
  found = jax.lax.map(block, parts)
  return jnp.moveaxis(found, 0, 2).reshape(*own.shape[:2], -1)


def pack(on: Bool[Array, "b s l"]) -> UInt8[Array, "b s w"]:
  """Eight latents a byte, the first in its lowest bit.

  >>> on = jnp.zeros((1, 1, 16), bool).at[0, 0, 9].set(True)
  >>> pack(on).tolist()
  [[[0, 2]]]
  """
  bits = on.reshape(*on.shape[:2], -1, 8)
  values = jnp.left_shift(jnp.uint8(1), jnp.arange(8, dtype=jnp.uint8))
  return jnp.sum(bits * values[None, None, None], axis=3, dtype=jnp.uint8)


def unpack(rows: UInt8[np.ndarray, "n w"]) -> Bool[np.ndarray, "n l"]:
  """What `pack` packed, on the host.

  >>> unpack(np.array([[2]], np.uint8)).astype(int).tolist()
  [[0, 1, 0, 0, 0, 0, 0, 0]]
  """
  return np.unpackbits(rows, axis=1, bitorder="little").astype(np.bool_)


class Top(NamedTuple):
  """The m records with the greatest peak of each latent, descending.

  Attributes:
    peak: 0 where fewer records have the latent on.
    row: of the pool; ties are the lower row's.
  """

  peak: Float[Array, "l m"]
  row: Int[Array, "l m"]


def no_top(latents: int, count: int) -> Top:
  """Before any record was seen.

  >>> no_top(8, 3).row.shape
  (8, 3)
  """
  shape = latents, count
  return Top(jnp.zeros(shape), jnp.full(shape, jnp.iinfo(jnp.int32).max))


@jax.jit
def merge(top: Top, peak: Float[Array, "r l"], row: Int[Array, " r"]) -> Top:
  """Takes the peaks of more records into account.

  Args:
    top: so far.
    peak: 0 where a latent is not on.
    row: of these records.

  >>> top = merge(no_top(8, 2), jnp.eye(3, 8), jnp.array([5, 6, 7]))
  >>> top.peak[1].tolist(), top.row[1].tolist()
  ([1.0, 0.0], [6, 5])
  """
  count = top.peak.shape[1]
  peak = jnp.concatenate([top.peak, peak.T], axis=1)
  rows = jnp.broadcast_to(row[None].astype(jnp.int32), (len(peak), len(row)))
  rows = jnp.concatenate([top.row, rows], axis=1)
  # Each device sorts the records of its own latents.
  peak, rows = (
    layers.constrain(x, autoencoder.AXES, None) for x in (peak, rows)
  )
  least, rows = jax.lax.sort((-peak, rows), dimension=1, num_keys=2)
  return Top(-least[:, :count], rows[:, :count])
