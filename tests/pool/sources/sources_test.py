"""Every source format gives the same records; damage is named."""

import bz2
import gzip
import importlib
import json
import lzma
import pathlib
import re
import subprocess
import sys
import types

import pyarrow as pa
import pytest
from array_record.python import array_record_module
from pyarrow import feather, ipc, parquet

from ila_jax import errors
from ila_jax.pool.sources import json_text, sources

RECORDS = [
  {"prompt": f"q{i}\né", "response": f"a{i}", "tags": ["x", "y"][: i % 3]}
  for i in range(2500)
]
LINES = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in RECORDS)


def write(path: pathlib.Path) -> None:
  """Writes RECORDS in the format that the name asks for."""
  name = path.name.lower().removesuffix(".1")
  text = LINES
  if re.search(r"\.json(\.\w+)?$", name):
    text = json.dumps(RECORDS, indent=1)
  data = text.encode()
  table = pa.Table.from_pylist(RECORDS)
  if name.endswith((".parquet", ".pq")):
    parquet.write_table(table, path)
  elif name.endswith(".feather"):
    feather.write_feather(table, path)
  elif name.endswith(".arrow"):  # As `datasets` writes it.
    with ipc.new_stream(path, table.schema) as stream:
      stream.write_table(table)
  elif ".array_record" in name:
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for record in RECORDS:
      writer.write(json.dumps(record).encode())
    writer.close()
  elif name.endswith(".gz"):
    # Two members, as `cat a.gz b.gz` makes them.
    path.write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]))
  elif name.endswith(".bz2"):
    path.write_bytes(bz2.compress(data[:5000]) + bz2.compress(data[5000:]))
  elif name.endswith(".xz"):
    path.write_bytes(lzma.compress(data[:5000]) + lzma.compress(data[5000:]))
  elif name.endswith((".zst", ".zstd")):
    zstandard = pytest.importorskip("zstandard")
    frames = (zstandard.compress(part) for part in (data[:5000], data[5000:]))
    path.write_bytes(b"".join(frames))
  else:
    path.write_text(text, encoding="utf-8")


FORMATS = [
  "a.jsonl",
  "a.ndjson",
  "a.jsonl.1",
  "A.JSONL",
  "a",
  "a.jsonl.gz",
  "a.JSONL.GZ",
  "a.jsonl.zst",
  "a.jsonl.zstd",
  "a.jsonl.bz2",
  "a.jsonl.xz",
  "a.json",
  "a.json.gz",
  "a.json.zst",
  "a.parquet",
  "a.pq",
  "a.arrow",
  "a.feather",
  "a.array_record",
  "a.array_record-00000-of-00001",
]


@pytest.mark.parametrize("name", FORMATS)
def test_formats(tmp_path, name):
  path = tmp_path / name
  write(path)
  found = list(sources.open_source(str(path)))
  assert [raw.record for raw in found] == RECORDS
  assert [json.loads(raw.text) for raw in found] == RECORDS
  assert [raw.line for raw in found] == list(range(1, len(RECORDS) + 1))
  assert {(raw.file, raw.source) for raw in found} == {(str(path), name[0])}
  assert not any("\n" in raw.text for raw in found)


def test_json_may_hold_lines(tmp_path):
  path = tmp_path / "a.json"
  path.write_text(LINES, encoding="utf-8")
  assert [r.record for r in sources.open_source(str(path))] == RECORDS


def test_marks_blank_lines_and_no_last_line_end(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
  found = list(sources.open_source(str(path)))
  assert [(r.line, r.record) for r in found] == [(1, {"a": 1}), (4, {"a": 2})]
  path = tmp_path / "b.json"
  path.write_bytes(b'\xef\xbb\xbf [{"a": 1}]\n')
  assert [r.record for r in sources.open_source(str(path))] == [{"a": 1}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_an_empty_file_has_no_records(tmp_path, name):
  path = tmp_path / name
  path.write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
  assert list(sources.open_source(str(path))) == []


def test_folders_and_globs(tmp_path):
  for name in ("b.jsonl", "sub/a-00000-of-00001.jsonl", "sub/c.parquet"):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write(path)
  for name in ("README.md", ".hidden.jsonl", "sub/notes.txt"):
    (tmp_path / name).write_text("no record\n")
  (tmp_path / ".cache").mkdir()
  (tmp_path / ".cache" / "x.jsonl").write_text("no record\n")

  def names(spec):
    return list(dict.fromkeys(r.source for r in sources.open_source(spec)))

  assert names(str(tmp_path)) == ["b", "a", "c"]
  assert names(str(tmp_path / "*")) == ["b"]
  assert names(str(tmp_path / "**" / "*.jsonl")) == ["b", "a"]


def test_a_name_with_brackets_is_a_file_first(tmp_path):
  path = tmp_path / "a[1].jsonl"
  write(path)
  assert len(list(sources.open_source(str(path)))) == len(RECORDS)


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("missing.jsonl", "missing.jsonl': no such file or folder"),
    ("empty", "no file of a known format in this folder"),
    ("*.jsonl", "no file of a known format matches"),
    ("notes.txt", "suffix tells no known format, and it begins like none"),
    ("x" * 300 + ".jsonl", "cannot be opened|no such file"),
    ("a\0.jsonl", "another control character"),
  ],
)
def test_nothing_to_read(tmp_path, spec, message):
  (tmp_path / "empty").mkdir()
  (tmp_path / "notes.txt").write_text("hello")
  with pytest.raises(errors.InputError, match=message):
    list(sources.open_source(str(tmp_path / spec)))


@pytest.mark.parametrize("name", FORMATS[5:])
def test_a_file_cut_in_the_middle_is_named(tmp_path, name):
  path = tmp_path / name
  write(path)
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  stream = sources.open_source(str(path))
  found = []
  with pytest.raises(errors.InputError, match=name) as caught:
    for raw in stream:
      found.append(raw.record)
  assert found == RECORDS[: len(found)]
  if not found:
    return
  assert f"after line {len(found)} " in str(caught.value) or (
    f"element {len(found) + 1}:" in str(caught.value)
  )


@pytest.mark.parametrize(
  "name",
  ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.jsonl.xz", "a.parquet"],
)
def test_a_file_that_is_something_else(tmp_path, name):
  path = tmp_path / name
  path.write_text(LINES, encoding="utf-8")
  with pytest.raises(errors.InputError, match=r"seems to be (text|JSON)"):
    list(sources.open_source(str(path)))


def test_an_array_in_jsonl_is_read(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text(json.dumps(RECORDS))
  assert [r.record for r in sources.open_source(str(path))] == RECORDS


def test_bad_lines_are_single_rejects(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n[1]\n{"a"\n{"a": 5}\n')
  found = list(sources.open_source(str(path)))
  assert [(r.line, r.record, r.reason) for r in found] == [
    (1, {"a": 1}, ""),
    (2, {"a": "\udcff"}, ""),
    (3, None, "not a JSON object"),
    (4, None, "not JSON"),
    (5, {"a": 5}, ""),
  ]


def test_bad_elements_are_single_rejects(tmp_path):
  path = tmp_path / "a.json"
  path.write_bytes(b'[{"a": 1}, {"a": "\xff"}, 3, {"a": NaN}, {"a": 5}]')
  found = list(sources.open_source(str(path)))
  assert [(r.line, r.record, r.reason) for r in found] == [
    (1, {"a": 1}, ""),
    (2, {"a": "\udcff"}, ""),
    (3, None, "not a JSON object"),
    (4, None, "not JSON"),
    (5, {"a": 5}, ""),
  ]


def test_arrays_stream(tmp_path, monkeypatch):
  monkeypatch.setattr(json_text, "_CHUNK_CHARACTERS", 1000)
  path = tmp_path / "a.json"
  path.write_text("[" + ",".join(['{"a": 1}'] * 10_000) + ",")
  stream = sources.open_source(str(path))
  assert [next(stream).line for _ in range(9_999)] == list(range(1, 10_000))
  # Only now does it come to the damage at the end.
  with pytest.raises(errors.InputError, match="element 10001"):
    list(stream)


_BUILDER = '''
import tensorflow_datasets as tfds


class ToyPairs(tfds.core.GeneratorBasedBuilder):
  """Pairs."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    text = tfds.features.Text()
    turn = {"from": text, "value": text}
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict({
        "prompt": text,
        "response": text,
        "labels": tfds.features.Sequence(text),
        "turns": tfds.features.Sequence(turn),
      })
    )

  def _split_generators(self, download_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(7):
      turns = [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}]
      yield i, {
        "prompt": f"é {i}",
        "response": f"a {i}",
        "labels": ["x", "y"],
        "turns": turns,
      }
'''


@pytest.fixture
def toy_pairs(tmp_path, monkeypatch):
  """A data set on disk, as `tfds build --file_format=array_record` does."""
  package = tmp_path / "toy_pairs_package"
  package.mkdir()
  (package / "__init__.py").write_text("")
  (package / "toy_pairs.py").write_text(_BUILDER)
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  module = importlib.import_module("toy_pairs_package.toy_pairs")
  folder = tmp_path / "data"
  builder = module.ToyPairs(data_dir=str(folder), file_format="array_record")
  builder.download_and_prepare()
  return str(folder)


def test_tfds(toy_pairs):
  found = list(sources.open_source("tfds:toy_pairs/train", data_dir=toy_pairs))
  assert sorted(raw.record["prompt"] for raw in found) == [
    f"é {i}" for i in range(7)
  ]
  assert all(json.loads(raw.text) == raw.record for raw in found)
  assert found[0].record["labels"] == ["x", "y"]
  assert found[0].record["turns"] == {
    "from": ["human", "gpt"],
    "value": ["h", "g"],
  }
  assert found[2][:3] == ("tfds:toy_pairs/train", 3, "toy_pairs")
  half = sources.open_source("tfds:toy_pairs/train[:3]", data_dir=toy_pairs)
  assert len(list(half)) == 3


def test_tfds_is_read_without_tensorflow_and_without_the_builder(toy_pairs):
  code = (
    "import sys\n"
    "from ila_jax.pool.sources import sources\n"
    f"folder = {toy_pairs!r}\n"
    "rows = sources.open_source('tfds:toy_pairs/train', data_dir=folder)\n"
    "assert len(list(rows)) == 7\n"
    "assert 'tensorflow' not in sys.modules\n"
    "assert 'toy_pairs_package' not in sys.modules\n"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("no_such_set/train", "no_such_set not found"),
    ("toy_pairs/validation", "Unknown split 'validation'"),
    ("toy_pairs", "a data set and a split are needed"),
  ],
)
def test_tfds_unknown(toy_pairs, name, message):
  with pytest.raises(errors.InputError, match=message):
    list(sources.open_source(f"tfds:{name}", data_dir=toy_pairs))


def test_names_are_those_of_the_records(tmp_path):
  write(tmp_path / "b.jsonl")
  write(tmp_path / "c-00000-of-00001.parquet")
  for spec in (str(tmp_path), "docstrings:json,csv"):
    found = {raw.source for raw in sources.open_source(spec)}
    assert sources.names(spec) == found
  assert sources.names("hf:openai/gsm8k/main/test") == {"gsm8k"}
  assert sources.names("tfds:gsm8k/1.0.0/train") == {"gsm8k"}


def test_hf_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, "datasets", None)
  with pytest.raises(errors.InputError, match="pip install datasets"):
    list(sources.open_source("hf:openai/gsm8k/main/train"))


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("squad/train", ("squad", None, "train", "squad")),
    ("openai/gsm8k/train", ("openai/gsm8k", None, "train", "gsm8k")),
    ("openai/gsm8k/main/test", ("openai/gsm8k", "main", "test", "gsm8k")),
  ],
)
def test_hf_names(monkeypatch, name, expected):
  """The names that reach the library; the library itself is optional."""
  calls = []

  def load_dataset(path, config=None, *, split, streaming):
    assert streaming
    calls.append((path, config, split))
    if path == "squad":
      return iter(RECORDS)
    return iter([{"question": "q", "answer": "a"}])

  fake = types.SimpleNamespace(load_dataset=load_dataset)
  monkeypatch.setitem(sys.modules, "datasets", fake)
  found = list(sources.open_source(f"hf:{name}"))
  assert calls == [expected[:3]]
  assert {raw.source for raw in found} == {expected[3]}
  assert [raw.line for raw in found] == list(range(1, len(found) + 1))


def test_hf_unknown(monkeypatch):
  def load_dataset(*args, **kwargs):
    raise FileNotFoundError("Couldn't find a dataset")

  fake = types.SimpleNamespace(load_dataset=load_dataset)
  monkeypatch.setitem(sys.modules, "datasets", fake)
  with pytest.raises(errors.InputError, match="Couldn't find a dataset"):
    list(sources.open_source("hf:nobody/nothing/train"))
  with pytest.raises(errors.InputError, match="a data set and a split"):
    list(sources.open_source("hf:squad"))
