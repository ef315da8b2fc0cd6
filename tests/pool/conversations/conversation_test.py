"""What is asked, what answers: of conversations of every shape."""

import pytest

from ila_jax.pool import records
from ila_jax.pool.conversations import conversation

TOOLS = records.Turn("tools", '[{"name": "weather"}]')
SYSTEM = records.Turn("system", "You are brief.")
CALL = records.Turn(
  "assistant", "", thought="Where?", calls='[{"name": "weather"}]'
)
RESULT = records.Turn("tool", "12 degrees")


def _ask(text):
  return records.Turn("user", text)


def _answer(text, **changes):
  return records.Turn("assistant", text)._replace(**changes)


@pytest.mark.parametrize(
  ("turns", "request_", "question", "response"),
  [
    # One question: what the system and the tools say is no part of it.
    ([_ask("A?"), _answer("a")], "A?", "A?", "a"),
    ([SYSTEM, _ask("A?"), _answer("a")], "A?", "A?", "a"),
    (
      [TOOLS, SYSTEM, _ask("A?"), CALL, RESULT, _answer("a")],
      *("A?", "A?", "a"),
    ),
    # The answer may be a call.
    ([TOOLS, _ask("A?"), CALL], "A?", "A?", f"Where?\n\n{CALL.calls}"),
    # The last question first.
    (
      [_ask("A?"), _answer("a"), _ask("B?"), _answer("b")],
      *("B?\n\nA?", "B?", "b"),
    ),
    ([_ask("A?"), _ask("B?"), _answer("b")], "B?\n\nA?", "B?", "b"),
    # What follows the last answer that is learnt was not asked of it.
    (
      [_ask("A?"), _answer("a"), _ask("B?"), _answer("b", is_learnt=False)],
      *("A?", "A?", "a"),
    ),
    (
      [_ask("A?"), _answer("a", is_learnt=False), _ask("B?"), _answer("b")],
      *("B?\n\nA?", "B?", "b"),
    ),
    # Nobody asked: then all that was said before.
    ([SYSTEM, _answer("a")], "You are brief.", "You are brief.", "a"),
    (
      [TOOLS, SYSTEM, _ask(" \n"), _answer("a")],
      *(f"{SYSTEM.text}\n\n{TOOLS.text}", SYSTEM.text, "a"),
    ),
    ([_ask(" "), _answer("a")], "", "", "a"),
  ],
)
def test_what_is_asked_and_what_answers(turns, request_, question, response):
  assert conversation.request(turns) == request_
  assert conversation.question(turns).text == question
  assert conversation.said(conversation.response(turns)) == response
  # What is shown is what is embedded first.
  assert request_.startswith(question)


def test_the_system_text_may_follow_what_was_asked():
  late = records.Turn("system", "Be polite.")
  turns = [TOOLS, SYSTEM, _ask("A?"), _answer("a"), late, _ask("B?"), CALL]
  found = conversation.request(turns, system=True)
  assert found == f"B?\n\nA?\n\n{SYSTEM.text}\n\n{late.text}"
  # Once, where it is what was asked.
  alone = [SYSTEM, _answer("a")]
  assert conversation.request(alone, system=True) == SYSTEM.text


def test_roles_are_in_order():
  turns = [TOOLS, SYSTEM, _ask("A?"), CALL, RESULT, _answer("a")]
  assert conversation.roles(turns) == (
    "tools, system, user, assistant, tool, assistant"
  )
