"""How far a tuned model has moved from its base on each response.

    jsd_j = Σ_{t in response} JSD(p(· | all before t), q(· | all before t))

in nats, a sum in float32 (docs/method.md 17).
"""

import functools
from collections.abc import Callable

import jax
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
  models = [nnx.merge(*one) for one in zip(graphdefs, params, strict=True)]
  read = batch["tokens"], batch["positions"], batch["segment_ids"]
  hidden = tuple(
    model.hidden(*read, adapter)
    for model, adapter in zip(models, (None, adapters), strict=True)
  )
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
  split = nnx.split(base), nnx.split(other)
  graphdefs, params = zip(*split, strict=True)
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
