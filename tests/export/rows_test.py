"""Rows as files: their order, their names, and text that is no UTF-8."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ila_jax.export import rows


def test_large_exports_are_several_files_in_order(tmp_path, monkeypatch):
  pytest.importorskip("array_record.python.array_record_module")
  monkeypatch.setattr(rows, "ROWS_A_FILE", 2)
  made = ({"x": number} for number in range(5))
  rows.write_both(tmp_path, made, pa.schema({"x": pa.int64()}))
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == [
    f"train-0000{place}-of-00003.{kind}"
    for place in range(3)
    for kind in ("array_record", "parquet")
  ]
  parts = [pq.read_table(tmp_path / name) for name in names[1::2]]
  assert pa.concat_tables(parts)["x"].to_pylist() == [0, 1, 2, 3, 4]


def test_lines_are_lines_whatever_is_in_them(tmp_path):
  value = {"a": "one\u2028two\n\x85 ü", "b": "half \ud83d"}
  rows.write_lines(tmp_path / "a.jsonl", [value, value])
  lines = (tmp_path / "a.jsonl").read_bytes().split(b"\n")
  assert [json.loads(line) for line in lines[:-1]] == [value, value]
  assert lines[-1] == b""
