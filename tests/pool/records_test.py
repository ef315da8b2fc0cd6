"""Paths into records, and ids."""

import hashlib
import json

import pytest

from ila_jax.pool import records


def test_lookup():
  record = {"a.b": 1, "a": {"b": 2, "c": [{"d": None}]}, "s": "text"}
  assert records.lookup(record, "a.b") == 1
  assert records.lookup(record, "a.c.0.d") is None
  for path in ("", "x", "a.x", "a.c.1.d", "a.c.-1.d", "a.c.d", "s.0"):
    assert records.lookup(record, path) is records.MISSING


@pytest.mark.parametrize(
  "text", ['"\\/\n\t\x00\x1f\x7f', "é 中 \U0001f600", ""]
)
def test_example_id_is_the_hash_of_the_turns_json(text):
  said = (records.Turn("user", text), records.Turn("assistant", text + "!"))

  def oracle(turns):
    pairs = [[turn.role, turn.text] for turn in turns]
    dumped = json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))
    return int(hashlib.sha256(dumped.encode()).hexdigest()[:16], 16)

  assert records.example_id(said) == oracle(said)
  assert records.prompt_id(said) == oracle(said[:1])


def test_prompt_id_stops_at_the_first_response():
  head = (records.Turn("system", "s"), records.Turn("user", "u"))
  short = (*head, records.Turn("assistant", "a"))
  long = (*short, records.Turn("user", "v"), records.Turn("assistant", "b"))
  assert records.prompt_id(short) == records.prompt_id(long)
  assert records.prompt_id(short) != records.prompt_id(short[1:])


def test_the_notation_of_python_has_a_bound():
  item = "{'role': 'user', 'content': 'x'}, "
  short = f"[{item * 1000}]"
  assert len(records.literal(short)) == 1000
  long = f"[{item * (1_100_000 // len(item))}]"
  with pytest.raises(records.Reject, match="notation is too long"):
    records.literal(long)
  as_json = long.replace("'", '"').replace(", ]", "]")
  assert len(records.literal(as_json)) == 1_100_000 // len(item)
