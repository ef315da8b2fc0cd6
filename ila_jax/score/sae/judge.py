"""How good an autoencoder is, on tokens that it was not trained on."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float

from ila_jax.compute import mesh as mesh_lib
from ila_jax.score.sae import autoencoder

_TOKENS = 1024  # Of a step.
# Values of a token that are kept, where k does not say how many are on.
_VALUES = 512


class Judgement(NamedTuple):
  """What an autoencoder is on some tokens.

  Attributes:
    explained_variance: 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖².
    tokens: that were read.
    latents_a_token: that are on, in the mean.
    silent_share: of the latents, those that are on at none of the tokens.
    values: of latents that are on, float32, ascending.
  """

  explained_variance: float
  tokens: int
  latents_a_token: float
  silent_share: float
  values: Float[np.ndarray, " v"]


def judge(
  weights: autoencoder.Weights,
  x: Float[np.ndarray, "m d"],
  *,
  k: int | None,
  mesh: Mesh,
) -> Judgement:
  """Judges an autoencoder by hidden states of m tokens.

  Args:
    weights: NumPy arrays, the same on every host.
    x: hidden states as they are.
    k: latents of a token; None: all that are above their gate.
    mesh: the devices, each of which has some latents.

  >>> weights = autoencoder.init(jax.random.key(0), width=4, latents=16)
  >>> weights = jax.tree.map(np.asarray, weights)
  >>> x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
  >>> found = judge(weights, x, k=2, mesh=mesh_lib.make())
  >>> found.tokens, found.latents_a_token, len(found.values)
  (9, 2.0, 18)
  """
  on_mesh = jax.tree.map(
    lambda leaf, sharding: jax.make_array_from_callback(
      leaf.shape, sharding, lambda index: leaf[index]
    ),
    weights,
    autoencoder.place(weights, mesh),
  )
  mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
  left = variance = 0.0
  fired, values = np.zeros(weights.latents, np.bool_), []
  for begin in range(0, len(x), _TOKENS):
    part = x[begin : begin + _TOKENS]
    counts = np.arange(_TOKENS) < len(part)
    padded = np.resize(part, (_TOKENS, x.shape[1]))
    with jax.set_mesh(mesh):
      given = mesh_lib.put((padded, counts, mean), mesh, PartitionSpec())
      sums, on, greatest = mesh_lib.fetch(_step(on_mesh, *given, k=k))
    left, variance = left + float(sums[0]), variance + float(sums[1])
    fired |= on
    values.append(greatest[greatest > 0])
  found = np.sort(np.concatenate(values))
  return Judgement(
    explained_variance=1 - left / variance if variance else float("nan"),
    tokens=len(x),
    latents_a_token=len(found) / len(x),
    silent_share=float(1 - fired.mean()),
    values=found,
  )


@functools.partial(jax.jit, static_argnames="k")
def _step(
  weights: autoencoder.Weights,
  x: Float[Array, "b d"],
  counts: Bool[Array, " b"],
  mean: Float[Array, " d"],
  *,
  k: int | None,
) -> tuple[Float[Array, "2"], Bool[Array, " l"], Float[Array, "b v"]]:
  """Sums of squares left and in all, latents that fired, greatest values."""
  z = autoencoder.active(weights, x, k) * counts[:, None]
  left = (x - autoencoder.decode(weights, z)) * counts[:, None]
  centred = (x - mean[None]) * counts[:, None]
  sums = jnp.stack([jnp.sum(left**2), jnp.sum(centred**2)])
  greatest = jax.lax.top_k(z, min(k or _VALUES, z.shape[1]))[0]
  return sums, autoencoder.fires(z), greatest
