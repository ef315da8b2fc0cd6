"""Rotary positions, in every variant that the decoder families publish."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ila_jax import errors

KINDS = ("default", "linear", "dynamic", "llama3", "yarn")


@dataclasses.dataclass(frozen=True)
class Rope:
  """How positions turn the pairs of a head, and how that was stretched.

  Attributes:
    kind: `default`; `linear` divides all frequencies by `factor`; `llama3`
      only the low ones; `yarn` the low ones, by a ramp over the pairs;
      `dynamic` is `default` up to the positions a model was made for.
    theta: base of the frequencies.
    factor: by how much the context was stretched.
    original_positions: positions before that; `llama3` and `yarn`.
    low_factor: `llama3`: waves longer than original_positions / low_factor
      are stretched whole.
    high_factor: `llama3`: waves shorter than original_positions / high_factor
      are not stretched.
    attention_factor: `yarn`: multiplies turned queries and keys.
    beta_fast: `yarn`: turns within the original positions above which a pair
      is not stretched.
    beta_slow: `yarn`: turns below which it is stretched whole.
    truncate: `yarn`: whether the ramp starts and ends at whole pairs.

  Raises:
    errors.InputError: an unknown kind.

  >>> Rope(kind="longrope")
  Traceback (most recent call last):
  ila_jax.errors.InputError: rope kind is 'longrope'; allowed: default, lin...
  """

  kind: str = "default"
  theta: float = 10000.0
  factor: float = 1.0
  original_positions: int = 8192
  low_factor: float = 1.0
  high_factor: float = 4.0
  attention_factor: float = 1.0
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  truncate: bool = True

  def __post_init__(self) -> None:
    """Checks the kind."""
    if self.kind not in KINDS:
      raise errors.InputError(
        f"rope kind is {self.kind!r}; allowed: {', '.join(KINDS)}."
      )


DEFAULT = Rope()


def frequencies(rope: Rope, head_dim: int) -> Float[np.ndarray, " f"]:
  """Returns the angle by which a position turns each of f = head_dim / 2 pairs.

  theta^(-2i / head_dim), stretched as `Rope` says: Llama 3.1 (Meta's reference
  code), YaRN (arXiv 2309.00071, Section 3.2).

  >>> frequencies(Rope(kind="linear", theta=100.0, factor=2.0), 4).tolist()
  [0.5, 0.05000000074505806]
  """
  exponent = np.arange(0, head_dim, 2) / head_dim
  high = rope.theta**-exponent
  low = high / rope.factor
  if rope.kind in ("default", "dynamic"):
    kept = 1.0
  elif rope.kind == "linear":
    kept = 0.0
  elif rope.kind == "llama3":
    waves = rope.original_positions * high / (2 * math.pi)
    kept = (waves - rope.low_factor) / (rope.high_factor - rope.low_factor)
  else:
    kept = 1 - _ramp(rope, head_dim)
  kept = np.clip(kept, 0.0, 1.0)
  return (kept * high + (1 - kept) * low).astype(np.float32)


def _ramp(rope: Rope, head_dim: int) -> Float[np.ndarray, " f"]:
  """Computes YaRN's ramp: below 0 where pairs turn fast, above 1 where slow."""

  def pair(turns: float) -> float:
    period = rope.original_positions / (turns * 2 * math.pi)
    return head_dim * math.log(period) / (2 * math.log(rope.theta))

  start, end = pair(rope.beta_fast), pair(rope.beta_slow)
  if rope.truncate:
    start, end = math.floor(start), math.ceil(end)
  start, end = max(start, 0), min(end, head_dim - 1)
  # Where both are one pair the ramp is a step.
  end = end + 1e-3 if start == end else end
  return (np.arange(head_dim // 2) - start) / (end - start)


def table(
  positions: Int[Array, "b t"], *, rope: Rope, head_dim: int
) -> Float[Array, "b t 2 f"]:
  """Computes cosine and sine of each position's angles, in float32.

  >>> table(jnp.array([[0]]), rope=Rope(), head_dim=4).tolist()
  [[[[1.0, 1.0], [0.0, 0.0]]]]
  """
  frequency = frequencies(rope, head_dim)
  angles = positions[..., None].astype(jnp.float32) * frequency[None, None, :]
  turned = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=2)
  return turned * rope.attention_factor


def rotate(
  x: Float[Array, "b t h e"], turns: Float[Array, "b t 2 f"]
) -> Float[Array, "b t h e"]:
  """Turns the pairs (i, i + e / 2) of each head, as `table` says.

  >>> x = jnp.array([[[[1.0, 0.0]]]])
  >>> rotate(x, jnp.array([[[[0.0], [1.0]]]])).tolist()
  [[[[0.0, 1.0]]]]
  """
  cos, sin = turns[:, :, None, 0], turns[:, :, None, 1]
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = (first * cos - second * sin, second * cos + first * sin)
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)
