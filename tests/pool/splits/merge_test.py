"""The merge: any splits and any workers make the same pool."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ila_jax import pipeline
from ila_jax.pool import reading, shards
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool.tokens import tally as tally_lib
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import tables
from ila_jax.run.disk import files
from tests.support import tiny


def _pool(folder):
  """Files of several kinds, with all that is rejected, and much of it twice."""
  folder.mkdir()
  rows = tiny.records(150)
  for row in rows[::6]:
    row["hint"] = "Look it up."
    row["output"] = ["one", "two words"]
  for row in rows[::10]:
    row["output"] = "word " * 600
  for number, row in enumerate(rows[::9]):
    row[f"key {number}"] = "of its own"
  lines = [json.dumps(row) for row in rows]
  lines[7:7] = ["not JSON", "", "[1, 2]", '{"instruction": "nothing"}']
  (folder / "a-00000-of-00002.jsonl").write_text("\n".join(lines[:90]))
  (folder / "a-00001-of-00002.jsonl").write_text("\n".join(lines[60:]))
  again = gzip.compress("\n".join(lines[:30]).encode())
  (folder / "b.jsonl.gz").write_bytes(again)
  texts = [
    {"instruction": row["instruction"], "output": row["output"]}
    for row in rows
    if isinstance(row["output"], str)
  ]
  table = pa.Table.from_pylist(texts).append_column(
    "image", pa.array([b"\xff"] * len(texts))
  )
  pq.write_table(table, folder / "c.parquet", row_group_size=20)
  return folder


def _config(source, **overrides):
  settings = {
    "pool__dev_examples": 5,
    "pool__limit": None,
    "score__reference_examples": 5,
    "pool__answers": "longest",
    "pool__shard_examples": 32,
    "tokens__overflow": "reject",
    "pool__workers": 1,
  }
  return tiny.config(source, **settings | overrides)


def _made(work):
  """All that stage `pool` has made, but for what it says of itself."""
  made = {}
  for path in sorted((work / "pool").iterdir()):
    if path.is_file() and path.name not in ("stage.json", "checksums.json"):
      made[path.name] = path.read_bytes()
  assert not (work / "pool_splits").exists()
  return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A source, and what is made of it in one split for each file."""
  folder = tmp_path_factory.mktemp("merge")
  source = _pool(folder / "source")
  pipeline.run(_config(source), folder / "work", stages=["pool"])
  return source, folder / "work"


def test_the_pool_is_what_one_stream_gives(whole):
  source, work = whole
  config = _config(source)
  rejected = []
  tally = tally_lib.Tally(max_tokens=config.tokens.max_tokens)
  begun = reading.begun(config)
  counter = rejects_lib.RejectCounter(rejected.append, max_reject_fraction=1.0)
  examples = list(reading.examples(config, rejects=counter, reading=begun))
  tokenizer = tokenizer_lib.load_tokenizer(tables.TOKENIZER.path(work))
  kept = list(
    reading._tokenized(config, tokenizer, counter, tally, tuple(examples))
  )
  stream = shards.table_of(0, kept)
  found = pa.concat_tables(shards.iterate(work, shards.SCHEMA.names))
  assert found.equals(stream)
  counts = files.read_json(tables.COUNTS.path(work))
  told = tally.told() | begun.told()
  assert {name: counts[name] for name in told} == json.loads(json.dumps(told))
  assert counts["reasons"] == dict(counter.reasons)
  lines = files.read_jsonl(tables.REJECTS.path(work))
  by_place = lambda line: (line["file"], line["line"])  # noqa: E731
  wanted = sorted((one.written() for one in rejected), key=by_place)
  assert sorted(lines, key=by_place) == wanted
  assert lines == sorted(lines, key=by_place)  # In the order of the input.
  assert {"duplicate", "not JSON", "longer than max_tokens"} <= {
    line["reason"] for line in lines
  }


@pytest.mark.parametrize("split_bytes", [2500, 20_000])
def test_any_splits_make_the_same_pool(whole, tmp_path, split_bytes):
  source, work = whole
  config = _config(source, pool__split_bytes=split_bytes)
  pipeline.run(config, tmp_path, stages=["pool"])
  assert _made(tmp_path) == _made(work)


@pytest.mark.parametrize("limit", [41, 97])
def test_a_limit_cuts_at_the_same_record(whole, tmp_path, limit):
  source, _ = whole
  made = []
  for split_bytes in (1 << 24, 4000):
    settings = {"pool__limit": limit, "pool__split_bytes": split_bytes}
    work = tmp_path / str(split_bytes)
    pipeline.run(_config(source, **settings), work, stages=["pool"])
    made.append(_made(work))
  assert made[0] == made[1]
  counts = json.loads(made[0]["counts.json"])
  others = counts["reasons"]
  too_long = others.get("longer than max_tokens", 0)
  assert counts["used"] + too_long == limit
  assert counts["limited"]


def test_what_repeats_an_evaluation_set_is_the_same(whole, tmp_path):
  source, _ = whole
  rows = tiny.records(150)[40:60:5]
  leak = tiny.write(tmp_path / "leak.jsonl", rows)
  made = []
  for action in ("remove", "report"):
    for split_bytes in (1 << 24, 4000):
      work = tmp_path / f"{action}{split_bytes}"
      settings = {
        "pool__decontaminate": str(leak),
        "pool__contaminated": action,
        "pool__split_bytes": split_bytes,
      }
      pipeline.run(_config(source, **settings), work, stages=["pool"])
      made.append(_made(work))
      lines = files.read_jsonl(tables.CONTAMINATION.path(work))
      assert lines and all("line" in line for line in lines)
  assert made[0] == made[1]
  assert made[2] == made[3]
