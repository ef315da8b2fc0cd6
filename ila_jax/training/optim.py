"""AdamW and its learning rate, as optax transformations.

The learning rate is an argument of every update, not a part of the optimizer,
so one compiled training step serves runs of any length.
"""

import functools
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, PyTree

# Parameters whose path holds one of these words are not decayed. Shapes do
# not tell: the norms of stacked layers are matrices.
_NOT_DECAYED = ("norm", "bias", "scale")


def decayed(params: PyTree) -> PyTree:
  """Marks the parameters that weight decay applies to, by their path.

  Everything is decayed but norms and biases, as `transformers.Trainer` does.

  Args:
    params: parameters of any shape, as a tree whose keys are their names.

  Returns:
    The same tree of Python booleans.

  >>> decayed({"q": {"kernel": 1.0, "bias": 0.0}, "final_norm": {"w": 1.0}})
  {'final_norm': {'w': False}, 'q': {'bias': False, 'kernel': True}}
  """

  def is_decayed(path: tuple[Any, ...], _: Any) -> bool:
    name = jax.tree_util.keystr(path).lower()
    return not any(word in name for word in _NOT_DECAYED)

  return jax.tree_util.tree_map_with_path(is_decayed, params)


@functools.lru_cache
def adamw(
  *,
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
  """Clipping by the global norm, then AdamW; the rate comes per update.

  With g clipped to norm `clip_norm`, m and v the bias-corrected moments:
  update = -learning_rate · (m / (√v + eps) + weight_decay · param). Equal
  arguments give the very same object, so a jitted step that takes it as a
  static argument is compiled once (Loshchilov and Hutter 2019, algorithm 2).

  Args:
    weight_decay: pull towards zero per unit of learning rate; norms and biases
      have none.
    clip_norm: the largest global L2 norm of the gradient.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: added to the root of the second moment.

  Returns:
    An optax transformation with `update(grads, state, params,
    learning_rate=...)`.

  >>> import numpy as np
  >>> optimizer = adamw()
  >>> params = {"w": np.ones(2, np.float32)}
  >>> updates, _ = optimizer.update(
  ...   params, optimizer.init(params), params, learning_rate=0.5
  ... )
  >>> updates["w"].round(4).tolist()
  [-0.5, -0.5]
  """
  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
    optax.add_decayed_weights(weight_decay, mask=decayed),
    _scale_by_given_rate(),
  )


def _scale_by_given_rate() -> optax.GradientTransformationExtraArgs:
  def update(
    updates: PyTree,
    state: optax.EmptyState,
    params: PyTree = None,
    *,
    learning_rate: Float[Array, ""] | float,
    **_: Any,
  ) -> tuple[PyTree, optax.EmptyState]:
    del params
    return jax.tree.map(lambda u: -learning_rate * u, updates), state

  return optax.GradientTransformationExtraArgs(
    lambda _: optax.EmptyState(), update
  )


def cosine(
  *, learning_rate: float, warmup_fraction: float, total_steps: int
) -> optax.Schedule:
  """Linear warm-up, then half a cosine towards zero; no step has rate zero.

  With w = round(warmup_fraction · total_steps), step s = 0, 1, ... has
  learning_rate · (s + 1) / (w + 1) up to s = w, and from there
  learning_rate · (1 + cos(π (s - w) / (total_steps - w))) / 2. Zero would be
  reached at s = total_steps, the first step that is not taken.

  Args:
    learning_rate: the highest rate.
    warmup_fraction: share of the steps before it is reached, 0 to 1.
    total_steps: steps of the run, at least 1.

  Returns:
    An optax schedule: step (0-based, scalar or array) to rate (float32).

  >>> import numpy as np
  >>> rate = cosine(learning_rate=1.0, warmup_fraction=0.25, total_steps=4)
  >>> rate(np.arange(4)).round(2).tolist()
  [0.5, 1.0, 0.75, 0.25]
  """
  warmup_steps = _warmup_steps(warmup_fraction, total_steps)
  return optax.warmup_cosine_decay_schedule(
    init_value=learning_rate / (warmup_steps + 1),
    peak_value=learning_rate,
    warmup_steps=warmup_steps,
    decay_steps=total_steps,
  )


def linear(
  *, learning_rate: float, warmup_fraction: float, total_steps: int
) -> optax.Schedule:
  """Linear warm-up, then a line towards zero; arguments as of `cosine`.

  From step w on the rate is learning_rate · (total_steps - s) /
  (total_steps - w), as of `transformers`' linear schedule.

  >>> import numpy as np
  >>> rate = linear(learning_rate=1.0, warmup_fraction=0.25, total_steps=5)
  >>> rate(np.arange(5)).tolist()
  [0.5, 1.0, 0.75, 0.5, 0.25]
  """
  warmup_steps = _warmup_steps(warmup_fraction, total_steps)
  rise = _rise(learning_rate, warmup_steps)
  fall = optax.linear_schedule(learning_rate, 0.0, total_steps - warmup_steps)
  return optax.join_schedules([rise, fall], [warmup_steps])


def constant(
  *, learning_rate: float, warmup_fraction: float, total_steps: int
) -> optax.Schedule:
  """Linear warm-up, then the highest rate to the end; as `cosine` otherwise.

  >>> import numpy as np
  >>> rate = constant(learning_rate=1.0, warmup_fraction=0.25, total_steps=4)
  >>> rate(np.arange(4)).tolist()
  [0.5, 1.0, 1.0, 1.0]
  """
  warmup_steps = _warmup_steps(warmup_fraction, total_steps)
  rise = _rise(learning_rate, warmup_steps)
  stays = optax.constant_schedule(learning_rate)
  return optax.join_schedules([rise, stays], [warmup_steps])


def _warmup_steps(warmup_fraction: float, total_steps: int) -> int:
  return min(round(warmup_fraction * total_steps), total_steps - 1)


def _rise(learning_rate: float, warmup_steps: int) -> optax.Schedule:
  """Reaches the highest rate at step `warmup_steps`; no step has rate zero."""
  first = learning_rate / (warmup_steps + 1)
  return optax.linear_schedule(first, learning_rate, max(warmup_steps, 1))


# What the learning rate does, by the name in config.train.schedule.
SCHEDULES = {"constant": constant, "cosine": cosine, "linear": linear}
