"""One step of training an autoencoder, and the state that it changes."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from ila_jax.score.sae import autoencoder, loss

# The share of the steps, at the end, in which the learning rate falls to 0.
_DECAY = 0.2
# Of Adam, as Gao et al. have it: the loss is divided by the batch's variance,
# so that slopes are small.
_EPSILON = 6.25e-10


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How an autoencoder is trained.

  Attributes:
    width: d, of the hidden states.
    latents: L.
    k: latents of a token.
    k_auxiliary: dead latents of a token that learn what the others leave.
    learning_rate: the highest, of Adam.
    warmup_fraction: share of the steps in which it rises.
    steps: in all.
    batch_tokens: tokens of a step.
    dead_tokens: a latent that was on at none of so many tokens is dead.
    seed: of the first weights.
  """

  width: int
  latents: int
  k: int
  k_auxiliary: int
  learning_rate: float
  warmup_fraction: float
  steps: int
  batch_tokens: int
  dead_tokens: int
  seed: int

  def optimizer(self) -> optax.GradientTransformation:
    """Adam; the rate rises, holds, and falls in the last fifth."""
    warm = max(round(self.warmup_fraction * self.steps), 1)
    fall = max(round(_DECAY * self.steps), 1)
    rate = self.learning_rate
    schedule = optax.join_schedules(
      [
        optax.linear_schedule(rate / warm, rate, warm),
        optax.linear_schedule(rate, 0.0, fall),
      ],
      [max(self.steps - fall, warm)],
    )
    return optax.adam(schedule, eps=_EPSILON)

  @property
  def flops(self) -> float:
    """FLOPs of the products of a step, of which the dead ask two more.

    Encoder and decoder once forward and twice backward.

    >>> sizes = {"width": 3, "latents": 4, "k": 1, "k_auxiliary": 1, "steps": 9}
    >>> rates = {"learning_rate": 1.0, "warmup_fraction": 0.0, "seed": 0}
    >>> Recipe(**sizes, **rates, batch_tokens=2, dead_tokens=9).flops
    288.0
    """
    return 12.0 * self.batch_tokens * self.latents * self.width


class State(NamedTuple):
  """What a step changes.

  Attributes:
    weights: of the autoencoder, in units of the hidden states' deviation.
    optimizer: Adam's moments.
    idle: tokens since each latent was on.
  """

  weights: autoencoder.Weights
  optimizer: PyTree[Any]
  idle: Int[Array, " l"]


class Metrics(NamedTuple):
  """What a step tells.

  Attributes:
    unexplained: as `loss.Parts` has it.
    auxiliary: likewise.
    dead: share of latents that were dead before the step.
  """

  unexplained: Float[Array, ""]
  auxiliary: Float[Array, ""]
  dead: Float[Array, ""]


def first_state(recipe: Recipe) -> State:
  """The state before the first step.

  >>> sizes = {"width": 4, "latents": 16, "k": 2, "k_auxiliary": 4, "steps": 9}
  >>> rates = {"learning_rate": 1e-3, "warmup_fraction": 0.1, "seed": 0}
  >>> recipe = Recipe(**sizes, **rates, batch_tokens=8, dead_tokens=99)
  >>> first_state(recipe).idle.shape
  (16,)
  """
  weights = autoencoder.init(
    jax.random.key(recipe.seed), width=recipe.width, latents=recipe.latents
  )
  idle = jnp.zeros(recipe.latents, jnp.int32)
  return State(weights, recipe.optimizer().init(weights), idle)


def place(state: State, mesh: Mesh) -> State:
  """Where each array of a state lies; `state` may be of shapes."""
  own = autoencoder.place(state.weights, mesh)
  everywhere = NamedSharding(mesh, PartitionSpec())
  is_weights = lambda x: isinstance(x, autoencoder.Weights)  # noqa: E731
  optimizer = jax.tree.map(
    lambda x: own if is_weights(x) else everywhere,
    state.optimizer,
    is_leaf=is_weights,
  )
  return State(own, optimizer, own.encoder_bias)


@functools.partial(jax.jit, static_argnames="recipe", donate_argnames="state")
def step(
  recipe: Recipe, state: State, x: Float[Array, "b d"]
) -> tuple[State, Metrics]:
  """One step of Adam; the rows of the decoder keep their norm of 1.

  A gradient along a row would only change its norm: it is taken out before
  Adam sees it, and what Adam adds is divided out after.

  Args:
    recipe: how.
    state: before the step; it is given away.
    x: hidden states of a batch of tokens, in units of their deviation.

  >>> sizes = {"width": 4, "latents": 16, "k": 2, "k_auxiliary": 4, "steps": 9}
  >>> rates = {"learning_rate": 1e-2, "warmup_fraction": 0.1, "seed": 0}
  >>> recipe = Recipe(**sizes, **rates, batch_tokens=8, dead_tokens=99)
  >>> x = jax.random.normal(jax.random.key(1), (8, 4))
  >>> state = first_state(recipe)
  >>> for _ in range(9):
  ...   state, metrics = step(recipe, state, x)
  >>> float(metrics.unexplained) < 0.5, int(state.idle.max()) <= 72
  (True, True)
  """
  weights, dead = state.weights, state.idle >= recipe.dead_tokens
  of = functools.partial(loss.loss, k=recipe.k, k_auxiliary=recipe.k_auxiliary)
  slope, parts = jax.grad(of, has_aux=True)(weights, x, dead)
  along = jnp.sum(slope.decoder * weights.decoder, axis=1, keepdims=True)
  slope = slope._replace(decoder=slope.decoder - along * weights.decoder)
  change, moments = recipe.optimizer().update(slope, state.optimizer, weights)
  weights = optax.apply_updates(weights, change)
  weights = weights._replace(decoder=autoencoder.unit_rows(weights.decoder))
  # More would tell nothing, and at length no longer be a number of 32 bits.
  idle = jnp.minimum(state.idle + len(x), recipe.dead_tokens)
  idle = jnp.where(parts.fired, 0, idle)
  told = Metrics(parts.unexplained, parts.auxiliary, dead.mean())
  return State(weights, moments, idle), told


def in_units_of(
  weights: autoencoder.Weights,
  mean: Float[Array | np.ndarray, " d"],
  scale: float | Array | np.float32 | np.ndarray,
) -> autoencoder.Weights:
  """Weights that read hidden states as they are, instead of (x − mean)/scale.

  Latents then are in the units of the hidden states too: a multiple, by
  `scale`, of what they were.

  >>> weights = autoencoder.init(jax.random.key(0), width=4, latents=16)
  >>> x, mean = jax.random.normal(jax.random.key(1), (2, 4)), jnp.arange(4.0)
  >>> before = autoencoder.latents(weights, x)
  >>> raw = in_units_of(weights, mean, 2.0)
  >>> after = autoencoder.latents(raw, 2 * x + mean[None])
  >>> bool(jnp.allclose(after, 2 * before, atol=1e-5))
  True
  """
  return weights._replace(
    encoder_bias=scale * weights.encoder_bias,
    bias=mean + scale * weights.bias,
    gate=scale * weights.gate,
  )
