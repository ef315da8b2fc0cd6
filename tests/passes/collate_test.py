"""Batches are laid out token by token as a loop would."""

import numpy as np
import pytest

from ila_jax.compute import mesh
from ila_jax.passes import collate, layouts


def examples(lengths):
  rng = np.random.default_rng(0)
  ids = [rng.integers(1, 1000, n).astype(np.int32) for n in lengths]
  return ids, [rng.random(n) < 0.5 for n in lengths]


def collate_by_loop(ids, masks, packed, width, rows):
  """The layout, one token at a time."""
  batch = {
    name: np.zeros((rows, width), np.int64)
    for name in ("tokens", "targets", "segment_ids", "positions")
  }
  for row, members in enumerate(packed):
    column = 0
    for segment, index in enumerate(members):
      for position, token in enumerate(ids[index]):
        batch["tokens"][row, column] = token
        batch["targets"][row, column] = position and masks[index][position]
        batch["segment_ids"][row, column] = segment + 1
        batch["positions"][row, column] = position
        column += 1
  return batch


@pytest.mark.parametrize("seed", range(3))
def test_collate(seed):
  rng = np.random.default_rng(seed)
  lengths = np.clip(rng.lognormal(3, 1, 60), 1, 40).astype(np.int32)
  ids, masks = examples(lengths)
  packed = layouts.pack(lengths, width=64)[:7]
  batch = collate.collate(ids, masks, collate.Batch(packed, 64, 9))
  expected = collate_by_loop(ids, masks, packed, 64, 9)
  for name, array in batch.items():
    np.testing.assert_array_equal(array, expected[name])
    assert array.dtype == (np.bool_ if name == "targets" else np.int32)


def test_collate_is_one_segment_a_row():
  lengths = np.array([3, 1, 8])
  ids, masks = examples(lengths)
  masks = [np.ones_like(mask) for mask in masks]
  batch = collate.collate(ids, masks, collate.Batch([[0], [1], [2]], 8, 4))
  expected = collate_by_loop(ids, masks, [[0], [1], [2], []], 8, 4)
  for name, array in batch.items():
    np.testing.assert_array_equal(array, expected[name])
  # The first of a segment is predicted from nothing: never a target.
  assert batch["targets"].sum(1).tolist() == [2, 0, 7, 0]


def test_collate_of_nothing_and_of_empty_rows():
  batch = collate.collate([], [], collate.Batch([], 4, 2))
  assert all(a.shape == (2, 4) and not a.any() for a in batch.values())
  ids, masks = examples([0, 2])
  batch = collate.collate(
    ids, masks, collate.Batch([[], [0, 1], [0], []], 2, 5)
  )
  expected = collate_by_loop(ids, masks, [[], [0, 1], [0], []], 2, 5)
  for name, array in batch.items():
    np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("axes", [{}, {"fsdp": 2, "tensor": 2}])
def test_a_batch_on_a_mesh_is_that_of_the_host(axes):
  ids, masks = examples([3, 1, 8, 2, 2])
  batch = collate.Batch([[0], [1, 3], [2], [4]], 8, 8)
  whole = collate.collate(ids, masks, batch)
  placed = collate.on_mesh(ids, masks, batch, mesh.make(**axes))
  for name, array in mesh.fetch(placed).items():
    np.testing.assert_array_equal(array, whole[name])
    assert array.dtype == whole[name].dtype


def test_some_rows_of_a_batch_are_laid_out_as_in_the_whole():
  ids, masks = examples([3, 1, 8, 2, 2])
  batch = collate.Batch([[0], [1, 3], [2], [4]], 8, 6)
  whole = collate.collate(ids, masks, batch)
  for rows in ([0, 1], [1, 3], [2, 5], [4, 5]):
    part = collate.collate(ids, masks, batch.part(np.array(rows)))
    for name, array in part.items():
      np.testing.assert_array_equal(array, whole[name][rows])


def test_collate_refuses_what_does_not_fit():
  ids, masks = examples([3, 3])
  with pytest.raises(ValueError, match="2 rows of examples; the batch has 1"):
    collate.collate(ids, masks, collate.Batch([[0], [1]], 8, 1))
  with pytest.raises(ValueError, match="9 rows of examples; the batch has 8"):
    collate.on_mesh(ids, masks, collate.Batch([[0]] * 9, 8, 8), mesh.make())
  with pytest.raises(ValueError, match="a row holds 6 tokens of 5"):
    collate.collate(ids, masks, collate.Batch([[0, 1]], 5, 1))
