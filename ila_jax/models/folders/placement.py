"""Slices of files become shards on devices, and back, a tensor at a time."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int


def read_table(
  tensor: Any, leaf: Any, sharding: NamedSharding | None
) -> jax.Array:
  """Reads a weight that the file holds as we do.

  Args:
    tensor: lazy slices, from `safetensors_files.open_tensors`.
    leaf: shape and dtype that are wanted.
    sharding: None for the default device.
  """

  def read(index: tuple[slice, ...]) -> np.ndarray:
    return _narrow(tensor[index], leaf.dtype)

  return _put(read, leaf.shape, sharding).astype(leaf.dtype)


def read_stack(
  tensors: Sequence[Any], leaf: Any, sharding: NamedSharding | None
) -> jax.Array:
  """Reads a weight of all layers from a tensor of each, (out, in) to (in, out).

  Args:
    tensors: lazy slices of each layer, from `safetensors_files.open_tensors`.
    leaf: shape, with the layers on its first axis, and dtype.
    sharding: does not split the layers; None for the default device.
  """
  place = None
  if sharding is not None:
    place = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
  stack = _zeros(shape=leaf.shape, dtype=leaf.dtype, sharding=sharding)
  for layer, tensor in enumerate(tensors):

    def read(index: tuple[slice, ...], tensor: Any = tensor) -> np.ndarray:
      return _narrow(tensor[index[::-1]], leaf.dtype).T

    part = _put(read, leaf.shape[1:], place)
    # A layer may be read while another is written, and no more than that.
    stack.block_until_ready()
    stack = _write_layer(stack, part, layer, sharding=sharding)
  return stack


def _narrow(part: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Casts floats of 64 bits, which JAX does not hold; devices cast others."""
  return part.astype(dtype) if part.dtype == np.float64 else part


def _put(
  read: Callable[[tuple[slice, ...]], np.ndarray],
  shape: tuple[int, ...],
  sharding: NamedSharding | None,
) -> jax.Array:
  """Gives each device its share; devices with the same share read it once."""
  if sharding is None:
    return jax.device_put(read((slice(None),) * len(shape)))
  shares: dict[str, jax.Array] = {}
  parts = []
  for device, index in sharding.addressable_devices_indices_map(shape).items():
    if str(index) not in shares:
      shares[str(index)] = jax.device_put(read(index), device)
    parts.append(jax.device_put(shares[str(index)], device))
  return jax.make_array_from_single_device_arrays(shape, sharding, parts)


@functools.partial(jax.jit, static_argnames=("shape", "dtype", "sharding"))
def _zeros(
  *, shape: tuple[int, ...], dtype: np.dtype, sharding: NamedSharding | None
) -> Float[Array, "..."]:
  """Makes zeros that are split as they are made."""
  return _constrain(jnp.zeros(shape, dtype), sharding)


@functools.partial(jax.jit, donate_argnums=0, static_argnames="sharding")
def _write_layer(
  stack: Float[Array, "layers ..."],
  part: Float[Array, "..."],
  layer: int | Int[Array, ""],
  *,
  sharding: NamedSharding | None,
) -> Float[Array, "layers ..."]:
  """Writes one layer in place; compiles once for all layers."""
  part = part.astype(stack.dtype)
  stack = jax.lax.dynamic_update_index_in_dim(stack, part, layer, 0)
  return _constrain(stack, sharding)


def _constrain(x: Array, sharding: NamedSharding | None) -> Array:
  if sharding is None:
    return x
  return jax.lax.with_sharding_constraint(x, sharding)


@jax.jit
def layer_of(
  stack: Float[Array, "layers ..."], layer: int | Int[Array, ""]
) -> Float[Array, "..."]:
  """Returns a layer's tensor as files have it; compiles once for all layers.

  >>> layer_of(jnp.zeros((4, 2, 3)), 1).shape
  (3, 2)
  """
  return jax.lax.dynamic_index_in_dim(stack, layer, keepdims=False).T
