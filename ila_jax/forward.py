"""One compiled function over examples of any lengths, batch after batch."""

import collections
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int, Shaped

from ila_jax import batching, layouts, prefetch
from ila_jax import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import encoder as encoder_lib


def over_examples(
  step: Callable[[dict[str, Array]], Array],
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  *,
  layout: layouts.Layout,
  mesh: Mesh,
  on_batch: Callable[[batching.Batch], None] = lambda batch: None,
) -> Iterator[tuple[Int[np.ndarray, " r"], Shaped[np.ndarray, "r ..."]]]:
  """Yields (examples, what `step` made of them), a batch at a time.

  A thread lays out and copies the next batches, the device works on one, and
  the host reads the one before. As many shapes are compiled as the layout has
  widths.

  Args:
    step: from a batch of `batching.collate`, sharded over the mesh, to an array
      [row, segment, ...].
    tokens: int32 ids of each example.
    is_response: which of them the model must produce.
    layout: of the pool that the examples are from.
    mesh: a batch is split over `data` and `fsdp`.
    on_batch: called with each batch when it is finished.

  >>> ids = [np.arange(n, dtype=np.int32) for n in (3, 2)]
  >>> masks = [np.zeros(len(i), bool) for i in ids]
  >>> lengths = np.zeros(2, int)
  >>> for examples, found in over_examples(
  ...   lambda batch: (batch["segment_ids"] > 0).sum(axis=1, keepdims=True),
  ...   ids, masks, mesh=mesh_lib.make(),
  ...   layout=layouts.choose(np.array([3, 2]), batch_tokens=64),
  ... ):
  ...   lengths[examples] = found
  >>> lengths.tolist()
  [3, 2]
  """
  plan = layouts.plan(
    np.array([len(ids) for ids in tokens], np.int32),
    layout,
    multiple=mesh_lib.batch_multiple(mesh),
  )
  laid_out = (
    (batch, mesh_lib.put(batching.collate(tokens, is_response, batch), mesh))
    for batch in plan
  )
  pending: collections.deque[tuple[batching.Batch, Array]] = collections.deque()
  for batch, arrays in prefetch.ahead(laid_out):
    pending.append((batch, step(arrays)))
    if len(pending) > 1:
      yield _collect(*pending.popleft(), on_batch)
  while pending:
    yield _collect(*pending.popleft(), on_batch)


def _collect(
  batch: batching.Batch,
  made: Array,
  on_batch: Callable[[batching.Batch], None],
) -> tuple[np.ndarray, np.ndarray]:
  host = mesh_lib.fetch(made)
  counts = [len(row) for row in batch.rows]
  row = np.repeat(np.arange(len(counts)), counts)
  segment = np.concatenate([np.arange(count) for count in counts])
  on_batch(batch)
  return batch.examples, host[row, segment]


def program_tokens(
  config: architecture.DecoderConfig | encoder_lib.EncoderConfig,
) -> int:
  """Tokens that a model passes in the time that one program takes to compile.

  A compilation takes about a second, in which two cores of a CPU compute about
  10¹¹ FLOP: of a small model that is many tokens, and of a large one few.

  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=512, heads=8, kv_heads=8, head_dim=64,
  ...   mlp_width=2048,
  ... )
  >>> program_tokens(config)
  5869
  """
  return int(1e11 * 128 / flops(config, np.array([128]))) + 1


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
