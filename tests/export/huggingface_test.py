"""The data set: nothing is lost, and it can be read as a pool again."""

import json
import pathlib

import pyarrow.parquet as pq
import pytest

from ila_jax.export import card, formats, huggingface
from ila_jax.pool import examples as pool_examples
from tests.support import selected_run

FACTS = card.Facts(["a"], "ila", "6 examples", 6, ["Found: 6."], "By hand")


def _export(folder, examples=None):
  examples = selected_run.examples() if examples is None else examples
  formats.write("hf", examples, folder, place=str(folder), facts=FACTS)
  return sorted((folder / "data").iterdir())


def test_the_columns_hold_all_that_is_known(tmp_path):
  (path,) = _export(tmp_path)
  assert path.name == "train-00000-of-00001.parquet"
  rows = pq.read_table(path).to_pylist()
  for row, example in zip(rows, selected_run.examples(), strict=True):
    for name in ("id", "source", "rank", "cell", "n_tokens", "record"):
      assert row[name] == getattr(example, name)
    for name in ("depth", "nll_base", "nll_sft"):
      assert row[name] == pytest.approx(getattr(example, name), rel=1e-6)
    texts = [turn.text for turn in example.turns if turn.role != "tools"]
    assert [message["content"] for message in row["messages"]] == texts


def test_calls_thoughts_and_masks_are_in_fields(tmp_path):
  (path,) = _export(tmp_path)
  rows = {row["source"]: row for row in pq.read_table(path).to_pylist()}
  call = rows["tools"]["messages"][1]["tool_calls"][0]
  assert (call["id"], call["function"]["name"]) == ("c1", "add")
  assert json.loads(call["function"]["arguments"]) == {"x": 1, "y": "é"}
  (tool,) = json.loads(rows["tools"]["tools"])
  assert tool["function"]["description"] == "Adds."
  answer = rows["tools"]["messages"][2]
  assert (answer["role"], answer["tool_call_id"]) == ("tool", "c1")
  assert rows["thought"]["messages"][1]["reasoning_content"] == "easy"
  masks = [message["train"] for message in rows["masked"]["messages"]]
  assert masks == [None, False, None, True]


def test_no_column_is_there_that_no_example_needs():
  plain = [one for one in selected_run.examples() if one.source == "plain"]
  message = huggingface.schema(plain).field("messages").type.value_type
  assert [field.name for field in message] == ["role", "content"]


def test_it_can_be_read_as_a_pool_again(tmp_path):
  files = _export(tmp_path)
  rejects = []
  found = list(pool_examples.read([str(files[0])], rejects=rejects.append))
  assert not rejects
  ids = [f"{one.id:016x}" for one in found]
  chosen = selected_run.examples()
  # Calls and tools are written in one form, whatever it was.
  same = [one.id for one in chosen if not any(t.calls for t in one.turns)]
  assert [id_ for id_ in ids if id_ in same] == same
  for one, example in zip(found, chosen, strict=True):
    said = [(turn.role, turn.text, turn.is_learnt) for turn in example.turns]
    kept = [(turn.role, turn.text, turn.is_learnt) for turn in one.turns]
    assert said[1:] == kept[1:] if example.source == "tools" else said == kept


def test_datasets_reads_the_folder(tmp_path):
  datasets = pytest.importorskip("datasets")
  (tmp_path / "hf").mkdir()
  _export(tmp_path / "hf")
  found = datasets.load_dataset(
    str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache")
  )
  assert found["id"] == [one.id for one in selected_run.examples()]


def test_datasets_does_not_give_an_earlier_export(tmp_path):
  datasets = pytest.importorskip("datasets")
  # It keeps what it has read by the last part of the path.
  for count in (3, 4):
    folder = tmp_path / str(count) / "hf"
    folder.mkdir(parents=True)
    _export(folder, selected_run.examples()[:count])
    found = datasets.load_dataset(
      str(folder), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(found) == count


def test_other_rows_have_another_name_and_the_same_the_same(tmp_path):
  names = []
  for place, count in enumerate((3, 4, 4)):
    folder = tmp_path / str(place)
    folder.mkdir()
    _export(folder, selected_run.examples()[:count])
    text = (folder / "README.md").read_text()
    names.append(text.partition("config_name: ")[2].split()[0])
  assert names[0] != names[1] == names[2]


def test_the_card_says_which_files_hold_the_rows(tmp_path):
  yaml = pytest.importorskip("yaml")
  _export(tmp_path)
  header = (tmp_path / "README.md").read_text().split("---\n")[1]
  (config,) = yaml.safe_load(header)["configs"]
  (files,) = config["data_files"]
  found = list(pathlib.Path(tmp_path).glob(files["path"]))
  assert len(found) == 1
