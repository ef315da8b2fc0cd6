"""Which examples stand together: batches of few shapes, with little padding.

Two layouts behind one interface, `plan`: length buckets, an example a row,
which suit a CPU; and packing, several examples a row, which suits accelerators:
one shape, little padding, and attention that is a small part of a large model's
work. Training packs too.
"""

import bisect
import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.passes import collate

LAYOUTS = ("auto", "buckets", "pack")

# Tokens of a packed row, unless an example is longer.
PACK_TOKENS = 2048
# Rows are a multiple of this, for kernels work on blocks of it.
_BLOCK = 128
# The last batch of a shard has as few of so many parts as hold its rows.
LAST_BATCH_PARTS = 8
# Examples that tell how many a packed row holds.
_SAMPLE = 10_000
# At most so many shapes, and so one compilation each.
MAX_BUCKETS = 32


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the examples of a pool become arrays; one for all of its shards.

  Attributes:
    widths: tokens of a row, ascending; one width where rows are packed.
    batch_tokens: tokens of a batch on each device, padding included.
    packed: several examples a row, or one.
    segments: examples that a row has room for.
  """

  widths: tuple[int, ...]
  batch_tokens: int
  packed: bool
  segments: int = 1


def choose(
  lengths: Int[np.ndarray, " n"],
  *,
  batch_tokens: int,
  kind: str = "auto",
  pack_tokens: int = PACK_TOKENS,
  program_tokens: int = 512,
) -> Layout:
  """The layout for a pool whose examples have these lengths.

  Args:
    lengths: tokens of each example of the whole pool.
    batch_tokens: tokens of a batch on each device, padding included.
    kind: `buckets`, `pack`, or `auto`, which is buckets on a CPU.
    pack_tokens: tokens of a packed row, unless an example is longer.
    program_tokens: tokens that could be computed while one more shape is
      compiled (`forward.program_tokens`); of buckets.

  Raises:
    ValueError: another kind.

  >>> choose(np.array([9, 30]), batch_tokens=64, kind="buckets").widths
  (30,)
  >>> choose(np.array([9, 30]), batch_tokens=256, kind="pack").widths
  (256,)
  """
  if kind not in LAYOUTS:
    raise ValueError(f"layout {kind!r}; there are {', '.join(LAYOUTS)}")
  if kind == "auto":
    kind = "buckets" if mesh_lib.platform() == "cpu" else "pack"
  if kind == "buckets":
    widths = bucket_widths(lengths, program_tokens=program_tokens)
    return Layout(widths, batch_tokens, packed=False)
  longest = max(int(lengths.max(initial=1)), min(pack_tokens, batch_tokens))
  width = -(-longest // _BLOCK) * _BLOCK
  sample = lengths[:: -(-len(lengths) // _SAMPLE) or 1]
  order = np.argsort(-sample, kind="stable")
  rows = pack(sample, width=width, order=order)
  segments = -(-max(map(len, rows), default=1) // 8) * 8
  return Layout((width,), batch_tokens, packed=True, segments=segments)


def plan(
  lengths: Int[np.ndarray, " n"], layout: Layout, *, multiple: int = 1
) -> list[collate.Batch]:
  """The batches of one shard of the pool.

  Args:
    lengths: tokens of each example of the shard.
    layout: of the whole pool.
    multiple: devices that a batch is split over; its rows divide by this.

  Returns:
    The batches; each example is in one of them.

  Raises:
    ValueError: an example longer than the widest row.

  >>> lengths = np.array([9, 30])
  >>> [b.rows for b in plan(lengths, choose(lengths, batch_tokens=64))]
  [[[1], [0]]]
  """
  batch_tokens = layout.batch_tokens * multiple
  if not layout.packed:
    return length_batches(
      lengths,
      widths=layout.widths,
      batch_tokens=batch_tokens,
      multiple=multiple,
    )
  (width,) = layout.widths
  height = max(batch_tokens // width // multiple, 1) * multiple
  rows = pack(
    lengths,
    width=width,
    order=np.argsort(-lengths, kind="stable"),
    segments=layout.segments,
  )
  full = collate.Batch([], width, height)
  return batches(rows, full, multiple=multiple)


def batches(
  rows: Sequence[Sequence[int]], full: collate.Batch, *, multiple: int = 1
) -> list[collate.Batch]:
  """Rows of one width in batches as high as `full`, the last one lower.

  >>> full = collate.Batch([], width=4, height=16)
  >>> [b.height for b in batches([[0]] * 19, full)]
  [16, 4]
  """
  width, height = full.width, full.height
  return [
    _batch(rows[start : start + height], width, height, multiple)
    for start in range(0, len(rows), height)
  ]


def _batch(
  rows: Sequence[Sequence[int]], width: int, height: int, multiple: int
) -> collate.Batch:
  """A batch of `height` rows, or of as many parts of it as it takes."""
  part = -(-height // multiple // LAST_BATCH_PARTS) * multiple
  return collate.Batch(rows, width, min(height, -(-len(rows) // part) * part))


def bucket_widths(
  lengths: Int[np.ndarray, " n"], *, program_tokens: int
) -> tuple[int, ...]:
  """The widths that take the least time to compile and to pad for.

  The exact optimum by dynamic programming over the histogram of lengths: the
  least (padding + program_tokens a width), of 32 widths at most, each even (a
  multiple of more, where examples are longer than 1,024 tokens).

  Args:
    lengths: tokens of each example of the whole pool.
    program_tokens: what a width costs, in tokens.

  Returns:
    Ascending widths; the last holds the longest.

  >>> lengths = np.repeat([10, 100], 1000)
  >>> bucket_widths(lengths, program_tokens=512)
  (10, 100)
  """
  longest = max(int(lengths.max(initial=1)), 1)
  step = 2 * -(-longest // 1024)
  units = -(-longest // step)
  counts = np.bincount(-(-lengths // step), minlength=units + 1)
  width = np.arange(units + 1) * step
  below = np.cumsum(counts)
  # rise[i, j]: tokens of the examples above width i and up to width j, at j.
  rise = width[None] * (below[None] - below[:, None]).astype(np.float64)
  rise[np.tril_indices(units + 1)] = np.inf
  best = np.where(width > 0, width * below, np.inf)
  best[0] = 0.0
  choices, totals = [], [best[-1]]
  for _ in range(MAX_BUCKETS - 1):
    ends = best[:, None] + rise
    choices.append(ends.argmin(axis=0))
    best = ends.min(axis=0)
    totals.append(best[-1] + program_tokens * len(choices))
  end, widths = units, [units]
  for choice in reversed(choices[: int(np.argmin(totals))]):
    end = int(choice[end])
    widths.append(end)
  return tuple(int(width[w]) for w in sorted(set(widths)) if w > 0)


def length_batches(
  lengths: Int[np.ndarray, " n"],
  *,
  widths: Sequence[int],
  batch_tokens: int,
  multiple: int = 1,
) -> list[collate.Batch]:
  """Batches of examples of like length, at most `batch_tokens` tokens each.

  Examples are sorted by length, longest first, and cut in a cascade: a batch
  has the narrowest width that holds the longest example left, and as many rows
  as the budget allows. So each example stands in one batch, only the last has
  empty rows, and what does not fit in memory fails first. There are at most as
  many shapes as widths, and `LAST_BATCH_PARTS` - 1 more, of last batches.

  Args:
    lengths: tokens of each example.
    widths: ascending.
    batch_tokens: tokens of a batch, padding included.
    multiple: the number of rows divides by this: the shards of the batch. A
      row a shard is the least, also where that passes `batch_tokens`.

  Returns:
    The batches; none for no examples. Equal lengths keep their order.

  Raises:
    ValueError: an example longer than the widest of `widths`.

  >>> length_batches(np.array([5, 90, 7]), batch_tokens=192, widths=(8, 96))
  [Batch(rows=[[1], [2]], width=96, height=2), \
Batch(rows=[[0]], width=8, height=3)]
  """
  longest = int(lengths.max(initial=0))
  if longest > widths[-1]:
    raise ValueError(
      f"an example has {longest} tokens; the widest row has {widths[-1]}"
    )
  order = np.argsort(-lengths, kind="stable")
  batches, start = [], 0
  while start < len(order):
    width = widths[bisect.bisect_left(widths, lengths[order[start]])]
    height = max(batch_tokens // width // multiple, 1) * multiple
    rows = order[start : start + height, None].tolist()
    batches.append(_batch(rows, width, height, multiple))
    start += len(rows)
  return batches


def padding_fraction(
  batches: Sequence[collate.Batch], lengths: Int[np.ndarray, " n"]
) -> float:
  """The share of the cells of all batches that hold no token.

  >>> batches = [collate.Batch([[0]], width=8, height=2)]
  >>> padding_fraction(batches, np.array([4]))
  0.75
  """
  cells = sum(batch.cells for batch in batches)
  tokens = sum(int(lengths[batch.examples].sum()) for batch in batches)
  return 1 - tokens / cells if cells else 0.0


def pack(
  lengths: Int[np.ndarray, " n"],
  *,
  width: int,
  order: Int[np.ndarray, " m"] | None = None,
  segments: int | None = None,
) -> list[list[int]]:
  """Packs examples into rows of `width` tokens: best fit, in the order given.

  An example goes to the row that it fills best, or opens a new one. On a
  shuffled order that leaves about as little room as first-fit decreasing does,
  and unlike that it keeps long and short examples mixed. Sort `order` by
  falling length to get best-fit decreasing.

  Args:
    lengths: tokens of each example.
    width: tokens of a row.
    order: indices of the examples to pack, each once; all of them where None.
    segments: the most examples of a row; None for no bound.

  Returns:
    The rows, each a list of indices; they open in the order of their first.

  Raises:
    ValueError: an example longer than `width`.

  >>> pack(np.array([6, 5, 2, 3]), width=8)
  [[0, 2], [1, 3]]
  """
  order = np.arange(len(lengths)) if order is None else order
  longest = int(lengths[order].max(initial=0))
  if longest > width:
    raise ValueError(f"an example has {longest} tokens; a row has {width}")
  rows: list[list[int]] = []
  rows_by_room = collections.defaultdict(list)
  rooms = 0  # Bit r is set when some row has room for r more tokens.
  for index, length in zip(
    order.tolist(), lengths[order].tolist(), strict=True
  ):
    fitting = rooms >> length
    if fitting:
      room = length + (fitting & -fitting).bit_length() - 1
      row = rows_by_room[room].pop()
      if not rows_by_room[room]:
        rooms ^= 1 << room
    else:
      room, row = width, len(rows)
      rows.append([])
    rows[row].append(index)
    if len(rows[row]) == segments:
      continue
    rows_by_room[room - length].append(row)
    rooms |= 1 << (room - length)
  return rows
