"""A TopK sparse autoencoder: weights, latents, reconstruction.

    z = TopK(ReLU((x − b) W_enc + b_enc)),   x̂ = z W_dec + b

Of Gao et al. (arXiv 2406.04093), as Yang et al. (arXiv 2502.14050) use it: x is
the hidden state of a token, and each row of W_dec has norm 1 (docs/method.md
15).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float

from ila_jax.models import layers

# Latents are split over every device: each has its own, with all that an
# optimizer keeps of them, and meets all tokens of a batch.
AXES = ("data", "fsdp", "tensor")


class Weights(NamedTuple):
  """What an autoencoder of width d has learnt, with L latents.

  Attributes:
    encoder: W_enc.
    encoder_bias: b_enc.
    decoder: W_dec; rows of norm 1.
    bias: b.
    gate: what a latent must exceed to count, at a token; 0 of TopK.
  """

  encoder: Float[Array | np.ndarray, "d l"]
  encoder_bias: Float[Array | np.ndarray, " l"]
  decoder: Float[Array | np.ndarray, "l d"]
  bias: Float[Array | np.ndarray, " d"]
  gate: Float[Array | np.ndarray, " l"]

  @property
  def latents(self) -> int:
    """L."""
    return self.decoder.shape[0]

  @property
  def width(self) -> int:
    """d, of the hidden states that it reads."""
    return self.decoder.shape[1]


def init(key: Array, *, width: int, latents: int) -> Weights:
  """Random rows of norm 1, and the encoder their transpose.

  >>> weights = init(jax.random.key(0), width=4, latents=16)
  >>> weights.latents, weights.width
  (16, 4)
  """
  decoder = unit_rows(jax.random.normal(key, (latents, width)))
  biases = jnp.zeros(latents), jnp.zeros(width)
  return Weights(decoder.T, biases[0], decoder, biases[1], jnp.zeros(latents))


def unit_rows(decoder: Float[Array, "l d"]) -> Float[Array, "l d"]:
  """Rows of norm 1.

  >>> unit_rows(jnp.array([[3.0, 4.0]])).round(1).tolist()
  [[0.6000000238418579, 0.800000011920929]]
  """
  norm = jnp.linalg.norm(decoder, axis=1, keepdims=True)
  return decoder / jnp.maximum(norm, 1e-12)


def place(weights: Weights, mesh: Mesh) -> Weights:
  """Where each weight lies: latents are split over all devices of a mesh.

  >>> mesh = jax.make_mesh((1, 1, 1), AXES)
  >>> weights = init(jax.random.key(0), width=4, latents=16)
  >>> place(weights, mesh).decoder.spec
  P(('data', 'fsdp', 'tensor'), None)
  """
  specs = Weights(
    PartitionSpec(None, AXES),
    PartitionSpec(AXES),
    PartitionSpec(AXES, None),
    PartitionSpec(),
    PartitionSpec(AXES),
  )
  return Weights(
    *(
      jax.sharding.NamedSharding(mesh, layers.fit(spec, leaf.shape, mesh.shape))
      for spec, leaf in zip(specs, weights, strict=True)
    )
  )


def latents(weights: Weights, x: Float[Array, "b d"]) -> Float[Array, "b l"]:
  """ReLU((x − b) W_enc + b_enc), and 0 where that does not exceed the gate.

  >>> weights = init(jax.random.key(0), width=4, latents=16)
  >>> bool((latents(weights, jnp.ones((2, 4))) >= 0).all())
  True
  """
  inputs = layers.dot("bd,dl->bl", x - weights.bias[None], weights.encoder)
  inputs = inputs + weights.encoder_bias[None]
  # A gate below 0 lets no negative number through.
  gate = jnp.maximum(weights.gate, 0)[None]
  return jnp.where(inputs > gate, inputs, 0)


def keep_top(z: Float[Array, "b l"], k: int) -> Float[Array, "b l"]:
  """The k greatest of each row; all others 0, and of equals all or none.

  >>> keep_top(jnp.array([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
  [[0.0, 3.0, 2.0, 0.0]]
  """
  least = jax.lax.stop_gradient(_kth(z, k))
  return jnp.where(z >= least[:, None], z, 0)


def _kth(z: Float[Array, "b l"], k: int) -> Float[Array, " b"]:
  """The k-th greatest of each row; devices send the k greatest of their own."""
  count = z.shape[1]
  parts = jax.sharding.get_abstract_mesh().size or 1
  parts = parts if count % parts == 0 else 1
  own = z.reshape(len(z), parts, count // parts)
  own = layers.constrain(own, None, AXES, None)
  greatest, _ = jax.lax.top_k(own, min(k, own.shape[2]))
  return jax.lax.top_k(greatest.reshape(len(z), -1), min(k, count))[0][:, -1]


def decode(weights: Weights, z: Float[Array, "b l"]) -> Float[Array, "b d"]:
  """Reconstructs: z W_dec + b.

  >>> weights = init(jax.random.key(0), width=4, latents=16)
  >>> decode(weights, jnp.zeros((2, 16))).tolist() == [[0.0] * 4] * 2
  True
  """
  return multiply(z, weights.decoder) + weights.bias[None]


def multiply(
  z: Float[Array, "b l"], decoder: Float[Array, "l d"]
) -> Float[Array, "b d"]:
  """Multiplies: z W_dec.

  >>> multiply(jnp.ones((1, 2)), jnp.ones((2, 3))).tolist()
  [[2.0, 2.0, 2.0]]
  """
  return layers.dot("bl,ld->bd", z, decoder)


def active(
  weights: Weights, x: Float[Array, "b d"], k: int | None
) -> Float[Array, "b l"]:
  """The values of each token, z: of all latents, or of the k greatest.

  >>> weights = init(jax.random.key(0), width=4, latents=16)
  >>> z = active(weights, jnp.ones((2, 4)), 3)
  >>> (z > 0).sum(axis=1).tolist()
  [3, 3]
  """
  z = latents(weights, x)
  return z if k is None else keep_top(z, k)


def fires(z: Float[Array, "b l"]) -> Bool[Array, " l"]:
  """Which latents are on at any token.

  >>> fires(jnp.array([[0.0, 1.0]])).tolist()
  [False, True]
  """
  return (z > 0).any(axis=0)
