"""Held-out loss of a model: per token and per example."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, PyTree

from ila_jax import errors
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import (
  collate,
  example_loss,
  layouts,
  token_set,
  windows,
)

Evaluation = dict[str, float | int]


class Losses(NamedTuple):
  """The response loss of n examples, each a sum over its tokens, in nats.

  Attributes:
    nll: of the response.
    n_tokens: tokens of the response that were predicted.
  """

  nll: Float[np.ndarray, " n"]
  n_tokens: Int[np.ndarray, " n"]


def losses(
  decoder: decoder_lib.Decoder,
  data: token_set.TokenSet,
  *,
  layout: layouts.Layout,
  mesh: Mesh,
  adapters: PyTree | None = None,
  parts: windows.Parts | None = None,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Losses:
  """The loss of a model on each of some examples.

  Args:
    decoder: the model.
    data: the examples.
    layout: of the examples or their parts; changes nothing but the speed.
    mesh: a batch is split over `data` and `fsdp`.
    adapters: one low-rank model (`models.lora.stack`), or None.
    parts: of the examples, where some are read in windows.
    on_batch: called with each batch when it is finished.

  >>> from flax import nnx
  >>> from ila_jax.compute import mesh
  >>> from ila_jax.models import architecture
  >>> config = architecture.DecoderConfig(
  ...   vocab=32,
  ...   layers=1,
  ...   width=8,
  ...   heads=2,
  ...   kv_heads=1,
  ...   head_dim=4,
  ...   mlp_width=16,
  ... )
  >>> model = decoder_lib.Decoder(config, rngs=nnx.Rngs(0))  # uniform: log 32
  >>> text = token_set.TokenSet.of_text([np.arange(9, dtype=np.int32)] * 2)
  >>> layout = layouts.choose(text.lengths, batch_tokens=64)
  >>> found = losses(model, text, layout=layout, mesh=mesh.make())
  >>> loss = summarise(*found)
  >>> loss["n_tokens"], abs(loss["micro"] - 3.466) < 0.2
  (16, True)
  """
  read = data if parts is None else parts.data
  nll = example_loss.example_nll(
    decoder,
    read.tokens,
    read.is_response,
    layout=layout,
    mesh=mesh,
    adapters=adapters,
    on_batch=on_batch,
  )[:, 0]
  if parts is not None:
    nll = parts.total(nll)
  # Nothing predicts the first token.
  n_tokens = np.array([mask[1:].sum() for mask in data.is_response], np.int32)
  return Losses(nll, n_tokens)


def summarise(
  nll: Float[np.ndarray, " n"], n_tokens: Int[np.ndarray, " n"]
) -> Evaluation:
  """Micro loss Σ nll / Σ T and macro loss mean(nll / T), in nats per token.

  Micro weighs every token alike, so long examples count more; macro weighs
  every example alike (docs/method.md 2.8).

  Args:
    nll: response loss of each example, a sum over its tokens.
    n_tokens: T, the number of those tokens.

  Returns:
    micro, macro, n_examples, n_tokens.

  Raises:
    errors.InputError: no examples, one without a target, or a loss that is not
      finite.

  >>> summarise(np.array([1.0, 8.0], np.float32), np.array([1, 4]))
  {'micro': 1.8, 'macro': 1.5, 'n_examples': 2, 'n_tokens': 5}
  """
  if not len(nll):
    raise errors.InputError(
      "there are no held-out examples to evaluate on; allowed: one or more. "
      "Raise config.pool.dev_examples, or add records to config.pool.source."
    )
  bad = np.flatnonzero(~np.isfinite(nll) | (n_tokens < 1))
  if len(bad):
    raise errors.InputError(
      f"evaluation: {len(bad)} of {len(nll)} held-out examples have no finite "
      f"loss, the first is number {bad[0]} with loss {nll[bad[0]]} over "
      f"{n_tokens[bad[0]]} tokens; allowed: a finite loss over one token or "
      "more. If the model was tuned, lower its learning rate."
    )
  # Sums of many examples: float64 on the host costs nothing.
  nll = nll.astype(np.float64)
  return {
    "micro": float(nll.sum() / n_tokens.sum()),
    "macro": float((nll / n_tokens).mean()),
    "n_examples": len(nll),
    "n_tokens": int(n_tokens.sum()),
  }
