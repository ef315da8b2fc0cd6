"""A conversation as people read it: the question, the answer, the speakers.

What is asked is what is embedded and shown; the response is the last answer
that is learnt, and whatever follows it counts for neither.
"""

from collections.abc import Sequence

from ila_jax.pool import records


def request(turns: Sequence[records.Turn], *, system: bool = False) -> str:
  r"""What the user asked, as it is embedded: the last user turn comes first.

  An encoder that reads so many tokens then leaves out the oldest of it. What
  tools and earlier answers say is no part of it, but where there is no user
  turn: then all that precedes the response is, the last turn first.

  Args:
    turns: of a conversation with an answer that is learnt.
    system: whether the system text follows what the user asked.

  >>> Turn = records.Turn
  >>> request([Turn("system", "Be brief."), Turn("user", "Name a river."),
  ...          Turn("assistant", "Nile"), Turn("user", "Another?"),
  ...          Turn("assistant", "Rhine")])
  'Another?\n\nName a river.'
  >>> request([Turn("system", "Name a river."), Turn("assistant", "Nile")])
  'Name a river.'
  """
  asked = _asked(turns)[::-1]
  if system:
    asked += [t for t in _before(turns) if t.role == "system" if t not in asked]
  return "\n\n".join(turn.text for turn in asked)


def question(turns: Sequence[records.Turn]) -> records.Turn:
  """The turn with which `request` begins: the last of the user, as a rule.

  >>> Turn = records.Turn
  >>> question([Turn("user", "Name a river."), Turn("assistant", "Nile")]).text
  'Name a river.'
  """
  return (_asked(turns) or [records.Turn("user", "")])[-1]


def response_place(turns: Sequence[records.Turn]) -> int:
  """The place of the last answer that is learnt.

  >>> ask, answer = records.Turn("user", "Hi"), records.Turn("assistant", "Yes")
  >>> response_place([ask, answer, ask])
  1
  """
  return max(
    place
    for place, turn in enumerate(turns)
    if turn.role == "assistant" and turn.is_learnt
  )


def _before(turns: Sequence[records.Turn]) -> list[records.Turn]:
  return [t for t in turns[: response_place(turns)] if t.text.strip()]


def _asked(turns: Sequence[records.Turn]) -> list[records.Turn]:
  before = _before(turns)
  return [turn for turn in before if turn.role == "user"] or before


def response(turns: Sequence[records.Turn]) -> records.Turn:
  """The last answer that is learnt.

  >>> ask, answer = records.Turn("user", "Hi"), records.Turn("assistant", "Yes")
  >>> response([ask, answer, ask, answer._replace(is_learnt=False)]) is answer
  True
  """
  return turns[response_place(turns)]


def said(turn: records.Turn) -> str:
  r"""All that one turn holds: its thought, its text and its calls to tools.

  >>> said(records.Turn("assistant", "I will see.", calls='[{"name": "see"}]'))
  'I will see.\n\n[{"name": "see"}]'
  """
  parts = (turn.thought, turn.text, turn.calls)
  return "\n\n".join(part for part in parts if part.strip())


def roles(turns: Sequence[records.Turn]) -> str:
  """The roles of the speakers, in order.

  >>> roles([records.Turn("user", "Hi"), records.Turn("assistant", "Yes")])
  'user, assistant'
  """
  return ", ".join(turn.role for turn in turns)
