"""Labels and domains, in whatever form a record has them."""

import pytest

from ila_jax.pool import records
from ila_jax.pool.shapes import labels


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
    # As JSON, Python and NumPy write them; and in words.
    ('{"math": 1, "code": true, "law": 0}', 2),
    ("{'math', 'code'}", 2),
    ("('math', 'code')", 2),
    ("['math' 'code'\n 'law']", 3),
    ("[math, code]", 2),
    ('["math", ["code", "law"]]', 3),
    ("math、code、law", 3),
    ("math，code；law", 3),
    ("math / code", 2),
    ("I/O, files", 2),
    ("math\ncode\r\n", 2),
    ("- math\n- code", 2),
    ("1. math\n2. code\n3. law", 3),
    ("#math #code", 2),
    ("#math#code", 2),
    ("#math, #code, #law", 3),
    ("#math,code", 2),
    ("#math, #code and more", 2),
    ("<python><list>", 2),
    ("linear algebra", 1),
    ("Math, math,  MATH ", 1),
    (["Math", "math ", "linear  algebra", "Linear algebra"], 2),
    ([{"name": "math"}, {"name": "code", "score": 0.5}, {"name": "Math"}], 2),
    ([{"label": "math"}, {"label": "code"}], 2),
    ([{"id": 7}, {"id": 8}], 2),
    ([{"math": 0.5}, {"code": 1}], 2),
    ({"name": "math", "level": 3}, 1),
    ({"name": "math", "level": "high"}, 1),
    ({"math": True, "code": False}, 1),
    ([1, "1", 1.0, 2], 2),
    ([0, 1, 0, 1, 0], 2),
    (["0", "1", "1", "1"], 3),
    (["0.0", "1.0", "1.0", "1.0"], 3),
    (["0", "0", "0"], None),
    (["1", "1.0", "2"], 2),
    ({"math": "1", "code": "0", "law": "1.0"}, 2),
    ({"name": "0", "level": "3"}, 1),
    ([True, False, True], 2),
    ([[0, 1], [2]], 3),
    (["math", "none", "N/A"], 1),
    ("007", 7),
    ([0, 0, 0], None),
    ("{}", None),
    ("[]", None),
    ("none", None),
    ("N/A", None),
    ("-", None),
    ("null", None),
    ("NaN", None),
    ({"math": 0, "code": None}, None),
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
  "value",
  [
    *(-1, 1.5, True, float("inf"), float("nan"), 10**30),
    *("-1", "1.5", "1e3", [0.25, 0.75]),
    # The same keys in every record would be a silent constant.
    *({"ability": ["math"], "topic": ["code"]}, {"a": "x", "b": "y"}),
    *([{"a": "x", "b": "y"}], '{"a": ["x"], "b": ["y"]}'),
  ],
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


def test_labels_as_tagged_pools_nest_them():
  record = {
    # As InsTag has them: a tag, and why.
    "instag": [
      {"tag": "rivers", "explanation": "It asks for a river."},
      {"tag": "Rivers", "explanation": "Again."},
      {"tag": "geography", "explanation": "It asks where."},
    ],
    # As OpenDataArena has them: below other scores.
    "oda": {"Q_scores": {"tags": ["math", "logic"], "domain": "Science"}},
    "ability": {"reasoning": 0.0, "coding": 0.7},
  }
  assert labels.count(record, "instag") == 2
  assert labels.count(record, "oda.Q_scores.tags") == 2
  assert labels.count(record, "ability") == 1
  assert labels.domain(record, "oda.Q_scores.domain") == "Science"
