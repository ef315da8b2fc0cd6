"""What the card of an export says of the order of its rows."""

import pytest

from ila_jax.export import card

_EXPORT = card.Export("trl", "train.jsonl", 2, "Messages.", "trl sft", {})


@pytest.mark.parametrize(
  ("is_nested", "says"),
  [
    (True, "chosen: the first N are a selection of N on this map."),
    (False, "chosen. For a smaller budget `mine` chooses others."),
  ],
)
def test_the_first_rows_are_a_selection_where_orders_are_nested(
  is_nested, says
):
  facts = card.Facts(["a"], "mine", "2 examples", 2, [], "By hand")
  text = card.text(facts._replace(is_nested=is_nested), _EXPORT)
  order = "The rows stand in the order in which they were "
  assert f"Messages. {order}{says}" in " ".join(text.split())
