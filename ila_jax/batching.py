"""From examples of any length to arrays of few shapes.

Two ways, with one layout (`collate`): length buckets, an example a row, for
scoring and embedding; and packing, several examples a row, for training.
"""

import bisect
import collections
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

_NARROWEST = 16


class Batch(NamedTuple):
  """Which examples stand in a batch, and the shape of the batch.

  Attributes:
    rows: indices of its examples, longest first; at most `height`.
    width: tokens of a row, padding included.
    height: rows of the batch; those after `rows` are empty.
  """

  rows: Int[np.ndarray, " r"]
  width: int
  height: int


def bucket_widths(longest: int) -> tuple[int, ...]:
  """The widths of a ladder up to the first that holds `longest` tokens.

  Steps of 8 up to 64, then four to the octave, so that at most a fifth of a
  row is padding beyond 64 tokens. The ladder is the same for every pool and
  shard, so that a shape is compiled once.

  >>> bucket_widths(100)
  (16, 24, 32, 40, 48, 56, 64, 80, 96, 112)
  """
  widths = [_NARROWEST]
  while widths[-1] < longest:
    octave = 1 << (widths[-1].bit_length() - 1)
    widths.append(widths[-1] + max(octave // 4, 8))
  return tuple(widths)


def length_batches(
  lengths: Int[np.ndarray, " n"],
  *,
  batch_tokens: int,
  multiple: int = 1,
  widths: Sequence[int] | None = None,
) -> list[Batch]:
  """Batches of examples of like length, at most `batch_tokens` tokens each.

  Examples are sorted by length, longest first, and cut in a cascade: a batch
  has the narrowest width that holds the longest example left, and as many rows
  as the budget allows. So each example stands in one batch, there are at most
  as many shapes as widths, only the last batch has empty rows, and what does
  not fit in memory fails first.

  Args:
    lengths: tokens of each example.
    batch_tokens: tokens of a batch, padding included.
    multiple: the number of rows divides by this: the shards of the batch. A
      row a shard is the least, also where that passes `batch_tokens`.
    widths: ascending; `bucket_widths` where None.

  Returns:
    The batches; none for no examples. Equal lengths keep their order.

  Raises:
    ValueError: an example longer than the widest of `widths`.

  >>> length_batches(np.array([5, 90, 7]), batch_tokens=192, widths=(8, 96))
  [Batch(rows=array([1, 2]), width=96, height=2), \
Batch(rows=array([0]), width=8, height=24)]
  """
  longest = int(lengths.max(initial=0))
  widths = bucket_widths(longest) if widths is None else widths
  if longest > widths[-1]:
    raise ValueError(
      f"an example has {longest} tokens; the widest row has {widths[-1]}"
    )
  order = np.argsort(-lengths, kind="stable")
  batches, start = [], 0
  while start < len(order):
    width = widths[bisect.bisect_left(widths, lengths[order[start]])]
    height = max(batch_tokens // width // multiple, 1) * multiple
    batches.append(Batch(order[start : start + height], width, height))
    start += height
  return batches


def padding_fraction(
  batches: Sequence[Batch], lengths: Int[np.ndarray, " n"]
) -> float:
  """The share of the cells of all batches that hold no token.

  >>> padding_fraction([Batch(np.array([0]), width=8, height=2)], np.array([4]))
  0.75
  """
  cells = sum(batch.width * batch.height for batch in batches)
  tokens = sum(int(lengths[batch.rows].sum()) for batch in batches)
  return 1 - tokens / cells if cells else 0.0


def pack(
  lengths: Int[np.ndarray, " n"],
  *,
  width: int,
  order: Int[np.ndarray, " m"] | None = None,
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
    rows_by_room[room - length].append(row)
    rooms |= 1 << (room - length)
  return rows


def collate(
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  *,
  width: int,
  rows: int,
) -> dict[str, Shaped[np.ndarray, "b t"]]:
  """Lays examples out one a row; rows without an example are padding.

  Args:
    tokens: ids of each example; at most `rows` of them.
    is_response: which of them the model must produce.
    width: t, tokens of a row.
    rows: b, rows of the batch.

  Returns:
    tokens: int32[b, t], 0 in padding.
    targets: bool[b, t], tokens to be predicted from those before them in their
      segment; never the first of a segment.
    segment_ids: int32[b, t], 0 in padding, 1, 2, ... per example of a row.
    positions: int32[b, t], from 0 in each segment.

  Raises:
    ValueError: more examples than rows, or one longer than a row.

  >>> ids, mask = np.array([7, 8], np.int32), np.array([False, True])
  >>> batch = collate([ids], [mask], width=3, rows=2)
  >>> batch["tokens"].tolist(), batch["segment_ids"].tolist()
  ([[7, 8, 0], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]])
  """
  return collate_packed(
    tokens,
    is_response,
    packed=[[index] for index in range(len(tokens))],
    width=width,
    rows=rows,
  )


def collate_packed(
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  *,
  packed: Sequence[Sequence[int]],
  width: int,
  rows: int,
) -> dict[str, Shaped[np.ndarray, "b t"]]:
  """Lays examples out several a row, each a segment of its own.

  Args:
    tokens: ids of each example of the whole set.
    is_response: which of them the model must produce.
    packed: the batch's rows, from `pack`: indices into `tokens`.
    width: t, tokens of a row.
    rows: b, rows of the batch; at least as many as `packed` has.

  Returns:
    The same arrays as `collate`.

  Raises:
    ValueError: more rows in `packed` than `rows`, or one longer than `width`.

  >>> ids = [np.array([7, 8], np.int32), np.array([9], np.int32)]
  >>> masks = [np.array([False, True]), np.array([False])]
  >>> batch = collate_packed(ids, masks, packed=[[1, 0]], width=4, rows=1)
  >>> batch["tokens"].tolist(), batch["segment_ids"].tolist()
  ([[9, 7, 8, 0]], [[1, 2, 2, 0]])
  >>> batch["positions"].tolist()
  [[0, 0, 1, 0]]
  """
  if len(packed) > rows:
    raise ValueError(f"{len(packed)} rows of examples; the batch has {rows}")
  batch = {
    "tokens": np.zeros((rows, width), np.int32),
    "targets": np.zeros((rows, width), np.bool_),
    "segment_ids": np.zeros((rows, width), np.int32),
    "positions": np.zeros((rows, width), np.int32),
  }
  members = list(itertools.chain.from_iterable(packed))
  if not members:
    return batch
  row, column, segment, position = _layout(
    np.array([len(tokens[index]) for index in members]),
    np.array([len(row) for row in packed]),
  )
  if column.max(initial=0) >= width:
    raise ValueError(f"a row holds {column.max() + 1} tokens of {width}")
  targets = np.concatenate([is_response[index] for index in members])
  batch["tokens"][row, column] = np.concatenate([tokens[i] for i in members])
  batch["targets"][row, column] = targets & (position > 0)
  batch["segment_ids"][row, column] = segment
  batch["positions"][row, column] = position
  return batch


def _layout(
  lengths: Int[np.ndarray, " m"], members: Int[np.ndarray, " r"]
) -> tuple[Int[np.ndarray, " t"], ...]:
  """Row, column, segment and position of each token, example after example.

  Args:
    lengths: tokens of the examples, row after row.
    members: number of examples of each row.
  """
  row = np.repeat(np.arange(len(members)), members)
  starts = np.cumsum(lengths) - lengths
  # In row r, columns count from its first example's start, segments from 1.
  first = np.repeat(np.cumsum(members) - members, members)
  segment = np.arange(len(lengths)) - first + 1
  token = np.arange(lengths.sum())
  return (
    np.repeat(row, lengths),
    token - np.repeat(starts[first], lengths),
    np.repeat(segment, lengths),
    token - np.repeat(starts, lengths),
  )
