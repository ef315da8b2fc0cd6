"""Lists of texts: a prompt and an answer that each write several, in turn.

So a table keeps conversations for which there are several answers: all that is
asked in one cell, and all that each of them says in another.
"""

from collections.abc import Mapping
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import values
from ila_jax.pool.shapes import field_names, fields, pointers, structures


def in_turn(
  record: Mapping[str, Any], read: fields.Fields, answer: Any
) -> list[records.Turn]:
  """The turns of a prompt and an answer that each write a list of texts.

  Args:
    record: what holds both.
    read: where.
    answer: what is read there.

  Returns:
    Questions and answers; none where they are texts like any other.

  Raises:
    records.Reject: they differ in number, or may be one question and its answer
      that happen to be lists.

  >>> record = {"prompt": '["a", "b"]', "chosen": '["c", "d"]', "rejected": "e"}
  >>> read = fields.Fields(prompt="prompt", response="chosen")
  >>> [turn.text for turn in in_turn(record, read, record["chosen"])]
  ['a', 'c', 'b', 'd']
  """
  asked = structures.texts(records.lookup(record, read.prompt))
  said = structures.texts(answer) if asked else []
  if not said:
    return []
  more = (read.input, read.context, read.choices)
  paths = (path for named in more for path in records.paths(record, named))
  is_alone = all(values.is_blank(records.lookup(record, p)) for p in paths)
  is_input = unread.plain_name(read.prompt) in field_names.INPUTS
  if not is_alone or is_input:
    return []
  is_one_of = "rejected" in record or pointers.has_several(
    record, read.response
  )
  is_even = len(asked) == len(said)
  if is_one_of and is_even:
    return [
      records.Turn(role, text)
      for pair in zip(asked, said, strict=True)
      for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
  is_told = not values.is_blank(records.lookup(record, read.system))
  if is_one_of or (is_even and not is_told):
    raise records.Reject(
      "prompt is a list of texts",
      f"{read.prompt}: {len(asked)} of them, and {len(said)} in the answer",
    )
  return []
