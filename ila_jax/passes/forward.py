"""One compiled function over examples of any lengths, batch after batch."""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import prefetch
from ila_jax.models import architecture, encoder
from ila_jax.passes import collate, layouts
from ila_jax.sections import models as models_lib
from ila_jax.sections import training

Made = TypeVar("Made")


def map_examples(
  step: Callable[[dict[str, Array]], Array],
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  *,
  width: int,
  layout: layouts.Layout,
  mesh: Mesh,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Float[np.ndarray, "n w"]:
  """Runs `step` over all examples; returns its values in the order given.

  A thread lays out and copies the next batches, the device works on one, and
  the host reads the one before. The shapes that are compiled are those of
  `layouts.plan`.

  Args:
    step: from a batch of `collate.collate`, sharded over the mesh, to a
      float32 array [row, segment, w].
    tokens: int32 ids of each example.
    is_response: which of them the model must produce.
    width: w, numbers that an example gets.
    layout: of the pool that the examples are from.
    mesh: a batch is split over `data` and `fsdp`.
    on_batch: called with each batch when it is finished.

  >>> ids = [np.arange(n, dtype=np.int32) for n in (3, 2)]
  >>> masks = [np.zeros(len(i), bool) for i in ids]
  >>> lengths = map_examples(
  ...   lambda batch: (batch["segment_ids"] > 0).sum(axis=1)[:, None, None],
  ...   ids, masks, width=1, mesh=mesh_lib.make(),
  ...   layout=layouts.choose(np.array([3, 2]), batch_tokens=64),
  ... )
  >>> lengths[:, 0].tolist()
  [3.0, 2.0]
  """
  multiple = mesh_lib.batch_multiple(mesh)
  lengths = np.array([len(ids) for ids in tokens], np.int32)
  plan = layouts.plan(lengths, layout, multiple=multiple)
  values = np.zeros((len(tokens), width), np.float32)

  def run(plan: Sequence[collate.Batch]) -> Iterator[collate.Batch]:
    for batch, made in each_batch(step, tokens, is_response, plan, mesh):
      yield _collect(batch, made, values)

  for batch in run(plan):
    on_batch(batch)
  # What is not finite spoils its neighbours in a packed row (0 · NaN is NaN):
  # only a row of its own tells whose fault it is.
  doubtful = np.flatnonzero(~np.isfinite(values).all(axis=1))
  if layout.packed and len(doubtful):
    alone = [[int(example)] for example in doubtful]
    for _ in run(layouts.batches(alone, plan[0], multiple=multiple)):
      pass
  return values


def each_batch(
  step: Callable[[dict[str, Array]], Made],
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  plan: Sequence[collate.Batch],
  mesh: Mesh,
) -> Iterator[tuple[collate.Batch, Made]]:
  """Runs `step` over the batches of a plan; yields what it makes of each.

  Args:
    step: from a batch of `collate.collate`, sharded over the mesh, to arrays.
    tokens: int32 ids of each example.
    is_response: which of them the model must produce.
    plan: of `layouts.plan`.
    mesh: a batch is split over `data` and `fsdp`.

  >>> ids, masks = [np.array([7, 8], np.int32)], [np.zeros(2, bool)]
  >>> plan = [collate.Batch([[0]], width=2, height=8)]
  >>> step, mesh = lambda batch: batch["tokens"], mesh_lib.make()
  >>> found = each_batch(step, ids, masks, plan, mesh)
  >>> [made[0].tolist() for _, made in found]
  [[7, 8]]
  """
  laid_out = (
    (batch, collate.on_mesh(tokens, is_response, batch, mesh)) for batch in plan
  )
  pending: collections.deque[tuple[collate.Batch, Made]]
  pending = collections.deque()
  for batch, arrays in prefetch.ahead(laid_out):
    pending.append((batch, step(arrays)))
    if len(pending) > 1:
      yield pending.popleft()
  while pending:
    yield pending.popleft()


def _collect(
  batch: collate.Batch, made: Array, values: Float[np.ndarray, "n w"]
) -> collate.Batch:
  """Copies the values of a batch to the host, each to its example."""
  counts = [len(row) for row in batch.rows]
  row = np.repeat(np.arange(len(counts)), counts)
  segment = np.concatenate([np.arange(count) for count in counts])
  values[batch.examples] = mesh_lib.fetch(made)[row, segment]
  return batch


def program_tokens(
  config: architecture.DecoderConfig | encoder.EncoderConfig,
) -> int:
  """Tokens that a model passes in the time that one program takes to compile.

  A compilation takes about a second, in which two cores of a CPU compute some
  10¹¹ FLOP: of a small model that is many tokens, and of a large one few. But a
  program serves several passes, and is kept: a twentieth is counted. An
  accelerator is taken to compute a thousand times as much meanwhile.

  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=512, heads=8, kv_heads=8, head_dim=64,
  ...   mlp_width=2048,
  ... )
  >>> program_tokens(config)
  294
  """
  compilation = 5e9 if mesh_lib.platform() == "cpu" else 5e12
  return int(compilation * 128 / flops(config, np.array([128]))) + 1


def layout(
  config: architecture.DecoderConfig | encoder.EncoderConfig,
  lengths: Int[np.ndarray, " n"],
  settings: models_lib.Encoder | training.Score,
  *,
  models: int = 1,
  pack_tokens: int = layouts.PACK_TOKENS,
) -> layouts.Layout:
  """The layout in which a model passes over the examples of a pool.

  Args:
    config: of the model.
    lengths: tokens of each example of the whole pool.
    settings: config.encoder or config.score: the kind of the layout, and the
      tokens of a batch.
    models: m, passed together, which share the tokens of a batch.
    pack_tokens: tokens of a packed row, unless an example is longer.
  """
  return layouts.choose(
    lengths,
    batch_tokens=max(settings.batch_tokens // models, 1),
    kind=settings.layout,
    pack_tokens=pack_tokens,
    program_tokens=program_tokens(config),
  )


def flops(
  config: architecture.DecoderConfig | encoder.EncoderConfig,
  lengths: Int[np.ndarray, " n"],
  *,
  response_tokens: int = 0,
) -> int:
  """FLOPs of one forward pass over texts of these lengths, without padding.

  Counted from the shapes of the matrix products, see `architecture.flops` and
  `encoder.flops`. In a decoder a token attends to itself and to all before it
  in its text, or in the window of a local layer; its head runs on the response
  tokens alone.

  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=8, heads=2, kv_heads=2, head_dim=4,
  ...   mlp_width=32,
  ... )
  >>> flops(config, np.array([1]), response_tokens=1)
  4672
  """
  if isinstance(config, encoder.EncoderConfig):
    return encoder.flops(config, lengths.tolist())
  lengths = lengths.astype(np.int64)
  seen = {False: _pairs(lengths, None), True: _pairs(lengths, config.window)}
  return architecture.flops(
    config,
    tokens=int(lengths.sum()),
    attended=sum(seen[is_local] for is_local in config.local),
    response_tokens=response_tokens,
  )


def _pairs(lengths: Int[np.ndarray, " n"], window: int | None) -> int:
  """Pairs (i, j ≤ i) in texts, with i - j below the window."""
  outside = lengths - np.minimum(lengths, window or lengths)
  pairs = lengths * (lengths + 1) // 2 - outside * (outside + 1) // 2
  return int(pairs.sum())
