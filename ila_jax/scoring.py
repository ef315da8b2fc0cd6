"""Response loss of every example under one model, sharded over the mesh.

    nll_j = − Σ_{t in response} log p(token_t | all before)      (Section 2.1)

a *sum* in float32, beside the number of response tokens: whoever wants a mean
divides once, at the end.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PyTree

from ila_jax import forward, losses
from ila_jax.models import decoder as decoder_lib

# Positions whose logits exist at one time; bounds memory at vocabulary 152k.
CHUNK_TOKENS = 1024


@functools.partial(jax.jit, static_argnums=0)
def batch_nll(
  graphdef: nnx.GraphDef, params: PyTree, batch: dict[str, Array]
) -> Float[Array, " b"]:
  """The response loss, in nats, of each row of a batch; 0 for empty rows."""
  decoder = nnx.merge(graphdef, params)
  hidden = decoder.hidden(
    batch["tokens"], batch["positions"], batch["segment_ids"]
  )
  nll = losses.token_nll(
    hidden,
    decoder.head_weights(),
    batch["tokens"],
    batch["targets"],
    chunk_tokens=CHUNK_TOKENS,
    softcap=decoder.config.final_softcap,
  )
  return nll.sum(axis=1)


def example_nll(
  decoder: decoder_lib.Decoder,
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  *,
  batch_tokens: int,
  mesh: Mesh,
  on_batch: Callable[[int], None] = lambda examples: None,
) -> Float[np.ndarray, " n"]:
  """Scores examples of any lengths: nll_j in nats, a float32 sum each.

  Examples are sorted by length into a bounded number of shapes, so that
  little is spent on padding and little on compiling.

  Args:
    decoder: the model; its parameters stay where they lie.
    tokens: int32 ids of each example, prompt and response.
    is_response: which of them are response, so to be predicted.
    batch_tokens: tokens of a batch on each device, padding included.
    mesh: the devices; a batch is split over `data` and `fsdp`.
    on_batch: called with the number of examples that each batch finished.

  Returns:
    The response loss of each example, in the order given.

  See `models.weights.load_decoder` for a model to call it with, and
  `tests/scoring_test.py` for its witnesses.
  """
  graphdef, params = nnx.split(decoder)
  nll = np.zeros(len(tokens), np.float32)
  for rows, scored in forward.over_examples(
    lambda batch: batch_nll(graphdef, params, batch),
    tokens,
    is_response,
    batch_tokens=batch_tokens,
    mesh=mesh,
    on_batch=on_batch,
  ):
    nll[rows] = scored
  return nll
