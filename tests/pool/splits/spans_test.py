"""Spans: together they are the records of the whole source, each once."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ila_jax import errors
from ila_jax.pool.sources import sources
from ila_jax.pool.splits import spans

ROWS = [
  {"prompt": f"question {i}", "response": "words " * (i % 7)} for i in range(60)
]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def _by_spans(path, most):
  """Records with their numbers, read span by span."""
  found, before = [], 0
  cut = spans.of(str(path), most_bytes=most)
  for span in cut:
    lines = [0]
    for raw in sources.read_span(span, counted=lines.append):
      own = before if spans.is_of_lines(span) else 0
      found.append(raw._replace(line=raw.line + own))
    before += lines[-1]
  return cut, found


@pytest.mark.parametrize("most", [1, 7, 64, 500, 1 << 20])
@pytest.mark.parametrize(
  "content",
  [
    LINES,
    LINES.rstrip(),
    LINES.replace(b"\n", b"\n\n \n", 20),
    LINES.replace(b"\n", b"\r\n"),
    b"\xef\xbb\xbf" + LINES + b"not JSON\n" + b'{"prompt": "\xff"}\n' + b"\n",
  ],
)
def test_ranges_of_lines_are_the_file(tmp_path, most, content):
  path = tmp_path / "a.jsonl"
  path.write_bytes(content)
  cut, found = _by_spans(path, most)
  assert found == list(sources.open_source(str(path)))
  if most < 500:
    assert len(cut) > 3


def test_groups_of_rows_of_parquet_are_the_file(tmp_path):
  path = tmp_path / "a.parquet"
  pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=9)
  cut, found = _by_spans(path, 300)
  assert found == list(sources.open_source(str(path)))
  assert 1 < len(cut) <= 7


def test_records_of_array_record_are_the_file(tmp_path):
  module = pytest.importorskip("array_record.python.array_record_module")
  path = tmp_path / "a.array_record"
  writer = module.ArrayRecordWriter(str(path), "group_size:1")
  for line in LINES.splitlines():
    writer.write(line)
  writer.close()
  cut, found = _by_spans(path, path.stat().st_size // 5)
  assert found == list(sources.open_source(str(path)))
  assert len(cut) > 3


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("a.jsonl.gz", gzip.compress(LINES)),
    ("a.json", json.dumps(ROWS).encode()),
    ("a.json", json.dumps({"data": ROWS}).encode() + b"\n"),
    ("a.csv", b'prompt,response\n"two\nlines",b\n' * 9),
    # Its first megabyte has no second line: it may hold the whole table.
    ("a.jsonl", json.dumps({"a": "x" * 2**20}).encode() + b"\n" + LINES),
  ],
)
def test_what_cannot_be_cut_is_one_span(tmp_path, name, content):
  path = tmp_path / name
  path.write_bytes(content)
  (span,), found = _by_spans(path, 10)
  assert (span.begin, span.end) == (0, None)
  assert found == list(sources.open_source(str(path)))


def test_a_fault_far_into_a_file_names_its_line(tmp_path, monkeypatch):
  path = tmp_path / "a.jsonl"
  path.write_bytes(LINES)
  last = spans.of(str(path), most_bytes=1000)[-1]

  def broken(parser, raw):
    raise ValueError("no such thing")

  monkeypatch.setattr("ila_jax.pool.sources.json_text.parse_line", broken)
  with pytest.raises(errors.InputError) as caught:
    list(sources.read_span(last))
  before = spans.lines_before(last)
  assert before > 40
  assert f"cannot be read after line {before} (no such" in str(caught.value)


def test_the_first_span_of_each_source_name_is_told(tmp_path):
  for name in ("a-00000-of-00002", "a-00001-of-00002", "b"):
    (tmp_path / f"{name}.jsonl").write_bytes(LINES)
  cut = spans.of(str(tmp_path), most_bytes=len(LINES) // 2 + 1)
  assert [span.is_first for span in cut] == [1, 0, 0, 0, 1, 0]
