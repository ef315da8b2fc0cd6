"""Names of scores: what can be said, and what is refused."""

import pytest

from ila_jax import errors
from ila_jax.pool.scores import names


def test_names_and_paths():
  text = " quality, ifd = scores.IFD ,judge.Deita-Quality, a.0, m.class "
  assert names.parse(text) == {
    "quality": "quality",
    "ifd": "scores.IFD",
    "Deita_Quality": "judge.Deita-Quality",
    "score_0": "a.0",
    "score_class": "m.class",
  }


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("a,,b", "has '' in it"),
    ("a=", "has 'a=' in it"),
    ("a b=c", "calls the field 'c' 'a b'"),
    ("depth=c", "Call it 'score_depth'"),
    ("source=meta.source", "Call it 'score_source'"),
    ("in=c", "calls the field 'c' 'in'"),
    ("known=c", "calls the field 'c' 'known'"),
    ("x.q, y.q", "the fields 'x.q' and 'y.q' are both called 'q'"),
    ("größe=c", "calls the field 'c' 'größe'"),
  ],
)
def test_what_is_refused(text, said):
  with pytest.raises(errors.InputError) as raised:
    names.parse(text)
  assert said in str(raised.value)
  assert "config.pool.fields.scores" in str(raised.value)


def test_the_remedy_for_two_of_one_name_works():
  with pytest.raises(errors.InputError) as raised:
    names.parse("x.q, y.q")
  remedy = str(raised.value).rpartition("scores=")[2]
  assert names.parse(remedy) == {"q": "x.q", "q_2": "y.q"}


def test_the_columns_of_candidates_name_no_score():
  assert all(not names.is_name(name) for name in names.COLUMNS)
  assert all(names.is_name(names.of_path(name)) for name in names.COLUMNS)
