"""LLaMA-Factory's file, converted as its documentation says, loses nothing."""

import json

import pytest

from ila_jax.export import llama_factory
from ila_jax.pool import examples as pool_examples
from ila_jax.pool import records
from tests.support import selected_run

EXAMPLES = {one.source: one for one in selected_run.examples()}
HELD = [name for name in EXAMPLES if name != "masked"]


def _aligned(row):
  """The turns as its converter aligns them: answers of tools are merged."""
  (entry,) = llama_factory.info("train.jsonl").values()
  tags = entry["tags"]
  aligned = []
  for message in row[entry["columns"]["messages"]]:
    role, text = message[tags["role_tag"]], message[tags["content_tag"]]
    if role == aligned[-1:][0][0] if aligned else False:
      assert role == tags["observation_tag"]
      continue
    aligned.append((role, text))
  return aligned, tags


@pytest.mark.parametrize("name", HELD)
def test_it_skips_no_record(name):
  aligned, tags = _aligned(llama_factory.row(EXAMPLES[name]))
  if aligned[0][0] == tags["system_tag"]:
    aligned = aligned[1:]
  asking = {tags["user_tag"], tags["observation_tag"]}
  answering = {tags["assistant_tag"], tags["function_tag"]}
  for place, (role, _) in enumerate(aligned):
    assert role in (answering if place % 2 else asking)
  assert len(aligned) % 2 == 0


def test_calls_and_tools_are_json_that_it_parses():
  row = llama_factory.row(EXAMPLES["tools"])
  calls = json.loads(row["messages"][1]["content"])
  assert calls == [{"name": "add", "arguments": {"x": 1, "y": "é"}}]
  (tool,) = json.loads(row["tools"])
  assert tool["parameters"]["properties"] == {"x": {"type": "integer"}}
  assert llama_factory.row(EXAMPLES["plain"])["tools"] == ""


@pytest.mark.parametrize("name", ["plain", "system", "thought"])
def test_the_pool_reads_it_as_it_was(name, tmp_path):
  path = tmp_path / "train.jsonl"
  path.write_text(json.dumps(llama_factory.row(EXAMPLES[name])) + "\n")
  (found,) = pool_examples.read([str(path)], rejects=print)
  said = [(turn.role, turn.text) for turn in found.turns]
  expected = [
    (
      t.role,
      f"<think>\n{t.thought}\n</think>\n\n{t.text}" if t.thought else t.text,
    )
    for t in EXAMPLES[name].turns
  ]
  assert said == expected


def test_questions_in_a_row_are_one():
  turns = [records.Turn("user", text) for text in "abc"]
  turns.append(records.Turn("assistant", "d"))
  row = llama_factory.row(EXAMPLES["plain"]._replace(turns=turns))
  assert row["messages"][0] == {"role": "user", "content": "a\n\nb\n\nc"}
  assert len(row["messages"]) == 2


def _turn(role, **more):
  return records.Turn(role, "text", **more)


REFUSED = {
  "not learnt": EXAMPLES["masked"].turns,
  "beside a call": [
    _turn("user"),
    _turn("assistant", calls='[{"name": "add"}]'),
    _turn("tool"),
    _turn("assistant"),
  ],
  "do not alternate": [_turn("user"), _turn("assistant"), _turn("assistant")],
  "alternate": [_turn("user"), _turn("system"), _turn("assistant")],
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_it_would_drop_or_learn_is_refused(why):
  with pytest.raises(records.Reject, match=why):
    llama_factory.row(EXAMPLES["plain"]._replace(turns=REFUSED[why]))
