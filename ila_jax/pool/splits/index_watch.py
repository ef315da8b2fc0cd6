"""A watch for answers that are numbers of choices, and count from 1."""

import contextlib
from collections.abc import Mapping
from typing import Any

from ila_jax import errors
from ila_jax.pool import records
from ila_jax.pool.conversations import values
from ila_jax.pool.shapes import choices, structures
from ila_jax.pool.shapes import fields as fields_lib


class IndexWatch:
  """Finds sources whose answers count their choices from 1.

  One record does not show it: an index counts from 0, and only 4 of 4 choices
  is none. Over a source, where such numbers occur and 0 never does, all others
  would be learnt as the choice after the one that is meant.

  Attributes:
    counts: answers that are 0, another index, or the number of choices; after
      the first 0 nothing more is counted.

  >>> watch = IndexWatch("a")
  >>> read = fields_lib.Fields(choices="options", response="answer")
  >>> watch.see({"options": ["x", "y"], "answer": 1}, read)
  >>> watch.see({"options": ["x", "y"], "answer": 2}, read)
  >>> watch.check()  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  ila_jax.errors.InputError: 1 of the answers of a are ...
  """

  def __init__(self, source: str):
    """Begins with no record of a source."""
    self._source = source
    self.counts = {"first": 0, "inner": 0, "beyond": 0}

  def see(self, record: Mapping[str, Any], read: fields_lib.Fields) -> None:
    """Looks at the next record, and where it keeps what."""
    if self.counts["first"] or not read.choices:
      return
    if read.choices.startswith("answerA,"):
      return  # SIQA counts from 1, and is read so.
    number = values.number(records.lookup(record, read.response))
    if not isinstance(number, int):
      return
    offered: list[tuple[str, str]] = []
    with contextlib.suppress(records.Reject):
      offered = choices.of(structures.opened(record), read.choices)
    said = [values.number(word) for choice in offered for word in choice]
    if not offered or said != [None] * len(said):
      return  # The number may be that of a label, or a choice itself.
    if 0 <= number <= len(offered):
      last = {0: "first", len(offered): "beyond"}
      self.counts[last.get(number, "inner")] += 1

  def follow(self, counts: Mapping[str, int]) -> None:
    """Goes on with what another watch has counted of the next records."""
    for place, count in counts.items():
      self.counts[place] += count

  def check(self) -> None:
    """Refuses a source whose answers seem to count from 1.

    Raises:
      InputError: names it, and how answers may be written.
    """
    first, inner, beyond = self.counts.values()
    if first or not (inner and beyond):
      return
    raise errors.InputError(
      f"{beyond} of the answers of {self._source} are the number of its "
      "choices (such as 4 of 4), and none is 0: they seem to count from 1. "
      f"Read as indices, which count from 0, {inner} others would each be "
      "learnt as the choice after the right one. Allowed: the label of the "
      "choice, or its index from 0. Write labels (A for 1), or leave "
      f"{self._source} out of config.pool.source."
    )
