"""Batches hold each example once and whole, in few shapes."""

import itertools

import numpy as np
import pytest

from ila_jax import batching


def random_lengths(seed: int, n: int = 500, longest: int = 300) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return np.clip(rng.lognormal(4, 1, n), 1, longest).astype(np.int32)


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


def test_ladder_of_widths():
  widths = batching.bucket_widths(5000)
  assert widths[-1] >= 5000 > widths[-2]
  assert list(widths) == sorted(set(widths))
  # Never more than a fifth of padding above 64, and few shapes.
  ratios = [a / b for a, b in itertools.pairwise(widths) if b > 64]
  assert min(ratios) >= 0.8 and len(widths) < 40
  assert batching.bucket_widths(1) == batching.bucket_widths(16) == (16,)
  # Shards of a pool share their shapes.
  assert batching.bucket_widths(700) == widths[: widths.index(768) + 1]


@pytest.mark.parametrize("batch_tokens", [1, 700, 4096])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("n", [0, 1, 2, 500])
def test_length_batches(n, multiple, batch_tokens):
  lengths = random_lengths(n, n)
  batches = batching.length_batches(
    lengths, batch_tokens=batch_tokens, multiple=multiple
  )
  held = np.concatenate([b.rows for b in batches]) if n else []
  assert sorted(held) == list(range(n))
  for batch in batches:
    assert 0 < len(batch.rows) <= batch.height
    assert lengths[batch.rows].max() <= batch.width
    assert batch.height % multiple == 0
    least = batch.height == multiple
    assert least or batch.height * batch.width <= batch_tokens
  # One height a width, and only the last batch has empty rows.
  shapes = {(b.width, b.height) for b in batches}
  assert len(shapes) == len({b.width for b in batches})
  assert all(len(b.rows) == b.height for b in batches[:-1])


def test_length_batches_at_the_edge_of_a_bucket():
  batches = batching.length_batches(
    np.array([8, 9, 16]), batch_tokens=16, widths=(8, 16)
  )
  assert [(b.rows.tolist(), b.width) for b in batches] == [
    ([2], 16),
    ([1], 16),
    ([0], 8),
  ]


def test_equal_lengths_keep_their_order():
  (batch,) = batching.length_batches(np.full(5, 7), batch_tokens=999)
  assert batch.rows.tolist() == [0, 1, 2, 3, 4]


def test_padding_is_small_and_counted():
  lengths = random_lengths(0, 5000, 1000)
  batches = batching.length_batches(lengths, batch_tokens=4096)
  cells = sum(b.width * b.height for b in batches)
  fraction = batching.padding_fraction(batches, lengths)
  assert fraction == pytest.approx(1 - lengths.sum() / cells)
  assert fraction < 0.12
  assert batching.padding_fraction([], lengths) == 0.0


def test_longer_than_the_widest_row():
  with pytest.raises(ValueError, match="has 9 tokens; the widest row has 8"):
    batching.length_batches(np.array([3, 9]), batch_tokens=64, widths=(4, 8))
  with pytest.raises(ValueError, match="has 9 tokens; a row has 8"):
    batching.pack(np.array([3, 9]), width=8)


@pytest.mark.parametrize("n", [0, 1, 2, 500])
@pytest.mark.parametrize("shuffled", [False, True])
def test_pack(n, shuffled):
  lengths = random_lengths(n, n)
  order = np.random.default_rng(n).permutation(n) if shuffled else None
  packed = batching.pack(lengths, width=300, order=order)
  assert sorted(i for row in packed for i in row) == list(range(n))
  sums = [lengths[row].sum() for row in packed]
  assert max(sums, default=0) <= 300
  # Rows open, and fill, in the order given.
  place = np.argsort(order) if shuffled else np.arange(n)
  assert all(list(place[row]) == sorted(place[row]) for row in packed)
  firsts = [place[row[0]] for row in packed]
  assert firsts == sorted(firsts)
  # A row is opened only for what no row before it could hold.
  for later, row in enumerate(packed):
    for earlier in packed[:later]:
      before = [i for i in earlier if place[i] < place[row[0]]]
      assert lengths[before].sum() + lengths[row[0]] > 300


def test_pack_takes_the_fullest_row_that_fits():
  lengths = np.array([5, 7, 8, 3, 2, 5])
  assert batching.pack(lengths, width=10) == [[0, 5], [1, 3], [2, 4]]


def test_pack_of_some_examples():
  packed = batching.pack(
    np.array([9, 2, 3, 99]), width=9, order=np.array([2, 1])
  )
  assert packed == [[2, 1]]


def test_pack_leaves_little_room_and_mixes_lengths():
  lengths = random_lengths(3, 20_000, 1000)
  order = np.random.default_rng(0).permutation(len(lengths))
  packed = batching.pack(lengths, width=1024, order=order)
  assert lengths.sum() / (len(packed) * 1024) > 0.98
  mean = [np.mean([lengths[row].mean() for row in part])
          for part in (packed[:300], packed[-400:-100])]  # fmt: skip
  assert 0.8 < mean[0] / mean[1] < 1.25


@pytest.mark.parametrize("seed", range(3))
def test_collate_packed(seed):
  lengths = random_lengths(seed, 60, 40)
  ids, masks = examples(lengths)
  packed = batching.pack(lengths, width=64)[:7]
  batch = batching.collate_packed(ids, masks, packed=packed, width=64, rows=9)
  expected = collate_by_loop(ids, masks, packed, 64, 9)
  for name, array in batch.items():
    np.testing.assert_array_equal(array, expected[name])
    assert array.dtype == (np.bool_ if name == "targets" else np.int32)


def test_collate_is_one_segment_a_row():
  lengths = np.array([3, 1, 8])
  ids, masks = examples(lengths)
  masks = [np.ones_like(mask) for mask in masks]
  batch = batching.collate(ids, masks, width=8, rows=4)
  expected = collate_by_loop(ids, masks, [[0], [1], [2], []], 8, 4)
  for name, array in batch.items():
    np.testing.assert_array_equal(array, expected[name])
  # The first of a segment is predicted from nothing: never a target.
  assert batch["targets"].sum(1).tolist() == [2, 0, 7, 0]


def test_collate_of_nothing_and_of_empty_rows():
  batch = batching.collate([], [], width=4, rows=2)
  assert all(a.shape == (2, 4) and not a.any() for a in batch.values())
  ids, masks = examples([0, 2])
  batch = batching.collate_packed(
    ids, masks, packed=[[], [0, 1], [0], []], width=2, rows=5
  )
  expected = collate_by_loop(ids, masks, [[], [0, 1], [0], []], 2, 5)
  for name, array in batch.items():
    np.testing.assert_array_equal(array, expected[name])


def test_collate_refuses_what_does_not_fit():
  ids, masks = examples([3, 3])
  with pytest.raises(ValueError, match="2 rows of examples; the batch has 1"):
    batching.collate(ids, masks, width=8, rows=1)
  with pytest.raises(ValueError, match="a row holds 6 tokens of 5"):
    batching.collate_packed(ids, masks, packed=[[0, 1]], width=5, rows=1)
