"""How far a tuned model has moved from its base on each response.

    jsd_j  = Σ_{t in response} JSD(p(· | all before t), q(· | all before t))
    gain_j = Σ_{t in response} clip(ln q(t | all before) - ln p(t | all before))

in nats, sums in float32 (docs/method.md 17 and 18).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from ila_jax.models import decoder as decoder_lib
from ila_jax.models import divergence, losses
from ila_jax.passes import collate, forward, layouts, token_set


@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_jsd(
  graphdefs: tuple[nnx.GraphDef, nnx.GraphDef],
  segments: int,
  params: tuple[PyTree, PyTree],
  adapters: PyTree | None,
  batch: dict[str, Array],
) -> Float[Array, "b s 1"]:
  """The divergence of two models on each example of a batch.

  Args:
    graphdefs: structures of the base and of the other model.
    segments: s, the examples that a row has room for.
    params: their weights; both may be the same arrays.
    adapters: one (`models.lora.stack`) beside the other's weights, or None.
    batch: of `collate.collate`.

  Returns:
    float32 sums over each response; 0 where a row has fewer examples.
  """
  models, hidden = _hidden(graphdefs, params, adapters, batch)
  jsd = divergence.token_jsd(
    hidden,
    tuple(model.head_weights() for model in models),
    batch["targets"],
    softcap=models[0].config.final_softcap,
  )
  total, _ = losses.example_nll(
    jsd, batch["targets"], batch["segment_ids"], num_segments=segments
  )
  return total[:, :, None]


@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_gain(
  graphdefs: tuple[nnx.GraphDef, nnx.GraphDef],
  segments: int,
  clip: Float[Array, ""] | float,
  params: tuple[PyTree, PyTree],
  adapters: PyTree | None,
  batch: dict[str, Array],
) -> Float[Array, "b s 1"]:
  """What the other model gains on each example of a batch, token by token.

  Args:
    graphdefs: as `batch_jsd` takes them, like the others.
    segments: s, the examples that a row has room for.
    clip: nats that a token counts at most, up or down.
    params: weights of both.
    adapters: one beside the other's weights, or None.
    batch: of `collate.collate`.

  Returns:
    float32 sums over the targets; 0 where a row has fewer examples.
  """
  models, hidden = _hidden(graphdefs, params, adapters, batch)
  of_base, of_other = (
    losses.token_nll(
      states,
      model.head_weights(),
      batch["tokens"],
      batch["targets"],
      softcap=model.config.final_softcap,
    )
    for states, model in zip(hidden, models, strict=True)
  )
  gain = jnp.clip(of_base - of_other, -clip, clip)
  total, _ = losses.example_nll(
    gain, batch["targets"], batch["segment_ids"], num_segments=segments
  )
  return total[:, :, None]


def _hidden(
  graphdefs: tuple[nnx.GraphDef, nnx.GraphDef],
  params: tuple[PyTree, PyTree],
  adapters: PyTree | None,
  batch: dict[str, Array],
) -> tuple[list[decoder_lib.Decoder], tuple[Array, Array]]:
  """Both models, and the final hidden states of a batch under each."""
  models = [nnx.merge(*one) for one in zip(graphdefs, params, strict=True)]
  read = batch["tokens"], batch["positions"], batch["segment_ids"]
  first, second = (
    model.hidden(*read, adapter)
    for model, adapter in zip(models, (None, adapters), strict=True)
  )
  return models, (first, second)


def example_jsd(
  base: decoder_lib.Decoder,
  other: decoder_lib.Decoder,
  data: token_set.TokenSet,
  *,
  layout: layouts.Layout,
  mesh: Mesh,
  adapters: PyTree | None = None,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Float[np.ndarray, " n"]:
  """Divergences of examples of any lengths: jsd_j in nats, a float32 sum each.

  Args:
    base: a model; its parameters stay where they lie.
    other: the model that it is compared with; the base itself where `adapters`
      make the difference.
    data: the examples.
    layout: of the pool that they are from.
    mesh: the devices; a batch is split over `data` and `fsdp`.
    adapters: one low-rank model beside `other` (`models.lora.stack`), or None.
    on_batch: called with each batch when it is finished.

  Returns:
    In the order given, symmetric in the two models; 0 where they agree.
  """
  graphdefs, params = _split(base, other)
  return forward.map_examples(
    lambda batch: batch_jsd(
      graphdefs, layout.segments, params, adapters, batch
    ),
    data.tokens,
    data.is_response,
    width=1,
    layout=layout,
    mesh=mesh,
    on_batch=on_batch,
  )[:, 0]


def example_gain(
  base: decoder_lib.Decoder,
  other: decoder_lib.Decoder,
  data: token_set.TokenSet,
  *,
  clip: float,
  layout: layouts.Layout,
  mesh: Mesh,
  adapters: PyTree | None = None,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Float[np.ndarray, " n"]:
  """Gains of examples of any lengths: gain_j in nats, a float32 sum each.

  Args:
    base: as `example_jsd` takes it, like the others.
    other: the model that gains.
    data: the examples; only their targets count.
    clip: nats that a token counts at most, up or down.
    layout: of the pool that they are from.
    mesh: the devices.
    adapters: one low-rank model beside `other`, or None.
    on_batch: called with each batch when it is finished.

  Returns:
    In the order given; 0 where the models agree, or nothing is a target.
  """
  graphdefs, params = _split(base, other)
  return forward.map_examples(
    lambda batch: batch_gain(
      graphdefs, layout.segments, clip, params, adapters, batch
    ),
    data.tokens,
    data.is_response,
    width=1,
    layout=layout,
    mesh=mesh,
    on_batch=on_batch,
  )[:, 0]


def _split(
  base: decoder_lib.Decoder, other: decoder_lib.Decoder
) -> tuple[tuple[nnx.GraphDef, nnx.GraphDef], tuple[PyTree, PyTree]]:
  (one, own), (two, others) = nnx.split(base), nnx.split(other)
  return (one, two), (own, others)
