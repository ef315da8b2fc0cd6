"""What stands beside a conversation is read with it, told, or a reject."""

import json

import pytest

from ila_jax.pool import examples, records, unread
from ila_jax.pool.shapes import fields, turns

U, A, S = "user", "assistant", "system"


def message(role, content, **rest):
  return {"role": role, "content": content, **rest}


OPEN = [message(U, "q1"), message(A, "OLD"), message(U, "q2")]
WHOLE = OPEN[:2]
FIRST = OPEN[:1]
GOOD = [(U, "q1"), (A, "OLD"), (U, "q2"), (A, "GOOD")]
THOUGHT = "I think of it first."


def read(record, **named):
  raw = records.RawRecord("a.jsonl", 1, "a", record, "{}")
  reader = examples.Reader(examples.Rules(fields=named))
  example, shape, notes = reader.example("a.jsonl", raw)
  return [turn[:2] for turn in example.turns], shape, notes.unread, example


NAMES = ("messages", "chat", "turns", "dialog", "dialogue", "contents", "data")
ANSWERS = (
  *({"chosen": "GOOD", "rejected": "BAD"}, {"response": "GOOD"}),
  *({"output": "GOOD"}, {"answers": ["GOOD", "other"]}, {"target": "GOOD"}),
  *({"responses": ["GOOD"]}, {"chosen_response": "GOOD"}),
  {"solution": "GOOD", "answer": "42"},
  {"response_a": "BAD", "response_b": "GOOD", "winner": "model_b"},
  {"chosen_response": "GOOD", "rejected_response": "BAD", "answer": "42"},
  {"completions": [{"response": "GOOD"}]},
  # What is chosen, by its place.
  {"responses": ["BAD", "GOOD"], "chosen": 1},
  {"response_0": "BAD", "response_1": "GOOD", "chosen": 1},
)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_beside_a_conversation_goes_on_with_it(name, answer):
  assert read({name: OPEN} | answer)[0] == GOOD
  assert read({name: FIRST} | answer)[0] == [(U, "q1"), (A, "GOOD")]


def test_a_switch_is_no_answer_to_a_conversation():
  for name in ("messages", "chat"):
    record = {name: OPEN, "chosen": True, "completion": "GOOD"}
    assert read(record)[0] == GOOD


def test_numbered_turns_and_texts_in_turn_go_on_as_well():
  numbered = {"turn_1": "q1", "turn_2": "OLD", "turn_3": "q2"}
  for talk in (numbered, {"data": ["q1", "OLD", "q2"]}):
    assert read(talk | {"response": "GOOD"})[0] == GOOD


@pytest.mark.parametrize(
  ("name", "value"),
  [
    *(("summary", "s"), ("final_answer", 4), ("assistant_reply", "a")),
    *(("gold_answers", ["a"]), ("response_1", "a"), ("ground_truth", "a")),
    *(("rejected_response", "bad"), ("generatedSolution", "a")),
  ],
)
@pytest.mark.parametrize("said", [OPEN, FIRST])
def test_an_answer_that_is_not_read_rejects_the_question(said, name, value):
  for talk, path in (({"chat": said}, name), (None, f"chat.{name}")):
    inside = {"chat": {"messages": said, name: value}}
    with pytest.raises(records.Reject, match="no response") as caught:
      read(inside if talk is None else talk | {name: value})
    assert f"`{path}` may be it: --config.pool.fields.response={path}" == (
      caught.value.detail
    )
  with pytest.raises(records.Reject, match="`chosen` may be it"):
    read({"talk": said, "chosen": "a"}, conversation="talk")
  # A named domain is read, and the answer where it is named.
  assert read({"chat": OPEN, "summary": "s"}, domain="summary")[0] == GOOD[:2]
  assert read({"chat": OPEN, "summary": "GOOD"}, response="summary")[0] == GOOD


@pytest.mark.parametrize(
  "beside",
  [
    *({"response_model": "m"}, {"num_responses": 3}, {"has_answer": True}),
    *({"answer": " "}, {"response_length": 3}, {"answers": []}, {"hint": "h"}),
  ],
)
def test_what_is_no_answer_leaves_a_conversation_as_it_is(beside):
  said, _, told, _ = read({"chat": OPEN} | beside)
  assert said == GOOD[:2] and "turns after the last answer" in told


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_beside_a_conversation_that_has_its_answer_all_is_told(name, answer):
  said, shape, told, _ = read({name: WHOLE} | answer | {"reasoning": THOUGHT})
  assert said == GOOD[:2] and shape == f"conversation = {name}"
  assert {*answer, "reasoning"} == told


@pytest.mark.parametrize("name", ["reasoning", "thinking", "reasoning_content"])
@pytest.mark.parametrize("answer", ["2", message(A, "2"), [message(A, "2")]])
def test_a_thought_goes_with_the_answer_beside_a_conversation(name, answer):
  for asked in ({"messages": OPEN}, {"chat": FIRST}, {"prompt": "q1"}):
    *_, told, example = read(asked | {"response": answer, name: THOUGHT})
    assert (example.turns[-1].text, example.turns[-1].thought) == ("2", THOUGHT)
    assert not told


def test_a_thought_that_has_no_answer_of_its_own_is_told():
  own = [message(A, "2", reasoning="Another thought.")]
  two = [message(A, "1"), message(A, "2")]
  for answer in (own, two):
    record = {"messages": FIRST, "response": answer, "reasoning": THOUGHT}
    assert "reasoning" in read(record)[2]
    assert "thought" not in read(record)[1]


@pytest.mark.parametrize(
  ("beside", "named", "said"),
  [
    ({"page": "P"}, {"context": "page"}, [(U, "q1\n\nP"), *GOOD[1:2]]),
    ({"page": "P"}, {"input": "page"}, [(U, "q1\n\nP"), *GOOD[1:2]]),
    ({"page": "q1"}, {"context": "page"}, GOOD[:2]),
    (
      {"past": [["q0", "a0"]]},
      {"history": "past"},
      [(U, "q0"), (A, "a0"), *GOOD[:2]],
    ),
    ({"why": THOUGHT}, {"thought": "why"}, GOOD[:2]),
    ({"why": THOUGHT, "answer": "x"}, {"thought": "why"}, GOOD[:2]),
    ({"other": 1}, {"choices": "options", "context": "page"}, GOOD[:2]),
  ],
)
def test_what_is_named_beside_a_conversation_is_read(beside, named, said):
  for talk in (WHOLE, "USER: q1 ASSISTANT: OLD"):
    found, shape, told, example = read({"messages": talk} | beside, **named)
    assert found == said
    assert not (told - {"answer", "other"})
    assert all(f"{n} = {path}" in shape for n, path in named.items())
    is_thought = "thought" in named
    assert (example.turns[-1].thought == THOUGHT) == is_thought


def test_a_passage_goes_with_the_first_question_and_history_after_the_system():
  talk = [message(S, "s"), *OPEN, message(A, "b")]
  record = {"messages": talk, "page": "P", "past": [["q0", "a0"]]}
  assert read(record, context="page")[0][1] == (U, "q1\n\nP")
  assert [text for _, text in read(record, history="past")[0]] == (
    ["s", "q0", "a0", "q1", "OLD", "q2", "b"]
  )
  record["messages"] = [talk[0], talk[-1]]
  assert read(record, context="page")[0] == [(S, "s"), (U, "P"), (A, "b")]


@pytest.mark.parametrize(
  ("named", "reason", "detail"),
  [
    ({"choices": "x"}, "a named field belongs to no conv", "choices = x"),
    (
      {"prompt": "x", "conversation": "messages"},
      *("a named field belongs to no conv", "prompt = x"),
    ),
    ({"history": "x"}, "history is not a list of pairs", "list"),
    ({"thought": "y"}, "an answer has two thoughts", "Another."),
  ],
)
def test_what_is_named_and_fits_no_conversation_is_a_reject(
  named, reason, detail
):
  talk = [message(U, "q"), message(A, "a", reasoning="Another. One.")]
  record = {"messages": talk, "x": ["a", "b"], "y": THOUGHT}
  with pytest.raises(records.Reject, match=reason) as caught:
    read(record, **named)
  assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize("talk", [WHOLE, "USER: q1 ASSISTANT: OLD"])
def test_a_response_that_is_named_alone_replaces_the_answer(talk):
  for name in ("messages", "chat"):
    said, shape, told, _ = read({name: talk, "new": "GOOD"}, response="new")
    assert said == [(U, "q1"), (A, "GOOD")]
    assert shape == f"response = new, conversation = {name}"
    assert told == {"the answer that `new` replaces"}


CALLS = [{"name": "f", "arguments": {"a": 1}}]


@pytest.mark.parametrize(
  "answer",
  [
    {"response": "", "tool_calls": CALLS},
    {"response": None, "function_call": CALLS[0]},
    {"response": {"content": None, "tool_calls": CALLS}},
  ],
)
def test_calls_beside_an_empty_answer_are_the_answer(answer):
  record, notes = {"prompt": "q", **answer}, unread.Notes()
  read = fields.resolve(record, fields.Fields())
  last = turns.to_turns(record, read, notes=notes)[-1]
  assert (last.text, json.loads(last.calls)) == ("", CALLS)
  assert not notes.unread


def test_calls_beside_an_answer_in_words_are_told():
  record, notes = {"prompt": "q", "response": "r"}, unread.Notes()
  record["tool_calls"] = CALLS
  read = fields.resolve(record, fields.Fields())
  assert turns.to_turns(record, read, notes=notes)[-1].calls == ""
  assert notes.unread == {"tool_calls"}


def test_a_thought_in_the_object_of_an_answer_is_read():
  answer = {"content": "r", "reasoning_content": "It is."}
  for asked in ({"prompt": "q"}, {"messages": [{"role": "user", "text": "q"}]}):
    record = {**asked, "response": answer}
    read = fields.resolve(record, fields.Fields())
    last = turns.to_turns(record, read)[-1]
    assert (last.text, last.thought) == ("r", "It is.")


def test_a_verdict_in_the_object_of_an_answer_counts():
  answer = {"content": "r", "thinking": "It is so.", "is_correct": False}
  record = {"prompt": "q", "response": answer}
  read = fields.resolve(record, fields.Fields())
  with pytest.raises(records.Reject, match="no answer is learnt"):
    turns.to_turns(record, read)
