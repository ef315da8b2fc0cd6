"""The states that predict targets, chunk by chunk, on each device's part.

What a loss needs of the output head is made for some targets at a time; prompt
and padding never reach the head.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Int

from ila_jax.models import layers


def axes(batch: int, vocab: int) -> tuple[tuple[str, ...] | None, str | None]:
  """Returns axes of the mesh that split batch and vocabulary, or None."""
  sizes = jax.sharding.get_abstract_mesh().shape
  if "fsdp" not in sizes:
    return None, None
  spec = PartitionSpec(("data", "fsdp"), "tensor")
  return tuple(layers.fit(spec, (batch, vocab), sizes))


def on_mesh(
  function: Callable, inputs: tuple[Any, ...], outputs: tuple[Any, ...]
) -> Callable:
  """Runs a function on each device's part; arrays are split on axis 0."""
  if "fsdp" not in jax.sharding.get_abstract_mesh().axis_names:
    return function
  return jax.shard_map(
    function,
    in_specs=tuple(map(PartitionSpec, inputs)),
    out_specs=tuple(map(PartitionSpec, outputs)),
    check_vma=False,
  )


def chunks(
  is_target: Bool[Array, " p"], chunk_tokens: int
) -> tuple[Int[Array, ""], Int[Array, "chunks c"]]:
  """Counts chunks with targets, and lists their places; p stands for none."""
  size = len(is_target)
  width = min(chunk_tokens, size)
  padded = -(-size // width) * width
  (places,) = jnp.nonzero(is_target, size=padded, fill_value=size)
  return -(-is_target.sum() // width), places.reshape(-1, width)


def take(x: Array, places: Int[Array, " c"]) -> Array:
  """Takes the rows at some places; zeros where a place stands for none."""
  return x.at[places].get(mode="fill", fill_value=0)


def put(x: Array, places: Int[Array, " c"], y: Array) -> Array:
  """Puts rows at some places; drops those whose place stands for none."""
  return x.at[places].set(y, mode="drop")
