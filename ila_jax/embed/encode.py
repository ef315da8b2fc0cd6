"""Unit-norm sentence embeddings of the prompts (docs/method.md 2.4).

Three ways, by `config.encoder.path`: a BERT-family encoder folder, `base`
(the base model's hidden states, mean over the prompt) and `lsa` (TF-IDF and
truncated SVD), which needs no weights. A prompt is what the user asked
(`conversation.request`), as far as `inputs` reads it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from ila_jax.models import architecture, encoder
from ila_jax.passes import collate, forward, layouts
from ila_jax.sections import models

# Of a packed row: an encoder's tokens are met by all of their row, and its
# widths are small, so that longer rows would be dear.
PACK_TOKENS = 512


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def batch_embeddings(
  graphdef: nnx.GraphDef,
  pooling: str,
  segments: int,
  params: PyTree,
  batch: dict[str, Array],
) -> Float[Array, "b s d"]:
  """Embeddings of the texts of a batch: unit norm, float32.

  Args:
    graphdef: structure of an `Encoder` or a `Decoder`.
    pooling: `cls` or `mean`.
    segments: s, the texts that a row has room for.
    params: weights.
    batch: of `collate.collate`.

  Returns:
    Column s is segment s + 1; zeros where a row has fewer texts.
  """
  positions, segment_ids = batch["positions"], batch["segment_ids"]
  model = nnx.merge(graphdef, params)
  hidden = model.hidden(batch["tokens"], positions, segment_ids)
  return encoder.pool(
    hidden, segment_ids, positions, pooling, num_segments=segments
  )


def encode(
  model: nnx.Module,
  tokens: Sequence[Int[np.ndarray, " _"]],
  *,
  pooling: str,
  layout: layouts.Layout,
  mesh: Mesh,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Float[np.ndarray, "n d"]:
  """Embeds token lists under an encoder, or under a decoder by its mean.

  Args:
    model: an `Encoder` or a `Decoder`.
    tokens: int32 ids of each prompt, special tokens included.
    pooling: `cls` or `mean`, as the encoder was made for.
    layout: of the pool that the prompts are from.
    mesh: the devices; a batch is split over `data` and `fsdp`.
    on_batch: called with each batch when it is finished.

  Returns:
    Unit-norm float32 embeddings, in the order given.

  Raises:
    errors.InputError: a text that is longer than the encoder's positions.
  """
  if isinstance(model, encoder.Encoder):
    longest = max((len(ids) for ids in tokens), default=0)
    encoder.check_length(model.config, longest)
  graphdef, params = nnx.split(model)
  step = functools.partial(
    batch_embeddings, graphdef, pooling, layout.segments, params
  )
  return forward.map_examples(
    step,
    tokens,
    [np.zeros(len(ids), np.bool_) for ids in tokens],
    width=model.config.width,
    layout=layout,
    mesh=mesh,
    on_batch=on_batch,
  )


def layout(
  config: architecture.DecoderConfig | encoder.EncoderConfig,
  lengths: Int[np.ndarray, " n"],
  settings: models.Encoder,
) -> layouts.Layout:
  """The layout in which the prompts of a pool are embedded.

  Args:
    config: of the model that embeds.
    lengths: tokens of each prompt of the whole pool.
    settings: config.encoder.
  """
  return forward.layout(config, lengths, settings, pack_tokens=PACK_TOKENS)


def lsa_terms(lsa: Any, texts: Sequence[str]) -> Any:
  """The weights of the terms that a fitted LSA knows: sparse [n, terms]."""
  return lsa[0].transform(texts)
