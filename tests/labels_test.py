"""Labels and domains, in whatever form a record has them."""

import pytest

from ila_jax import labels, records


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    (["a", "b", "a"], 2),
    ([["a"], {"b": 1}, ["a"]], 2),
    ([["math", "code"]], 2),
    ({"math": 1, "code": 0.5, "law": 0, "art": None}, 2),
    (3, 3),
    (3.0, 3),
    ("3", 3),
    ("3.0", 3),
    ("algebra", 1),
    ("math, code, logic", 3),
    ("math;code", 2),
    ("math | math", 1),
    ('["math", "code"]', 2),
    ("['math', 'code']", 2),
    ("[not a list", 1),
    # None of these names a label: K is 1, and the report says so.
    (None, None),
    ([], None),
    ([None, ""], None),
    ({}, None),
    ("", None),
    (0, None),
    ("0", None),
  ],
)
def test_n_labels(value, expected):
  assert labels.count({"k": value}, "k") == expected


@pytest.mark.parametrize(
  "value", [-1, 1.5, True, float("inf"), float("nan"), 10**30]
)
def test_n_labels_rejects(value):
  with pytest.raises(records.Reject, match="neither a list nor a count"):
    labels.count({"k": value}, "k")


def test_n_labels_without_a_field():
  assert labels.count({"k": 3}, "") is None
  assert labels.count({"k": 3}, "labels") is None


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    ("a", "a"),
    (["a", "b"], "a"),
    ([], ""),
    (None, ""),
    (5, "5"),
    (True, "true"),
    ("é" * 100, "é" * 100),
  ],
)
def test_domain(value, expected):
  assert labels.domain({"d": value}, "d") == expected
  assert labels.domain({"d": value}, "") == ""


def test_domain_rejects():
  with pytest.raises(records.Reject, match="domain is not text"):
    labels.domain({"d": {"x": 1}}, "d")


def test_long_domains_stay_apart():
  found = [labels.domain({"d": "x" * 200 + end}, "d") for end in "ab"]
  assert found[0] != found[1]
  assert {len(domain) for domain in found} == {100}
