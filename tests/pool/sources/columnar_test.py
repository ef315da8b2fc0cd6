"""Tables as records: what JSON cannot hold costs what reads it, no more."""

import datetime
import decimal
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from ila_jax import errors
from ila_jax.pool import examples
from ila_jax.pool.sources import columnar, json_text


def test_values():
  row = columnar.to_row(
    {
      "text": b"\xc3\xa9",
      "list": np.array(["a", "b"], dtype=object),
      "count": np.int64(3),
      "score": np.float32(0.5),
      "missing": float("nan"),
      "when": datetime.datetime(2024, 1, 2, 3, 4),
      "took": datetime.timedelta(seconds=1.5),
      "price": decimal.Decimal("1.10"),
      "nested": {"x": (b"y", None)},
    }
  )
  assert row.problem is None and row.lost == ()
  assert json.loads(row.text) == row.record
  assert row.record == {
    "text": "é",
    "list": ["a", "b"],
    "count": 3,
    "score": 0.5,
    "missing": None,
    "when": "2024-01-02T03:04:00",
    "took": 1.5,
    "price": "1.10",
    "nested": {"x": ["y", None]},
  }


@pytest.mark.parametrize(
  ("value", "why"),
  [
    (float("inf"), "an infinite number"),
    (b"\xff", "bytes that are no UTF-8"),
    (object(), "a value of type object"),
  ],
)
def test_what_has_no_json_form_is_left_out(value, why):
  row = columnar.to_row({"a": [value], "b": 1})
  assert row.record == {"b": 1}
  assert row.text == '{"b": 1}'
  assert row.lost == (("a", why),)


def test_a_row_may_be_too_large(monkeypatch):
  monkeypatch.setattr(json_text, "MAX_RECORD_BYTES", 100)
  row = columnar.to_row({"a": "x" * 100})
  assert row.record is None and row.problem == json_text.TOO_LARGE


FAR = 3_000_000  # days from 1970: the year 10183


def table() -> pa.Table:
  """Columns of every kind that made trouble, beside two that are text."""
  n = 3
  image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  broken = pa.array([b"fine", b"\xff\xfe", b"fine"], pa.binary())
  return pa.table(
    {
      "instruction": [f"q{i}" for i in range(n)],
      "output": pa.Array.from_buffers(pa.utf8(), n, broken.buffers()),
      "day": pa.array([1, FAR, None], pa.date32()),
      "moment": pa.array([0, 1, 10**18 + 1], pa.timestamp("ns")),
      "zone": pa.array([0, 1, 2], pa.timestamp("ms", "America/New_York")),
      "clock": pa.array([0, 1, 2], pa.time64("ns")),
      "took": pa.array([0, 1, 2], pa.duration("s")),
      "image": pa.array([{"bytes": b"\xff\xd8", "path": None}] * n, image),
      "score": [1.0, float("inf"), float("nan")],
    }
  )


@pytest.fixture(params=["parquet", "arrow", "feather"])
def file(request, tmp_path):
  path = tmp_path / f"a.{request.param}"
  if request.param == "parquet":
    parquet.write_table(table(), path)
    return path
  new = ipc.new_stream if request.param == "arrow" else ipc.new_file
  with new(path, table().schema) as stream:
    stream.write_table(table())
  return path


def read(path, **options):
  rejects, said = [], []
  used = examples.read(
    [str(path)], rejects=rejects.append, announce=said.append, **options
  )
  return list(used), rejects, said


def test_only_columns_that_are_read_matter(file):
  used, rejects, said = read(file)
  assert [json.loads(example.record_json) for example in used] == [
    {
      "instruction": "q0",
      "output": "fine",
      "day": "1970-01-02",
      "moment": "1970-01-01T00:00:00",
      "zone": "1969-12-31T19:00:00-05:00",
      "clock": "00:00:00.000000000",
      "took": 0.0,
      "score": 1.0,
    },
    {
      "instruction": "q2",
      "output": "fine",
      "day": None,
      # Python's own types end at microseconds.
      "moment": "2001-09-09T01:46:40.000000001",
      "zone": "1969-12-31T19:00:00.002000-05:00",
      "clock": "00:00:00.000000002",
      "took": 2.0,
      "score": None,
    },
  ]
  (reject,) = rejects
  assert reject[:3] == (str(file), 2, "a")
  assert reject.reason == "a cell cannot be read"
  assert reject.detail == "column 'output': bytes that are no UTF-8"
  told = "\n".join(said)
  assert "3 cells of column 'image' left out: bytes that are no UTF-8" in told
  assert "1 cell of column 'score' left out: an infinite number" in told
  assert "'day'" not in told and "'moment'" not in told


def test_far_days_have_their_text(file):
  used, _, _ = read(file, rules=examples.Rules(fields={"response": "day"}))
  assert [example.turns[-1].text for example in used[:2]] == [
    "1970-01-02",
    str(np.datetime64(FAR, "D")),
  ]


def test_two_columns_of_one_name_are_no_column():
  pairs = [("a", 1), ("b", 2), ("a", 3), ("a", 4)]
  row = columnar.to_row(pairs)
  assert row.record == {"b": 2}
  assert row.lost == (("a", "two columns have this name"),)


def test_a_shape_is_told_by_the_columns(tmp_path):
  """A cell that is lost does not make another column the response."""
  path = tmp_path / "a.parquet"
  rows = {
    "instruction": ["q", "r"],
    "output": pa.array([b"\xff", b"right"], pa.binary()),
    "response": ["wrong", "wrong"],
  }
  parquet.write_table(pa.table(rows), path)
  used, rejects, _ = read(path)
  assert [example.turns[-1].text for example in used] == ["right"]
  assert [(r.line, r.reason) for r in rejects] == [(1, "a cell cannot be read")]


def test_an_arrow_stream_that_was_cut_between_messages(tmp_path):
  path = tmp_path / "a.arrow"
  with ipc.new_stream(path, table().schema) as stream:
    stream.write_table(table())
  path.write_bytes(path.read_bytes()[:-8])
  stream = io.BytesIO(path.read_bytes())
  with pytest.raises(errors.InputError, match="does not end as an Arrow file"):
    list(columnar.read_arrow(stream, name="a.arrow"))


def test_what_is_left_out_is_told_where_the_pool_is_limited(file):
  _, _, said = read(file, limit=1)
  assert any("of column 'image' left out" in line for line in said)


def test_only_what_is_read_of_a_list_must_be_text(tmp_path):
  path = tmp_path / "a.parquet"
  values = pa.array([b"a", b"\xff", b"\xff", b"b"], pa.binary())
  texts = pa.Array.from_buffers(pa.utf8(), 4, values.buffers())
  answers = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), texts)
  scores = pa.StructArray.from_arrays([answers, pa.array([1, 2])], ["t", "n"])
  table = {"question": ["q", "r"], "answers": answers, "more": scores}
  parquet.write_table(pa.table(table), path)
  (used,), (reject,), _ = read(path)
  assert [turn.text for turn in used.turns] == ["q", "a"]
  assert json.loads(used.record_json)["more"] == {"t": ["a", "\ufffd"], "n": 1}
  assert (reject.line, reject.reason) == (2, "invalid UTF-8")


SHORT = [0.1, 3.14, None, 1e20]
NESTED = [{"a": 0.1, "b": [{"c": 3.14, "d": "x"}]}, None]
NESTED_TYPE = pa.struct(
  [
    ("a", pa.float32()),
    ("b", pa.list_(pa.struct([("c", pa.float32()), ("d", pa.string())]))),
  ]
)


@pytest.mark.parametrize(
  ("column", "expected"),
  [
    (pa.array(SHORT, pa.float32()), SHORT),
    (pa.array(SHORT, pa.float32()).dictionary_encode(), SHORT),
    (pa.array(np.array([0.1, 3.14], np.float16)), [0.1, 3.14]),
    (pa.array([[0.1], None], pa.list_(pa.float32())), [[0.1], None]),
    (pa.array([[0.1]], pa.large_list(pa.float32())), [[0.1]]),
    (pa.array([[0.1, 3.14]], pa.list_(pa.float32(), 2)), [[0.1, 3.14]]),
    (pa.array(NESTED, NESTED_TYPE), NESTED),
    (pa.array([0.1, 1 / 3], pa.float64()), [0.1, 1 / 3]),
  ],
)
def test_short_floats_are_as_they_are_written(column, expected):
  stream = io.BytesIO()
  parquet.write_table(pa.table({"x": column}), stream)
  rows = [row for _, row in columnar.read_parquet(stream)]
  assert [row.record["x"] for row in rows] == expected
  assert [json.loads(row.text)["x"] for row in rows] == expected


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    (np.float32(0.1), 0.1),
    (np.float16(0.1), 0.1),
    (np.array([0.1, np.nan], np.float32), [0.1, None]),
    (np.float64(0.1), 0.1),
  ],
)
def test_short_floats_of_libraries_are_as_they_are_written(value, expected):
  assert columnar.to_row({"x": value}).record == {"x": expected}
