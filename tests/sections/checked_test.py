"""Checked fields: what is allowed, in a section and in sections below it."""

import dataclasses

import pytest

from ila_jax import errors
from ila_jax.sections import checked


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Inner(checked.Checked):
  sizes: tuple[int, ...] = checked.field((1, 2), "sizes", low=1, high=9)
  names: tuple[str, ...] = checked.field((), "names", choices=("a", "b"))
  depth: str = checked.field(
    "ila", "a registry", choices="landscape.depth.DEPTHS"
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Outer(checked.Checked):
  grid: int | str = checked.field("auto", "a side", low=1, choices=("auto",))
  cosine: float | None = checked.field(0.5, "a part", low=0, high=1, above=True)
  names: dict[str, str] = checked.field({"a": "b"}, "a dict")
  inner: _Inner = dataclasses.field(default_factory=_Inner)


def test_plain_values_become_dataclasses():
  made = checked.build(
    _Outer, {"grid": 3, "cosine": 1, "inner": {"sizes": [3]}}, "config"
  )
  assert made == _Outer(grid=3, cosine=1.0, inner=_Inner(sizes=(3,)))
  assert type(made.cosine) is float
  assert _Outer().names == {"a": "b"} and _Outer().names is not _Outer().names
  assert checked.build(_Outer, {"cosine": None}, "config").cosine is None


@pytest.mark.parametrize(
  ("values", "said"),
  [
    ({"grid": 0}, "grid is 0; allowed: 1 or more."),
    (
      {"grid": "x"},
      "grid is 'x'; allowed: 'auto' or a whole number, 1 or more.",
    ),
    ({"cosine": 0}, "cosine is 0.0; allowed: a number above 0, up to 1."),
    ({"inner": {"sizes": (1, 10)}}, "inner.sizes is 10; allowed: 1 to 9."),
    ({"inner": {"names": ("a", "c")}}, "inner.names is 'c'; allowed: a, b."),
    (
      {"inner": {"depth": "il"}},
      "inner.depth is 'il'; allowed: ila, ila_length, infinity_instruct. Did "
      "you mean 'ila'?",
    ),
    (
      {"inner": {"size": 1}},
      "inner.size is 1, and there is no such field; allowed: sizes, names, "
      "depth. Did you mean 'sizes'?",
    ),
    (
      {"inner": 3},
      "inner is 3; allowed: a section with the fields sizes, names, depth.",
    ),
  ],
)
def test_what_is_wrong_is_named_by_its_whole_path(values, said):
  with pytest.raises(errors.InputError) as raised:
    checked.build(_Outer, values, "config")
  assert str(raised.value) == f"config.{said}"


def test_what_python_changes_is_checked_too():
  with pytest.raises(errors.InputError, match=r"^sizes is 0; allowed: 1 to 9"):
    dataclasses.replace(_Inner(), sizes=(0,))


def test_every_field_is_walked_with_its_default():
  assert {one.name: one.default for one in checked.walk(_Outer)} == {
    "grid": "auto",
    "cosine": 0.5,
    "names": {"a": "b"},
    "inner.sizes": (1, 2),
    "inner.names": (),
    "inner.depth": "ila",
  }


@pytest.mark.parametrize(
  ("bounds", "said"),
  [
    (checked.Bounds(0, 1), "0 to 1"),
    (checked.Bounds(0, 10_000, above=True), "a number above 0, up to 10000"),
    (checked.Bounds(1), "1 or more"),
    (checked.Bounds(high=9), "at most 9"),
    (checked.Bounds(1, 2**31 - 1), "1 to 2147483647"),
  ],
)
def test_bounds_are_said_in_words(bounds, said):
  assert str(bounds) == said
