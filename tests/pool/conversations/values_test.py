"""Values as tables and unions of data sets write them."""

import pytest

from ila_jax.pool.conversations import values


@pytest.mark.parametrize(
  "value",
  [None, "", " \n", [], {}, [None, " "], {"text": []}, float("nan")],
)
def test_blank(value):
  assert values.is_blank(value)
  assert values.first({"a": value, "b": "x"}, ("a", "b")) == "x"
  assert values.name({"a": value}, ("a", "b")) == "a"


@pytest.mark.parametrize("value", [0, False, 0.0, "0", "null", [0], {"a": ""}])
def test_filled(value):
  assert values.is_blank(value) == (value == {"a": ""})


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    *(("2.0", 2), (" 2 ", 2), ("2", 2), (2.0, 2), (2, 2), ("1e0", 1)),
    *(("0.5", 0.5), ("-1", -1), ("1e999", None), (float("inf"), None)),
    *(("two", None), ("", None), (True, None), (None, None), ([1], None)),
  ],
)
def test_number(value, expected):
  found = values.number(value)
  assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("yes", [True, 1, 1.0, "1", "1.0", "TRUE", " yes", "T"])
@pytest.mark.parametrize("no", [False, 0, 0.0, "0", "0.0", "False", "no", "n"])
def test_switch(yes, no):
  assert values.switch(yes) is True and values.switch(no) is False


@pytest.mark.parametrize("value", [None, 2, 0.5, "maybe", "", float("nan")])
def test_no_switch(value):
  assert values.switch(value) is None
