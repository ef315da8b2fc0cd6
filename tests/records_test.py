"""Field detection, mappings, labels, domains and ids."""

import hashlib
import json

import pytest

from ila_jax import errors, records


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
    ({"messages": 0, "id": 0}, {"conversation": "messages"}),
    (
      {"conversations": 0, "tools": 0},
      {"conversation": "conversations", "tools": "tools"},
    ),
    (
      {"instruction": 0, "output": 0, "history": 0},
      {"prompt": "instruction", "response": "output", "history": "history"},
    ),
    # An answer beside an output is the output's summary: dolly, commonsense.
    (
      {"instruction": 0, "answer": 0, "output": 0},
      {"prompt": "instruction", "response": "output"},
    ),
  ],
)
def test_detect(record, expected):
  assert records.detect(record) == records.Fields(**expected)


@pytest.mark.parametrize("names", [[], ["instruction"], ["output"], ["text"]])
def test_detect_unknown(names):
  record = dict.fromkeys(names, "x")
  assert records.detect(record) is None
  with pytest.raises(records.Reject, match="no known record shape"):
    records.resolve(record, records.Fields())


def test_resolve_keeps_what_is_detected_beside_a_configured_response():
  record = {"instruction": "i", "input": "j", "output": "o", "answer": "a"}
  fields = records.resolve(record, records.Fields(response="answer"))
  assert fields == records.Fields("instruction", "input", "answer")


def test_resolve_configured_prompt_replaces_input_and_conversation():
  record = {"instruction": "i", "input": "j", "output": "o", "text": "t"}
  fields = records.resolve(record, records.Fields(prompt="text"))
  assert fields == records.Fields(prompt="text", response="output")
  record = {"messages": [], "a": "x", "b": "y"}
  configured = records.Fields(prompt="a", response="b")
  assert records.resolve(record, configured) == configured
  record = {"prompt": "x", "response": "y", "talk": []}
  configured = records.Fields(conversation="talk")
  assert records.resolve(record, configured) == configured


def test_fields_from_names_the_wrong_key():
  with pytest.raises(errors.InputError, match=r"config\.x has the key 'promt'"):
    records.fields_from({"promt": "a"}, where="config.x")


def test_lookup():
  record = {"a.b": 1, "a": {"b": 2, "c": [{"d": None}]}, "s": "text"}
  assert records.lookup(record, "a.b") == 1
  assert records.lookup(record, "a.c.0.d") is None
  for path in ("", "x", "a.x", "a.c.1.d", "a.c.-1.d", "a.c.d", "s.0"):
    assert records.lookup(record, path) is records.MISSING


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    (["a", "b", "a"], 2),
    ([], 1),
    ([["a"], {"b": 1}, ["a"]], 2),
    (0, 1),
    (3, 3),
    (3.0, 3),
    ("algebra", 1),
    (None, None),
  ],
)
def test_n_labels(value, expected):
  assert records.n_labels({"k": value}, "k") == expected


@pytest.mark.parametrize(
  "value", [-1, 1.5, True, {}, float("inf"), float("nan"), 10**30]
)
def test_n_labels_rejects(value):
  with pytest.raises(records.Reject, match="neither a list nor a count"):
    records.n_labels({"k": value}, "k")


def test_n_labels_without_a_field():
  assert records.n_labels({"k": 3}, "") is None
  assert records.n_labels({"k": 3}, "labels") is None


@pytest.mark.parametrize(
  ("value", "expected"),
  [("a", "a"), (["a", "b"], "a"), ([], ""), (None, ""), (5, "5")],
)
def test_domain(value, expected):
  assert records.domain({"d": value}, "d") == expected
  assert records.domain({"d": value}, "") == ""


def test_domain_rejects():
  with pytest.raises(records.Reject, match="domain is not text"):
    records.domain({"d": {"x": 1}}, "d")


@pytest.mark.parametrize(
  "text", ['"\\/\n\t\x00\x1f\x7f', "é 中 \U0001f600", ""]
)
def test_example_id_is_the_hash_of_the_turns_json(text):
  said = (records.Turn("user", text), records.Turn("assistant", text + "!"))

  def oracle(turns):
    pairs = [[turn.role, turn.text] for turn in turns]
    dumped = json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(dumped.encode()).hexdigest()[:16]

  assert records.example_id(said) == oracle(said)
  assert records.prompt_id(said) == oracle(said[:1])


def test_prompt_id_stops_at_the_first_response():
  head = (records.Turn("system", "s"), records.Turn("user", "u"))
  short = (*head, records.Turn("assistant", "a"))
  long = (*short, records.Turn("user", "v"), records.Turn("assistant", "b"))
  assert records.prompt_id(short) == records.prompt_id(long)
  assert records.prompt_id(short) != records.prompt_id(short[1:])
