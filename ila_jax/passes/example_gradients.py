"""Gradient of every example's loss by an adapter, projected; over the mesh.

The gradients of a batch would not fit beside each other: those of a 7B model's
adapter of rank 128 have 0.5 GB each. So each row of a batch is under a copy of
the adapter, and what comes back to the copies of one layer is projected there
and added up: beside [row, width] no more than one layer's gradients is held.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from ila_jax.models import decoder as decoder_lib
from ila_jax.models import layers as layers_lib
from ila_jax.models import lora as lora_lib
from ila_jax.models import losses
from ila_jax.passes import collate, forward, layouts, projection, token_set

# Those of `training.optim.adamw`.
_B1, _B2, _EPS = 0.9, 0.999, 1e-8


class Moments(NamedTuple):
  """Adam's moments of an adapter, as trees like it; not bias-corrected.

  Attributes:
    first: decaying mean of gradients.
    second: decaying mean of their squares.
  """

  first: PyTree
  second: PyTree


class Recipe(NamedTuple):
  """How gradients are taken; one program for each.

  Attributes:
    lora: of the adapter.
    width: w, numbers that a gradient is projected to, a power of two.
    seed: of the projection.
  """

  lora: lora_lib.LoraConfig
  width: int
  seed: int


def adam_direction(
  gradient: Float[Array, "b n"],
  first: Float[Array, " n"],
  second: Float[Array, " n"],
) -> Float[Array, "b n"]:
  """The step that Adam would take by one example's gradient, without its rate.

      (b1 m + (1 - b1) g) / √(b2 v + (1 - b2) g² + eps)

  As LESS has it (Xia et al. 2024, arXiv 2402.04333): eps stands inside of the
  root, and no moment is corrected for its bias, unlike in a step of training.

  >>> one = jnp.ones(1)
  >>> adam_direction(one[None], one, one).item()
  1.0
  """
  mean = _B1 * first[None] + (1 - _B1) * gradient
  square = _B2 * second[None] + (1 - _B2) * gradient**2
  return mean / jnp.sqrt(square + _EPS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _copies(recipe: Recipe, sink: Float[Array, "b w"], layer: PyTree) -> PyTree:
  """A copy for each row of a layer's adapter, B scaled.

  The gradient of the copies goes to `sink`, projected, and nowhere else.
  """
  rows = len(sink)

  def copy(factor: str, x: Array) -> Array:
    scale = recipe.lora.scale if factor == "b" else 1.0
    wide = jnp.broadcast_to(scale * x[None], (rows, *x.shape))
    return layers_lib.constrain(wide, ("data", "fsdp"))

  return {
    target: {factor: copy(factor, x) for factor, x in factors.items()}
    for target, factors in layer["adapter"].items()
  }


def _copies_forward(
  recipe: Recipe, sink: Float[Array, "b w"], layer: PyTree
) -> tuple[PyTree, PyTree]:
  kept = {name: x for name, x in layer.items() if name != "adapter"}
  return _copies(recipe, sink, layer), kept


def _copies_backward(
  recipe: Recipe, kept: PyTree, gradient: PyTree
) -> tuple[Float[Array, "b w"], None]:
  scaled = {
    t: {"a": ab["a"], "b": recipe.lora.scale * ab["b"]}
    for t, ab in gradient.items()
  }
  rows = len(jax.tree.leaves(gradient)[0])
  flat = _flat(scaled, (rows, -1))
  if kept["moments"] is not None:
    flat = adam_direction(flat, *(_flat(m, (-1,)) for m in kept["moments"]))
  key = jax.random.fold_in(jax.random.key(recipe.seed), kept["number"])
  return projection.project(flat, key, width=recipe.width), None


_copies.defvjp(_copies_forward, _copies_backward)


def _flat(tree: PyTree, shape: tuple[int, ...]) -> Array:
  """All numbers of a tree in the order of its names, side by side."""
  leaves = [leaf.reshape(shape) for leaf in jax.tree.leaves(tree)]
  return jnp.concatenate(leaves, axis=-1).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_gradients(
  graphdef: nnx.GraphDef,
  recipe: Recipe,
  params: PyTree,
  adapter: lora_lib.Adapter,
  moments: Moments | None,
  batch: dict[str, Array],
) -> Float[Array, "b 1 w"]:
  """Projected gradient of the mean loss of each row's response tokens.

  Args:
    graphdef: structure of the decoder.
    recipe: what it is taken by.
    params: weights of the decoder.
    adapter: at which it is taken; every device has all of it.
    moments: the direction of Adam is projected; None: the plain gradient.
    batch: of `collate.collate`, one example a row.

  Returns:
    float32, of a row without response of no meaning.
  """
  decoder = nnx.merge(graphdef, params)
  depth = len(jax.tree.leaves(adapter)[0])
  per_layer = {
    "adapter": adapter,
    "moments": moments,
    "number": jnp.arange(depth),
  }

  def loss(sink: Float[Array, "b w"]) -> Float[Array, ""]:
    hidden = decoder.hidden(
      batch["tokens"],
      batch["positions"],
      batch["segment_ids"],
      adapters=per_layer,
      tap=functools.partial(_copies, recipe, sink),
    )
    nll = losses.token_nll(
      hidden,
      decoder.head_weights(),
      batch["tokens"],
      batch["targets"],
      softcap=decoder.config.final_softcap,
    )
    count = batch["targets"].sum(axis=1)
    return (nll.sum(axis=1) / jnp.maximum(count, 1)).sum()

  sink = jnp.zeros((len(batch["tokens"]), recipe.width), jnp.float32)
  sink = layers_lib.constrain(sink, ("data", "fsdp"))
  return jax.grad(loss)(sink)[:, None]


def example_gradients(
  decoder: decoder_lib.Decoder,
  data: token_set.TokenSet,
  recipe: Recipe,
  *,
  adapter: lora_lib.Adapter,
  moments: Moments | None,
  layout: layouts.Layout,
  mesh: Mesh,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Float[np.ndarray, "n w"]:
  """Projected gradients of examples of any lengths, in the order given.

  Args:
    decoder: its parameters stay where they lie.
    data: the examples.
    recipe: as in `batch_gradients`, like the two that follow.
    adapter: at which gradients are taken.
    moments: or None.
    layout: of the pool that the examples are from, one example a row.
    mesh: the devices; a batch is split over `data` and `fsdp`.
    on_batch: called with each batch when it is finished.

  Raises:
    ValueError: a layout that packs several examples into a row.
  """
  if layout.packed:
    raise ValueError("gradients of examples need a layout of one a row")
  graphdef, params = nnx.split(decoder)
  return forward.map_examples(
    lambda batch: batch_gradients(
      graphdef, recipe, params, adapter, moments, batch
    ),
    data.tokens,
    data.is_response,
    width=recipe.width,
    layout=layout,
    mesh=mesh,
    on_batch=on_batch,
  )
