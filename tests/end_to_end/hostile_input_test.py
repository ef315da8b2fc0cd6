"""Every bad command line and file: exit 2, a remedy, soon, in little memory."""

import bz2
import gzip
import json
import lzma
import os
import pathlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from tests.support import forked_runs, model_folders, tiny

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
GOOD = "".join(json.dumps(record) + "\n" for record in tiny.records(90))


def _data_files(folder: pathlib.Path) -> None:
  """What is no pool, in many ways."""
  rows = [record | {"weight": 1} for record in tiny.records(90)]
  table = pa.Table.from_pylist(rows)
  parquet.write_table(table, folder / "good.parquet")
  with ipc.new_stream(folder / "good.arrow", table.schema) as stream:
    stream.write_table(table)
  for name in ("parquet", "arrow"):
    content = (folder / f"good.{name}").read_bytes()
    (folder / f"cut.{name}").write_bytes(content[: len(content) // 2])
  packed = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
  }
  bomb = bytes(300 << 20)
  for suffix, compress in packed.items():
    whole = compress(GOOD.encode())
    (folder / f"cut.jsonl.{suffix}").write_bytes(whole[: len(whole) // 2])
  (folder / "bomb.jsonl.gz").write_bytes(gzip.compress(bomb, 1))
  random = np.random.default_rng(0).bytes(5000)
  for suffix in (
    *("jsonl", "json", "csv", "tsv", "parquet", "arrow", "feather"),
    *("array_record", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.xz"),
  ):
    (folder / f"random.{suffix}").write_bytes(b"\x07" + random)
    (folder / f"empty.{suffix}").write_bytes(b"")
  texts = {
    "blank.jsonl": "\n \n" * 1000,
    "brackets.jsonl": "[" * 100_000,
    "brackets.json": "[" * 100_000,
    "objects.json": '{"a":' * 100_000,
    "closed.json": "[" * 100_000 + "]" * 100_000,
    "deep.jsonl": ('{"a": ' * 900 + "1" + "}" * 900 + "\n") * 9,
    "keys.jsonl": "{"
    + ", ".join(f'"{i // 2}": 1' for i in range(200_000))
    + "}",
    "scalars.jsonl": '1\n"a"\nnull\ntrue\n',
    "lists.json": "[[1], [2]]",
    "python.jsonl": "{'prompt': 'q', 'response': 'a'}\n" * 9,
    "nan.jsonl": '{"prompt": NaN}\n' * 9,
    "quotes.csv": 'prompt,response\n"x, y",z\n' * 9 + '"a" b,c,d\n',
    "wide.csv": "prompt,response\n1,2,3\n" * 2,
    "short.csv": "prompt,response,id\n1,2\n" * 2,
    "ids.jsonl": '{"inputs": [1, 2, 3], "targets": [4]}\n' * 2,
    "plain.jsonl.gz": GOOD,
    "page.jsonl": "<!DOCTYPE html>\n<p>Sign in",
    "lfs.parquet": "version https://git-lfs.github.com/spec/v1\n",
    "notes.txt": "nothing of use\n",
  }
  for name, text in texts.items():
    (folder / name).write_text(text)
  (folder / "latin.csv").write_bytes(b"prompt,response\nq,caf\xe9\n")
  (folder / "wide.jsonl").write_text(GOOD, encoding="utf-16")
  with (folder / "line.jsonl").open("w") as stream:
    for _ in range(3):
      stream.write('{"prompt": "' + "x" * (17 << 20) + "\n")
  os.mkfifo(folder / "pipe.jsonl")
  (folder / "zero.jsonl").symlink_to("/dev/zero")
  (folder / "gone.jsonl").symlink_to("nowhere")
  (folder / "self.jsonl").symlink_to("self.jsonl")
  (folder / "nothing").mkdir()
  (folder / "pictures").mkdir()
  (folder / "pictures/a.png").write_bytes(random)


_CONFIGS = {
  "brackets": "[" * 100_000,
  "a list": "[]",
  "text": '"llama"',
  "cut": '{"model_type": "lla',
  "empty": "",
  "latin": b'{"model_type": "\xe9"}',
  "a type that is a list": {"model_type": ["llama"]},
  "a type that is an object": {"model_type": {"a": 1}},
  "a billion layers": {"num_hidden_layers": 10**9},
  "a huge vocabulary": {"vocab_size": 10**12},
  "no heads": {"num_attention_heads": 0},
  "negative width": {"hidden_size": -8},
  "text as width": {"hidden_size": "eight"},
  "infinite theta": '{"rope_theta": Infinity}',
  "few positions": {"max_position_embeddings": 32},
}


def _model_files(folder: pathlib.Path) -> None:
  """Copies of a good model, each with another config.json."""
  good = folder / "model"
  model_folders.llama(good, [GOOD, GOOD])
  known = json.loads((good / "config.json").read_text())
  for name, config in _CONFIGS.items():
    copy = folder / f"model {name}"
    copy.mkdir()
    for path in good.iterdir():
      (copy / path.name).symlink_to(path)
    (copy / "config.json").unlink()
    if isinstance(config, dict):
      config = json.dumps(known | config)
    content = config if isinstance(config, bytes) else config.encode()
    (copy / "config.json").write_bytes(content)


# name -> (flags, what the message must hold); {} is the folder of the files.
COMMANDS = {
  "no workdir": (["--workdir="], "--workdir is empty: a shell variable"),
  "no stages": (["--stages="], "--stages is empty"),
  "no redo": (["--redo="], "--redo is empty"),
  "a URL as workdir": (["--workdir=https://host/x"], "--workdir is 'https://"),
  "a blank workdir": (["--workdir= "], "--workdir is empty"),
  "nobody's workdir": (["--workdir=~nosuch/x"], "~nosuch is the home folder"),
  "no variable": (["--workdir=$NO_SUCH/x"], "variable $NO_SUCH is not set"),
  "a blank model": (["--config.model.path= "], "config.model.path is not set"),
  "a model's address": (
    ["--dry_run", "--config.model.path=https://huggingface.co/Qwen/Qwen2-0.5B"],
    "Give the name: --config.model.path=Qwen/Qwen2-0.5B",
  ),
  "an encoder in a bucket": (
    ["--config.encoder.path=s3://x/y"],
    "run `pip install s3fs`",
  ),
  "a map on the web": (["--config.landscape.map=http://x/y"], "a web address"),
  "no source": (["--config.pool.source="], "config.pool.source is ''"),
  "spaces": (["--config.pool.source= "], "config.pool.source is ' '"),
  "no second": (["--config.pool.source=('a.jsonl','')"], "('a.jsonl', '')"),
  "no model": (["--config.model.path="], "config.model.path is not set"),
  "no encoder": (["--config.encoder.path="], "config.encoder.path is not set"),
  "no map": (["--config.landscape.map="], "config.landscape.map is ''"),
  "no such home": (["--config.pool.source=~nosuch/a.jsonl"], "~nosuch/a.jsonl"),
  "no source at all": (
    ["--config.pool.source=()"],
    "config.pool.source is",
  ),
  "a number": (["--config.pool.source=7"], "config.pool.source"),
  "a bucket": (["--config.pool.source=s3://b/a.jsonl"], "s3://b/a.jsonl"),
  "a scheme": (["--config.pool.source=foo://b/a.jsonl"], "foo://b/a.jsonl"),
  "a data set": (["--config.pool.source=tfds:nothing/train"], "tfds:nothing"),
  "no split": (["--config.pool.source=tfds:nothing"], "tfds:NAME/SPLIT"),
  "no package": (["--config.pool.source=docstrings:nothing_here"], "nothing_h"),
  "docstrings": (["--config.pool.source=docstrings:"], "docstrings"),
  "inf": (["--config.score.epochs=inf"], "config.score.epochs is inf"),
  "nan": (["--config.train.lora_alpha=nan"], "config.train.lora_alpha is nan"),
  "1e18": (
    ["--config.tokens.max_tokens=1000000000000000000"],
    "max_tokens is 1",
  ),
  "few positions": (
    ["--config.model.path={}/model few positions"],
    "--config.tokens.max_tokens=32 or less",
  ),
}
SOURCES = {
  "pipe.jsonl": "a pipe, a device or a socket",
  "zero.jsonl": "a pipe, a device or a socket",
  "gone.jsonl": "a link to nowhere, cannot be opened",
  "self.jsonl": "a link to self.jsonl, cannot be opened",
  "nothing": "no file of a known format in this folder",
  "pictures": "left out: 1 of no known format (a.png)",
  "*.none": "no file of a known format matches",
  "none[": "no file of a known format matches",
  "notes.txt": "suffix tells no known format",
  "good.jsonl/a.jsonl": "no such file or folder",
  "bomb.jsonl.gz": "binary: it has zero bytes",
  "line.jsonl": "3 record too large",
  "blank.jsonl": "all its files are empty",
  "brackets.jsonl": "nested too deep",
  "brackets.json": "nested too deep",
  "objects.json": "nested too deep",
  "closed.json": "nested too deep",
  "deep.jsonl": "nested too deep",
  "keys.jsonl": "key occurs twice",
  "scalars.jsonl": "not a JSON object",
  "lists.json": "not a JSON object",
  "python.jsonl": "not JSON",
  "nan.jsonl": "NaN is no JSON number",
  "quotes.csv": "quotes.csv line ",
  "wide.csv": "Quote the separators inside its cells",
  "short.csv": "Write all its cells, empty ones too",
  "latin.csv": "For 'invalid UTF-8': Save the file as UTF-8; where it is in",
  "ids.jsonl": "They seem to be token ids, and text is needed",
  "plain.jsonl.gz": "Take .gz off the end of its name",
  "page.jsonl": "a web page. Download the file itself",
  "lfs.parquet": "Run `git lfs pull`",
  "wide.jsonl": "UTF-16. Convert it",
  **{
    f"cut.{suffix}": f"cut.{suffix}"
    for suffix in ("parquet", "arrow", "jsonl.gz", "jsonl.bz2", "jsonl.xz")
  },
  **{
    f"{kind}.{suffix}": "Allowed"
    for kind in ("random", "empty")
    for suffix in (
      *("jsonl", "json", "csv", "tsv", "parquet", "arrow", "feather"),
      *("array_record", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.xz"),
    )
  },
}
CASES = (
  COMMANDS
  | {
    f"source {name}": ([f"--config.pool.source={{}}/{name}"], said)
    for name, said in SOURCES.items()
  }
  | {
    f"model {name}": ([f"--config.model.path={{}}/model {name}"], "config")
    for name in _CONFIGS
  }
  | {
    f"encoder {name}": (
      ["--stages=pool,embed", f"--config.encoder.path={{}}/model {name}"],
      "config",
    )
    for name in list(_CONFIGS)[:8]
  }
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  """Runs all cases; what became of each, by name."""
  folder = tmp_path_factory.mktemp("hostile")
  (folder / "good.jsonl").write_text(GOOD)
  _data_files(folder)
  _model_files(folder)
  commands = {
    name: [
      "--config=configs/quickstart.py",
      f"--workdir={folder}/work {number}",
      f"--config.pool.source={folder}/good.jsonl",
      "--config.pool.dev_examples=5",
      "--config.score.reference_examples=5",
      "--config.tokens.max_tokens=64",
      "--stages=pool",
      *(flag.replace("{}", str(folder)) for flag in flags),
    ]
    for number, (name, (flags, _)) in enumerate(CASES.items())
  }
  return forked_runs.run(commands)


@pytest.mark.parametrize("name", CASES)
def test_refused_soon_and_in_little_memory(ended, name):
  found = ended[name]
  said = found["stderr"]
  assert found["status"] == 2, said
  assert "Traceback" not in said
  assert CASES[name][1] in said
  assert len(said) < 3000
  # Of the processor; importing is done before.
  assert found["seconds"] < 2
  assert found["bytes"] < 1 << 30
