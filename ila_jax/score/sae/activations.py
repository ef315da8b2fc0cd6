"""The tokens that an autoencoder is trained and judged on, drawn by a key."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int, UInt64

from ila_jax import errors
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import hidden, layouts, token_set, windows
from ila_jax.run import draws

# Of the tokens that are drawn, those that nothing is trained on: a share, and
# at most so many.
_HELD_SHARE = 0.05
_HELD_TOKENS = 2**16
# Bytes of hidden states that are held at once.
CHUNK_BYTES = 2**30


class Draw(NamedTuple):
  """Rows of the pool, in the order in which they are trained on.

  Attributes:
    held: rows that the autoencoder is judged on.
    chunks: rows of each chunk, whose hidden states are held at once.
    tokens: of each chunk.
  """

  held: Int[np.ndarray, " h"]
  chunks: list[Int[np.ndarray, " _"]]
  tokens: list[int]


def draw(
  ids: UInt64[np.ndarray, " n"],
  lengths: Int[np.ndarray, " n"],
  allowed: Bool[np.ndarray, " n"],
  *,
  tokens: int,
  chunk_tokens: int,
  seed: int,
) -> Draw:
  """Draws records until they have so many tokens; all, where the pool ends.

  The order follows from ids and seed alone. The first tokens of the records do
  not count (`states_of`).

  Args:
    ids: of the records.
    lengths: tokens of each.
    allowed: records that may be drawn.
    tokens: to train on.
    chunk_tokens: of a chunk, but for one record that has more.
    seed: of the draw.

  Raises:
    errors.InputError: fewer than two records have two tokens.

  >>> ids, lengths = np.arange(4, dtype=np.uint64), np.full(4, 11)
  >>> sizes = {"tokens": 20, "chunk_tokens": 10, "seed": 0}
  >>> drawn = draw(ids, lengths, lengths > 0, **sizes)
  >>> drawn.held.tolist(), [rows.tolist() for rows in drawn.chunks]
  ([1], [[3], [0]])
  """
  row = np.flatnonzero(allowed & (lengths > 1))
  if len(row) < 2:
    raise errors.InputError(
      f"config.pool.source: {len(row)} usable records have two tokens or more, "
      "and a sparse autoencoder is trained on one and judged on another; "
      "allowed: 2 or more. Give a larger pool, or a published autoencoder as "
      "config.sae.path."
    )
  uniform = draws.keyed_uniform(ids[row], seed=seed, purpose="sae")
  row = row[np.lexsort((ids[row], uniform))]
  counts = lengths[row].astype(np.int64) - 1
  held_tokens = min(_HELD_SHARE * tokens, _HELD_TOKENS)
  held = int(np.searchsorted(np.cumsum(counts), held_tokens)) + 1
  # A small pool keeps most for training.
  held = min(held, max(len(row) // 10, 1))
  row, counts, head = row[held:], counts[held:], row[:held]
  last = int(np.searchsorted(np.cumsum(counts), tokens)) + 1
  row, counts = row[:last], counts[:last]
  chunks, sizes, begin, total = [], [], 0, 0
  for place, count in enumerate(counts.tolist()):
    if place > begin and total + count > chunk_tokens:
      chunks.append(row[begin:place])
      sizes.append(total)
      begin, total = place, 0
    total += count
  return Draw(head, [*chunks, row[begin:]], [*sizes, total])


def states_of(
  decoder: decoder_lib.Decoder,
  tokens: Sequence[Int[np.ndarray, " _"]],
  *,
  layers: int,
  max_tokens: int,
  layout: layouts.Layout,
  mesh: Mesh,
) -> Iterator[tuple[int, Float[np.ndarray, "t d"]]]:
  """Hidden states of every token but the first, a record or a part at a time.

  The first token is BOS in most models, and in all of them a sink of attention
  whose hidden state is far from all others, and the same in every record. A
  record longer than `max_tokens` is read in windows; each token counts once.

  Args:
    decoder: the model.
    tokens: of each record.
    layers: after which the states are read.
    max_tokens: of a window.
    layout: of the pool.
    mesh: the devices.

  Yields:
    The number of a part, in the order of records and windows, and its states;
    as the batches come.
  """
  parts = windows.split(
    token_set.TokenSet.of_text(tokens), max_tokens=max_tokens
  )
  for batch, found in hidden.of_examples(
    decoder, parts.data.tokens, layers=layers, layout=layout, mesh=mesh
  ):
    for part, states in zip(batch.examples.tolist(), found, strict=True):
      yield part, states[parts.data.is_response[part]]


def gathered(
  states: Iterator[tuple[int, Float[np.ndarray, "t d"]]],
) -> Float[np.ndarray, "m d"]:
  """All of them in the order of their parts, whatever the batches were.

  Raises:
    errors.InputError: a state is not finite.

  >>> found = iter([(1, np.ones((1, 2))), (0, np.zeros((2, 2)))])
  >>> gathered(found)[:, 0].tolist()
  [0.0, 0.0, 1.0]
  """
  by_part = dict(states)
  found = np.concatenate([by_part[part] for part in sorted(by_part)])
  bad = int((~np.isfinite(found).all(axis=1)).sum())
  if bad:
    raise errors.InputError(
      f"config.model.path: {bad:,} of {len(found):,} hidden states are not "
      "finite; allowed: finite numbers, on which an autoencoder is trained. "
      "Set --config.model.dtype=float32, or check the model's weights."
    )
  return found
