"""One compiled function over examples of any lengths, batch after batch."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int, Shaped

from ila_jax import batching
from ila_jax import mesh as mesh_lib


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
