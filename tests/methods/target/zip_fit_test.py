"""ZIP-FIT beside its own package."""

import gzip

import numpy as np
import pytest

from ila_jax.methods import table
from ila_jax.methods.target import zip_fit
from tests.methods.target import dsir_test
from tests.support import languages, text_witness

_POOL, _TARGET = text_witness.POOL, text_witness.TARGET


def test_scores_are_those_of_the_package():
  targets = [text.encode() for text in _TARGET]
  alone = np.array([zip_fit.size(text, 9) for text in targets])
  got = [zip_fit.alignment(t.encode(), targets, alone, 9) for t in _POOL]
  np.testing.assert_allclose(got, text_witness.SCORES, rtol=1e-12)


@pytest.mark.parametrize("level", [1, 9])
def test_sizes_are_those_of_gzip(level):
  for text in ("", "The sea. " * 99):
    size = len(gzip.compress(text.encode(), level))
    assert zip_fit.size(text.encode(), level) == size


@pytest.mark.parametrize("block", [1, 4096])
def test_the_best_aligned_come_first(monkeypatch, block):
  monkeypatch.setattr(zip_fit.texts, "BLOCK", block)
  got = table.METHODS["zip_fit"](dsir_test.of_texts(_POOL, _TARGET))
  assert (
    got.order.tolist() == np.argsort(-np.array(text_witness.SCORES)).tolist()
  )


def test_a_copy_of_a_target_example_is_first_and_the_example_stands_first():
  """X + t is not t + x: the order is that of the package."""
  text, targets = b"3 + 4 = 7, so it is 7.", [b"The Seine flows through Paris."]
  alone = np.array([zip_fit.size(targets[0], 9)])
  both = zip_fit.size(text + targets[0], 9)
  own = zip_fit.size(text, 9)
  want = 1 - (both - min(own, alone[0])) / max(own, alone[0])
  assert zip_fit.alignment(text, targets, alone, 9) == pytest.approx(want)


def test_no_more_target_examples_than_allowed_are_used_and_it_is_told(capsys):
  c = dsir_test.of_texts(_POOL, _TARGET)
  got = table.METHODS["zip_fit"](c, most_targets=1)
  said = capsys.readouterr().err
  assert "6 candidates × 1 of 3 target examples = 6 compressions" in said
  assert "zip_fit.most_targets takes more" in said
  orders = [
    table.METHODS["zip_fit"](dsir_test.of_texts(_POOL, [one])).order.tolist()
    for one in _TARGET
  ]
  assert got.order.tolist() in orders


@pytest.mark.parametrize("language", languages.TEXTS)
def test_the_topic_of_the_target_comes_first_in_any_script(language):
  own, other = languages.TEXTS[language]
  for same, rest in ((own, other), (other, own)):
    pool = [*rest, *same[1:], *_POOL]
    order = table.METHODS["zip_fit"](dsir_test.of_texts(pool, same[:1])).order
    assert len(rest) <= order[0] < len(rest) + len(same) - 1
