"""Verdicts: whether a record says as a whole that it is not to be learnt."""

from collections.abc import Collection, Mapping
from typing import Any

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import values

# Fields that say nothing else, whatever they hold.
_SWITCHES = (
  *("weight", "train", "kto_tag", "should_train", "train_on_turn"),
  *("output_with_loss", "ignore_loss"),
)
# A label that is a number may be a class, and a mask may be one of tokens.
_NAMES = (*_SWITCHES, "loss", "label", "loss_mask", "mask")


def check(
  record: Mapping[str, Any], read: Collection[str], notes: unread.Notes
) -> None:
  """Rejects a record that is not to be learnt.

  Args:
    record: what may say so, in fields such as `weight` and `label`.
    read: fields that are read as something else.
    notes: gets those that say so, and those that cannot be read.

  Raises:
    records.Reject: the record is not to be learnt.

  >>> check({"prompt": "a", "response": "b", "train": "1.0"}, (),
  ...       unread.Notes())
  """
  out = False
  for name, value in record.items():
    plain = unread.plain_name(name)
    if plain not in _NAMES or values.is_blank(value) or name in read:
      continue
    verdict = _verdict(plain, value)
    if verdict is not None or not isinstance(value, str):
      notes.unread.discard(name)  # It is told as what it is.
    if verdict is not None:
      notes.weights.add(name)
      out |= not verdict
    elif not isinstance(value, str):
      notes.unread.add(f"`{name}` of the whole record")
  if out:
    raise records.Reject(
      "no answer is learnt", ", ".join(sorted(notes.weights))
    )


def _verdict(name: str, value: Any) -> bool | None:
  """Whether a field lets the record be learnt; None: it tells not."""
  says = values.switch(value)
  if name not in _SWITCHES:  # `no` may be a class as well.
    says = {"true": True, "false": False}.get(str(value).strip().lower())
  if says is None or name == "mask":
    return None
  return says != (name == "ignore_loss")
