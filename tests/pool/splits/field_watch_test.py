"""Watches that follow each other see what one watch sees."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.pool.shapes import fields
from ila_jax.pool.splits import field_watch

_FIELDS = fields.Fields(prompt="q", domain="topic")


def _refusal(see):
  try:
    see()
  except errors.InputError as error:
    # The fields that there are may be those of a few more records.
    return str(error).partition(" Allowed:")[0]
  return None


@pytest.mark.parametrize("place", [0, 7, 998, 999, 1000, 1400, None])
@pytest.mark.parametrize("count", [1, 40, 999, 1000, 1500])
def test_parts_say_what_one_watch_says(place, count):
  rng = np.random.default_rng(count)
  records = [{"q": "1 + 1?", f"k{i % 3}": 1} for i in range(count)]
  if place is not None and place < count:
    records[place]["topic"] = "sums"

  def one():
    watch = field_watch.FieldWatch("a", _FIELDS)
    for record in records:
      watch.see(record)
    watch.check()

  def parts():
    watch = field_watch.FieldWatch("a", _FIELDS)
    cuts = np.sort(rng.integers(0, count + 1, 4))
    for part in np.split(np.array(records, object), cuts):
      own = field_watch.FieldWatch("a", _FIELDS)
      for record in part:
        own.see(record, may_end=False)
      watch.follow(len(part), own.found, own.names)
    watch.check()

  said = _refusal(one)
  assert (said is None) == (place is not None and place < min(count, 1000))
  assert _refusal(parts) == said
