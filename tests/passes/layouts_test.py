"""Batches hold each example once and whole, in few shapes."""

import functools
import gzip
import itertools
import json
import pathlib

import jax
import numpy as np
import pytest

from ila_jax.models import architecture
from ila_jax.passes import collate, forward, layouts


def random_lengths(seed: int, n: int = 500, longest: int = 300) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return np.clip(rng.lognormal(4, 1, n), 1, longest).astype(np.int32)


def padded(lengths, widths):
  """Tokens of each example's row where it has the narrowest that holds it."""
  return sum(min(w for w in widths if w >= n) for n in lengths)


@pytest.mark.parametrize("seed", range(5))
def test_bucket_widths_are_the_best_of_all(seed, monkeypatch):
  monkeypatch.setattr(layouts, "MAX_BUCKETS", 3)
  lengths = random_lengths(seed, 60, 40)
  found = layouts.bucket_widths(lengths, program_tokens=20 * seed)
  top = -(-lengths.max() // 2) * 2
  grid = range(2, top, 2)
  costs = [
    padded(lengths, (*inner, top)) + 20 * seed * count
    for count in range(3)
    for inner in itertools.combinations(grid, count)
  ]
  cost = padded(lengths, found) + 20 * seed * (len(found) - 1)
  assert cost == min(costs)
  assert found[-1] == top


def test_bucket_widths_are_few_and_bounded():
  lengths = random_lengths(0, 50_000, 2048)
  widths = layouts.bucket_widths(lengths, program_tokens=512)
  assert len(widths) <= layouts.MAX_BUCKETS
  assert list(widths) == sorted(set(widths)) and widths[-1] == 2048
  assert padded(lengths, widths) / lengths.sum() < 1.11
  # A small pool is not worth many compilations.
  assert len(layouts.bucket_widths(lengths[:20], program_tokens=512)) <= 3
  assert layouts.bucket_widths(np.array([], np.int32), program_tokens=512) == (
    2,
  )
  # The table of widths stays small for long examples.
  long = layouts.bucket_widths(np.array([3, 130_000]), program_tokens=9)
  assert long[-1] >= 130_000


def test_the_platform_chooses(monkeypatch):
  lengths = random_lengths(0)
  assert not layouts.choose(lengths, batch_tokens=4096).packed
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  assert layouts.choose(lengths, batch_tokens=4096).widths == (2048,)
  assert layouts.choose(lengths, batch_tokens=100).widths == (384,)
  buckets = layouts.choose(lengths, batch_tokens=4096, kind="buckets")
  assert not buckets.packed and buckets.segments == 1
  with pytest.raises(ValueError, match="layout 'rows'; there are auto, bucket"):
    layouts.choose(lengths, batch_tokens=4096, kind="rows")


@pytest.mark.parametrize("kind", ["buckets", "pack"])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("n", [0, 1, 2, 500])
def test_a_plan_holds_each_example_once(kind, n, multiple):
  lengths = random_lengths(n, n)
  layout = layouts.choose(lengths, batch_tokens=1000, kind=kind)
  plan = layouts.plan(lengths, layout, multiple=multiple)
  held = np.concatenate([b.examples for b in plan]) if n else []
  assert sorted(held) == list(range(n))
  for batch in plan:
    assert 0 < len(batch.rows) <= batch.height
    assert batch.height % multiple == 0
    assert max(len(row) for row in batch.rows) <= layout.segments
    assert max(lengths[row].sum() for row in batch.rows) <= batch.width
  shapes = {(b.width, b.height) for b in plan}
  assert len(shapes) <= len(layout.widths)


def test_a_packed_row_takes_as_many_examples_as_it_has_room_for():
  # The pool has 16 in a row at most; this shard is shorter than the pool.
  layout = layouts.choose(np.full(90, 8), batch_tokens=128, kind="pack")
  assert layout.segments == 16
  plan = layouts.plan(np.full(500, 2), layout)
  counts = [len(row) for batch in plan for row in batch.rows]
  assert counts == [16] * 31 + [4]


@pytest.mark.parametrize("batch_tokens", [1, 700, 4096])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("n", [0, 1, 2, 500])
def test_length_batches(n, multiple, batch_tokens):
  lengths = random_lengths(n, n)
  batches = layouts.length_batches(
    lengths,
    widths=layouts.bucket_widths(lengths, program_tokens=512),
    batch_tokens=batch_tokens,
    multiple=multiple,
  )
  held = np.concatenate([b.examples for b in batches]) if n else []
  assert sorted(held) == list(range(n))
  for batch in batches:
    assert 0 < len(batch.rows) <= batch.height
    assert lengths[batch.examples].max() <= batch.width
    assert batch.height % multiple == 0
    least = batch.height == multiple
    assert least or batch.height * batch.width <= batch_tokens
  # One height a width, and only the last batch has empty rows.
  shapes = {(b.width, b.height) for b in batches}
  assert len(shapes) == len({b.width for b in batches})
  assert all(len(b.rows) == b.height for b in batches[:-1])


def test_length_batches_at_the_edge_of_a_bucket():
  batches = layouts.length_batches(
    np.array([8, 9, 16]), batch_tokens=16, widths=(8, 16)
  )
  assert [(b.rows, b.width) for b in batches] == [
    ([[2]], 16),
    ([[1]], 16),
    ([[0]], 8),
  ]


def test_equal_lengths_keep_their_order():
  (batch,) = layouts.length_batches(
    np.full(5, 7), batch_tokens=999, widths=(8,)
  )
  assert batch.examples.tolist() == [0, 1, 2, 3, 4]


def test_padding_is_small_and_counted():
  lengths = random_lengths(0, 5000, 1000)
  layout = layouts.choose(lengths, batch_tokens=4096)
  batches = layouts.plan(lengths, layout)
  cells = sum(b.width * b.height for b in batches)
  fraction = layouts.padding_fraction(batches, lengths)
  assert fraction == pytest.approx(1 - lengths.sum() / cells)
  assert fraction < 0.13
  assert layouts.padding_fraction(
    [collate.Batch([[0], [1]], width=8, height=3)], np.array([8, 4])
  ) == pytest.approx(0.5)
  assert layouts.padding_fraction([], lengths) == 0.0


@functools.cache
def alpaca_lengths(data: pathlib.Path, tokenizer: pathlib.Path) -> np.ndarray:
  """Tokens of every third record of the real Alpaca: quick, and like all."""
  tokenizers = pytest.importorskip("tokenizers")
  counter = tokenizers.Tokenizer.from_file(str(tokenizer))
  counter.no_truncation()
  counter.no_padding()
  with gzip.open(data) as lines:
    records = map(json.loads, itertools.islice(lines, 0, None, 3))
    texts = [
      "\n".join(record[k] for k in ("instruction", "input", "output"))
      for record in records
    ]
  return np.array([len(e.ids) for e in counter.encode_batch_fast(texts)])


@pytest.mark.parametrize(
  ("kind", "batch_tokens", "devices"),
  [("buckets", 2048, 1), ("pack", 32_768, 1), ("pack", 32_768, 8)],
)
def test_padding_of_alpaca_is_below_5_percent(
  shared, minilm, kind, batch_tokens, devices
):
  lengths = alpaca_lengths(
    shared / "data/alpaca_52k.jsonl.gz", minilm / "tokenizer.json"
  )
  assert len(lengths) == 17_334 and 70 < lengths.mean() < 80
  # Ten million parameters in the blocks.
  config = architecture.DecoderConfig(
    vocab=8192,
    layers=6,
    width=384,
    heads=6,
    kv_heads=6,
    head_dim=64,
    mlp_width=1024,
  )
  layout = layouts.choose(
    lengths,
    batch_tokens=batch_tokens,
    kind=kind,
    program_tokens=forward.program_tokens(config),
  )
  batches = []
  for start in range(0, len(lengths), 8192):
    shard = lengths[start : start + 8192]
    plan = layouts.plan(shard, layout, multiple=devices)
    assert sorted(np.concatenate([b.examples for b in plan])) == list(
      range(len(shard))
    )
    batches += [(batch, shard) for batch in plan]
  cells = sum(batch.cells for batch, _ in batches)
  padding = 1 - lengths.sum() / cells
  assert padding < 0.05


def test_longer_than_the_widest_row():
  with pytest.raises(ValueError, match="has 9 tokens; the widest row has 8"):
    layouts.length_batches(np.array([3, 9]), batch_tokens=64, widths=(4, 8))
  with pytest.raises(ValueError, match="has 9 tokens; a row has 8"):
    layouts.pack(np.array([3, 9]), width=8)


@pytest.mark.parametrize("n", [0, 1, 2, 500])
@pytest.mark.parametrize("shuffled", [False, True])
def test_pack(n, shuffled):
  lengths = random_lengths(n, n)
  order = np.random.default_rng(n).permutation(n) if shuffled else None
  packed = layouts.pack(lengths, width=300, order=order)
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
  assert layouts.pack(lengths, width=10) == [[0, 5], [1, 3], [2, 4]]


def test_pack_of_some_examples():
  packed = layouts.pack(
    np.array([9, 2, 3, 99]), width=9, order=np.array([2, 1])
  )
  assert packed == [[2, 1]]


def test_pack_leaves_little_room_and_mixes_lengths():
  lengths = random_lengths(3, 20_000, 1000)
  order = np.random.default_rng(0).permutation(len(lengths))
  packed = layouts.pack(lengths, width=1024, order=order)
  assert lengths.sum() / (len(packed) * 1024) > 0.98
  mean = [np.mean([lengths[row].mean() for row in part])
          for part in (packed[:300], packed[-400:-100])]  # fmt: skip
  assert 0.8 < mean[0] / mean[1] < 1.25
