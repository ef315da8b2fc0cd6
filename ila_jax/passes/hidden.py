"""Hidden states of a decoder: the residual stream after some of its layers."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import collate, forward, layouts


def states(
  graphdef: nnx.GraphDef,
  layers: int | None,
  params: PyTree,
  batch: dict[str, Array],
) -> Float[Array, "b t d"]:
  """The hidden state of each token of a batch, float32; to be compiled.

  Args:
    graphdef: structure of a decoder.
    layers: after so many, without a norm; None: after all, and the final norm.
    params: weights of the decoder.
    batch: of `collate.collate`.

  Returns:
    Undefined where `segment_ids` is 0, which is padding.
  """
  decoder = nnx.merge(graphdef, params)
  hidden = decoder.hidden(
    batch["tokens"],
    batch["positions"],
    batch["segment_ids"],
    layers_read=layers,
  )
  return hidden.astype(jnp.float32)


batch_states = functools.partial(jax.jit, static_argnums=(0, 1))(states)


def of_examples(
  decoder: decoder_lib.Decoder,
  tokens: Sequence[Int[np.ndarray, " _"]],
  *,
  layers: int | None,
  layout: layouts.Layout,
  mesh: Mesh,
) -> Iterator[tuple[collate.Batch, list[Float[np.ndarray, "t d"]]]]:
  """The hidden states of each token of some examples, batch after batch.

  Args:
    decoder: the model; its parameters stay where they lie.
    tokens: int32 ids of each example.
    layers: as `states` takes it.
    layout: of the pool that the examples are from.
    mesh: a batch is split over `data` and `fsdp`.

  Yields:
    A batch, and the states [t, d] of each of `batch.examples`, on every host.

  >>> from ila_jax.models import architecture
  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=8, heads=2, kv_heads=1, head_dim=4,
  ...   mlp_width=16,
  ... )
  >>> model = decoder_lib.Decoder(config, rngs=nnx.Rngs(0))
  >>> ids = [np.arange(n, dtype=np.int32) for n in (3, 5)]
  >>> layout = layouts.choose(np.array([3, 5]), batch_tokens=64)
  >>> sizes = {"layers": 1, "layout": layout, "mesh": mesh_lib.make()}
  >>> for batch, found in of_examples(model, ids, **sizes):
  ...   print(batch.examples.tolist(), [one.shape for one in found])
  [1, 0] [(5, 8), (3, 8)]
  """
  graphdef, params = nnx.split(decoder)
  lengths = np.array([len(ids) for ids in tokens], np.int32)
  multiple = mesh_lib.batch_multiple(mesh)
  plan = layouts.plan(lengths, layout, multiple=multiple)
  no_response = [np.zeros(length, np.bool_) for length in lengths]
  step = functools.partial(batch_states, graphdef, layers, params)
  for batch, made in forward.each_batch(step, tokens, no_response, plan, mesh):
    held = mesh_lib.fetch(made)
    found = []
    for row, examples in enumerate(batch.rows):
      ends = np.cumsum(lengths[list(examples)])
      found += np.split(held[row, : ends[-1]], ends[:-1]) if examples else []
    yield batch, found
