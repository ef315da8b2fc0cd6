"""One compiled function over examples of any lengths, batch after batch."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int, Shaped

from ila_jax import batching
from ila_jax import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import encoder as encoder_lib


def over_examples(
  step: Callable[[dict[str, Array]], Array],
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  *,
  batch_tokens: int,
  mesh: Mesh,
  on_batch: Callable[[int], None] = lambda examples: None,
) -> Iterator[tuple[Int[np.ndarray, " r"], Shaped[np.ndarray, "r ..."]]]:
  """Yields (rows, what `step` made of them), in batches of like length.

  The device works on a batch while the host reads the one before. A bounded
  number of shapes is compiled (`batching.length_batches`).

  Args:
    step: from a batch of `batching.collate`, sharded over the mesh, to an array
      whose first axis is that of the batch.
    tokens: int32 ids of each example.
    is_response: which of them the model must produce.
    batch_tokens: tokens of a batch on each device, padding included.
    mesh: a batch is split over `data` and `fsdp`.
    on_batch: called with the number of examples that each batch finished.

  >>> ids = [np.arange(n, dtype=np.int32) for n in (3, 2)]
  >>> masks = [np.zeros(len(i), bool) for i in ids]
  >>> lengths = np.zeros(2, int)
  >>> for rows, found in over_examples(
  ...   lambda batch: (batch["segment_ids"] > 0).sum(axis=1), ids, masks,
  ...   batch_tokens=64, mesh=mesh_lib.make(),
  ... ):
  ...   lengths[rows] = found
  >>> lengths.tolist()
  [3, 2]
  """
  shards = mesh_lib.batch_multiple(mesh)
  plan = batching.length_batches(
    np.array([len(ids) for ids in tokens], np.int32),
    batch_tokens=batch_tokens * shards,
    multiple=shards,
  )
  pending: list[tuple[np.ndarray, Array]] = []
  for rows, width, height in plan:
    batch = batching.collate(
      [tokens[row] for row in rows],
      [is_response[row] for row in rows],
      width=width,
      rows=height,
    )
    pending.append((rows, step(mesh_lib.put(batch, mesh))))
    if len(pending) > 1:
      yield _collect(*pending.pop(0), on_batch)
  for rows, made in pending:
    yield _collect(rows, made, on_batch)


def _collect(
  rows: np.ndarray, made: Array, on_batch: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
  host = mesh_lib.fetch(made)[: len(rows)]
  on_batch(len(rows))
  return rows, host


def flops(
  config: architecture.DecoderConfig | encoder_lib.EncoderConfig,
  lengths: Int[np.ndarray, " n"],
  *,
  response_tokens: int = 0,
) -> int:
  """FLOPs of one forward pass over texts of these lengths, without padding.

  Counted from the shapes of the matrix products, see `architecture.flops` and
  `encoder.flops`. In a decoder a token attends to itself and to all before it
  in its text; its head runs on the response tokens alone.

  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=8, heads=2, kv_heads=2, head_dim=4,
  ...   mlp_width=32,
  ... )
  >>> flops(config, np.array([1]), response_tokens=1)
  4672
  """
  if isinstance(config, encoder_lib.EncoderConfig):
    return encoder_lib.flops(config, lengths.tolist())
  lengths = lengths.astype(np.int64)
  return architecture.flops(
    config,
    tokens=int(lengths.sum()),
    attended=int((lengths * (lengths + 1) // 2).sum()),
    response_tokens=response_tokens,
  )
