"""Every record shape becomes turns, or a reject with a reason."""

import gzip
import json

import pytest

from ila_jax import records, turns


def read(record, **configured):
  fields = records.resolve(record, records.Fields(**configured))
  return [tuple(turn) for turn in turns.to_turns(record, fields)]


U, A, S = "user", "assistant", "system"

SHAPES = {
  "alpaca": (
    {"instruction": "Add.", "input": "1 2", "output": "3"},
    [(U, "Add.\n\n1 2"), (A, "3")],
  ),
  "alpaca without input": (
    {"instruction": "Hi", "input": "", "output": " hello\n"},
    [(U, "Hi"), (A, " hello\n")],
  ),
  "alpaca with null input": (
    {"instruction": "Hi", "input": None, "response": "hello"},
    [(U, "Hi"), (A, "hello")],
  ),
  "only input": (
    {"instruction": "", "input": "Hi", "output": "hello"},
    [(U, "Hi"), (A, "hello")],
  ),
  "completion": (
    {"prompt": "Hi", "completion": "hello"},
    [(U, "Hi"), (A, "hello")],
  ),
  "messages as prompt and completion": (
    {
      "prompt": [{"role": "user", "content": "Hi"}],
      "completion": [{"role": "assistant", "content": "hello"}],
    },
    [(U, "Hi"), (A, "hello")],
  ),
  "question": (
    {"system_prompt": "Be kind.", "question": "Hi", "response": "hello"},
    [(S, "Be kind."), (U, "Hi"), (A, "hello")],
  ),
  "history": (
    {
      "instruction": "c",
      "input": "",
      "output": "d",
      "history": [["a", "b"]],
      "system": "s",
    },
    [(S, "s"), (U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "null history": (
    {"prompt": "c", "response": "d", "history": None},
    [(U, "c"), (A, "d")],
  ),
  "sharegpt": (
    {
      "conversations": [
        {"from": "human", "value": "a"},
        {"from": "function_call", "value": "f()"},
        {"from": "observation", "value": "1"},
        {"from": "gpt", "value": "b"},
      ],
      "tools": "[]",
    },
    [(U, "a"), (A, "f()"), (U, "1"), (A, "b")],
  ),
  "sharegpt with tools": (
    {
      "conversations": [
        {"from": "human", "value": "a"},
        {"from": "gpt", "value": "b"},
      ],
      "tools": [{"name": "f"}],
      "system": "s",
    },
    [(S, 's\n\n[{"name": "f"}]'), (U, "a"), (A, "b")],
  ),
  "list of strings": (
    {"conversations": ["a", "b", "c", "d"]},
    [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "struct of lists": (
    {"conversations": {"from": ["human", "gpt"], "value": ["a", "b"]}},
    [(U, "a"), (A, "b")],
  ),
  "messages": (
    {
      "messages": [
        {"role": "system", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "a"}, "b"]},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "thanks"},
      ]
    },
    [(U, "ab"), (A, "c")],
  ),
  "tool calls": (
    {
      "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]},
        {"role": "tool", "content": "r"},
        {"role": "assistant", "content": "b"},
      ]
    },
    [(U, "a"), (A, '[{"id": 1}]'), (U, "r"), (A, "b")],
  ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
  record, expected = SHAPES[name]
  assert read(record) == expected


@pytest.mark.parametrize(
  "text", ["<noinput>", "No Input", "No input.", '"<noinput>"', "< no_input >"]
)
def test_no_input_is_no_input(text):
  record = {"instruction": "Hi", "input": text, "output": "hello"}
  assert read(record) == [(U, "Hi"), (A, "hello")]


@pytest.mark.parametrize("text", ["no", "input", "no input was given at all"])
def test_input_is_kept(text):
  record = {"instruction": "Hi", "input": text, "output": "hello"}
  assert read(record)[0] == (U, f"Hi\n\n{text}")


def message(role, content):
  return {"role": role, "content": content}


@pytest.mark.parametrize(
  ("record", "reason"),
  [
    ({"prompt": "a", "response": ""}, "empty response"),
    ({"prompt": "a", "response": None}, "empty response"),
    ({"prompt": "a", "response": " \n"}, "empty response"),
    ({"prompt": "a", "response": 4}, "response is not text"),
    ({"prompt": "", "response": "b"}, "empty prompt"),
    ({"prompt": {"x": 1}, "response": "b"}, "prompt is not text"),
    ({"instruction": "a", "input": 1, "output": "b"}, "input is not text"),
    ({"prompt": "a", "response": "b", "history": ["c"]}, "history is not"),
    ({"prompt": "a", "response": "b", "history": [["", "d"]]}, "empty prompt"),
    ({"messages": []}, "no response"),
    ({"messages": None}, "conversation is not a list"),
    ({"messages": "hello"}, "conversation is not a list"),
    ({"messages": [message("user", "a")]}, "no response"),
    ({"messages": [message("assistant", "a")]}, "no prompt before"),
    ({"messages": [message("narrator", "a")]}, "unknown role"),
    ({"messages": [message(None, "a")]}, "unknown role"),
    ({"messages": [[1]]}, "message is neither"),
    (
      {"messages": [message("user", [{"type": "image_url"}])]},
      "content is not text",
    ),
    (
      {"messages": [message("user", "a"), message("assistant", "")]},
      "empty response",
    ),
    ({"conversations": ["a", "b", " ", "d"]}, "empty prompt"),
  ],
)
def test_rejects(record, reason):
  with pytest.raises(records.Reject, match=reason):
    read(record)


def test_system_alone_is_no_prompt_but_is_context():
  said = read({"messages": [message("system", "s"), message("assistant", "a")]})
  assert said == [(S, "s"), (A, "a")]


def test_mapped_paths():
  record = {"task": "Add.", "instances": [{"input": "1 2", "output": "3"}]}
  paths = {
    "prompt": "task",
    "input": "instances.0.input",
    "response": "instances.0.output",
  }
  assert read(record, **paths) == [(U, "Add.\n\n1 2"), (A, "3")]
  with pytest.raises(records.Reject, match="response field missing"):
    read(record, prompt="task", response="instances.1.output")
  with pytest.raises(records.Reject, match="prompt field missing"):
    read(record, prompt="tusk", response="task")
  with pytest.raises(records.Reject, match="conversation field missing"):
    read(record, conversation="talk")


def test_real_tool_conversations_keep_every_turn(shared):
  path = shared / "data" / "glaive_toolcall_300.jsonl.gz"
  with gzip.open(path, "rt", encoding="utf-8") as lines:
    real = [json.loads(line) for line in lines]
  assert len(real) == 300
  for record in real:
    said = read(record)
    expected = [turn["value"] for turn in record["conversations"]]
    assert [turn.text for turn in said if turn.role != S] == expected
    assert (said[0][0] == S) == (record["tools"] != "[]")
