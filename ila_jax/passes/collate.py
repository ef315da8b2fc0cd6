"""From examples of any length to arrays: a batch, and how it is laid out."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int, Shaped

from ila_jax.compute import mesh as mesh_lib


@dataclasses.dataclass(frozen=True)
class Batch:
  """Which examples stand in a batch, and the shape of the batch.

  Attributes:
    rows: for each row the indices of its examples; at most `height` rows, those
      after them are empty.
    width: tokens of a row, padding included.
    height: rows of the batch.
  """

  rows: Sequence[Sequence[int]]
  width: int
  height: int

  @property
  def examples(self) -> Int[np.ndarray, " r"]:
    """The indices of all its examples, row after row."""
    return np.fromiter(itertools.chain.from_iterable(self.rows), np.int64)

  def part(self, rows: Int[np.ndarray, " r"]) -> "Batch":
    """Some of its rows, by their numbers, as a batch of their own.

    >>> Batch([[4], [7, 2]], width=8, height=4).part(np.array([1, 3])).rows
    [[7, 2]]
    """
    held = [self.rows[row] for row in rows.tolist() if row < len(self.rows)]
    return Batch(held, self.width, len(rows))

  @property
  def cells(self) -> int:
    """Tokens that the device computes, padding included."""
    return self.width * self.height


def collate(
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  batch: Batch,
) -> dict[str, Shaped[np.ndarray, "b t"]]:
  """Lays a batch out, each example a segment of its own.

  Args:
    tokens: ids of each example of the whole set.
    is_response: which of them the model must produce.
    batch: b rows of t tokens.

  Returns:
    tokens: int32[b, t], 0 in padding.
    targets: bool[b, t], tokens to be predicted from those before them in their
      segment; never the first of a segment.
    segment_ids: int32[b, t], 0 in padding, 1, 2, ... per example of a row.
    positions: int32[b, t], from 0 in each segment.

  Raises:
    ValueError: more rows than the batch has, or one too long.

  >>> ids = [np.array([7, 8], np.int32), np.array([9], np.int32)]
  >>> masks = [np.array([False, True]), np.array([False])]
  >>> arrays = collate(ids, masks, Batch([[1, 0]], width=4, height=1))
  >>> arrays["tokens"].tolist(), arrays["segment_ids"].tolist()
  ([[9, 7, 8, 0]], [[1, 2, 2, 0]])
  >>> arrays["positions"].tolist()
  [[0, 0, 1, 0]]
  """
  shape = (batch.height, batch.width)
  _check_height(batch)
  arrays = {
    "tokens": np.zeros(shape, np.int32),
    "targets": np.zeros(shape, np.bool_),
    "segment_ids": np.zeros(shape, np.int32),
    "positions": np.zeros(shape, np.int32),
  }
  examples = batch.examples.tolist()
  if not examples:
    return arrays
  row, column, segment, position = _places(
    np.array([len(tokens[index]) for index in examples]),
    np.array([len(row) for row in batch.rows]),
  )
  if column.max(initial=0) >= batch.width:
    raise ValueError(f"a row holds {column.max() + 1} tokens of {batch.width}")
  targets = np.concatenate([is_response[index] for index in examples])
  arrays["tokens"][row, column] = np.concatenate([tokens[i] for i in examples])
  arrays["targets"][row, column] = targets & (position > 0)
  arrays["segment_ids"][row, column] = segment
  arrays["positions"][row, column] = position
  return arrays


def on_mesh(
  tokens: Sequence[Int[np.ndarray, " _"]],
  is_response: Sequence[Bool[np.ndarray, " _"]],
  batch: Batch,
  mesh: Mesh,
) -> dict[str, Shaped[Array, "b t"]]:
  """Lays a batch out on a mesh; a host lays out the rows of its devices alone.

  Args:
    tokens: ids of each example of the whole set.
    is_response: which of them the model must produce.
    batch: b rows of t tokens; the batch shards of the mesh divide b.
    mesh: rows are split over `data` and `fsdp`.

  Returns:
    As `collate`.

  Raises:
    ValueError: as `collate`.

  >>> ids, masks = [np.array([7, 8], np.int32)], [np.array([False, True])]
  >>> batch = Batch([[0]], width=4, height=8)
  >>> on_mesh(ids, masks, batch, mesh_lib.make())["tokens"][0].tolist()
  [7, 8, 0, 0]
  """
  _check_height(batch)
  return mesh_lib.put_own_rows(
    lambda rows: collate(tokens, is_response, batch.part(rows)),
    batch.height,
    mesh,
  )


def _check_height(batch: Batch) -> None:
  if len(batch.rows) > batch.height:
    raise ValueError(
      f"{len(batch.rows)} rows of examples; the batch has {batch.height}"
    )


def _places(
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
