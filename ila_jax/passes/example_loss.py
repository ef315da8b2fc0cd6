"""Response loss of every example under one model, sharded over the mesh.

    nll_j = − Σ_{t in response} log p(token_t | all before) (docs/method.md 2.1)

a *sum* in float32, beside the number of response tokens: whoever wants a mean
divides once, at the end.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PyTree

from ila_jax.models import decoder as decoder_lib
from ila_jax.models import losses
from ila_jax.passes import collate, forward, layouts


def count_models(adapters: PyTree | None) -> int:
  """m: the number of stacked adapters, or 1 for the decoder alone.

  >>> count_models(None)
  1
  """
  return jax.tree.leaves(adapters)[0].shape[1] if adapters else 1


@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_nll(
  graphdef: nnx.GraphDef,
  segments: int,
  params: PyTree,
  adapters: PyTree | None,
  batch: dict[str, Array],
) -> Float[Array, "b s m"]:
  """The response loss, in nats, of each example of a batch under each model.

  Args:
    graphdef: structure of the decoder.
    segments: s, the examples that a row has room for.
    params: weights of the decoder.
    adapters: m of them, stacked (`models.lora.stack`): each is a model, and
      the weights are read once for all. None is the decoder alone, m = 1.
    batch: of `collate.collate`.

  Returns:
    float32 sums; 0 where a row has fewer examples.
  """
  decoder = nnx.merge(graphdef, params)
  models = count_models(adapters)
  batch = jax.tree.map(lambda x: jnp.repeat(x, models, axis=0), batch)
  hidden = decoder.hidden(
    batch["tokens"], batch["positions"], batch["segment_ids"], adapters
  )
  nll = losses.token_nll(
    hidden,
    decoder.head_weights(),
    batch["tokens"],
    batch["targets"],
    softcap=decoder.config.final_softcap,
  )
  total, _ = losses.example_nll(
    nll, batch["targets"], batch["segment_ids"], num_segments=segments
  )
  return jnp.moveaxis(total.reshape(-1, models, segments), 1, 2)


def example_nll(
  decoder: decoder_lib.Decoder,
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  *,
  layout: layouts.Layout,
  mesh: Mesh,
  adapters: PyTree | None = None,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Float[np.ndarray, "n m"]:
  """Scores examples of any lengths: nll_j in nats, a float32 sum each.

  Args:
    decoder: the model; its parameters stay where they lie.
    tokens: int32 ids of each example, prompt and response.
    is_response: which of them are response, so to be predicted.
    layout: of the pool that the examples are from; m models take m times its
      tokens a batch.
    mesh: the devices; a batch is split over `data` and `fsdp`.
    adapters: m low-rank models, scored in one pass (`models.lora.stack`);
      None is the decoder alone, m = 1.
    on_batch: called with each batch when it is finished.

  Returns:
    The response loss of each example under each model, in the order given.

  See `models.weights.load_decoder` for a model to call it with, and
  `tests/scoring_test.py` for its witnesses.
  """
  graphdef, params = nnx.split(decoder)
  models = count_models(adapters)
  return forward.map_examples(
    lambda batch: batch_nll(graphdef, layout.segments, params, adapters, batch),
    tokens,
    is_response,
    width=models,
    layout=layout,
    mesh=mesh,
    on_batch=on_batch,
  )
