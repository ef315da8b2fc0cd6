"""Every record shape becomes turns, or a reject with a reason."""

import gzip
import json

import pytest
from pyarrow import parquet

from ila_jax.pool import records, unread
from ila_jax.pool.shapes import fields, turns


def turn_of(turn):
  """Role and text, and the rest only where there is some."""
  rest = (turn.is_learnt, turn.thought, turn.calls)
  return (*turn[:2], *(rest if rest != (True, "", "") else ()))


def read(record, *, notes=None, answers="first", **configured):
  read = fields.resolve(record, fields.Fields(**configured))
  said = turns.to_turns(record, read, answers=answers, notes=notes)
  return [turn_of(turn) for turn in said]


def message(role, content):
  return {"role": role, "content": content}


U, A, S, T = "user", "assistant", "system", "tool"
PAIR = [message(U, "a"), message(A, "b")]

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
    [(U, "a"), (A, "f()"), (T, "1"), (A, "b")],
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
    [("tools", '[{"name": "f"}]'), (S, "s"), (U, "a"), (A, "b")],
  ),
  "langchain": (
    {
      "messages": [
        {"type": "human", "content": "a"},
        {
          "type": "ai",
          "content": "",
          "tool_calls": [{"name": "f", "args": {}, "id": "1"}],
        },
        {"type": "tool", "content": "1", "tool_call_id": "1"},
        {"type": "ai", "content": "b", "additional_kwargs": {}},
      ],
    },
    [
      (U, "a"),
      (A, "", True, "", '[{"name": "f", "args": {}, "id": "1"}]'),
      (T, "1"),
      (A, "b"),
    ],
  ),
  "langchain, stored": (
    {
      "messages": [
        {"type": "system", "data": {"content": "s", "type": "system"}},
        {"type": "human", "data": {"content": "a"}},
        {"type": "ai", "data": {"content": "b"}},
      ],
    },
    [(S, "s"), (U, "a"), (A, "b")],
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
    [(S, ""), (U, "ab"), (A, "c")],
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
    [(U, "a"), (A, "", True, "", '[{"id": 1}]'), (T, "r"), (A, "b")],
  ),
  "a number": ({"question": 12, "answer": 0}, [(U, "12"), (A, "0")]),
  "true": ({"question": "Even?", "answer": True}, [(U, "Even?"), (A, "true")]),
  "a number as input": (
    {"instruction": "Square", "input": 0, "output": 0.5},
    [(U, "Square\n\n0"), (A, "0.5")],
  ),
  "context": (
    {"instruction": "Sum up.", "context": "A passage.", "response": "ok"},
    [(U, "Sum up.\n\nA passage."), (A, "ok")],
  ),
  "passages": (
    {"question": "Who?", "passages": ["One.", "Two."], "answer": "Ada"},
    [(U, "Who?\n\nOne.\n\nTwo."), (A, "Ada")],
  ),
  "a context that the prompt holds": (
    {
      "prompt": "Read: A passage. Who?",
      "context": "A passage.",
      "response": "I",
    },
    [(U, "Read: A passage. Who?"), (A, "I")],
  ),
  "an instruction and a question": (
    {"instruction": "You are a doctor.", "question": "Why?", "answer": "So."},
    [(U, "You are a doctor.\n\nWhy?"), (A, "So.")],
  ),
  "choices by letter": (
    {"question": "2 + 2?", "A": "3", "B": "4", "C": None, "answer": "B"},
    [(U, "2 + 2?\n\nA. 3\nB. 4"), (A, "B")],
  ),
  "choices and an index": (
    {"question": "Meows?", "choices": ["dog", "cat"], "answer": 1},
    [(U, "Meows?\n\nA. dog\nB. cat"), (A, "B")],
  ),
  "choices as texts and labels": (
    {
      "question": "Meows?",
      "choices": {"text": ["dog", "cat"], "label": ["1", "2"]},
      "answerKey": "2",
    },
    [(U, "Meows?\n\n1. dog\n2. cat"), (A, "2")],
  ),
  "options by letter": (
    {
      "question": "Meows?",
      "options": {"A": "dog", "B": "cat"},
      "answer": "cat",
    },
    [(U, "Meows?\n\nA. dog\nB. cat"), (A, "cat")],
  ),
  "choices that the prompt lists": (
    {
      "question": "Meows? A) dog B) cat",
      "choices": ["dog", "cat"],
      "answer": 1,
    },
    [(U, "Meows? A) dog B) cat"), (A, "B")],
  ),
  "one of several answers": (
    {"question": "Who?", "answer": ["Ada Byron", "Augusta"]},
    [(U, "Who?"), (A, "Ada Byron")],
  ),
  "squad": (
    {
      "context": "Ada wrote it.",
      "question": "Who?",
      "answers": {"text": ["Ada"], "answer_start": [0]},
    },
    [(U, "Who?\n\nAda wrote it."), (A, "Ada")],
  ),
  "chosen": (
    {"prompt": "q", "chosen": "good", "rejected": "bad"},
    [(U, "q"), (A, "good")],
  ),
  "chosen after a conversation": (
    {
      "conversations": [
        {"from": "human", "value": "a"},
        {"from": "gpt", "value": "b"},
        {"from": "human", "value": "c"},
      ],
      "chosen": {"from": "gpt", "value": "good"},
      "rejected": {"from": "gpt", "value": "bad"},
    },
    [(U, "a"), (A, "b"), (U, "c"), (A, "good")],
  ),
  "a text chosen after a conversation": (
    {"messages": [message(U, "a")], "chosen": "good", "rejected": "bad"},
    [(U, "a"), (A, "good")],
  ),
  "chosen that repeats the prompt": (
    {
      "prompt": "q",
      "chosen": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "good"},
      ],
      "rejected": [],
    },
    [(U, "q"), (A, "good")],
  ),
  "chosen that repeats the last question": (
    {
      "prompt": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
      ],
      "chosen": [
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "good"},
      ],
    },
    [(U, "a"), (A, "b"), (U, "c"), (A, "good")],
  ),
  "chosen that begins with the prompt": (
    {
      "system": "s",
      "prompt": "a",
      "chosen": [
        {"role": "user", "content": "a "},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
      ],
    },
    [(S, "s"), (U, "a "), (A, "b"), (U, "c"), (A, "d")],
  ),
  "chosen alone": (
    {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a"},
    [(U, "a"), (A, "b")],
  ),
  "a conversation that is answered beside chosen": (
    {"messages": ["a", "b"], "chosen": "c"},
    [(U, "a"), (A, "b")],
  ),
  "kto": (
    {"prompt": "q", "completion": "good", "label": True},
    [(U, "q"), (A, "good")],
  ),
  "legacy call": (
    {
      "functions": [{"name": "move"}],
      "messages": [
        {"role": "user", "content": "Go."},
        {
          "role": "assistant",
          "content": None,
          "function_call": {"name": "move", "arguments": '{"x": null}'},
        },
        {"role": "function", "name": "move", "content": ""},
        {"role": "assistant", "content": "Done."},
      ],
    },
    [
      ("tools", '[{"name": "move"}]'),
      (U, "Go."),
      (A, "", True, "", '[{"name": "move", "arguments": "{\\"x\\": null}"}]'),
      (T, ""),
      (A, "Done."),
    ],
  ),
  "a call in sharegpt": (
    {
      "conversations": [
        {"from": "human", "value": "Go."},
        {"from": "function_call", "value": '{"name": "move"}'},
        {"from": "observation", "value": "ok"},
        {"from": "gpt", "value": "Done."},
      ],
      "tools": '[{"name":  "move"}]',
    },
    [
      ("tools", '[{"name":  "move"}]'),
      (U, "Go."),
      (A, "", True, "", '[{"name": "move"}]'),
      (T, "ok"),
      (A, "Done."),
    ],
  ),
  "tools in words": (
    {"system": "s", "tools": "search(text)", "prompt": "a", "response": "b"},
    [(S, "s\n\nsearch(text)"), (U, "a"), (A, "b")],
  ),
  "thought": (
    {
      "messages": [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4", "reasoning_content": "two, two"},
      ]
    },
    [(U, "2 + 2?"), (A, "4", True, "two, two", "")],
  ),
  "thought beside a response": (
    {"question": "2 + 2?", "reasoning": "two, two", "answer": "4"},
    [(U, "2 + 2?"), (A, "4", True, "two, two", "")],
  ),
  "a late system turn": (
    {
      "messages": [
        {"role": "user", "content": "a"},
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "b"},
      ]
    },
    [(U, "a"), (S, "s"), (A, "b")],
  ),
  "two users and two assistants": (
    {
      "messages": [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "d"},
      ]
    },
    [(U, "a"), (U, "b"), (A, "c"), (A, "d")],
  ),
  "a system field and another turn": (
    {
      "system": "s",
      "messages": [
        {"role": "system", "content": "t"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
      ],
    },
    [(S, "s"), (S, "t"), (U, "a"), (A, "b")],
  ),
  "a system field and the same turn": (
    {
      "system": "s",
      "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
      ],
    },
    [(S, "s"), (U, "a"), (A, "b")],
  ),
  "an empty system text": (
    {"system": "", "prompt": "a", "response": "b"},
    [(S, ""), (U, "a"), (A, "b")],
  ),
  "no system text": (
    {"system": None, "prompt": "a", "response": "b"},
    [(U, "a"), (A, "b")],
  ),
  "parts with values": (
    {
      "messages": [
        {"role": "user", "content": [{"type": "text", "value": "a"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
      ]
    },
    [(U, "a"), (A, "b")],
  ),
  "gemini": (
    {
      "systemInstruction": {"parts": [{"text": "s"}]},
      "contents": [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}]},
      ],
    },
    [(S, "s"), (U, "ab"), (A, "c")],
  ),
  "messages in a string": (
    {"messages": json.dumps(["a", "b"])},
    [(U, "a"), (A, "b")],
  ),
  "pairs of role and text": (
    {"conversation": [["human", "a"], ["gpt", "b"]]},
    [(U, "a"), (A, "b")],
  ),
  "pairs of texts": (
    {"conversation": [["a", "b"], ["c", "d"]]},
    [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "pairs by name": (
    {
      "conversation": [
        {"system": "s", "human": "a", "assistant": "b"},
        {"human": "c", "assistant": "d"},
      ]
    },
    [(S, "s"), (U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "numbered turns": (
    {"turn_1": "a", "turn_2": "b", "turn_10": "d", "turn_9": "c"},
    [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "instances": (
    {"instruction": "a", "instances": [{"input": "b", "output": "c"}]},
    [(U, "a\n\nb"), (A, "c")],
  ),
  "keys in capitals": (
    {"messages": [{"Role": "User", "Content": "a"}, {"User": "b", "Bot": "c"}]},
    [(U, "a"), (U, "b"), (A, "c")],
  ),
  "tools as texts": (
    {"tools": ['{"name": "f"}', '{"name": "g"}'], "messages": ["a", "b"]},
    [("tools", '[{"name": "f"}, {"name": "g"}]'), (U, "a"), (A, "b")],
  ),
  "keys of two kinds, one null": (
    {
      "messages": [
        {"from": None, "value": None, "role": "user", "content": "a"},
        {"from": "gpt", "value": "b", "role": None, "content": None},
      ]
    },
    [(U, "a"), (A, "b")],
  ),
}

SHAPES |= {
  "a conversation in an object": (
    {"conversation": {"messages": [message(U, "a"), message(A, "b")]}},
    [(U, "a"), (A, "b")],
  ),
  "a conversation that quotes a transcript": (
    {
      "messages": json.dumps(
        [message(U, "USER: x ASSISTANT: y"), message(A, "b")]
      )
    },
    [(U, "USER: x ASSISTANT: y"), (A, "b")],
  ),
  "pairs of role and text with a system text": (
    {"conversation": [["system", "s"], ["Human", "a"], ["AI", ["b", "c"]]]},
    [(S, "s"), (U, "a"), (A, "b\n\nc")],
  ),
  "texts that begin with their roles": (
    {"conversation": ["System: s", "Human: a", "AI: b"]},
    [(S, "s"), (U, "a"), (A, "b")],
  ),
  "texts of which some begin like roles": (
    {"conversation": ["User: what is it?", "A word."]},
    [(U, "User: what is it?"), (A, "A word.")],
  ),
  "history of messages": (
    {
      "question": "c",
      "answer": "d",
      "chat_history": [message(S, "s"), message(U, "a"), message(A, "b")],
    },
    [(S, "s"), (U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "history of pairs of role and text": (
    {
      "instruction": "c",
      "output": "d",
      "history": [["human", "a"], ["gpt", "b"]],
    },
    [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "history as JSON": (
    {"instruction": "c", "output": "d", "history": '[["a", "b"]]'},
    [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "history as a transcript": (
    {"query": "c", "response": "d", "history": "USER: a\nASSISTANT: b"},
    [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "a conversation in a list of one": (
    {"messages": [PAIR], "prompt": None},
    [(U, "a"), (A, "b")],
  ),
  "a prompt that is one message": (
    {"prompt": PAIR[0], "response": PAIR[1]},
    [(U, "a"), (A, "b")],
  ),
  "a prompt that holds messages": (
    {"prompt": {"messages": [PAIR[0]]}, "response": "b"},
    [(U, "a"), (A, "b")],
  ),
  "answers that are messages": (
    {"prompt": "a", "responses": [message(A, "b"), message(A, "longer")]},
    [(U, "a"), (A, "b")],
  ),
  "an answer in several messages": (
    {"prompt": "a", "completion": [message(A, "b"), message(A, "c")]},
    [(U, "a"), (A, "b"), (A, "c")],
  ),
  "preferred output": (
    {
      "input": {"messages": [message(S, "s"), message(U, "a")], "tools": None},
      "preferred_output": [message(A, "b")],
      "non_preferred_output": [message(A, "c")],
    },
    [(S, "s"), (U, "a"), (A, "b")],
  ),
  "ultrafeedback": (
    {
      "instruction": "a",
      "completions": [
        {"model": "m", "response": "b", "overall_score": 7.0},
        {"model": "n", "response": "better", "overall_score": 8.0},
      ],
    },
    [(U, "a"), (A, "better")],
  ),
  "messages as prompt and completion with a system text": (
    {
      "system": "s",
      "prompt": [message(U, "a"), message(A, "b"), message(U, "c")],
      "completion": [message(A, "d")],
    },
    [(S, "s"), (U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
  "a system field of several texts": (
    {"system": ["s", "t"], "messages": ["a", "b"]},
    [(S, "s\n\nt"), (U, "a"), (A, "b")],
  ),
  "two system turns": (
    {"messages": [message(S, "s"), message(S, "t"), *PAIR]},
    [(S, "s"), (S, "t"), (U, "a"), (A, "b")],
  ),
  "a system field that a late turn repeats": (
    {"system": "s", "messages": [message(U, "a"), message(S, "s"), PAIR[1]]},
    [(S, "s"), (U, "a"), (S, "s"), (A, "b")],
  ),
  "a conversation that ends with a tool": (
    {"messages": [*PAIR, message(T, "r")]},
    [(U, "a"), (A, "b")],
  ),
  "an answer of parts with a thought": (
    {
      "messages": [
        PAIR[0],
        message(
          A,
          [
            {"type": "thinking", "thinking": "so"},
            {"type": "text", "text": "b"},
          ],
        ),
      ]
    },
    [(U, "a"), (A, "b", True, "so", "")],
  ),
  "request and response in a list": (
    {"data": [{"request": "a", "response": "b"}, {"User": "c", "Agent": "d"}]},
    [(U, "a"), (A, "b"), (U, "c"), (A, "d")],
  ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
  record, expected = SHAPES[name]
  assert read(record) == expected


@pytest.mark.parametrize(
  "text",
  [
    *("<noinput>", "No Input", "No input.", '"<noinput>"', "< no_input >"),
    *("No input required.", "no input needed", "<none>", "None", "N/A"),
    *("<noinputs>", "Not applicable.", None, "", [], {}, [""], ["<noinput>"]),
  ],
)
def test_no_input_is_no_input(text):
  record = {"instruction": "Hi", "input": text, "output": "hello"}
  assert read(record) == [(U, "Hi"), (A, "hello")]


@pytest.mark.parametrize(
  "text",
  [
    *("no", "input", "no input was given at all", "Na", "None of them", "<br>"),
    *("null", ["a text"], 0),
  ],
)
def test_input_is_kept(text):
  record = {"instruction": "Hi", "input": text, "output": "hello"}
  text = "a text" if text == ["a text"] else text
  assert read(record)[0] == (U, f"Hi\n\n{text}")


@pytest.mark.parametrize(
  "text",
  [
    *("<nooutput>", "<noinput>", "< No output >.", "<no_output>", "nooutput"),
    "<No Output - this is a visual task.>",
  ],
)
def test_a_placeholder_is_no_answer(text):
  with pytest.raises(records.Reject, match="empty response") as caught:
    read({"instruction": "a", "output": text})
  assert caught.value.detail == f"assistant turn 1: {text}"


@pytest.mark.parametrize(
  "text", ["None", "N/A", "No output", "no input", "<br>", "<not output>", "No"]
)
def test_what_may_be_an_answer_is_one(text):
  assert read({"instruction": "a", "output": text})[-1] == (A, text)


@pytest.mark.parametrize(
  ("record", "reason"),
  [
    ({"prompt": "a", "response": ""}, "empty response"),
    ({"prompt": "a", "response": None}, "empty response"),
    ({"prompt": "a", "response": " \n"}, "empty response"),
    ({"prompt": "a", "response": float("inf")}, "response is not text"),
    ({"prompt": "a", "response": {"x": "b"}}, "response is not text"),
    ({"prompt": ["a", "b"], "response": "c"}, "prompt is a list of texts"),
    ({"inputs": [1, 2, 3], "targets": [4]}, "prompt is a list of numbers"),
    ({"question": "a", "choices": ["b"], "answer": 3}, "none of the choices"),
    ({"question": "a", "choices": ["b"], "answer": "2"}, "none of the choices"),
    ({"question": "a", "answers": [{"x": "b"}]}, "response is not text"),
    ({"question": "a", "choices": "b or c", "answer": "b"}, "no list of texts"),
    (
      {"question": "a", "context": [["b"]], "answer": "b"},
      "context is not text",
    ),
    ({"prompt": "a", "completion": "b", "label": False}, "no answer is learnt"),
    ({"prompt": "a", "completion": "b", "weight": 0}, "no answer is learnt"),
    (
      {
        "prompt": "a",
        "chosen": [message("user", "other"), message("assistant", "b")],
      },
      "response answers another prompt",
    ),
    ({"messages": "[1"}, "conversation is not a list"),
    (
      {"messages": ["a", message("assistant", "b")]},
      "mixes texts and messages",
    ),
    ({"messages": [{"content": "a"}]}, "message has no role"),
    (
      {"messages": {"from": ["human", "gpt"], "value": ["a"]}},
      "columns of a conversation differ in length",
    ),
    (
      {
        "messages": [
          message("user", "a"),
          message("assistant", "b") | {"train_detail": [{"begin_offset": 0}]},
        ]
      },
      "parts of an answer have weights",
    ),
    (
      {
        "messages": [
          message("user", "a"),
          message("assistant", "b") | {"weight": "x"},
        ]
      },
      "weight is no number",
    ),
    (
      {
        "messages": [
          message("user", "a"),
          message("assistant", "b") | {"tool_calls": ["f()"]},
        ]
      },
      "tool call is no JSON object",
    ),
    ({"prompt": "", "response": "b"}, "empty prompt"),
    ({"prompt": {"x": 1}, "response": "b"}, "prompt is not text"),
    ({"instruction": "a", "input": [1], "output": "b"}, "input is not text"),
    ({"prompt": "a", "response": "b", "history": ["c"]}, "history is not"),
    ({"prompt": "a", "response": "b", "history": [["", "d"]]}, "empty prompt"),
    ({"messages": []}, "no response"),
    ({"messages": None}, "conversation is not a list"),
    ({"messages": "hello"}, "conversation is not a list"),
    ({"messages": [message("user", "a")]}, "no response"),
    ({"messages": [message("assistant", "a")]}, "no prompt before"),
    (
      {"messages": [message("system", ""), message("assistant", "a")]},
      "no prompt before",
    ),
    (
      {"tools": [{"name": "f"}], "messages": [message("assistant", "a")]},
      "no prompt before",
    ),
    ({"messages": [message("narrator", "a")]}, "unknown role"),
    ({"messages": [message(None, "a")]}, "unknown role"),
    ({"messages": [[1]]}, "message is neither"),
    ({"messages": [["human", "a", "x"]]}, "message is neither"),
    ({"messages": ["User: a", "Narrator: x", "AI: b"]}, "unknown role"),
    ({"messages": [None, message("user", "a")]}, "message is neither"),
    ({"messages": [["human", "a"], ["narrator", "b"]]}, "unknown role"),
    ({"messages": [message("user", "a"), {"role": "assistant"}]}, "no content"),
    (
      {"prompt": "a", "response": "b", "history": [["human", "c"], ["x", "d"]]},
      "unknown role",
    ),
    (
      {"messages": [message("assistant", "a"), message("user", "b")]},
      "no prompt before",
    ),
    (
      {
        "prompt": "<|user|>\na\n<|narrator|>\nb\n<|assistant|>",
        "response": "c",
      },
      "unknown role",
    ),
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


@pytest.mark.parametrize(
  ("weight", "learnt"),
  [
    ({"weight": 0}, False),
    ({"weight": 1}, True),
    ({"weight": None}, True),
    ({"weight": ""}, True),
    ({"weight": 0, "Weight": None}, False),
    ({"weight": "0.0"}, False),
    ({"train": "1.0"}, True),
    ({"weight": "0"}, False),
    ({"loss_weight": 0.0}, False),
    ({"train": False}, False),
    ({"train": True}, True),
    ({"training": "false"}, False),
    ({"loss": False}, False),
    ({"mask": True}, False),
    ({"mask": False}, True),
    ({"label": False}, False),
    ({"label": "a class"}, True),
    ({"weight": 1, "train": False}, False),
    ({"weight": 0, "train": True}, False),
  ],
)
def test_an_answer_that_is_not_learnt(weight, learnt):
  said = read(
    {
      "messages": [
        message("user", "a"),
        message("assistant", "b") | weight,
        # What stands beside a question says nothing of the answers.
        message("user", "c") | {"weight": 0},
        message("assistant", "d"),
      ]
    }
  )
  expected = (A, "b") if learnt else (A, "b", False, "", "")
  assert said == [(U, "a"), expected, (U, "c"), (A, "d")]


def test_the_rule_for_several_answers():
  record = {"question": "Who?", "answers": ["", "Ada", "Ada Byron"]}
  assert read(record)[-1] == (A, "Ada")
  assert read(record, answers="longest")[-1] == (A, "Ada Byron")
  objects = record | {"answers": [{"text": "Ada"}, {"text": "Ada Byron"}]}
  assert read(objects, answers="longest")[-1] == (A, "Ada Byron")
  with pytest.raises(records.Reject, match="several answers"):
    read(objects, answers="reject")
  with pytest.raises(records.Reject, match="several answers"):
    read(record, answers="reject")
  assert (
    read(record | {"answers": ["", "Ada"]}, answers="reject")[-1][1] == "Ada"
  )


UNREAD = {
  "a text field": (
    {"prompt": "a", "response": "b", "hint": "c", "id": "d", "n": 3},
    {"hint", "n"},
  ),
  "an empty one": ({"prompt": "a", "response": "b", "hint": " "}, set()),
  "text within": (
    {"prompt": "a", "response": "b", "facts": {"x": [1, "c"]}},
    {"facts"},
  ),
  "rejected": ({"prompt": "a", "chosen": "b", "rejected": "c"}, {"rejected"}),
  "chosen beside an answer": (
    {"messages": ["a", "b"], "chosen": "c"},
    {"chosen"},
  ),
  "other answers": (
    {"question": "a", "answer": ["b", "c"]},
    {"all of `answer` but one"},
  ),
  "other instances": (
    {"instruction": "a", "instances": [{"output": "b"}, {"output": "c"}]},
    {"all of `instances` but one"},
  ),
  "other completions": (
    {
      "instruction": "a",
      "completions": [
        {"response": "b", "critique": "c", "overall_score": 1, "model": "m"},
        {"response": "d"},
      ],
    },
    {
      "all of `completions` but one",
      *("completions.critique", "completions.overall_score"),
      "completions.model",
    },
  ),
  "in messages": (
    {
      "messages": [
        {"role": "user", "content": "a", "hint": "c", "name": "bob"},
        {"role": "assistant", "content": "b", "refusal": None},
      ]
    },
    {"messages.hint", "messages.name"},
  ),
  "what follows the last answer": (
    {"messages": ["a", "b", "c"]},
    {"turns after the last answer"},
  ),
  "a weight between": (
    {"messages": [{"user": "a", "assistant": "b", "weight": 0.5}]},
    {"weight other than 0 and 1"},
  ),
  "a weight of the whole record": (
    {"prompt": "a", "response": "b", "weight": 3},
    {"`weight` of the whole record"},
  ),
  "a mask of the record": (
    {"messages": ["a", "b"], "mask": False},
    {"`mask` of the whole record"},
  ),
  "a class": (
    {"prompt": "a", "response": "b", "label": 3},
    {"label"},
  ),
  "a switch of thoughts": (
    {"input": [message("user", "a")], "output": "b", "reasoning": "off"},
    {"reasoning"},
  ),
  "a level beside messages": (
    {"messages": [PAIR[0] | {"thinking": "high"}, PAIR[1]]},
    {"messages.thinking"},
  ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_nobody_reads_is_noted(name):
  record, expected = UNREAD[name]
  notes = unread.Notes()
  read(record, notes=notes)
  assert notes.unread == expected


def test_a_reject_names_the_turn():
  said = [message("user", "a"), message("narrator", "b")]
  with pytest.raises(records.Reject) as caught:
    read({"messages": said})
  assert caught.value.detail == "turn 2 of 2: 'narrator'"
  said = [*"ab", " ", "d"]
  with pytest.raises(records.Reject) as caught:
    read({"messages": said})
  assert caught.value.detail == "user turn 2"
  tools = [{"name": "f"}]
  for record, where in (
    (
      {
        "messages": [*PAIR[:1], message(A, ""), *PAIR],
        "system": "s",
        "tools": tools,
      },
      "assistant turn 1",
    ),
    ({"messages": [["a", "b"], ["c", ""]], "system": "s"}, "assistant turn 2"),
    ({"messages": [PAIR[1], *PAIR], "tools": tools}, "assistant turn 1"),
  ):
    with pytest.raises(records.Reject) as caught:
      read(record)
    assert caught.value.detail == where


def test_real_tool_conversations_keep_every_turn(shared):
  path = shared / "data" / "glaive_toolcall_300.jsonl.gz"
  with gzip.open(path, "rt", encoding="utf-8") as lines:
    real = [json.loads(line) for line in lines]
  assert len(real) == 300
  for record in real:
    read_as = fields.resolve(record, fields.Fields())
    head, *said = turns.to_turns(record, read_as)
    if head.role == "tools":
      assert head.text == record["tools"]
    else:
      said.insert(0, head)
      assert record["tools"] == "[]"
    expected = [turn["value"] for turn in record["conversations"]]
    # A call is a list of calls, of one here.
    assert [turn.text or turn.calls[1:-1] for turn in said] == expected
    assert not any(turn.role == "system" for turn in said)


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("w/openai_weight", [True, False, True, True]),
    ("w/axolotl_train", [True, False, True, True]),
  ],
)
def test_real_weights(shared, name, expected):
  lines = (shared / f"cases/in/{name}.jsonl").read_text().splitlines()
  assert len(lines) == 60
  for record in map(json.loads, lines):
    read_as = fields.resolve(record, fields.Fields())
    said = turns.to_turns(record, read_as)
    assert [turn.is_learnt for turn in said] == expected


def test_calls_of_columnar_files_are_those_of_json_lines(shared):
  folder = shared / "cases/in/tools"
  rows = parquet.read_table(folder / "calls.parquet").to_pylist()
  lines = (folder / "calls.jsonl").read_text().splitlines()
  made = []
  for record in (*rows, *map(json.loads, lines)):
    said = turns.to_turns(record, fields.Fields(conversation="messages"))
    assert [turn.role for turn in said] == [U, A, T, A]
    made.append(said[1].calls)
  assert "null" not in "".join(made)
  assert made[:60] == made[60:]


@pytest.mark.parametrize(
  "verdict",
  [
    {"label": "False"},
    {"Label": False},
    {"kto_tag": "false"},
    {"train": 0},
    {"weight": "0"},
    {"train": "no"},
    {"weight": "0.0"},
    {"Should_Train": "0"},
    {"ignore_loss": "1.0"},
  ],
)
def test_a_record_that_is_not_to_be_learnt_says_so_in_many_ways(verdict):
  record = {"prompt": "q", "response": "a"} | verdict
  with pytest.raises(records.Reject, match="no answer is learnt"):
    read(record)


def test_an_index_may_be_a_whole_float():
  record = {"question": "q", "choices": ["x", "y"], "answer": 1.0}
  assert read(record)[-1][:2] == ("assistant", "B")


def test_weights_are_known_in_any_spelling_and_switches_are_told():
  talk = [message("user", "q"), message("assistant", "a") | {"lossWeight": 0}]
  with pytest.raises(records.Reject, match="no answer is learnt"):
    read({"messages": talk})
  notes = unread.Notes()
  talk[1] = message("assistant", "a") | {"shown": False}
  read({"messages": talk, "train_on": [False], "k": 3}, notes=notes)
  assert notes.unread == {"messages.shown", "train_on", "k"}


@pytest.mark.parametrize("name", ["reasoning", "thinking"])
@pytest.mark.parametrize(
  ("value", "thought"),
  [
    *((flag, "") for flag in ("off", "high", "enabled", "commonsense", "o1")),
    *((said, said) for said in ("I add.", "1+1=2", "我先加一加")),
  ],
)
def test_one_word_of_reasoning_is_no_thought(name, value, thought):
  record = {"question": "a", "answer": "b", name: value}
  inside = [message("user", "a"), message("assistant", "b") | {name: value}]
  for found in (record, {"messages": inside}):
    notes = unread.Notes()
    last = turns.to_turns(found, fields.detect(found), notes=notes)[-1]
    assert (last.text, last.thought) == ("b", thought)
    assert bool(notes.unread) != bool(thought)


@pytest.mark.parametrize("thought", ["RR", "I see.\nIt is </think> here."])
@pytest.mark.parametrize(
  "form",
  ["<think>\n{}\n</think>\n\nb", "<think>{}</think>b", "{}\n</think>\nb"],
)
def test_a_thought_that_stands_twice_is_scored_once(thought, form):
  text = form.format(thought)
  beside = {"reasoning_content": f"{thought}\n"}
  parts = [{"type": "thinking", "thinking": thought}, {"type": "text"}]
  parts[1]["text"] = "b"
  ask = message("user", "a")
  for record in (
    {"question": "a", "answer": text, **beside},
    {"messages": [ask, message("assistant", text) | beside]},
    {"messages": [ask, message("assistant", parts) | beside]},
  ):
    last = turns.to_turns(record, fields.detect(record))[-1]
    assert (last.text, last.thought.strip()) == ("b", thought)
  other = [ask, message("assistant", "<think>no</think>b") | beside]
  for said in (other, [ask, message("assistant", parts) | {"thought": "no"}]):
    with pytest.raises(records.Reject, match="two thoughts"):
      turns.to_turns({"messages": said}, fields.Fields(conversation="messages"))


def test_a_text_that_names_the_end_of_thoughts_keeps_it():
  beside = {"reasoning_content": "I see."}
  record = {"question": "a", "answer": "Write </think> then.", **beside}
  assert read(record)[-1][:2] == (A, "Write </think> then.")


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_empty_system_turn_beside_a_system_text_goes(blank):
  said = [message(S, blank), *PAIR]
  assert read({"messages": said, "system": "s"}) == [
    (S, "s"),
    (U, "a"),
    (A, "b"),
  ]
  both = {"messages": [message(S, "t"), *PAIR], "system": "s"}
  assert read(both)[:2] == [(S, "s"), (S, "t")]
