"""What an autoencoder is trained on: reconstruction, and its dead latents."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ila_jax.score.sae import autoencoder

# Weight of the second term (Gao et al.; Yang et al.).
AUXILIARY = 1 / 32


class Parts(NamedTuple):
  """A loss of a batch of tokens, in its parts.

  Attributes:
    unexplained: Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean of the batch.
    auxiliary: Σ‖e − ê‖² / Σ‖x − x̄‖²; 0 where no latent is dead.
    fired: latents that are on at any token.
  """

  unexplained: Float[Array, ""]
  auxiliary: Float[Array, ""]
  fired: Bool[Array, " l"]


def loss(
  weights: autoencoder.Weights,
  x: Float[Array, "b d"],
  dead: Bool[Array, " l"],
  *,
  k: int,
  k_auxiliary: int,
) -> tuple[Float[Array, ""], Parts]:
  """The share of the variance that is left, + 1/32 of the auxiliary loss.

  e = x − x̂ is what the latents leave, and ê = z_dead W_dec its reconstruction
  by the k_auxiliary strongest of the dead latents, which learn from nothing
  else. No gradient goes through e. Both terms are divided by the variance of
  the batch, so that the scale of the hidden states does not count.

  Args:
    weights: of the autoencoder.
    x: hidden states of b tokens.
    dead: latents that have not been on for long.
    k: latents of a token.
    k_auxiliary: dead latents of a token, in ê.

  >>> weights = autoencoder.init(jax.random.key(0), width=4, latents=16)
  >>> x = jax.random.normal(jax.random.key(1), (8, 4))
  >>> total, parts = loss(weights, x, jnp.ones(16, bool), k=2, k_auxiliary=4)
  >>> float(total) == float(parts.unexplained + parts.auxiliary / 32)
  True
  """
  every = autoencoder.latents(weights, x)
  z = autoencoder.keep_top(every, k)
  left = x - autoencoder.decode(weights, z)
  variance = jnp.sum((x - x.mean(axis=0)[None]) ** 2)
  unexplained = jnp.sum(left**2) / variance

  def of_dead() -> Float[Array, ""]:
    some = autoencoder.keep_top(every * dead[None], k_auxiliary)
    made = autoencoder.multiply(some, weights.decoder)
    return jnp.sum((jax.lax.stop_gradient(left) - made) ** 2) / variance

  # Where none is dead, half of the products need not be made.
  auxiliary = jax.lax.cond(dead.any(), of_dead, lambda: jnp.float32(0))
  parts = Parts(unexplained, auxiliary, autoencoder.fires(z))
  return unexplained + AUXILIARY * auxiliary, parts
