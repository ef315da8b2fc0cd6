"""Parts that the decoder and the encoder are made of: pure functions."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree, Shaped


@functools.partial(jax.jit, static_argnames=("shapes", "std", "dtype"))
def draw(
  key: Array, shapes: tuple[tuple[int, ...], ...], *, std: float, dtype: str
) -> list[Array]:
  """Draws arrays of normal numbers at once, for each draw is compiled.

  >>> key = jax.random.key(0)
  >>> [x.shape for x in draw(key, ((2, 3), (4,)), std=0.1, dtype="float32")]
  [(2, 3), (4,)]
  """
  ends = np.cumsum([math.prod(shape) for shape in shapes])
  flat = std * jax.random.normal(key, (ends[-1],))
  parts = jnp.split(flat.astype(dtype), ends[:-1])
  return [x.reshape(y) for x, y in zip(parts, shapes, strict=True)]


def dot(
  spec: str, x: Array, y: Array, *, dtype: Any = None
) -> Float[Array, "..."]:
  """Multiplies by `jnp.einsum` in the dtype of x, summed in float32.

  A float32 model multiplies in float32 on every device: accelerators would
  round to fewer bits by default.

  Args:
    spec: einsum subscripts.
    x: activations; their dtype is the compute dtype.
    y: activations or weights, cast to that dtype.
    dtype: of the result; the compute dtype where None.

  >>> dot("ij,jk->ik", jnp.ones((2, 3)), jnp.ones((3, 4))).shape
  (2, 4)
  """
  precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
  # Devices add up in float32 whatever the result is. One in bfloat16 is asked
  # for as such: to round a float32 one would make the products of the backward
  # pass products of float32 numbers, at a third of the speed.
  return jnp.einsum(
    spec,
    x,
    y.astype(x.dtype),
    precision=precision,
    preferred_element_type=dtype or x.dtype,
  )


def constrain(
  x: Shaped[Array, "..."], *axes: str | tuple[str, ...] | None
) -> Shaped[Array, "..."]:
  """Says how x is split over the axes of the mesh that `jax.set_mesh` set.

  Without such a mesh it says nothing.

  >>> constrain(jnp.ones((2, 3)), ("data", "fsdp")).shape
  (2, 3)
  """
  mesh = jax.sharding.get_abstract_mesh()
  if "fsdp" not in mesh.axis_names:
    return x
  spec = fit(PartitionSpec(*axes), x.shape, mesh.shape)
  return jax.lax.with_sharding_constraint(x, spec)


def splits_weights() -> bool:
  """Whether the mesh that `jax.set_mesh` set splits weights along `fsdp`.

  >>> splits_weights()
  False
  """
  return jax.sharding.get_abstract_mesh().shape.get("fsdp", 1) > 1


# Products, and attention on TPUs and on GPUs.
_SAVED = ("dot_general", "pallas_call", "dot_product_attention_fwd_wrapper")


def gather(
  weight: Float[Array, "..."], *split: str | None, dtype: Any
) -> Float[Array, "..."]:
  """Makes the weight of one layer whole over `fsdp`, where that splits it.

  Left to itself, the compiler for TPUs multiplies by one device's part after
  another, and adds up products that were rounded to `dtype`.

  Args:
    weight: of one layer.
    split: the axes of the mesh that split it, by axis of the weight.
    dtype: of the activations; the devices exchange numbers of it.

  >>> gather(jnp.ones((2, 3)), "fsdp", "tensor", dtype=jnp.float32).shape
  (2, 3)
  """
  if not splits_weights():
    return weight
  axes = tuple(None if axis == "fsdp" else axis for axis in split)
  return _gather(weight, axes, split, jnp.dtype(dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _gather(
  weight: Float[Array, "..."], axes: tuple, split: tuple, dtype: np.dtype
) -> Float[Array, "..."]:
  return constrain(weight.astype(dtype), *axes)


def _gather_forward(
  weight: Float[Array, "..."], axes: tuple, split: tuple, dtype: np.dtype
) -> tuple[Array, Array]:
  # An empty array tells the dtype of the weight.
  return _gather(weight, axes, split, dtype), jnp.zeros(0, weight.dtype)


def _gather_backward(
  axes: tuple, split: tuple, dtype: np.dtype, like: Array, slope: Array
) -> tuple[Array]:
  # A device keeps the sum of its own part alone.
  return (constrain(slope, *split).astype(like.dtype),)


_gather.defvjp(_gather_forward, _gather_backward)


def saves(primitive: Any, *_: Any, **__: Any) -> bool:
  """Whether the backward pass finds a value, and need not make it again.

  A policy of `jax.checkpoint`: products and what attention kernels give. So the
  weights that `gather` made go, which for all layers would fill a device.
  """
  return primitive.name in _SAVED


def split_axes(name: str) -> tuple[str, str]:
  """The axes of the mesh that split the matrix of a block.

  >>> split_axes("query"), split_axes("output")
  (('fsdp', 'tensor'), ('tensor', 'fsdp'))
  """
  split = "fsdp", "tensor"
  return split[::-1] if name in ("output", "down") else split


def matrix(
  weights: Mapping[str, Array], name: str, dtype: Any
) -> Float[Array, "d f"]:
  """A matrix of one layer, whole over `fsdp` (`gather`).

  >>> matrix({"query": jnp.ones((2, 3))}, "query", jnp.float32).shape
  (2, 3)
  """
  return gather(weights[name], *split_axes(name), dtype=dtype)


def project(
  x: Float[Array, "b t d"], name: str, weights: Mapping[str, Array]
) -> Float[Array, "b t f"]:
  """Multiplies each token by a matrix of one layer (`matrix`), as `dot`.

  >>> project(jnp.ones((1, 2, 3)), "up", {"up": jnp.ones((3, 4))}).shape
  (1, 2, 4)
  """
  # All tokens are rows of one product: of batch and time as two axes, XLA on a
  # CPU would copy the transposes that the matrix' gradient is made of.
  rows = x.reshape(-1, x.shape[-1])
  out = dot("nd,df->nf", rows, matrix(weights, name, x.dtype))
  return out.reshape(*x.shape[:-1], out.shape[-1])


def adapted(
  x: Float[Array, "b t d"],
  name: str,
  adapters: Mapping[str, Array],
  batch: tuple[str, ...],
) -> Float[Array, "b t f"]:
  """Computes x·A·B of the adapter that each row is under.

  Args:
    x: activations; row i is under adapter i mod m.
    name: of the matrix that the adapters are beside.
    adapters: `a` [m, d, r] and `b` [m, r, f].
    batch: axes of the mesh that split the rows.

  >>> factors = {"a": jnp.ones((2, 4, 1)), "b": jnp.arange(2.0)[:, None, None]}
  >>> adapted(jnp.ones((2, 1, 4)), "query", factors, ("data",)).tolist()
  [[[0.0]], [[4.0]]]
  """
  a, b = adapters["a"], adapters["b"]
  if len(a) == len(x) > 1:  # An adapter a row.
    a, b = (constrain(factor, batch) for factor in (a, b))
    return dot("btr,brf->btf", dot("btd,bdr->btr", x, a), b)
  into, out_of = split_axes(name)
  a = gather(a, None, into, None, dtype=x.dtype)
  b = gather(b, None, None, out_of, dtype=x.dtype)
  # Each row meets every adapter and keeps its own: the products are plain
  # matrices, and the batch stays split over devices as it is.
  low = dot("btd,mdr->btmr", x, a)
  each = jnp.arange(len(a))
  own = jnp.arange(len(x))[:, None] % len(a) == each[None]
  low = jnp.where(own[:, None, :, None], low, 0)
  return dot("btmr,mrf->btf", low, b)


def look_up(
  table: Float[Array, "v d"], tokens: Int[Array, "b t"]
) -> Float[Array, "b t d"]:
  """Looks up the rows of a table, which `tensor` and `fsdp` may split.

  Where `fsdp` splits the columns, a device looks up its own of them for the
  tokens of its neighbours too, and they exchange these: none holds the table.

  >>> look_up(jnp.eye(2), jnp.array([[1]])).tolist()
  [[[0.0, 1.0]]]
  """
  if not splits_weights():
    return constrain(table, "tensor", None)[tokens]
  tokens = constrain(tokens, "data")
  columns = constrain(table, "tensor", "fsdp")[tokens]
  return constrain(columns, "data", None, "fsdp")


def fit(
  spec: PartitionSpec, shape: tuple[int, ...], sizes: Mapping[str, int]
) -> PartitionSpec:
  """Leaves out what does not fit: devices that do not divide an axis.

  Args:
    spec: axes of the mesh by axis of the array.
    shape: of the array; may have fewer axes than the spec.
    sizes: devices along each axis of the mesh.

  >>> fit(PartitionSpec("tensor", ("data", "fsdp")), (33, 8),
  ...     {"data": 2, "fsdp": 2, "tensor": 2})
  P(None, ('data', 'fsdp'))
  """

  def divides(axes: Any, size: int) -> bool:
    names = (axes,) if isinstance(axes, str) else axes or ()
    return size % math.prod(sizes[name] for name in names) == 0

  pairs = zip(spec, shape, strict=False)
  return PartitionSpec(*(a if divides(a, n) else None for a, n in pairs))


def place(
  tree: PyTree,
  mesh: jax.sharding.Mesh,
  rules: Sequence[tuple[str, PartitionSpec]],
) -> PyTree:
  """Returns shardings of arrays; the first pattern found in a path decides.

  Args:
    tree: arrays, or their shapes.
    mesh: the devices.
    rules: (pattern, spec); `fit` leaves out what a mesh does not divide.

  Returns:
    The same tree of `NamedSharding`.

  >>> mesh = jax.make_mesh((1,), ("fsdp",))
  >>> rules = (("query", PartitionSpec("fsdp")), ("", PartitionSpec()))
  >>> place({"query": jnp.ones(2), "norm": jnp.ones(2)}, mesh, rules)[
  ...   "query"
  ... ].spec
  P('fsdp',)
  """

  def one(path: Any, leaf: Any) -> NamedSharding:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    spec = next(s for rule, s in rules if re.search(rule, name))
    return NamedSharding(mesh, fit(spec, leaf.shape, mesh.shape))

  return jax.tree_util.tree_map_with_path(one, tree)


def rms_norm(
  x: Float[Array, "... d"],
  scale: Float[Array, " d"],
  *,
  eps: float,
  plus_one: bool = False,
) -> Float[Array, "... d"]:
  """Divides by the root mean square (in float32) and scales.

  Args:
    x: activations; the mean is over the last axis.
    scale: of each channel.
    eps: added to the mean square.
    plus_one: scale by 1 + `scale`, in float32 (Gemma); else by `scale`, in the
      dtype of x (Llama).

  >>> rms_norm(jnp.full((1, 1, 2), 3.0), jnp.ones(2), eps=0.0).tolist()
  [[[1.0, 1.0]]]
  """
  y = x.astype(jnp.float32)
  y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + eps)
  scale = jnp.expand_dims(scale, tuple(range(x.ndim - 1)))
  if plus_one:
    return (y * (1 + scale.astype(jnp.float32))).astype(x.dtype)
  return y.astype(x.dtype) * scale.astype(x.dtype)


def softcap(x: Float[Array, "..."], cap: float | None) -> Float[Array, "..."]:
  """Bounds x to ±cap by cap · tanh(x / cap) (Gemma 2); with no cap it is x.

  >>> softcap(jnp.array([0.0, 1e9]), 5.0).tolist()
  [0.0, 5.0]
  """
  return x if cap is None else cap * jnp.tanh(x / cap)
