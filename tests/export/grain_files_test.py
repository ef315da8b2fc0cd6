"""Files for trainers in JAX: plain text, and rows that Grain can shuffle."""

import json
import pathlib
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from ila_jax.export import card, formats, grain_files
from ila_jax.pool import records
from ila_jax.pool.tokens import tokenizer
from tests.support import model_folders, selected_run

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/export.md"

array_record = pytest.importorskip("array_record.python.array_record_module")

EXAMPLES = {one.source: one for one in selected_run.examples()}
FACTS = card.Facts(["a"], "ila", "6 examples", 6, ["Found: 6."], "By hand")


@pytest.fixture
def folder(tmp_path):
  examples = list(EXAMPLES.values())
  count, left_out = formats.write(
    "tunix", examples, tmp_path, place=str(tmp_path), facts=FACTS
  )
  assert (count, len(left_out.lines)) == (5, 1)
  return tmp_path


def _records(path):
  reader = array_record.ArrayRecordReader(str(path))
  found = [json.loads(reader.read()) for _ in range(reader.num_records())]
  reader.close()
  return found


def test_both_files_hold_the_same_rows(folder):
  (parquet,) = folder.glob("*.parquet")
  (packed,) = folder.glob("*.array_record")
  rows = pq.read_table(parquet).to_pylist()
  for row, record in zip(rows, _records(packed), strict=True):
    assert row["messages"] == record["messages"]
    assert (row["id"], row["rank"]) == (record["id"], record["rank"])
  assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]


def test_each_record_can_be_had_alone(folder):
  (packed,) = folder.glob("*.array_record")
  reader = array_record.ArrayRecordReader(str(packed))
  assert "group_size:1," in reader.writer_options_string() + ","
  reader.close()


def test_grain_shuffles_them(folder):
  grain = pytest.importorskip("grain")
  files = sorted(map(str, folder.glob("*.array_record")))
  source = grain.sources.ArrayRecordDataSource(files)
  rows = grain.MapDataset.source(source).shuffle(seed=0).map(json.loads)
  ranks = [rows[place]["rank"] for place in range(len(rows))]
  assert sorted(ranks) == [1, 2, 3, 4, 5] != ranks


def test_all_that_is_said_is_text():
  row = grain_files.row(EXAMPLES["tools"])
  roles = [message["role"] for message in row["messages"]]
  assert roles == ["system", "user", "assistant", "user", "assistant"]
  system, _, call, answer, _ = row["messages"]
  assert json.loads(system["content"])[0]["name"] == "add"
  assert json.loads(call["content"])[0]["arguments"] == {"x": 1, "y": "é"}
  assert answer["content"] == "3"
  thought = grain_files.row(EXAMPLES["thought"])["messages"][1]["content"]
  assert thought == "<think>\neasy\n</think>\n\n4"


REFUSED = {
  "not learnt": EXAMPLES["masked"].turns,
  "not the first turn": [
    records.Turn("user", "a"),
    records.Turn("system", "b"),
    records.Turn("assistant", "c"),
  ],
  "no question before it": [
    records.Turn("system", "b"),
    records.Turn("assistant", "c"),
  ],
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_they_would_end_at_or_learn_is_refused(why):
  with pytest.raises(records.Reject, match=why):
    grain_files.row(EXAMPLES["plain"]._replace(turns=REFUSED[why]))


def test_the_config_of_levanter_is_yaml():
  yaml = pytest.importorskip("yaml")
  data = yaml.safe_load(grain_files.levanter_config("/a b"))["data"]
  assert data["train_urls"] == ["/a b/train-*.parquet"]
  assert data["format"]["type"] == "chat"


def test_the_recipe_feeds_our_own_trainer(folder, tmp_path):
  """It learns the answers that the Parquet file has, each once, and no more."""
  pytest.importorskip("grain")
  turns = [turn for one in EXAMPLES.values() for turn in one.turns]
  model = tmp_path / "model"
  model_folders.llama(model, [turn.text for turn in turns] * 9)
  (recipe,) = re.findall(
    r"```python\n((?:(?!```).)*loop\.train.*?)```", DOCUMENT.read_text(), re.S
  )
  for words, here in {
    "DIR/export/tunix": str(folder),
    "MODEL": str(model),
    "1024": "256",
    "8192": "2048",
  }.items():
    assert words in recipe
    recipe = recipe.replace(words, here)
  made = {}
  exec(recipe, made)
  (parquet,) = folder.glob("*.parquet")
  own, answers = tokenizer.load_tokenizer(model), []
  for row in pq.read_table(parquet).to_pylist():
    said = [m for m in row["messages"] if m["role"] == "assistant"]
    answers.append("".join(f"{m['content']}<|end|>" for m in said))
  learnt = [
    own.decode(ids[mask])
    for ids, mask in zip(
      made["data"].tokens, made["data"].is_response, strict=True
    )
  ]
  assert sorted(learnt) == sorted(answers) and learnt != answers
  history = made["history"]
  tokens = sum(int(mask.sum()) for mask in made["data"].is_response)
  assert sum(step["tokens"] for step in history) == tokens
  # A random model knows nothing: about log(320) nats a token.
  assert abs(history[0]["loss"] - np.log(320)) < 1
