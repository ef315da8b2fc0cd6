"""Which fields of a record are read, by their names and by a mapping."""

import pytest

from ila_jax import errors
from ila_jax.pool import records, unread
from ila_jax.pool.conversations import beside
from ila_jax.pool.shapes import fields


@pytest.mark.parametrize(
  ("record", "expected"),
  [
    (
      {"instruction": 0, "input": 0, "output": 0},
      {"prompt": "instruction", "input": "input", "response": "output"},
    ),
    (
      {"instruction": 0, "response": 0},
      {"prompt": "instruction", "response": "response"},
    ),
    (
      {"prompt": 0, "completion": 0},
      {"prompt": "prompt", "response": "completion"},
    ),
    (
      {"question": 0, "answer": 0},
      {"prompt": "question", "response": "answer"},
    ),
    (
      {"system_prompt": 0, "question": 0, "response": 0},
      {"prompt": "question", "response": "response", "system": "system_prompt"},
    ),
    (
      {"question": "q", "solution": "because ... 4", "answer": "4"},
      {"prompt": "question", "response": "solution"},
    ),
    (
      {"definition": "d", "inputs": "i", "targets": "t"},
      {"prompt": "definition", "input": "inputs", "response": "targets"},
    ),
    (
      {"instruction": "d", "inputs": "i", "output": "t"},
      {"prompt": "instruction", "input": "inputs", "response": "output"},
    ),
    (
      {"dialogue": "#Person1#: Hi", "summary": "s", "topic": "t"},
      {"prompt": "dialogue", "response": "summary"},
    ),
    # A conversation in a list, and a note on it.
    (
      {"dialogue": ["Hi", "Hello"], "summary": "s"},
      {"conversation": "dialogue"},
    ),
    (
      {"task_id": 1, "text": "t", "code": "c", "test_list": ["assert f()"]},
      {"prompt": "text", "response": "code"},
    ),
    # A language, and no program.
    (
      {"text": "t", "code": "en", "prompt": "p", "response": "r"},
      {"prompt": "prompt", "response": "response"},
    ),
    (
      {"role_1": "Physicist", "message_1": "q", "message_2": "a"},
      {"conversation": "message_1, message_2"},
    ),
    ({"messages": 0, "id": 0}, {"conversation": "messages"}),
    (
      {"conversations": 0, "tools": 0},
      {"conversation": "conversations", "tools": "tools"},
    ),
    (
      {"instruction": 0, "output": 0, "history": 0},
      {"prompt": "instruction", "response": "output", "history": "history"},
    ),
    (
      {"Question": "q", "Response": "r", "ID": 1},
      {"prompt": "Question", "response": "Response"},
    ),
    (
      {"instruction": "i", "context": "c", "response": "r"},
      {"prompt": "instruction", "context": "context", "response": "response"},
    ),
    (
      {"prompt": "p", "input": "i", "response": "r"},
      {"prompt": "prompt", "input": "input", "response": "response"},
    ),
    (
      {"question": "q", "A": "a", "B": "b", "answer": "A"},
      {"prompt": "question", "choices": "A, B", "response": "answer"},
    ),
    (
      {"question": "q", "choices": {"text": []}, "answerKey": "A"},
      {"prompt": "question", "choices": "choices", "response": "answerKey"},
    ),
    (
      {"question": "q", "opa": "a", "opb": "b", "cop": 0, "exp": "x"},
      {"prompt": "question", "choices": "opa, opb", "response": "cop"},
    ),
    (
      {"ctx_a": "c", "ctx": "c", "endings": ["a", "b"], "label": "1"},
      {"prompt": "ctx", "choices": "endings", "response": "label"},
    ),
    (
      {"sentence": "s", "option1": "a", "option2": "b", "answer": "1"},
      {
        "prompt": "sentence",
        "choices": "option1, option2",
        "response": "answer",
      },
    ),
    (
      {"inputs": "a", "targets": "b"},
      {"prompt": "inputs", "response": "targets"},
    ),
    (
      {"problem": "a", "solution": "b", "answer": "c"},
      {"prompt": "problem", "response": "solution"},
    ),
    (
      {"user": "a", "assistant": "b"},
      {"prompt": "user", "response": "assistant"},
    ),
    (
      {"human": "a", "assistant": "b"},
      {"prompt": "human", "response": "assistant"},
    ),
    ({"user": "a", "bot": "b"}, {"prompt": "user", "response": "bot"}),
    ({"turn_2": "b", "turn_1": "a"}, {"conversation": "turn_1, turn_2"}),
    ({"data": ["a", "b"]}, {"conversation": "data"}),
    ({"contents": [{"role": "user"}]}, {"conversation": "contents"}),
    (
      {"chosen": [{"role": "user"}], "rejected": []},
      {"conversation": "chosen"},
    ),
    ({"text": "### Human: a### Assistant: b"}, {"conversation": "text"}),
    (
      {"prompt": "p", "chosen": "c", "rejected": "r"},
      {"prompt": "prompt", "response": "chosen"},
    ),
    (
      {"conversations": [{"from": "human"}], "chosen": {"from": "gpt"}},
      {"conversation": "conversations", "response": "chosen"},
    ),
    (
      {"instruction": "i", "instances": [{"output": "o"}]},
      {
        "prompt": "instruction",
        "input": "instances.0.input",
        "response": "instances.0.output",
      },
    ),
    # Of two shapes, that which is filled.
    (
      {"messages": None, "instruction": "i", "output": "o"},
      {"prompt": "instruction", "response": "output"},
    ),
    (
      {"messages": [], "prompt": None, "question": "i", "answer": "o"},
      {"prompt": "question", "response": "answer"},
    ),
    (
      {"instruction": "", "output": "", "messages": [{"role": "user"}]},
      {"conversation": "messages"},
    ),
    (
      {"conversation": "a note", "question": "q", "answer": "a"},
      {"prompt": "question", "response": "answer"},
    ),
    ({"messages": '[{"role": "user"}]'}, {"conversation": "messages"}),
    # Preference data of OpenAI.
    (
      {
        "input": {"messages": [{"role": "user"}], "tools": []},
        "preferred_output": [{"role": "assistant"}],
        "non_preferred_output": [{"role": "assistant"}],
      },
      {
        "conversation": "input.messages",
        "response": "preferred_output",
        "tools": "input.tools",
      },
    ),
    (
      {"instruction": "i", "completions": [{"response": "r"}]},
      {"prompt": "instruction", "response": "completions"},
    ),
    (
      {"question": "q", "answer": "a", "chat_history": [{"role": "user"}]},
      {"prompt": "question", "response": "answer", "history": "chat_history"},
    ),
    ({"post": "p", "summary": "s"}, {"prompt": "post", "response": "summary"}),
    (
      {"article": "p", "highlights": "s", "id": "1"},
      {"prompt": "article", "response": "highlights"},
    ),
    (
      {"instruction": "i", "document": "d", "summary": "s"},
      {"prompt": "instruction", "context": "document", "response": "summary"},
    ),
    (
      {"request": "p", "response": "s"},
      {"prompt": "request", "response": "response"},
    ),
    (
      {"user_message": "p", "assistant_message": "s"},
      {"prompt": "user_message", "response": "assistant_message"},
    ),
    (
      {"human_message": "p", "ai_message": "s"},
      {"prompt": "human_message", "response": "ai_message"},
    ),
    # A transcript, and what stands beside it.
    (
      {"chat": "USER: a ASSISTANT: b", "system": "s", "tools": []},
      {"conversation": "chat", "system": "system", "tools": "tools"},
    ),
    (
      {"Text": "USER: a ASSISTANT:", "Response": "b", "System": ""},
      {"conversation": "Text", "response": "Response", "system": "System"},
    ),
    (
      {"chosen": "USER: a ASSISTANT: b", "rejected": "USER: a ASSISTANT: c"},
      {"conversation": "chosen"},
    ),
    # An answer beside an output is the output's summary: dolly, commonsense.
    (
      {"instruction": 0, "answer": 0, "output": 0},
      {"prompt": "instruction", "response": "output"},
    ),
  ],
)
def test_detect(record, expected):
  assert fields.detect(record) == fields.Fields(**expected)


@pytest.mark.parametrize(
  "gold",
  [
    {"answer": "4"},
    {"solution": "It is 4.", "answer": "4"},
    {"output": "4"},
    {"response": ["4", "four"]},
    {"completion": "4", "response": "4"},
    {"question": "2 + 2?", "response": "4"},
  ],
)
@pytest.mark.parametrize("prompt", ["instruction", "prompt", "question"])
@pytest.mark.parametrize("end", ["", "_response"])
def test_what_is_chosen_goes_before_a_gold_answer(prompt, gold, end):
  both = {f"chosen{end}": "It is 4, for ...", f"rejected{end}": "5 ..."}
  record = {prompt: "2 + 2?"} | gold
  assert fields.detect(record | both).response == f"chosen{end}"
  # Without what is rejected, and as marks, they may be anything.
  alone = fields.detect(record).response
  assert alone in gold
  for marks in (f"chosen{end}", True), ("rejected", 0):
    assert fields.detect(record | dict([marks])).response == alone
  flags = dict.fromkeys(both, 1)
  assert fields.detect(record | flags).response == alone
  assert fields.detect(record | dict.fromkeys(both, "")).response == alone


@pytest.mark.parametrize(
  "record",
  [
    {},
    {"instruction": "x"},
    {"output": "x"},
    {"text": "x"},
    {"text": "x", "code": "en"},
    # Questions alone, in a list: no answer is among them.
    {"turns": ["Name a fruit.", "And another?"]},
    {"instruction": "x", "input": "y"},
    {"turn_1": "x"},
    {"ctx": "x", "label": 1},
    {"question": "x", "label": 1},
    {"post": "x", "output": "y"},
    {"text": "The USER: field", "summary": "x"},
  ],
)
def test_detect_unknown(record):
  assert fields.detect(record) is None
  with pytest.raises(records.Reject, match="no known record shape"):
    fields.resolve(record, fields.Fields())


def test_resolve_keeps_what_is_detected_beside_a_configured_response():
  record = {"instruction": "i", "input": "j", "output": "o", "answer": "a"}
  read = fields.resolve(record, fields.Fields(response="answer"))
  assert read == fields.Fields("instruction", "input", response="answer")


def test_resolve_configured_prompt_replaces_input_and_conversation():
  record = {"instruction": "i", "input": "j", "output": "o", "text": "t"}
  read = fields.resolve(record, fields.Fields(prompt="text"))
  assert read == fields.Fields(prompt="text", response="output")
  record = {"messages": [], "a": "x", "b": "y"}
  configured = fields.Fields(prompt="a", response="b")
  assert fields.resolve(record, configured) == configured
  record = {"prompt": "x", "response": "y", "talk": []}
  configured = fields.Fields(conversation="talk")
  assert fields.resolve(record, configured) == configured


def test_check_names_names_the_wrong_key():
  with pytest.raises(errors.InputError, match=r"config\.x has the key 'promt'"):
    fields.check_names({"promt": "a"}, where="config.x")


def test_left_are_the_fields_that_nobody_reads():
  record = dict.fromkeys(("question", "label", "hint", "prompt_id", "URL"), "x")
  read = fields.Fields(prompt="question", labels="label.ability")
  assert beside.left(beside.holders(record, read)[0]) == ("hint",)


def test_names_that_may_hold_a_text_are_told():
  record = {"prompt": 0, "response": 0, "id": 0, "metadata": 0}
  record |= {"object": 0, "info": 0, "author": 0, "source": 0, "score": 0}
  record |= {"Unnamed: 0": 0, "created_at": 0, "n_tokens": 0, "license": 0}
  read = fields.Fields(prompt="prompt", response="response")
  names = ("metadata", "object", "info", "author", "source", "score")
  assert beside.left(beside.holders(record, read)[0]) == names


@pytest.mark.parametrize(
  ("value", "is_told"),
  [
    ("text", True),
    ({"note": {"of": ["text"]}}, True),
    (0, True),
    ([0.5], True),
    (False, True),
    ({"id": "x", "url": "y", "inside": [{"language": "en"}]}, False),
    ({"note": " ", "score": None}, False),
    (" ", False),
    ([None, ""], False),
  ],
)
def test_what_nobody_reads_is_told_where_it_holds_something(value, is_told):
  notes = unread.Notes()
  notes.leave({"metadata": value}, ["metadata"])
  assert bool(notes.unread) == is_told


@pytest.mark.parametrize("blank", [" ", "\n", "", None, [], [" "], {}])
def test_what_is_blank_makes_no_shape(blank):
  record = {"instruction": "i", "output": blank, "response": "r"}
  read = fields.detect(record)
  assert (read.prompt, read.response) == ("instruction", "response")
  record = {"messages": blank, "question": "q", "answer": "a"}
  assert fields.detect(record).prompt == "question"
