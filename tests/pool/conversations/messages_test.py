"""One message becomes its turns, with all that it says, or is a reject."""

import json

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents, messages

Turn = records.Turn


def read(item, ids=()):
  return messages.read(item, unread.Notes(), ids=ids)


@pytest.mark.parametrize(
  ("name", "role"),
  [
    (" User ", "user"),
    ("HUMAN", "user"),
    ("ChatGPT", "assistant"),
    ("agent", "assistant"),
    ("bing", "assistant"),
    ("Developer", "system"),
    ("function response", "tool"),
    ("toolResult", "tool"),
    ("environment", "tool"),
  ],
)
def test_roles_in_any_spelling(name, role):
  assert read({"role": name, "content": "a"}) == [Turn(role, "a")]


@pytest.mark.parametrize(
  "name", ["narrator", "", 1, ["user"], {"role": "user"}]
)
def test_an_unknown_role_is_a_reject(name):
  with pytest.raises(records.Reject, match="unknown role"):
    read({"role": name, "content": "a"})


@pytest.mark.parametrize("role", ["user", "system", "assistant", "tool"])
@pytest.mark.parametrize(
  ("content", "expected"),
  [
    (["S1", "S2"], "S1\n\nS2"),
    (["S1", "", "S2"], "S1\n\nS2"),
    (["S1"], "S1"),
    ([], ""),
    ([{"type": "text", "text": "4"}, {"type": "text", "text": "2"}], "42"),
    ([{"type": "text", "text": "4"}, "2"], "42"),
    (4, "4"),
    (None, ""),
  ],
)
def test_texts_of_a_content(role, content, expected):
  assert read({"role": role, "content": content}) == [Turn(role, expected)]


@pytest.mark.parametrize("role", ["user", "system", "assistant", "tool"])
@pytest.mark.parametrize(
  "part",
  [
    {"type": "image_url", "image_url": {"url": "x"}},
    {"type": "image", "source": {"data": "x"}},
    {"type": "input_audio", "input_audio": {"data": "x"}},
    {"type": "file", "file": {"file_id": "x"}},
    {"type": "document", "source": {"type": "text", "data": "x"}},
  ],
)
def test_parts_of_other_kinds_are_a_reject(role, part):
  for content in ([part], [{"type": "text", "text": "a"}, part]):
    with pytest.raises(records.Reject, match="content is not text"):
      read({"role": role, "content": content})


@pytest.mark.parametrize(
  ("content", "expected"),
  [
    ({"rain": True}, '{"rain": true}'),
    (
      [{"city": "Köln"}, {"city": "Ulm"}],
      '[{"city": "Köln"}, {"city": "Ulm"}]',
    ),
    # Columnar files fill up with nulls.
    ([{"a": 1, "b": None}], '[{"a": 1}]'),
    ([1, {"a": 2}], '[1, {"a": 2}]'),
    # What is like a part, and is none.
    (
      [{"type": "file", "name": "a.txt"}],
      '[{"type": "file", "name": "a.txt"}]',
    ),
    ({"type": "text", "text": "a"}, "a"),
    ({"text": "a", "score": 1}, '{"text": "a", "score": 1}'),
    ("[1]", "[1]"),
    (True, "true"),
  ],
)
def test_what_a_tool_answers_is_its_text_or_its_json(content, expected):
  assert read({"role": "tool", "content": content}) == [Turn("tool", expected)]
  [part] = contents.parts([{"type": "tool_result", "content": content}])
  assert part == contents.Part("result", expected)


def test_an_object_that_a_user_says_is_a_reject():
  for role in ("user", "system", "assistant"):
    with pytest.raises(records.Reject, match="content is not text"):
      read({"role": role, "content": {"city": "Ulm"}})


def call(name, arguments, **known):
  return known | {
    "type": "function",
    "function": {"name": name, "arguments": arguments},
  }


PARTS = {
  "anthropic": (
    {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1, "y": None}},
    {"type": "tool_result", "tool_use_id": "t1", "content": "r"},
  ),
  "ai sdk": (
    {
      "type": "tool-call",
      "toolCallId": "t1",
      "toolName": "f",
      "args": {"x": 1},
    },
    {"type": "tool-result", "toolCallId": "t1", "result": "r"},
  ),
  "bedrock": (
    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
    {"toolResult": {"toolUseId": "t1", "content": [{"text": "r"}]}},
  ),
  "responses": (
    {
      "type": "function_call",
      "call_id": "t1",
      "name": "f",
      "arguments": {"x": 1},
    },
    {"type": "function_call_output", "call_id": "t1", "output": "r"},
  ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_are_calls_and_results(name):
  made, result = PARTS[name]
  text = {"type": "text", "text": "a"}
  [answer] = read({"role": "assistant", "content": [text, made]})
  assert answer.text == "a"
  assert json.loads(answer.calls) == [call("f", {"x": 1}, id="t1")]
  tool, user = Turn("tool", "r", call_id="t1"), Turn("user", "a")
  assert read({"role": "user", "content": [result, text]}) == [tool, user]
  assert read({"role": "user", "content": [text, result]}) == [user, tool]
  assert read({"role": "user", "content": [result]}) == [tool]
  assert read({"role": "tool", "content": [result, result]}) == [tool, tool]


def test_gemini_s_parts():
  parts = [{"functionCall": {"name": "f", "args": {"x": 1}}}]
  [answer] = read({"role": "model", "parts": parts})
  assert json.loads(answer.calls) == [call("f", {"x": 1})]
  parts = [{"functionResponse": {"name": "f", "response": {"y": 2}}}]
  expected = [Turn("tool", '{"y": 2}', name="f")]
  assert read({"role": "function", "parts": parts}) == expected
  assert read({"role": "user", "parts": parts}) == expected


@pytest.mark.parametrize(
  ("item", "reason"),
  [
    # What an order or a role of this kind would have to drop or to move.
    ({"role": "user", "content": [PARTS["anthropic"][0]]}, "content is not"),
    ({"role": "assistant", "content": [PARTS["anthropic"][1]]}, "content is"),
    (
      {"role": "user", "content": [{"type": "thinking", "thinking": "a"}]},
      "content is not text",
    ),
    (
      {"role": "system", "content": [PARTS["anthropic"][0]]},
      "content is not text",
    ),
    (
      {"role": "assistant", "content": [PARTS["anthropic"][0], "then"]},
      "text after a tool call",
    ),
    ({"role": "assistant", "content": [{"type": "tool_use"}]}, "tool call is"),
    (
      {
        "role": "model",
        "parts": [{"text": "a", "functionCall": {"name": "f"}}],
      },
      "content is not text",
    ),
    (
      {"role": "user", "content": [{"type": "tool_result", "text": "a"}]},
      "content is not text",
    ),
    ({"role": "user"}, "message has no content"),
    ({"role": "tool", "said": "x"}, "message has no content"),
    ({"role": "user", "from": "gpt", "content": "a"}, "has two roles"),
  ],
)
def test_rejects(item, reason):
  with pytest.raises(records.Reject, match=reason):
    read(item)


@pytest.mark.parametrize(
  ("item", "call_id", "name"),
  [
    ({"tool_call_id": "c1"}, "c1", ""),
    ({"toolCallId": "c1", "name": "f"}, "c1", "f"),
    ({"call_id": 7, "tool_name": "f"}, "7", "f"),
    ({"tool_use_id": "c1", "tool_call_id": None}, "c1", ""),
    # An id of its own is a call's, if there is such a call.
    ({"id": "c1"}, "c1", ""),
    ({"id": "m9", "name": None}, "", ""),
    ({"name": "f"}, "", "f"),
  ],
)
def test_what_a_tool_answers_keeps_id_and_name(item, call_id, name):
  said = read({"role": "tool", "content": "r"} | item, ids={"c1"})
  assert said == [Turn("tool", "r", call_id=call_id, name=name)]


def test_a_tool_s_answer_under_other_names():
  for key in ("output", "result", "response", "value"):
    assert read({"role": "tool", key: {"a": 1}}) == [Turn("tool", '{"a": 1}')]


@pytest.mark.parametrize(
  ("item", "told"),
  [
    ({"content": "a", "text": "b"}, {"messages.text"}),
    ({"content": "a", "text": "a"}, set()),
    ({"content": "", "text": "a"}, set()),
    ({"content": "a", "Content": "b"}, {"content"}),
    ({"content": "a", "reasoning": True}, {"messages.reasoning"}),
    (
      {"content": "a", "thinking": "I see.", "reasoning": "I look."},
      {"messages.thinking"},
    ),
    ({"content": "a", "thinking": "enabled"}, {"messages.thinking"}),
    (
      {"content": "a", "reasoning": "off", "thinking": "I see."},
      {"messages.reasoning"},
    ),
  ],
)
def test_what_a_message_says_twice_is_told(item, told):
  notes = unread.Notes()
  messages.read({"role": "assistant"} | item, notes)
  assert {name.lower() for name in notes.unread} == {
    f"messages.{name.removeprefix('messages.')}" for name in told
  }


@pytest.mark.parametrize(
  ("weight", "learnt"),
  [
    ({"train": "no"}, False),
    ({"train": "Yes"}, True),
    ({"mask": "yes"}, False),
    ({"mask": "off"}, True),
    ({"loss": "0.0"}, False),
    ({"label": "false"}, False),
    ({"Label": False}, False),
    ({"label": "no"}, True),  # A class, for all we know.
  ],
)
def test_weights_in_words(weight, learnt):
  [turn] = read({"role": "assistant", "content": "a"} | weight)
  assert turn.is_learnt is learnt
