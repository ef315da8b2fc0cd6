"""Results of tools answer calls: by id, by name, or in order."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import dialogues, tool_calls
from ila_jax.pool.shapes import fields, turns
from ila_jax.pool.tokens import messages

ABLE = messages.Abilities(tools=True, tool=True, calls="mapping")


def call(name, call_id=None):
  known = {} if call_id is None else {"id": call_id}
  return known | {
    "type": "function",
    "function": {"name": name, "arguments": {}},
  }


def calling(*calls):
  return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def result(content, **known):
  return {"role": "tool", "content": content} | known


def said(*items):
  """The messages that a chat template gets of a conversation."""
  record = {"messages": [{"role": "user", "content": "q"}, *items]}
  record["messages"] += [{"role": "assistant", "content": "a"}]
  read = turns.to_turns(record, fields.resolve(record, fields.Fields()))
  return messages.make(read, ABLE)[0]


def results(*items):
  """Content, id and name of what tools answer there."""
  return [
    (m["content"], m.get("tool_call_id"), m.get("name"))
    for m in said(*items)
    if m["role"] == "tool"
  ]


F, G = call("f", "c1"), call("g", "c2")


@pytest.mark.parametrize(
  ("items", "expected"),
  [
    # By id, in any order.
    (
      [
        calling(F, G),
        result("1", tool_call_id="c1"),
        result("2", tool_call_id="c2"),
      ],
      [("1", "c1", "f"), ("2", "c2", "g")],
    ),
    (
      [
        calling(F, G),
        result("2", tool_call_id="c2"),
        result("1", tool_call_id="c1"),
      ],
      [("2", "c2", "g"), ("1", "c1", "f")],
    ),
    # An answer may be missing, or come late, or in two parts.
    (
      [calling(F, G), result("2", tool_call_id="c2")],
      [("2", "c2", "g")],
    ),
    (
      [
        calling(F),
        calling(G),
        result("2", tool_call_id="c2"),
        result("1", tool_call_id="c1"),
      ],
      [("2", "c2", "g"), ("1", "c1", "f")],
    ),
    (
      [
        calling(F),
        result("1", tool_call_id="c1"),
        result("+", tool_call_id="c1"),
      ],
      [("1", "c1", "f"), ("+", "c1", "f")],
    ),
    # Without ids in order, also over calls in turns of their own.
    (
      [calling(call("f"), call("g")), result("1"), result("2")],
      [("1", None, "f"), ("2", None, "g")],
    ),
    (
      [calling(call("f")), calling(call("g")), result("1"), result("2")],
      [("1", None, "f"), ("2", None, "g")],
    ),
    (
      [calling(F, G), result("1"), result("2")],
      [("1", "c1", "f"), ("2", "c2", "g")],
    ),
    (
      [calling(F, G), result("2", tool_call_id="c2"), result("1")],
      [("2", "c2", "g"), ("1", "c1", "f")],
    ),
    # By name.
    (
      [calling(F, G), result("2", name="g"), result("1", name="f")],
      [("2", "c2", "g"), ("1", "c1", "f")],
    ),
    # The name that the record gives stays.
    (
      [calling(call("f"), call("g")), result("3", name="h"), result("1")],
      [("3", None, "h"), ("1", None, "f")],
    ),
    (
      [calling(F), result("1", tool_call_id="c1", name="F")],
      [("1", "c1", "F")],
    ),
    # Calls without ids: in order, and the id that the result has.
    ([calling(call("f")), result("1", tool_call_id="c9")], [("1", "c9", "f")]),
    # No call at all: a text may hold it.
    ([result("1", name="f")], [("1", None, "f")]),
    # A new call forgets those that nobody answered; ids may come again.
    (
      [
        *(
          calling(F, G),
          result("1", tool_call_id="c1"),
          calling(call("h", "c1")),
        ),
        result("3"),
      ],
      [("1", "c1", "f"), ("3", "c1", "h")],
    ),
    (
      [calling(F), result("1", tool_call_id="c1")] * 2,
      [("1", "c1", "f")] * 2,
    ),
    # Ids as numbers.
    ([calling(call("f", 7)), result("1", tool_call_id="7")], [("1", 7, "f")]),
  ],
)
def test_results_answer_calls(items, expected):
  assert results(*items) == expected


@pytest.mark.parametrize(
  ("items", "place"),
  [
    ([calling(F), result("1", tool_call_id="c9")], "tool turn 1: id 'c9'"),
    (
      [
        calling(F, G),
        result("1", tool_call_id="c1"),
        result("2", tool_call_id="C2"),
      ],
      "tool turn 2: id 'C2'",
    ),
    # A result before its call.
    ([result("1", tool_call_id="c1"), calling(F)], "tool turn 1: id 'c1'"),
    ([result("1", tool_call_id="c1")], "tool turn 1: id 'c1'"),
  ],
)
def test_a_result_of_no_call_is_a_reject(items, place):
  with pytest.raises(records.Reject, match="result answers no call") as caught:
    said(*items)
  assert caught.value.detail == place


@pytest.mark.parametrize(
  "made",
  [
    [{"name": "f", "arguments": {"x": 1}, "id": "c1"}],
    [{"name": "f", "parameters": {"x": 1}, "call_id": "c1"}],
    [{"name": "f", "args": {"x": 1}, "id": "c1", "type": "function"}],
    [{"id": "c1", "function": {"name": "f", "arguments": {"x": 1}}}],
    [
      {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "input": {"x": 1}},
      }
    ],
  ],
)
def test_calls_of_every_form_keep_id_and_arguments(made):
  [found] = messages.calls(json.dumps(made), "mapping")
  assert found["id"] == "c1"
  assert found["function"] == {"name": "f", "arguments": {"x": 1}}
  assert tool_calls.ids(json.dumps(made)) == ["c1"]


@pytest.mark.parametrize("given", [None, {}, "", "{}"])
def test_calls_without_arguments(given):
  made = json.dumps([{"name": "f", "arguments": given}])
  [found] = messages.calls(made, "mapping")
  assert found["function"]["arguments"] == {}


def test_calls_of_nulls_alone_are_none():
  padded = [{"id": None, "function": {"name": None, "arguments": None}}]
  assert tool_calls.json_list(padded) == ""
  assert tool_calls.of_message({"tool_calls": padded}) == ""


def test_items_that_are_calls_and_results():
  items = [
    {
      "type": "message",
      "role": "user",
      "content": [{"type": "input_text", "text": "q"}],
    },
    {
      "type": "function_call",
      "call_id": "c1",
      "id": "i1",
      "name": "f",
      "arguments": "{}",
    },
    {
      "type": "function_call",
      "call_id": "c2",
      "id": "i2",
      "name": "g",
      "arguments": "{}",
    },
    {"type": "function_call_output", "call_id": "c2", "output": "2"},
    {"type": "function_call_output", "call_id": "c1", "output": {"x": 1}},
    {"type": "function_call", "call_id": "c3", "name": "h", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c3", "output": "3"},
    {
      "type": "message",
      "role": "assistant",
      "content": [{"type": "output_text", "text": "a"}],
    },
  ]
  found = dialogues.read(items, unread.Notes())
  assert [turn.role for turn in found] == [
    *("user", "assistant", "tool", "tool", "assistant", "tool", "assistant")
  ]
  assert [tool_calls.ids(turn.calls) for turn in found if turn.calls] == [
    ["c1", "c2"],
    ["c3"],
  ]
  answered = tool_calls.answered(found)
  assert [c and c["function"]["name"] for c in answered] == [
    *(None, None, "g", "f", None, "h", None)
  ]
  notes = unread.Notes()
  odd = {"role": "user", "content": "q", "tool_response": {"content": "x"}}
  assert dialogues.read([odd], notes) == [records.Turn("user", "q")]
  assert notes.unread == {"messages.tool_response"}
  with pytest.raises(records.Reject, match="type that is not"):
    dialogues.read([{"type": "reasoning", "summary": []}], unread.Notes())


def test_parts_of_columnar_files_are_those_of_json_lines(tmp_path):
  texts = [{"type": "text", "text": "q"}]
  calls = [
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
    {"type": "tool_use", "id": "c2", "name": "g", "input": {"y": "z"}},
  ]
  answers = [
    {"type": "tool_result", "tool_use_id": "c2", "content": "2"},
    {"type": "tool_result", "tool_use_id": "c1", "content": "1"},
  ]
  record = {
    "messages": [
      {"role": "user", "content": texts},
      {"role": "assistant", "content": calls},
      {"role": "user", "content": answers},
      {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
    ]
  }
  parquet.write_table(pa.Table.from_pylist([record]), tmp_path / "x.parquet")
  [padded] = parquet.read_table(tmp_path / "x.parquet").to_pylist()
  assert padded != record
  read = fields.Fields(conversation="messages")
  found = turns.to_turns(padded, read)
  assert found == turns.to_turns(record, read)
  assert json.loads(found[1].calls)[1]["function"]["arguments"] == {"y": "z"}
  assert [turn[:2] for turn in found if turn.role == "tool"] == [
    ("tool", "2"),
    ("tool", "1"),
  ]


def test_ids_are_part_of_what_makes_a_record():
  ask = records.Turn("user", "q")
  made = records.Turn("assistant", "", calls=json.dumps([F, G]))
  one = [records.Turn("tool", "r", call_id=i) for i in ("c1", "c2")]
  several = {
    records.example_id((ask, made, turn, records.Turn("assistant", "a")))
    for turn in (
      *one,
      records.Turn("tool", "r"),
      records.Turn("tool", "r", name="c1"),
    )
  }
  assert len(several) == 4


SEE = {"name": "see", "arguments": {"x": 1}}
SEES = f"[{json.dumps(SEE)}]"


@pytest.mark.parametrize("text", [None, "", "I look."])
@pytest.mark.parametrize(
  "calls",
  [
    *({"function_calls": "see(x=1)"}, {"function_calls": "[see(x=1)]"}),
    *({"function_calls": [SEE]}, {"function_calls": SEES}),
    *({"tool_call": SEE}, {"toolCall": json.dumps(SEE)}),
    *({"tool_calls": [], "function_calls": str([SEE])}, {"tool_calls": [SEE]}),
    {"tool_calls": [SEE], "function_calls": SEES, "tool_call": None},
  ],
)
def test_the_calls_of_a_message_under_any_name(text, calls):
  items = [
    {"role": "user", "content": "q", "function_calls": None},
    {"role": "assistant", "content": text} | calls,
    {"role": "environment", "content": "1"},
    {"role": "assistant", "content": "a", "function_calls": "None"},
  ]
  notes = unread.Notes()
  found = dialogues.read(items, notes)
  assert found[1] == records.Turn("assistant", text or "", calls=SEES)
  assert [t.calls for t in found[2:]] == ["", ""] and not notes.unread
  answered = tool_calls.answered(found)[2]
  assert answered["function"] == {"name": "see", "arguments": {"x": 1}}


@pytest.mark.parametrize("calls", ["look", "see(1)", "see(x=y)", "x = see()"])
def test_calls_that_are_none_are_refused_as_such(calls):
  item = {"role": "assistant", "content": "", "function_calls": calls}
  with pytest.raises(records.Reject, match="tool call is no JSON object"):
    dialogues.read([item], unread.Notes())


def test_a_switch_is_no_call():
  item = {"role": "assistant", "content": "a", "tool_call": True}
  notes = unread.Notes()
  assert dialogues.read([item], notes) == [records.Turn("assistant", "a")]
  assert notes.unread == {"messages.tool_call"}


def with_tools(**beside):
  """Tools of a conversation by the fields of its messages; and what is told."""
  roles = ("system", "user", "assistant", "user", "assistant")
  messages_ = [{"role": role, "content": role} for role in roles]
  for name, held in beside.items():
    role, _, key = name.partition("_")
    place = 3 if role == "later" else roles.index(role)
    messages_[place][key] = held
  record = {"messages": messages_}
  read = fields.resolve(record, fields.Fields())
  notes = unread.Notes()
  turns_ = turns.to_turns(record, read, notes=notes)
  found = [turn.text for turn in turns_ if turn.role == "tools"]
  assert [turn.role for turn in turns_] == ["tools"] * len(found) + [*roles]
  return found, notes.unread


@pytest.mark.parametrize(
  "beside",
  [
    *({"system_tools": [F]}, {"system_functions": json.dumps([F])}),
    *({"user_functions": F}, {"user_tools": [F], "system_tools": [F]}),
  ],
)
def test_tools_in_messages_are_tools(beside):
  [text], told = with_tools(**beside)
  assert json.loads(text) == [F] and not told


def test_tools_of_several_messages_are_one_list():
  [text], told = with_tools(system_tools=[F], user_functions=[G])
  assert json.loads(text) == [F, G] and not told
  found, told = with_tools(later_tools=[F])
  assert not found and told == {"tools of a message after an answer"}
  found, told = with_tools(system_tools="f(x) adds", user_tools="None")
  assert not found and told == {"messages.tools"}


@pytest.mark.parametrize("none", ["None", "null", "[]", "", "{}", None, [None]])
def test_tools_that_are_none(none):
  record = {"tools": none, "messages": [{"user": "q", "assistant": "a"}]}
  read = fields.resolve(record, fields.Fields())
  assert [t.text for t in turns.to_turns(record, read)] == ["q", "a"]
