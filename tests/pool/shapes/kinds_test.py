"""A null or blank field hides no filled one of another name."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.shapes import fields, turns

TOOLS = [{"name": "f"}]
NAN = float("nan")
PAIR = {"question": "q", "response": "r"}
ASKED = ("user", "q")
ANSWERED = ("assistant", "r")


def read(record, notes=None):
  said = turns.to_turns(
    record, fields.resolve(record, fields.Fields()), notes=notes
  )
  return [(turn.role, turn.text) for turn in said]


@pytest.mark.parametrize("blank", [None, "", " \n", [], {}, [None], NAN])
@pytest.mark.parametrize(
  ("empty", "filled", "value", "record", "expected"),
  [
    *(
      (*names, "S", PAIR, [("system", "S"), ASKED, ANSWERED])
      for names in (
        ("system", "system_prompt"),
        ("system_prompt", "system_message"),
        ("System", "system"),
        ("system", "System"),
      )
    ),
    ("input", "inputs", "I", PAIR, [("user", "q\n\nI"), ANSWERED]),
    ("Input", "input", "I", PAIR, [("user", "q\n\nI"), ANSWERED]),
    *(
      (*names, [["a", "b"]], PAIR, [("user", "a"), ("assistant", "b"), ASKED])
      for names in (
        ("history", "chat_history"),
        ("chat_history", "conversation_history"),
      )
    ),
    ("tools", "functions", TOOLS, PAIR, [("tools", '[{"name": "f"}]'), ASKED]),
    (
      *("tools", "functions", TOOLS, {"messages": ["q", "r"]}),
      [("tools", '[{"name": "f"}]'), ASKED, ANSWERED],
    ),
    (
      *("system", "system_prompt", "S", {"messages": ["q", "r"]}),
      [("system", "S"), ASKED, ANSWERED],
    ),
    *(
      (*names, ["x", "y"], {"question": "q", "answer": "B"}, expected)
      for names in (("choices", "options"), ("options", "endings"))
      for expected in ([("user", "q\n\nA. x\nB. y"), ("assistant", "B")],)
    ),
    ("output", "response", "r", {"instruction": "q"}, [ASKED, ANSWERED]),
    ("Prompt", "prompt", "q", {"response": "r"}, [ASKED, ANSWERED]),
  ],
)
def test_the_filled_field_counts(blank, empty, filled, value, record, expected):
  notes = unread.Notes()
  for both in (
    {empty: blank, filled: value, **record},
    {**record, filled: value, empty: blank},
  ):
    assert read(both, notes)[: len(expected)] == expected
  assert not notes.unread


@pytest.mark.parametrize("blank", ["[]", "{}", " [] "])
@pytest.mark.parametrize(
  ("empty", "filled", "value"),
  [
    ("tools", "functions", TOOLS),
    ("history", "chat_history", [["a", "b"]]),
    ("choices", "options", ["r", "y"]),
  ],
)
def test_a_text_that_writes_an_empty_list_is_blank(blank, empty, filled, value):
  assert read({**PAIR, empty: blank, filled: value}) == read(
    {**PAIR, filled: value}
  )


def test_the_other_of_two_filled_ones_is_told():
  notes = unread.Notes()
  said = read({**PAIR, "system": "S", "system_prompt": "T"}, notes)
  assert said[0] == ("system", "S") and notes.unread == {"system_prompt"}


@pytest.mark.parametrize("blank", [None, "", " "])
@pytest.mark.parametrize(
  "messages",
  [
    [{"role": "user", "content": "q"}, {"from": "gpt", "value": "r"}],
    [{"from": "user", "text": "q"}, {"role": "gpt", "content": "r"}],
    [{"input": "q", "output": "r"}],
    [{"question": "q", "answer": "r"}],
    [
      {"role": "user", "content": [{"type": "text", "value": "q"}]},
      {"role": "assistant", "content": [{"type": "text", "text": "r"}]},
    ],
  ],
)
def test_blank_keys_of_messages_hide_nothing(blank, messages):
  pairs = "input" in messages[0] or "question" in messages[0]
  names = ("role", "from", "content", "value", "text", "Content")
  names = ("input", "output", "question", "answer") if pairs else names
  padded = [{**dict.fromkeys(names, blank), **item} for item in messages]
  assert read({"messages": padded}) == [ASKED, ANSWERED]
  parts = messages[0].get("content")
  if isinstance(parts, list):
    parts = [{"text": blank, "value": blank, **part} for part in parts]
    messages = [{"role": "user", "content": parts}, messages[1]]
    assert read({"messages": messages}) == [ASKED, ANSWERED]


def test_blank_keys_of_answers_and_choices_hide_nothing():
  answers = [{"text": None, "content": "r", "answer": ""}]
  assert read({"question": "q", "answers": answers}) == [ASKED, ANSWERED]
  choices = [{"label": None, "key": "A", "text": "", "value": "r"}]
  record = {"question": "q", "choices": choices, "answer": "A"}
  assert read(record)[0] == ("user", "q\n\nA. r")


@pytest.mark.parametrize("words", ["None", "N/A", "nan", "<noinput>", "none."])
@pytest.mark.parametrize(
  "name", ["input", "context", "system", "tools", "history", "choices"]
)
def test_words_for_nothing_beside_a_prompt_are_blank(name, words):
  thought = {"reasoning_content": words}
  record = {**PAIR, **thought, name: words}
  read_as = fields.resolve(record, fields.Fields())
  said = turns.to_turns(record, read_as)
  assert [(turn.role, turn.text) for turn in said] == [ASKED, ANSWERED]
  assert not said[-1].thought


@pytest.mark.parametrize("empty", ["[]", "{}", "[None]"])
def test_a_context_that_writes_an_empty_list_is_blank(empty):
  assert read({**PAIR, "context": empty}) == [ASKED, ANSWERED]


def test_a_filled_field_goes_before_words_for_nothing():
  record = {**PAIR, "system": "None", "system_prompt": "S"}
  assert read(record)[0] == ("system", "S")


def test_a_history_in_words_is_told_and_may_be_named_a_context():
  notes, record = unread.Notes(), {**PAIR, "history": "Diabetes for 10 years."}
  assert read(record, notes) == [ASKED, ANSWERED]
  assert notes.unread == {"history"}
  for history in (record["history"], ["Diabetes", "for 10 years."]):
    record = {**PAIR, "history": history}
    read_as = fields.resolve(record, fields.Fields(context="history"))
    assert not read_as.history
    assert turns.to_turns(record, read_as)[0].text.startswith("q\n\nDiabetes")


@pytest.mark.parametrize("asked", ["prompt", "question", "instruction"])
def test_two_answers_to_a_question_are_no_exchange(asked):
  record = {asked: "q", "human": "one", "gpt": "other"}
  with pytest.raises(records.Reject, match="no known record shape"):
    read(record)
  assert read({**record, asked: ""}) == [
    ("user", "one"),
    ("assistant", "other"),
  ]


@pytest.mark.parametrize("name", ["context", "document", "support", "story"])
@pytest.mark.parametrize("word", ["report_2020.pdf", "high", "ABC-12", ["x_1"]])
def test_one_word_is_no_passage(name, word):
  notes = unread.Notes()
  assert read({**PAIR, name: word}, notes) == [ASKED, ANSWERED]
  assert notes.unread == {name}
  for passage in ("It is high.", "很高", "Paris", "17", ["x1", "y1"]):
    assert read({**PAIR, name: passage})[0] != ASKED
