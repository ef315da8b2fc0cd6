"""What stands beside a field that a path names is read, or told."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import beside
from ila_jax.pool.shapes import fields, turns

U, A, S = "user", "assistant", "system"
PAIR = [{"role": U, "content": "q"}, {"role": A, "content": "a"}]
ASK = PAIR[:1]
TALK = {"conversation": "conversation.messages"}
ASKED = {"prompt": "data.question", "response": "data.answer"}
DATA = {"question": "q", "answer": "a"}


def read(record, **configured):
  notes = unread.Notes()
  named = fields.Fields(**configured)
  read_as = fields.resolve(record, named)
  said = turns.to_turns(record, read_as, named=named, notes=notes)
  return [turn[:2] for turn in said], notes


@pytest.mark.parametrize(
  ("record", "configured", "said", "told"),
  [
    (
      {"conversation": {"system": "s", "messages": PAIR}},
      TALK,
      [(S, "s"), (U, "q"), (A, "a")],
      set(),
    ),
    # Detected: a remedy that leads to the mapping is not needed.
    (
      {"conversation": {"system": "s", "messages": PAIR, "note": "n"}},
      {},
      [(S, "s"), (U, "q"), (A, "a")],
      {"conversation.note"},
    ),
    (
      {"chat": {"system_prompt": "s", "messages": PAIR}, "id": 1},
      {},
      [(S, "s"), (U, "q"), (A, "a")],
      set(),
    ),
    (
      {"messages": {"messages": PAIR, "tools": [{"name": "f"}]}},
      {},
      [("tools", '[{"name": "f"}]'), (U, "q"), (A, "a")],
      set(),
    ),
    # The record's own system text goes before.
    (
      {"system": "s", "conversation": {"system": "t", "messages": PAIR}},
      TALK | {"system": "system"},
      [(S, "s"), (U, "q"), (A, "a")],
      {"conversation.system"},
    ),
    (
      {"data": DATA | {"passage": "p", "hint": "h", "id": 1, "score": None}},
      ASKED,
      [(U, "q\n\np"), (A, "a")],
      {"data.hint"},
    ),
    (
      {"data": DATA | {"system": "s", "input": "i", "article": 17}},
      ASKED,
      [(S, "s"), (U, "q\n\ni"), (A, "a")],
      {"data.article"},
    ),
    (
      {"data": DATA | {"choices": ["x", "y"], "answer": 1}},
      ASKED,
      [(U, "q\n\nA. x\nB. y"), (A, "B")],
      set(),
    ),
    (
      {"data": DATA | {"passage": "p"}, "passage": "o"},
      ASKED | {"context": "passage"},
      [(U, "q\n\no"), (A, "a")],
      {"data.passage"},
    ),
    (
      {"a": {"b": {"question": "q", "answer": "a", "why": "w"}, "c": 1}},
      {"prompt": "a.b.question", "response": "a.b.answer"},
      [(U, "q"), (A, "a")],
      {"a.b.why", "a.c"},
    ),
    (
      {"prompt": "q", "out": {"text": "a", "why": "w", "context": "c"}},
      {"prompt": "prompt", "response": "out.text"},
      [(U, "q"), (A, "a")],
      {"out.why", "out.context"},
    ),
    # OpenAI's preference data, and Unnatural Instructions.
    (
      {
        "input": {"messages": ASK, "system": "s", "documents": ["d"]},
        "preferred_output": PAIR[1:],
      },
      {},
      [(S, "s"), (U, "q"), (A, "a")],
      {"input.documents"},
    ),
    (
      {
        "instruction": "q",
        "instances": [{"input": "i", "constraints": "c", "output": "a"}],
      },
      {},
      [(U, "q\n\ni"), (A, "a")],
      {"instances.0.constraints"},
    ),
    ({"a.b": "q", "a": "a"}, {"prompt": "a.b", "response": "a"}, None, set()),
  ],
)
def test_what_stands_beside(record, configured, said, told):
  found, notes = read(record, **configured)
  assert found == (said or [(U, "q"), (A, "a")])
  assert notes.unread == told


@pytest.mark.parametrize(
  ("record", "configured"),
  [
    ({"data": DATA | {"weight": 0}}, ASKED),
    ({"data": DATA | {"is_correct": "false"}}, ASKED),
    (
      {"prompt": "q", "out": {"text": "a", "label": False}},
      {"prompt": "prompt", "response": "out.text"},
    ),
    ({"conversation": {"train": False, "messages": PAIR}}, TALK),
    ({"conversation": {"weights": [0, 0], "messages": PAIR}}, TALK),
    (
      {"a": {"weight": 0, "b": DATA}},
      {"prompt": "a.b.question", "response": "a.b.answer"},
    ),
  ],
)
def test_a_verdict_in_the_object_of_a_field_holds(record, configured):
  with pytest.raises(records.Reject, match="no answer is learnt"):
    read(record, **configured)


def test_a_thought_beside_a_nested_answer_is_its_thought():
  record = {"q": "q", "out": {"text": "a", "reasoning": "I add one."}}
  read_as = fields.resolve(
    record, fields.Fields(prompt="q", response="out.text")
  )
  assert read_as.thought == "out.reasoning"
  assert turns.to_turns(record, read_as)[-1].thought == "I add one."


def test_a_share_of_what_is_not_read_is_told():
  reading = unread.Reading()
  for number in range(4):
    why = {"why": "w"} if number == 0 else {}
    _, notes = read({"data": DATA | why}, **ASKED)
    reading.add("a", "", notes)
  assert unread.shares(reading.told()) == [
    "not read: `data.why`, 25 % of the records"
  ]


@pytest.mark.parametrize(
  "path", ["data.question", "data.0.question", "data", "x", "data.question.y"]
)
def test_holders_of_any_path(path):
  for record in ({"data": DATA}, {"data": [DATA]}, {"data": "x"}, {}):
    found = beside.holders(record, (path,))
    assert found[0].prefix == "" and found[0].fields is record


@pytest.mark.parametrize(
  ("messages", "said"),
  [
    (PAIR, [(U, "q"), (A, "new")]),
    (ASK, [(U, "q"), (A, "new")]),
    ([*PAIR, *ASK], [(U, "q"), (A, "a"), (U, "q"), (A, "new")]),
    ([*PAIR, *PAIR], [(U, "q"), (A, "a"), (U, "q"), (A, "new")]),
    ([*PAIR, PAIR[1]], [(U, "q"), (A, "new")]),
    ("USER: q ASSISTANT: a", [(U, "q"), (A, "new")]),
  ],
)
def test_a_named_response_replaces_the_last_answer(messages, said):
  record = {"messages": messages, "better": "new"}
  named = {"conversation": "messages", "response": "better"}
  found, notes = read(record, **named)
  assert found == said
  was_answered = said != [(U, "q"), (A, "new")] or messages != ASK
  is_told = "the answer that `better` replaces" in notes.unread
  assert is_told == (was_answered and messages != [*PAIR, *ASK])
  assert "better" not in notes.unread


@pytest.mark.parametrize(
  ("name", "value"),
  [
    *(("knowledge", "To solve this, the model needs to know poetry."),),
    *(("background", True), ("support", 5), ("article", 17), ("story", 0.5)),
    *(("document", "https://x.y/z"), ("passages", ["http://x.y", "www.x.y"])),
    *(("paragraph", " s3://bucket/key "), ("contexts", [1, 2])),
  ],
)
def test_what_is_no_passage_joins_no_prompt(name, value):
  for prompt, response in (("question", "answer"), ("instruction", "output")):
    found, notes = read({prompt: "q", response: "a", name: value})
    assert found == [(U, "q"), (A, "a")]
    assert notes.unread == {name}


@pytest.mark.parametrize(
  ("value", "asked"),
  [
    ("See https://x.y/z for it.", "q\n\nSee https://x.y/z for it."),
    (["https://x.y", "A passage."], "q\n\nhttps://x.y\n\nA passage."),
    ("17", "q\n\n17"),
  ],
)
def test_what_may_be_a_passage_joins_the_prompt(value, asked):
  found, notes = read({"question": "q", "answer": "a", "article": value})
  assert found == [(U, asked), (A, "a")] and not notes.unread


def test_a_named_context_joins_whatever_it_is():
  record = {"question": "q", "answer": "a", "article": 17}
  found, _ = read(record, context="article")
  assert found == [(U, "q\n\n17"), (A, "a")]


def test_a_number_is_no_document_to_sum_up():
  with pytest.raises(records.Reject, match="no known record shape"):
    read({"article": 17, "summary": "s"})
