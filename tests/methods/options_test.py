"""Options of methods: types, bounds, and what is said of the rest."""

import dataclasses

import pytest

from ila_jax import errors
from ila_jax.methods import options, stratified, table


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Toy(options.Options):
  share: float = options.field(0.5, "a share", low=0, high=1)
  count: int = options.field(3, "a count", low=1)
  most: float = options.field(2.0, "a ceiling", high=9)
  kind: str = options.field("first", "which", choices=("first", "last"))
  flag: bool = options.field(False, "whether")
  limit: int | None = options.field(None, "if any")


def _build(**values):
  return options.build(_Toy, values, "config.select.options.toy")


def test_plain_values_become_what_the_fields_are():
  found = _build(share=1, limit=4, flag=True)
  assert found == _Toy(share=1.0, limit=4, flag=True)
  assert type(found.share) is float
  tiers = options.build(stratified.Options, {"tiers": [[2, 3]]}, "here").tiers
  assert tiers == ((2, 3),)


@pytest.mark.parametrize(
  ("values", "said"),
  [
    ({"share": 1.5}, "share is 1.5; allowed: 0 to 1."),
    ({"share": float("nan")}, "share is nan; allowed: 0 to 1."),
    ({"share": "x"}, "share is 'x', of type str; allowed: a number."),
    ({"count": 0}, "count is 0; allowed: 1 or more."),
    ({"count": True}, "count is True, of type bool; allowed: a whole number."),
    ({"count": 2.0}, "count is 2.0, of type float; allowed: a whole number."),
    ({"most": 10.0}, "most is 10.0; allowed: at most 9."),
    (
      {"kind": "frist"},
      "kind is 'frist'; allowed: first, last. Did you mean 'first'?",
    ),
    (
      {"limit": "x"},
      "limit is 'x', of type str; allowed: a whole number or None.",
    ),
    (
      {"shares": 1.0},
      "shares is 1.0, and there is no such field; allowed: share, count, most, "
      "kind, flag, limit. Did you mean 'share'?",
    ),
  ],
)
def test_the_message_has_field_value_and_what_is_allowed(values, said):
  with pytest.raises(errors.InputError) as raised:
    _build(**values)
  assert str(raised.value) == f"config.select.options.toy.{said}"


def test_options_that_python_makes_are_checked_too():
  with pytest.raises(errors.InputError, match=r"share is -1\.0"):
    _Toy(share=-1.0)
  with pytest.raises(errors.InputError, match=r"tiers is \(\(0, 1\),\)"):
    stratified.Options(tiers=((0, 1),))


def test_the_default_of_a_method_stands_once():
  assert table.options("trim", {}) == table.METHODS["trim"].options()
  assert table.options("trim", {}).quantile == 0.5
