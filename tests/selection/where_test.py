"""Conditions on candidates: what they say, and what they refuse."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from ila_jax import errors
from ila_jax.selection import verdicts, where

_RNG = np.random.default_rng(0)
_FRAME = pd.DataFrame(
  {
    "quality": _RNG.integers(1, 6, 500).astype(np.float32),
    "ifd": (3 * _RNG.random(500)).astype(np.float32),
    "n_response_tokens": _RNG.integers(1, 900, 500).astype(np.int32),
    "domain": _RNG.choice(["", "math", 'the "code"', "数学"], 500),
  }
)


def _columns(frame):
  columns = {}
  for name in frame:
    if name in where.TEXTS:
      columns[name] = verdicts.Text(
        *np.unique(frame[name].to_numpy(np.str_), return_inverse=True)
      )
    else:
      columns[name] = frame[name].to_numpy()
  return columns


@pytest.mark.parametrize(
  "text",
  [
    "quality >= 4",
    "quality >= 4 and ifd < 0.5 or domain == 'math'",
    "not (quality > 2 or ifd > 0.3)",
    "2 <= quality < 5",
    "1 < quality <= 3 < n_response_tokens",
    "quality in [1, 5] and domain not in ('math', '数学')",
    "quality not in (1, 2.0, -3)",
    "domain == 'the \"code\"'",
    "domain != ''",
    "quality > ifd",
    "n_response_tokens > 450.5 and -1 < ifd",
    "(((quality == 3)))",
    "'math' == domain",
  ],
)
def test_as_pandas_queries_it(text):
  found = where.parse(text)(_columns(_FRAME))
  wanted = _FRAME.index.isin(_FRAME.query(text, engine="python").index)
  np.testing.assert_array_equal(found.holds, wanted)
  np.testing.assert_array_equal(found.fails, ~wanted)
  assert 0 < wanted.sum() < len(wanted)


def test_a_real_pool_as_pandas_queries_it(shared):
  with gzip.open(shared / "data/math_train_prompts.jsonl.gz", "rt") as lines:
    rows = [json.loads(line) for line in lines]
  frame = pd.DataFrame(rows).rename(columns={"type": "domain"})
  frame["difficulty"] = frame["difficulty"].astype(np.float32)
  text = "difficulty >= 4 and domain in ['Algebra', 'Geometry']"
  frame["domain"] = frame["domain"].fillna("")
  found = where.parse(text)(_columns(frame[["difficulty", "domain"]]))
  wanted = frame.query(text).index
  assert np.flatnonzero(found.holds).tolist() == wanted.tolist()
  assert 500 < len(wanted) < len(rows) // 2


def test_where_there_is_no_score_a_condition_is_open():
  nan = np.float32(np.nan)
  columns = {
    "q": np.float32([1, 5, nan, nan]),
    "r": np.float32([0, 0, 0, nan]),
  }
  for text, holds, fails in (
    ("q >= 3", [0, 1, 0, 0], [1, 0, 0, 0]),
    ("not q >= 3", [1, 0, 0, 0], [0, 1, 0, 0]),
    ("q != 3", [1, 1, 0, 0], [0, 0, 0, 0]),
    ("q not in [3]", [1, 1, 0, 0], [0, 0, 0, 0]),
    ("q in []", [0, 0, 0, 0], [1, 1, 0, 0]),
    ("q >= 3 or r == 0", [1, 1, 1, 0], [0, 0, 0, 0]),
    ("q >= 3 and r == 1", [0, 0, 0, 0], [1, 1, 1, 0]),
    ("known(q)", [1, 1, 0, 0], [0, 0, 1, 1]),
    ("not known(q) or q < 3", [1, 0, 1, 1], [0, 1, 0, 0]),
  ):
    found = where.parse(text)(columns)
    assert found.holds.tolist() == [bool(h) for h in holds], text
    assert found.fails.tolist() == [bool(f) for f in fails], text


def test_a_condition_may_have_several_lines_and_comments():
  text = """
    quality >= 4  # as the judge says
    and (ifd < 0.5
         or domain == 'math')
  """
  found = where.parse(text)(_columns(_FRAME))
  wanted = _FRAME.query("quality >= 4 and (ifd < 0.5 or domain == 'math')")
  assert np.flatnonzero(found.holds).tolist() == wanted.index.tolist()


def test_numbers_are_those_of_float32():
  columns = {"q": np.float32([4.7, 4.6999, 3e38])}
  assert where.parse("q == 4.7")(columns).holds.tolist() == [1, 0, 0]
  assert where.parse("q >= 4.7")(columns).holds.tolist() == [1, 0, 1]
  assert where.parse("q < 1e300")(columns).holds.tolist() == [1, 1, 1]
  assert where.parse("q == True")({"q": np.float32([1, 0])}).holds.tolist() == [
    *(True, False),
  ]


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("quality = 4", "equal is written =="),
    ("quality := 4", "Write == for equal"),
    ("quality > 1 AND ifd > 2", "and, or, not, in, in small letters"),
    ("domain == 'a' or 'b'", "as in domain in ['a', 'b']"),
    ("domain == math", "A text stands in quotes: 'math'"),
    ("domain in [math, code]", "A text stands in quotes: 'math'"),
    ("quality >= '4'", "A number, which has no quotes"),
    ("tags == 'math'", "columns of texts are domain and source"),
    ("", "cannot be read"),
    ("quality >= 4; import os", "cannot be read"),
    ("quality > 1\x00", "cannot be read"),
    ("quality", "as in quality > 0"),
    ("not quality", "as in quality > 0"),
    ("quality >= 4 & ifd > 2", "For both of two write `and`"),
    ("quality + 1 > 2", "'quality + 1' is not allowed"),
    ("quality > 10**9", "'10**9' is not allowed"),
    ("scores.ifd > 2", "--config.pool.fields.scores"),
    ("quality[0] > 2", "'quality[0]' is not allowed"),
    ("__import__('os').system('true')", "is not allowed"),
    ("__import__('os').system('true') == 0", "is not allowed"),
    ("(lambda: 0)() > quality", "is not allowed"),
    ("[x for x in y] == quality", "is not allowed"),
    ("f'{quality}' == domain", "is not allowed"),
    ("quality > 1 if ifd > 2 else ifd > 1", "is not allowed"),
    ("known('quality')", "says known(NAME)"),
    ("known(quality, ifd)", "says known(NAME)"),
    ("len(quality) > 1", "is not allowed"),
    ("quality is None", "known(NAME) for not None"),
    ("quality == None", "Ask known(NAME)"),
    ("quality == 1e400", "'1e400' is not allowed"),
    ("quality == b'a'", "is not allowed"),
    ("quality == 1j", "is not allowed"),
    ("quality == ...", "is not allowed"),
    ("quality == 'a'", "is never equal to a text"),
    ("domain == 4", "is never equal to a text"),
    ("domain in ['a', 4]", "is never equal to a text"),
    ("domain > 'a'", "none is greater"),
    ("domain in 'abc'", "What follows `in` is a list"),
    ("quality in [ifd]", "A list holds numbers"),
    ("1 < 2", "compares no score"),
    ("True", "is not allowed"),
    ("(" * 300 + "quality > 1" + ")" * 300, "cannot be read"),
    ("not " * 60 + "quality > 1", "nested too deep"),
    ("not " * 2400 + "quality > 1", "config.select.where"),
    ("quality > 1 or " * 1000 + "quality > 1", "characters; allowed: up to"),
  ],
)
def test_what_is_no_condition_is_refused_and_runs_nothing(text, said):
  with pytest.raises(errors.InputError) as raised:
    where.parse(text)
  assert said in str(raised.value)
  assert str(raised.value).startswith("config.select.where")


def test_names_that_are_not_there():
  where.check_names(["q", "depth", "domain"], ["q"], where.FIELD)
  with pytest.raises(errors.InputError, match="Did you mean 'quality'"):
    where.check_names(["qualty"], ["quality"], where.FIELD)
  with pytest.raises(errors.InputError, match="no scores yet"):
    where.check_names(["quality"], [], where.FIELD)
