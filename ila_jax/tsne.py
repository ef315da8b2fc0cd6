"""t-SNE (van der Maaten and Hinton 2008): the map in two dimensions.

The cost is KL(P || Q): P says how likely a point picks another as neighbour
among the embeddings, Q the same on the map, with Student's t kernel
w_ij = 1 / (1 + |y_i - y_j|^2) and Q = w / Z. P is sparse (the 3 * perplexity
nearest neighbours); the repulsion is the exact sum over all pairs, in blocks of
rows, so that a step takes O(n^2) time and little memory.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax import errors, neighbours, principal

_EXAGGERATION = 12.0
_EXAGGERATION_ITERATIONS = 250
_ITERATIONS_PER_CALL = 50  # Between two of them the host waits and reports.
_PAIRS_PER_ROW = 32  # Sums of 32 pairs are dense; only their totals scatter.


class Pairs(NamedTuple):
  """Sparse symmetric P: a point owns as many rows of 32 pairs as it needs."""

  point: Int[Array, " r"]
  other: Int[Array, "r w"]
  probability: Float[Array, "r w"]


class Fit(NamedTuple):
  """A fitted map, its cost and the perplexity that was possible."""

  xy: Float[Array, "n 2"]
  kl: float
  perplexity: float


class _State(NamedTuple):
  xy: Array
  velocity: Array
  gain: Array


def fit(
  x: Float[Array | np.ndarray, "n d"],
  *,
  perplexity: float = 30.0,
  iterations: int = 750,
  key: Array,
  on_progress: Callable[[int, float], None] | None = None,
) -> Fit:
  """Fits a t-SNE map: gradient descent on KL(P || Q).

  It starts from the two principal components, scaled to a standard deviation of
  1e-4, with a jitter of 1e-6 drawn from `key`. For the first 250 iterations
  (at most a third of them all) P is exaggerated 12 times and the momentum is
  0.5; then 1 and 0.8. The learning rate is n / (4 exaggeration), with gains:
  n / 12 and n for those who leave the gradient's factor 4 to the rate. No floor
  is put under it; it threw small pools about. The same rows in the same order
  give the same bits.

  Args:
    x: embeddings, float32.
    perplexity: effective number of neighbours, at least 1. A pool of n points
      admits (n - 1) / 3 at most; above that it is lowered, and the answer says
      to what.
    iterations: gradient steps.
    key: a `jax.random.key`.
    on_progress: called with (iterations done, KL) after every 50 iterations.

  Returns:
    Positions (float32), KL(P || Q) in nats, and the perplexity used.

  Raises:
    InputError: the perplexity is below 1, or the iterations below 0.

  >>> x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
  >>> found = fit(x, iterations=100, key=jax.random.key(0))
  >>> found.xy.shape, found.perplexity
  ((40, 2), 13.0)
  """
  if not perplexity >= 1:
    raise errors.InputError(
      f"The perplexity of t-SNE is {perplexity}; allowed: 1 or more. 30 is"
      " usual."
    )
  if iterations < 0:
    raise errors.InputError(
      f"The iterations of t-SNE are {iterations}; allowed: 0 or more. 750 is"
      " usual."
    )
  n = len(x)
  perplexity = float(min(perplexity, max((n - 1) / 3, 1.0)))
  if n < 2:
    return Fit(jnp.zeros((n, 2)), 0.0, perplexity)
  pairs = joint_probabilities(x, perplexity=perplexity)
  state = _State(_start(x, key), jnp.zeros((n, 2)), jnp.ones((n, 2)))
  early = min(_EXAGGERATION_ITERATIONS, iterations // 3)
  kl = float(cost(state.xy, pairs))
  done = 0
  while done < iterations:
    phase_end = early if done < early else iterations
    steps = min(_ITERATIONS_PER_CALL, phase_end - done)
    exaggeration, momentum = (
      (_EXAGGERATION, 0.5) if done < early else (1.0, 0.8)
    )
    rate = n / (4 * exaggeration)
    state = _descend(state, pairs, steps, exaggeration, momentum, rate)
    done += steps
    kl = float(cost(state.xy, pairs))
    if on_progress:
      on_progress(done, kl)
  return Fit(state.xy, kl, perplexity)


@functools.partial(jax.jit, static_argnames="perplexity")
def conditional_probabilities(
  squared: Float[Array, "n k"], *, perplexity: float
) -> Float[Array, "n k"]:
  """Gaussian kernels of a given perplexity: p_j|i = exp(-b_i d_ij^2) / sum.

  b_i solves entropy(p_.|i) = log(perplexity), by bisection of log b_i for all
  rows at once. Where more neighbours than the perplexity tie for the nearest no
  b_i does, and they share the row evenly.

  >>> squared = jnp.array([[1.0, 1.0, 50.0]])
  >>> conditional_probabilities(squared, perplexity=2.0).round(3).tolist()
  [[0.5, 0.5, 0.0]]
  """
  excess = squared - jnp.min(squared, axis=1, keepdims=True)
  scale = jnp.mean(excess, axis=1, keepdims=True)
  excess = excess / jnp.where(scale > 0, scale, 1.0)
  target = jnp.log(jnp.float32(perplexity))

  def kernel(log_precision):
    scores = -jnp.exp(log_precision)[:, None] * excess
    return jax.nn.softmax(scores, axis=1), jax.nn.log_softmax(scores, axis=1)

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) / 2
    probability, logarithm = kernel(middle)
    too_flat = -jnp.sum(probability * logarithm, axis=1) > target
    return jnp.where(too_flat, middle, low), jnp.where(too_flat, high, middle)

  n = len(squared)
  bounds = (jnp.full(n, -20.0), jnp.full(n, 20.0))
  low, high = lax.fori_loop(0, 40, halve, bounds)
  return kernel((low + high) / 2)[0]


def joint_probabilities(
  x: Float[Array | np.ndarray, "n d"], *, perplexity: float
) -> Pairs:
  """P = (p_j|i + p_i|j) / 2n over the 3 * perplexity nearest neighbours.

  >>> x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
  >>> pairs = joint_probabilities(x, perplexity=2.0)
  >>> round(float(pairs.probability.sum()), 5)
  1.0
  """
  n = len(x)
  k = min(n - 1, int(3 * perplexity) + 1)
  x = jnp.asarray(x, jnp.float32)
  # Centred, products lose less of small distances to rounding.
  x = x - jnp.mean(x, axis=0, keepdims=True)
  found = neighbours.nearest(x, x, k=k, same=True)
  directed = conditional_probabilities(found.squared, perplexity=perplexity)
  ends = np.arange(0, n * k + 1, k)
  sparse = scipy.sparse.csr_array(
    (np.ravel(directed), np.ravel(found.index), ends), shape=(n, n)
  )
  return _rows_of_pairs(((sparse + sparse.T) / (2 * n)).tocsr())


def gradient(
  xy: Float[Array, "n 2"], pairs: Pairs, *, exaggeration: Float[Array, ""]
) -> Float[Array, "n 2"]:
  """dKL/dy_i = 4 sum_j (exaggeration p_ij - q_ij) w_ij (y_i - y_j).

  >>> pairs = joint_probabilities(np.eye(4), perplexity=1.0)
  >>> force = gradient(jnp.eye(4)[:, :2], pairs, exaggeration=jnp.float32(1))
  >>> bool(jnp.all(jnp.abs(force.sum(axis=0)) < 1e-6))
  True
  """
  repulsion, normaliser = _repulsion(xy)
  attraction = _attraction(xy, pairs)
  return 4 * (exaggeration * attraction - repulsion / normaliser)


@jax.jit
def cost(xy: Float[Array, "n 2"], pairs: Pairs) -> Float[Array, ""]:
  """KL(P || Q) = sum p_ij (log p_ij - log w_ij) + log Z, in nats.

  >>> pairs = joint_probabilities(np.eye(2), perplexity=1.0)
  >>> round(float(cost(jnp.eye(2), pairs)), 6)
  0.0
  """
  _, _, squared = _differences(xy, pairs)
  p = pairs.probability
  log_p = jnp.log(jnp.where(p > 0, p, 1.0))
  _, normaliser = _repulsion(xy)
  return jnp.sum(p * (log_p + jnp.log1p(squared))) + jnp.log(normaliser)


@functools.partial(jax.jit, donate_argnames="state")
def _descend(state, pairs, steps, exaggeration, momentum, rate):
  def step(_, state):
    slope = gradient(state.xy, pairs, exaggeration=exaggeration)
    goes_on = jnp.sign(slope) != jnp.sign(state.velocity)
    gain = jnp.where(goes_on, state.gain + 0.2, state.gain * 0.8)
    gain = jnp.maximum(gain, 0.01)
    velocity = momentum * state.velocity - rate * gain * slope
    xy = state.xy + velocity
    return _State(xy - jnp.mean(xy, axis=0, keepdims=True), velocity, gain)

  exaggeration = jnp.asarray(exaggeration, jnp.float32)
  return lax.fori_loop(0, steps, step, state)


def _start(x, key):
  x = jnp.asarray(x, jnp.float32)
  mean, axes = principal.principal_axes(x)
  xy = jnp.dot(x - mean[None], axes, precision=neighbours.EXACT)
  deviation = jnp.std(xy[:, 0])
  xy = 1e-4 * xy / jnp.where(deviation > 0, deviation, 1.0)
  return xy + 1e-6 * jax.random.normal(key, xy.shape)


def _rows_of_pairs(sparse: scipy.sparse.csr_array) -> Pairs:
  """Cuts the rows of a sparse matrix into rows of 32 pairs, padded with 0."""
  width = _PAIRS_PER_ROW
  counts = -(-np.diff(sparse.indptr) // width)
  point = np.repeat(np.arange(sparse.shape[0], dtype=np.int32), counts)
  within = np.arange(len(point)) - np.repeat(np.cumsum(counts) - counts, counts)
  position = (sparse.indptr[point] + width * within)[:, None] + np.arange(width)
  real = position < sparse.indptr[point + 1][:, None]
  position = np.where(real, position, 0)
  other = np.where(real, sparse.indices[position], point[:, None])
  probability = np.where(real, sparse.data[position], 0)
  return Pairs(
    jnp.asarray(point),
    jnp.asarray(other, jnp.int32),
    jnp.asarray(probability, jnp.float32),
  )


def _differences(xy, pairs):
  x, y = xy[:, 0], xy[:, 1]
  dx = x[pairs.point][:, None] - x[pairs.other]
  dy = y[pairs.point][:, None] - y[pairs.other]
  return dx, dy, dx * dx + dy * dy


def _attraction(xy, pairs):
  """sum_j p_ij w_ij (y_i - y_j)."""
  dx, dy, squared = _differences(xy, pairs)
  pull = pairs.probability / (1 + squared)
  totals = jnp.stack([jnp.sum(pull * dx, 1), jnp.sum(pull * dy, 1)], axis=1)
  return jax.ops.segment_sum(
    totals, pairs.point, len(xy), indices_are_sorted=True
  )


def _repulsion(xy):
  """sum_j w_ij^2 (y_i - y_j), and Z = sum w_ij over i != j."""
  n = len(xy)
  x, y = xy[:, 0], xy[:, 1]
  columns = jnp.arange(n, dtype=jnp.int32)
  moments = jnp.concatenate([jnp.ones((n, 1)), xy], axis=1)

  def one(column_and_point):
    column, point = column_and_point
    dx, dy = x - point[0], y - point[1]
    kernel = 1 / (1 + dx * dx + dy * dy)
    kernel = jnp.where(columns == column, 0.0, kernel)
    sums = jnp.dot(kernel * kernel, moments, precision=neighbours.EXACT)
    return point * sums[0] - sums[1:], jnp.sum(kernel)

  block = max(1, neighbours.BLOCK_FLOATS // n)
  force, kernel_sums = lax.map(one, (columns, xy), batch_size=block)
  return force, jnp.sum(kernel_sums)
