"""Which files are read, which are left out, and what is refused at once."""

import bz2
import functools
import gzip
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading

import fsspec
import pytest
from fsspec.implementations import memory as memory_files

from ila_jax import errors
from ila_jax.pool.sources import files as files_lib
from ila_jax.pool.sources import paths, sources

LINE = '{"prompt": "q", "response": "a"}\n'


def make(folder, *names, text=LINE):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def find(spec):
  """(names relative to the folder that are read, what is said)."""
  said = []
  found = files_lib.find(str(spec), announce=said.append)
  folder = str(spec).rstrip("/") + "/"
  return [file.path.removeprefix(folder) for file in found], "\n".join(said)


def test_what_is_left_out_of_a_folder_is_named(tmp_path):
  make(tmp_path, "a.jsonl", "B.JSONL", "sub/c.csv", "part-00000", ".d.jsonl")
  make(tmp_path, *(f"picture{i}.png" for i in range(7)), "e.zip", text="x")
  make(tmp_path, "LICENSE", "_SUCCESS", text="")
  names, said = find(tmp_path)
  assert names == ["B.JSONL", "a.jsonl", "part-00000", "sub/c.csv"]
  assert said == (
    f"{tmp_path}: reads 4 (B.JSONL, a.jsonl, part-00000, sub/c.csv); left out: "
    "1 hidden (.d.jsonl); 9 of no known format (LICENSE, e.zip, picture0.png, "
    "picture1.png, picture2.png and 4 more); 1 about the data (_SUCCESS)"
  )


def test_hidden_folders_with_data_are_named(tmp_path):
  make(tmp_path, "a.jsonl", ".ipynb_checkpoints/a.jsonl", ".git/HEAD")
  assert "1 hidden (.ipynb_checkpoints)" in find(tmp_path)[1]
  make(tmp_path / "b", ".data/deep/a.jsonl")
  with pytest.raises(errors.InputError, match=r"left out: 1 hidden \(.data\)"):
    find(tmp_path / "b")


@pytest.mark.parametrize(
  ("there", "gone"),
  [
    (["data-00000-of-00002.arrow"], "data-00001-of-00002.arrow"),
    (["part-00001-of-00004.jsonl.gz"], "part-00000-of-00004.jsonl.gz"),
    (["x/train-0-of-3.csv", "x/train-2-of-3.csv"], "x/train-1-of-3.csv"),
    (["a.jsonl-2-of-2"], "a.jsonl-1-of-2"),
    (["en_1-of-2.csv", "de_1-of-2.csv", "en_2-of-2.csv"], "de_2-of-2.csv"),
  ],
)
def test_a_folder_without_some_of_its_numbered_files(tmp_path, there, gone):
  make(tmp_path, *there)
  with pytest.raises(errors.InputError, match=rf"a folder without \S*{gone}"):
    find(tmp_path)
  # What the message says works, and is told.
  names, said = find(tmp_path / "**" / "*-of-*")
  assert len(names) == len(there) and f"{gone.rpartition('/')[2]}" in said
  assert len(find(tmp_path / there[0])[0]) == 1
  make(tmp_path, *(paths.absent(there)))
  assert len(find(tmp_path)[0]) > len(there)


def test_what_dask_and_spark_write_beside_the_data(tmp_path):
  make(tmp_path, "part.0.jsonl", "_metadata", "_common_metadata", "_SUCCESS")
  make(tmp_path, "_temporary/0/x.json")
  names, said = find(tmp_path)
  assert names == ["part.0.jsonl"]
  assert "3 about the data (_SUCCESS, _common_metadata, _metadata)" in said
  assert "1 not finished by Spark (_temporary)" in said
  make(tmp_path, "_delta_log/00000.json")
  with pytest.raises(errors.InputError, match="is a Delta table"):
    find(tmp_path)


def test_what_is_left_out_of_a_glob_is_named(tmp_path):
  make(tmp_path, "a.jsonl", "b.txt", "sub/c.jsonl")
  names, said = find(tmp_path / "*")
  assert [os.path.basename(name) for name in names] == ["a.jsonl"]
  assert "1 of no known format (b.txt); 1 folders (sub)" in said
  assert len(find(tmp_path / "**" / "*.jsonl")[0]) == 2


@pytest.mark.parametrize(
  ("train", "held_out"),
  [
    ("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl"),
    ("train.jsonl", "validation.jsonl"),
    ("train.jsonl", "dev.csv"),
    ("gsm8k_train.jsonl", "gsm8k_test.jsonl"),
    ("train_sft-00000.jsonl", "test_sft-00000.jsonl"),
    ("main/train.jsonl", "main/eval.jsonl"),
    ("Training/x.jsonl", "valid/y.jsonl"),
  ],
)
def test_held_out_splits_are_left_out(tmp_path, train, held_out):
  make(tmp_path, train, held_out, "other.jsonl")
  names, said = find(tmp_path)
  assert held_out not in names and {train, "other.jsonl"} <= set(names)
  assert f"beside one to train on ({held_out})" in said
  # Who names it means it.
  assert find(tmp_path / held_out)[0]
  assert len(find(tmp_path / "**" / "*.*")[0]) == 3


@pytest.mark.parametrize("above", ["dev", "test", "eval/x", "training"])
def test_where_a_folder_lies_is_no_matter(tmp_path, monkeypatch, above):
  pool = tmp_path / above / "pool"
  make(pool, "a.jsonl", "train.jsonl", "test.jsonl", "dev/b.jsonl")
  assert find(pool)[0] == ["a.jsonl", "train.jsonl"]
  monkeypatch.chdir(tmp_path / above)
  found = files_lib.find("pool")
  assert [file.path for file in found] == ["pool/a.jsonl", "pool/train.jsonl"]


def test_words_of_a_file_and_of_its_folders_tell_its_split(tmp_path):
  files = ("gsm8k/train.jsonl", "gsm8k/test.jsonl", "mmlu/test.jsonl")
  make(tmp_path / "eval", *files)
  kept = sorted(find(tmp_path / "eval")[0])
  assert kept == ["gsm8k/train.jsonl", "mmlu/test.jsonl"]
  assert sorted(find(tmp_path)[0]) == [f"eval/{name}" for name in kept]
  make(tmp_path, "train/train-0.jsonl", "test/test-0.jsonl")
  assert find(tmp_path)[0] == ["train/train-0.jsonl"]
  # Who names it means it.
  assert find(tmp_path / "test")[0] == ["test-0.jsonl"]


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ("alpaca_eval.jsonl", "math_train.jsonl"),
    ("test.jsonl", "validation.jsonl"),
    ("a/train.jsonl", "b/test.jsonl"),
    ("latest.jsonl", "trainer.jsonl"),
  ],
)
def test_what_is_no_held_out_split_is_read(tmp_path, one, other):
  make(tmp_path, one, other)
  assert sorted(find(tmp_path)[0]) == sorted((one, other))


def test_a_folder_may_have_brackets_in_its_name(tmp_path):
  make(tmp_path / "x[1]", "train.jsonl", "test.jsonl")
  assert find(tmp_path / "x[1]")[0] == ["train.jsonl"]
  (tmp_path / "y[1]").mkdir()
  with pytest.raises(errors.InputError, match="known format in this folder"):
    find(tmp_path / "y[1]")


def test_what_datasets_writes_beside_the_data(tmp_path):
  make(tmp_path, "data-00000-of-00001.arrow", "cache-0123456789abcdef.arrow")
  make(tmp_path, "dataset_info.json", "state.json", "other/state.json")
  names, said = find(tmp_path)
  assert names == ["data-00000-of-00001.arrow", "other/state.json"]
  assert "3 about the data (cache-0123456789abcdef.arrow, dataset_in" in said


def test_links(tmp_path):
  make(tmp_path, "a/x.jsonl")
  (tmp_path / "a/loop").symlink_to(tmp_path)
  (tmp_path / "b").symlink_to(tmp_path / "a")
  names, said = find(tmp_path)
  assert names == ["a/x.jsonl", "b/x.jsonl"]
  assert "2 links to a folder above (a/loop, b/loop)" in said
  (tmp_path / "c.jsonl").symlink_to("gone.jsonl")
  message = r"c\.jsonl, a link to gone\.jsonl, cannot be opened"
  for spec in (tmp_path, tmp_path / "c.jsonl", tmp_path / "*.jsonl"):
    with pytest.raises(errors.InputError, match=message):
      find(spec)
  (tmp_path / "c.jsonl").unlink()
  (tmp_path / "d.jsonl").symlink_to("d.jsonl")
  with pytest.raises(errors.InputError, match=r"d\.jsonl, a link to d\.jsonl"):
    find(tmp_path)


def test_only_regular_files(tmp_path):
  os.mkfifo(tmp_path / "pipe.jsonl")
  (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
  with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(str(tmp_path / "s.jsonl"))
    for name in ("pipe.jsonl", "zero.jsonl", "s.jsonl", "*.jsonl", ""):
      with pytest.raises(errors.InputError, match="a pipe, a device or a sock"):
        find(tmp_path / name)
  with pytest.raises(errors.InputError, match="a pipe, a device or a socket"):
    find("/dev/zero")
  # Without a suffix it is no data of a folder, and is not opened.
  make(tmp_path / "new", "a.jsonl")
  os.mkfifo(tmp_path / "new" / "pipe")
  names, said = find(tmp_path / "new")
  assert names == ["a.jsonl"] and "1 of no known format (pipe)" in said


def test_the_home_folder_and_file_urls(tmp_path, monkeypatch):
  make(tmp_path, "a.jsonl")
  monkeypatch.setenv("HOME", str(tmp_path))
  for spec in ("~/a.jsonl", f"file://{tmp_path}/a.jsonl", f"file:{tmp_path}"):
    assert [file.path for file in files_lib.find(spec)] == [
      f"{tmp_path}/a.jsonl"
    ]


def test_paths_as_users_write_them(tmp_path, monkeypatch):
  monkeypatch.setenv("DATA", str(tmp_path))
  names = ("a b.jsonl", "a#1.jsonl", "a?.jsonl", "a*.jsonl", "a$b.jsonl")
  make(tmp_path, *names, "x[1]/a.jsonl", "x1/b.jsonl", "c%20d.jsonl")
  for spec, name in {
    f"file://{tmp_path}/a%20b.jsonl": "a b.jsonl",
    f"file://localhost{tmp_path}/a%231.jsonl": "a#1.jsonl",
    f"file:{tmp_path}/c%20d.jsonl": "c%20d.jsonl",
    **{f"{tmp_path}/{name}": name for name in names},
    "$DATA/a b.jsonl": "a b.jsonl",
    "${DATA}/a#1.jsonl": "a#1.jsonl",
    f"{tmp_path}/x[1]/*.jsonl": "x[1]/a.jsonl",
    f"{tmp_path}/x[12]/*.jsonl": "x1/b.jsonl",
  }.items():
    (found,) = files_lib.find(spec)
    assert found.path == f"{tmp_path}/{name}"
    assert len(list(sources.open_source(spec))) == 1
    (signed,) = sources.signature(spec)
    assert signed == (name if name == "x1/b.jsonl" else os.path.basename(name))


def test_a_url_may_have_a_dollar(monkeypatch):
  monkeypatch.setenv("BUCKET", "mine")
  assert paths.of("s3://$BUCKET/a$b.jsonl") == "s3://mine/a$b.jsonl"


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("file://host/a.jsonl", "a file of the host 'host'; write file:///PATH"),
    ("$NO_SUCH/a.jsonl", r"the variable \$NO_SUCH is not set"),
    ("file:///no/a%20b.jsonl", "no such file or folder"),
  ],
)
def test_paths_that_lead_nowhere(spec, message):
  with pytest.raises(errors.InputError, match=message):
    files_lib.find(spec)


def test_files_of_one_name_are_told_apart(tmp_path):
  make(tmp_path, "2023/part-0.jsonl", "2024/part-0.jsonl")
  said = find(tmp_path)[1]
  assert said.endswith("reads 2 (2023/part-0.jsonl, 2024/part-0.jsonl)")
  assert find(tmp_path / "*" / "*.jsonl")[1].endswith(said[-42:])


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer.*pull"),
    (b"PK\x03\x04...", "a zip archive. Unpack it"),
    (b"%PDF-1.7", "a PDF"),
    (b"<!DOCTYPE html>\n<title>Sign in</title>", "a web page. Download"),
    ('{"a": 1}'.encode("utf-16"), "UTF-16. Convert it with `iconv"),
    ('{"a": 1}'.encode("utf-16-le"), "UTF-16. Convert .* UTF-16LE"),
    ('{"a": 1}'.encode("utf-32"), "UTF-32. Convert .* -f UTF-32 -t"),
    (
      b"\0\0\xfe\xff" + '{"a": 1}'.encode("utf-32-be"),
      "UTF-32. Convert .* -f UTF-32 -t",
    ),
    ('{"a": 1}'.encode("utf-32-be"), "UTF-32. Convert .* -f UTF-32BE"),
    ('{"a": 1}'.encode("utf-32-le"), "UTF-32. Convert .* -f UTF-32LE"),
    (b"\n <html>", "a web page. Download"),
    (b"\x1f\x8b\x08\x00", r"the format \.gz\. Let its name end in \.gz"),
    (b"PAR1....", r"the format \.parquet"),
    (b'{"a": 1}\n\0\0\0\0', "binary: it has zero bytes"),
    (bytes(99), "binary: it has zero bytes"),
    (b"{" + bytes(99), "binary: it has zero bytes"),
  ],
)
def test_what_a_file_seems_to_be(tmp_path, content, message):
  for name in ("a.jsonl", "a.json", "a.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(
      errors.InputError, match=rf"{name} seems to be .*{message}"
    ):
      list(sources.open_source(str(path)))


PAGE, POINTER = (
  b"\n<html>Sign in",
  b"version https://git-lfs.github.com/spec/v1",
)
TABLE = b"prompt,response\na,b\n"


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    *(
      (f"a.jsonl.{suffix}", content, said.format(suffix))
      for suffix in ("gz", "zst", "bz2", "xz")
      for content, said in (
        (LINE.encode(), "text that is not packed. Take .{} off the end"),
        (TABLE, "text that is not packed. Take .{} off the end"),
        (b'{"a": "caf\xe9"}\n', "text that is not packed. Take .{} off"),
        (PAGE, "a web page. Download the file itself"),
        (POINTER, "a git-lfs pointer, which stands for the file. Run `git lf"),
        (b"PAR1....", "of the format .parquet. Let .* in .parquet, not in .{}"),
      )
    ),
    ("a.jsonl.gz", bz2.compress(b"{}"), "of the format .bz2. Let its name end"),
    (
      "a.jsonl.gz",
      gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0),
      "packed twice: .gz in",
    ),
    ("a.jsonl.gz", gzip.compress(PAGE, mtime=0), "a web page. Download"),
    (
      "a.jsonl.gz",
      gzip.compress(b"PAR1....", mtime=0),
      ".parquet inside .gz. Unpack",
    ),
    ("a.parquet", LINE.encode(), "JSON in text. Let its name end in .jsonl"),
    ("a.arrow", b'[{"a": 1}]', "JSON in text. Let its name end in .jsonl"),
    ("a.array_record", LINE.encode(), "JSON in text. Let its name end in"),
    ("a.csv", LINE.encode(), "JSON in text. Let its name end in .jsonl"),
    ("a.parquet", TABLE, "text. Let its name end in .csv"),
    (
      "a.parquet",
      gzip.compress(b"PAR1....", mtime=0),
      "packed as .gz. Unpack it",
    ),
    (
      "a.parquet",
      b"ARROW1..",
      "of the format .arrow. Let its name end in .arrow",
    ),
  ],
)
def test_a_wrong_suffix_is_no_damage(tmp_path, name, content, message):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(errors.InputError, match=f"{name} seems to be {message}"):
    list(sources.open_source(str(path)))


@pytest.fixture
def memory():
  """A file system that fsspec keeps in memory, as of a bucket."""
  system = fsspec.filesystem("memory")
  files = ("data/train.jsonl", "data/test.jsonl", "a.CSV", "README.md")
  for name in files:
    text = "prompt,response\nq,a\n" if name == "a.CSV" else LINE
    system.pipe(f"/bucket/{name}", text.encode())
  yield "memory://bucket"
  system.rm("/bucket", recursive=True)


def test_urls(memory):
  record = json.loads(LINE)
  found = list(sources.open_source(f"{memory}/data/train.jsonl"))
  assert [raw.record for raw in found] == [record]
  assert found[0].source == "train"
  said = []
  found = list(sources.open_source(memory, announce=said.append))
  assert [raw.record for raw in found] == [record, record]
  assert [raw.source for raw in found] == ["a", "train"]
  assert "1 of no known format (README.md)" in said[0]
  assert "beside one to train on (data/test.jsonl)" in said[0]
  assert len(list(sources.open_source(f"{memory}/data/*.jsonl"))) == 2
  with pytest.raises(errors.InputError, match="no such file"):
    list(sources.open_source(f"{memory}/none.jsonl"))


def test_urls_are_known_by_what_the_server_says(memory):
  (before,) = sources.signature(f"{memory}/data/train.jsonl").values()
  assert before[0] == len(LINE)
  fsspec.filesystem("memory").pipe(
    "/bucket/data/train.jsonl", LINE.encode() * 2
  )
  (after,) = sources.signature(f"{memory}/data/train.jsonl").values()
  assert after[0] == 2 * len(LINE)


@pytest.mark.parametrize(
  ("url", "package", "message"),
  [
    ("s3://bucket/a.jsonl", "s3fs", r"pip install 'fsspec\[s3\]'"),
    ("gs://bucket/a.jsonl", "gcsfs", r"pip install 'fsspec\[gs\]'"),
    ("https://host/a.jsonl", "aiohttp", r"pip install 'fsspec\[http\]'"),
    ("nonsense://host/a.jsonl", "none", "no known kind of URL"),
  ],
)
def test_what_reads_a_url_is_named(url, package, message):
  # In a process of its own: fsspec remembers what it has imported.
  code = (
    "import sys\n"
    f"sys.modules[{package!r}] = None\n"
    "from ila_jax import errors\n"
    "from ila_jax.pool.sources import sources\n"
    "try:\n"
    f"  list(sources.open_source({url!r}))\n"
    "except errors.InputError as error:\n"
    "  print(error)\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert url in done.stdout
  assert re.search(message, done.stdout)


class _ServerError(Exception):
  """As libraries of remote file systems have them."""


def test_a_url_that_fails_is_told_with_a_remedy(memory, monkeypatch):
  def fail(file, size=-1):
    raise _ServerError("503 slow down")

  monkeypatch.setattr(memory_files.MemoryFile, "read", fail)
  with pytest.raises(errors.InputError, match="_ServerError: 503") as said:
    list(sources.open_source(f"{memory}/data/train.jsonl"))
  assert "Start again, or copy it" in str(said.value)


def test_a_bug_is_not_called_damage_of_a_url(memory, monkeypatch):
  def bug(*arguments, **options):
    raise KeyError("a bug")

  monkeypatch.setattr(sources.json_records, "read", bug)
  with pytest.raises(KeyError, match="a bug"):
    list(sources.open_source(f"{memory}/data/train.jsonl"))


def test_http(tmp_path):
  pytest.importorskip("aiohttp", reason="aiohttp, which fsspec[http] brings")
  make(tmp_path, "a.jsonl", text=LINE * 3)
  handler = functools.partial(
    http.server.SimpleHTTPRequestHandler, directory=tmp_path
  )
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever).start()
    host = f"http://127.0.0.1:{server.server_port}"
    try:
      found = list(sources.open_source(f"{host}/a.jsonl?download=true"))
      assert [raw.line for raw in found] == [1, 2, 3]
      assert found[0].source == "a"
      with pytest.raises(errors.InputError, match="no such file"):
        list(sources.open_source(f"{host}/b.jsonl"))
    finally:
      server.shutdown()
  with pytest.raises(errors.InputError, match="reached"):
    list(sources.open_source(f"{host}/a.jsonl"))


def test_the_folder_of_a_run_is_no_source(tmp_path):
  (tmp_path / "a.jsonl").write_text("{}\n")
  run = tmp_path / "run/pool"
  run.mkdir(parents=True)
  (tmp_path / "run/manifest.json").write_text('{"ila_jax": "0.1.0"}')
  (run / "rejects.jsonl").write_text("{}\n")
  said = []
  (found,) = files_lib.find(str(tmp_path), announce=said.append)
  assert found.path == str(tmp_path / "a.jsonl")
  assert "1 of a run of ila_jax (run)" in said[0]


def test_a_split_may_be_named_as_a_partition(tmp_path):
  for split in ("train", "test"):
    (tmp_path / f"split={split}").mkdir()
    (tmp_path / f"split={split}/part-0.jsonl").write_text("{}\n")
  (found,) = files_lib.find(str(tmp_path))
  assert "split=train" in found.path
