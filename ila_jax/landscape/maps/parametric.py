"""A small network that learns a map, so that the map can be shipped.

A hidden layer of Gaussian units and a weighted mean (Moody and Darken 1989):
y(x) = sum_u w_u(x) y_u, w(x) = softmax(-s |x - m_u|^2 / 2). The centres m_u
start on fitted points, the outputs y_u on their positions; all are trained.
Units that see only their surroundings follow the rifts of a t-SNE, where a
perceptron with global units blurs them (docs/decisions.md).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ila_jax.compute import neighbours, row_blocks

EPOCHS = 30  # Training may end before.
_HELD_OUT = 10  # One point in so many is not trained on.
_BATCH = 256
_LEARNING_RATE = 2e-3
_PATIENCE = 5  # Training ends after so many epochs without a better error.
_SHARPNESS = 32.0  # Its start, over the squared distance to the next unit.
_SOFTENING = 0.1  # Errors below it, in deviations of the map, count squared.

# Weights of the network, and the optimizer's state.
_Trained = tuple[PyTree[Any], PyTree[Any]]


class Network(nnx.Module):
  """Gaussian units and where on the map each of them stands."""

  def __init__(self, centers: Array, positions: Array, sharpness: Array):
    self.centers = nnx.Param(centers)
    self.positions = nnx.Param(positions)
    self.log_sharpness = nnx.Param(jnp.log(sharpness))

  def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b m"]:
    """Positions of centred embeddings."""
    return _mean_position(
      x, self.centers[...], self.positions[...], jnp.exp(self.log_sharpness)
    )


def fit(
  x: Float[Array | np.ndarray, "n d"],
  positions: Float[Array | np.ndarray, "n m"],
  *,
  key: Array,
  units: int = 4096,
  epochs: int = EPOCHS,
  on_progress: Callable[[int, float], None] | None = None,
) -> tuple[dict[str, Array], dict[str, float]]:
  """Trains a network on the positions of fitted points.

  One point in ten, drawn by `key`, is held out; training ends when their error
  falls no more, and the best epoch counts. The error of a point is
  log(1 + |miss|^2 / 0.1^2), miss in standard deviations of the map: what lies
  on the wrong island is given up rather than placed between islands.

  Args:
    x: embeddings of the fitted points, float32.
    positions: where these lie.
    key: a `jax.random.key`.
    units: hidden units, or as many as points to train on if these are fewer.
    epochs: at most.
    on_progress: called with (epochs done, held-out error).

  Returns:
    Arrays for `place`, and notes: of the held-out points `held_out_r2`, the
    share of the variance of their positions that is predicted, and
    `held_out_neighbours`, the share of their 10 nearest neighbours on the map
    that are still the nearest where the network places them. They had a part in
    the map, if none in the training; records that join it keep less. Fewer than
    10 points have no notes.

  >>> x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
  >>> arrays, notes = fit(x, x[:, :2], key=jax.random.key(0), epochs=2)
  >>> place(x, arrays).shape, sorted(notes)
  ((40, 2), ['held_out_neighbours', 'held_out_r2'])
  """
  x = jnp.asarray(x, jnp.float32)
  positions = jnp.asarray(positions, jnp.float32)
  split_key, unit_key, train_key = jax.random.split(key, 3)
  order = jax.random.permutation(split_key, len(x))
  held, known = jnp.split(order, [len(x) // _HELD_OUT])
  chosen = jax.random.permutation(unit_key, known)[:units]
  frame = _frame(x, positions, chosen)
  scaled = (
    (x - frame["mean"][None]) / frame["unit"],
    (positions - frame["middle"][None]) / frame["deviation"],
  )
  network = Network(
    scaled[0][chosen], scaled[1][chosen], jnp.float32(_SHARPNESS)
  )
  # Pools too small to hold a point out are judged by what they are trained on.
  judge = held if len(held) else known
  train, test = ([a[rows] for a in scaled] for rows in (known, judge))
  trained = _train(network, train, test, train_key, epochs, on_progress)
  arrays = {
    "mean": frame["mean"],
    "centers": trained.centers[...] * frame["unit"],
    "positions": trained.positions[...] * frame["deviation"]
    + frame["middle"][None],
    "sharpness": jnp.exp(trained.log_sharpness[...]) / frame["unit"] ** 2,
  }
  if not len(held):
    return arrays, {}
  return arrays, _judge(x, positions, held, known, arrays)


def place(
  x: Float[Array | np.ndarray, "n d"], arrays: dict[str, Array]
) -> Float[Array, "n m"]:
  """Applies a trained network.

  >>> arrays = {
  ...     "mean": jnp.zeros(1), "centers": jnp.array([[0.0], [2.0]]),
  ...     "positions": jnp.array([[5.0], [7.0]]), "sharpness": jnp.float32(1)}
  >>> place(np.array([[1.0], [90.0]]), arrays).tolist()
  [[6.0], [7.0]]
  """
  names = "mean", "centers", "positions", "sharpness"
  whole = [arrays[name] for name in names]
  return row_blocks.apply(_place_rows, jnp.asarray(x, jnp.float32), *whole)


def _place_rows(
  rows: Float[Array, "b d"],
  mean: Float[Array, " d"],
  centers: Float[Array, "u d"],
  positions: Float[Array, "u m"],
  sharpness: Float[Array, ""],
) -> Float[Array, "b m"]:
  return _mean_position(rows - mean[None], centers, positions, sharpness)


def _mean_position(
  x: Float[Array, "b d"],
  centers: Float[Array, "u d"],
  positions: Float[Array, "u m"],
  sharpness: Float[Array, ""],
) -> Float[Array, "b m"]:
  """Positions of the units, weighted by how close each unit is."""
  # |x|^2 is the same for all units, and softmax does not see it.
  products = jnp.dot(x, centers.T, precision=neighbours.EXACT)
  closeness = products - jnp.sum(centers * centers, axis=1)[None] / 2
  weights = jax.nn.softmax(sharpness * closeness, axis=1)
  return jnp.dot(weights, positions, precision=neighbours.EXACT)


def _frame(
  x: Float[Array, "n d"],
  positions: Float[Array, "n m"],
  chosen: Int[Array, " u"],
) -> dict[str, Array]:
  """Origins and units in which sizes are about 1, whatever the encoder."""
  next_unit = neighbours.nearest(
    x[chosen], x[chosen], k=min(1, len(chosen) - 1), same=True
  ).squared
  apart = jnp.median(next_unit) if next_unit.size else jnp.float32(0)
  middle = jnp.mean(positions, axis=0)
  deviation = jnp.std(positions - middle[None])
  return {
    "mean": jnp.mean(x, axis=0),
    "unit": jnp.where(apart > 0, jnp.sqrt(apart), 1.0),
    "middle": middle,
    "deviation": jnp.where(deviation > 0, deviation, 1.0),
  }


def _train(
  network: Network,
  train: list[Array],
  test: list[Array],
  key: Array,
  epochs: int,
  on_progress: Callable[[int, float], None] | None,
) -> Network:
  """Trains for some epochs; returns the network of the best one."""
  n = len(train[0])
  batch = max(1, min(_BATCH, n // 16))  # Few points still make some steps.
  sizes = {"batch": batch, "steps": max(1, epochs * (n // batch))}
  definition, weights = nnx.split(network)
  state = weights, _optimizer(sizes["steps"]).init(weights)
  best, least, stale = weights, float(_held_out(definition, weights, test)), 0
  for epoch in range(epochs):
    epoch_key = jax.random.fold_in(key, epoch)
    state, error = _epoch(definition, state, train, test, epoch_key, **sizes)
    stale += 1
    if float(error) < least:
      best, least, stale = state[0], float(error), 0
    if on_progress:
      on_progress(epoch + 1, least)
    if stale == _PATIENCE:
      break
  return nnx.merge(definition, best)


def _optimizer(steps: int) -> optax.GradientTransformation:
  return optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))


@functools.partial(jax.jit, static_argnames=("definition", "batch", "steps"))
def _epoch(
  definition: nnx.GraphDef,
  state: _Trained,
  train: list[Array],
  test: list[Array],
  key: Array,
  *,
  batch: int,
  steps: int,
) -> tuple[_Trained, Float[Array, ""]]:
  """Trains once on all points, in batches; returns the held-out error, too."""
  n = len(train[0])
  rows = jax.random.permutation(key, n)[: n // batch * batch]

  def step(state: _Trained, rows: Int[Array, " b"]) -> tuple[_Trained, None]:
    weights, moments = state
    some = [a[rows] for a in train]
    slope = jax.grad(_error, argnums=1)(definition, weights, some)
    change, moments = _optimizer(steps).update(slope, moments, weights)
    return (optax.apply_updates(weights, change), moments), None

  state, _ = lax.scan(step, state, rows.reshape(-1, batch))
  return state, _held_out(definition, state[0], test)


@functools.partial(jax.jit, static_argnames="definition")
def _held_out(
  definition: nnx.GraphDef, weights: PyTree[Any], points: list[Array]
) -> Float[Array, ""]:
  """`_error` of many points, block by block."""
  network = nnx.merge(definition, weights)

  def place(
    rows: Float[Array, "b d"], fresh: Bool[Array, " b"], state: tuple[()]
  ) -> tuple[Float[Array, "b m"], tuple[()]]:
    return network(rows), state

  return _mean_loss(row_blocks.walk(place, points[0])[0], points[1])


def _error(
  definition: nnx.GraphDef, weights: PyTree[Any], points: list[Array]
) -> Float[Array, ""]:
  return _mean_loss(nnx.merge(definition, weights)(points[0]), points[1])


def _mean_loss(
  placed: Float[Array, "n m"], positions: Float[Array, "n m"]
) -> Float[Array, ""]:
  """The mean of log(1 + |miss|^2 / 0.1^2)."""
  miss = placed - positions
  squared = jnp.sum(miss * miss, axis=1)
  return jnp.mean(jnp.log1p(squared / _SOFTENING**2))


def _judge(
  x: Float[Array, "n d"],
  positions: Float[Array, "n m"],
  held: Int[Array, " h"],
  known: Int[Array, " k"],
  arrays: dict[str, Array],
) -> dict[str, float]:
  """Measures the network on points that it was not trained on."""
  placed, wanted = place(x[held], arrays), positions[held]
  spread = jnp.sum((wanted - jnp.mean(wanted, axis=0)[None]) ** 2)
  missed = jnp.sum((placed - wanted) ** 2) / jnp.where(spread > 0, spread, 1.0)
  k = min(10, len(known))
  near, before = (
    neighbours.nearest(points, positions[known], k=k).index
    for points in (placed, wanted)
  )
  kept = jnp.any(near[:, :, None] == before[:, None, :], axis=2)
  return {
    "held_out_r2": float(1 - missed),
    "held_out_neighbours": float(jnp.mean(kept)),
  }
