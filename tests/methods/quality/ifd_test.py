"""IFD by its formula, and what it leaves out."""

import dataclasses

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

_IFD = table.METHODS["ifd"]


def _pool(given, alone, n_tokens):
  n = len(given)
  pool = reference.pool(n, 0) | {"candidate": np.ones(n, bool)}
  pool |= {"n_tokens": np.array(n_tokens), "depth": np.zeros(n)}
  losses = {"nll_base": given, "nll_without_prompt": alone}
  more = {k: np.array(v, np.float32) for k, v in losses.items()}
  made = candidates.candidates(**pool, seed=0)
  return dataclasses.replace(made, inputs=more)


# Losses 2, 1, 4 of 4, 4, 5 nats: ratios 0.5, 0.25 and 0.8.
_GIVEN, _ALONE = [2.0, 1.0, 4.0], [4.0, 4.0, 5.0]


def test_the_ratio_of_losses_does_not_know_the_length():
  for n_tokens in ([1, 1, 1], [9, 1, 50]):
    got = _IFD(_pool(_GIVEN, _ALONE, n_tokens))
    assert got.order.tolist() == [2, 0, 1] and not got.rest


def test_the_ratio_of_perplexities_does():
  """Perplexities: exp(2) / exp(4), exp(1/9) / exp(4/9), exp(4) / exp(5)."""
  c = _pool(_GIVEN, _ALONE, [1, 9, 1])
  assert _IFD(c, ratio="perplexity").order.tolist() == [1, 2, 0]


def test_what_a_prompt_does_not_help_is_left_out_and_told():
  c = _pool([4.0, 5.0, 2.0, 0.0], [4.0, 4.0, 4.0, 0.0], [1, 1, 1, 1])
  got = _IFD(c)
  assert got.order.tolist() == [0, 2]  # Ratios 1 and 0.5; 1.25 and 0/0 go.
  assert "1 have an IFD above config.select.options.ifd.most, 1." in got.rest
  assert got.rest.endswith("Of 1 the IFD is not finite.")
  assert "config.select.options.ifd.most" in got.rest
  assert _IFD(c, most=1.3).order.tolist() == [1, 0, 2]


def test_what_is_not_finite_never_comes_first():
  bad = [np.nan, np.inf, 1.0, -np.inf]
  got = _IFD(_pool(bad, [1.0, 1.0, 2.0, 1.0], [1] * 4))
  assert got.order.tolist() == [2]
  for ratio in ("loss", "perplexity"):
    got = _IFD(_pool([0.5] * 4, bad, [1] * 4), ratio=ratio)
    assert got.order.tolist() == [2]


@pytest.mark.parametrize(
  ("options", "match"),
  [
    ({"ratio": "los"}, "published, loss, perplexity. Did you mean 'loss'"),
    ({"most": -1.0}, "most is -1.0; allowed: 0 to 1000000"),
    ({"most": float("nan")}, "most is nan"),
    ({"limit": 1.0}, "ifd.limit is 1.0, and there is no such field"),
  ],
)
def test_bad_options(options, match):
  with pytest.raises(errors.InputError, match=match):
    _IFD(_pool(_GIVEN, _ALONE, [1, 1, 1]), **options)


def _of_variant(**inputs):
  """Examples of 3 response tokens each."""
  n = len(next(iter(inputs.values())))
  c = _pool([0.0] * n, [0.0] * n, [3] * n)
  more = {name: np.array(v, np.float32) for name, v in inputs.items()}
  return dataclasses.replace(c, inputs=more)


def test_cherry_is_the_ratio_under_the_warmed_up_model():
  """3/6, 6/6 and 7/6, of which the last is left out."""
  c = _of_variant(nll_warmed_up=[[3, 6], [6, 6], [7, 6]])
  got = _IFD(c, variant="cherry")
  assert got.order.tolist() == [1, 0]
  assert got.rest.startswith("1 have an IFD above")


def test_superfiltering_predicts_one_token_less_alone():
  """Means 3/3 over 4/2, 6/3 over 4/2, 6/3 over 5/2, and none."""
  c = _of_variant(
    nll_base=[3, 6, 6, 3],
    # Loss and predicted tokens of all answers, and of the last.
    answers_alone=[[4, 2] * 2, [4, 2] * 2, [5, 2] * 2, [0, 0] * 2],
  )
  got = _IFD(c, variant="superfiltering")
  # exp(1 - 2) and exp(2 - 2.5): the second has the ratio 1, and goes.
  assert got.order.tolist() == [2, 0]
  assert "1 have an IFD of or above config.select.options.ifd.most, 1." in (
    got.rest
  )
  assert "Of 1 the IFD is not finite" in got.rest  # One token predicts none.
  kept = _IFD(c, variant="superfiltering", most=1.0)
  assert kept.order.tolist() == [1, 2, 0]
  # (6/3) / (4/2) = 1, (6/3) / (5/2) = 0.8, (3/3) / (4/2) = 0.5.
  losses = _IFD(c, variant="superfiltering", ratio="loss", least=0.6)
  assert losses.order.tolist() == [2]
  assert "1 have an IFD below config.select.options.ifd.least, 0.6." in (
    losses.rest
  )


def test_data_juicer_takes_the_last_answer_and_bounds_of_the_user():
  """The last answer of 2 tokens: (9 - 3)/2 over 1/1 is 3; (4 - 2)/2 is 1."""
  c = _of_variant(
    nll_base=[9, 4],
    nll_of_earlier=[3, 2],
    answers_alone=[[70, 2, 1, 1], [80, 2, 1, 1]],
  )
  assert _IFD(c, variant="data_juicer").order.tolist() == [0, 1]
  bounded = _IFD(c, variant="data_juicer", least=0.5, most=2.0)
  assert bounded.order.tolist() == [1]


def test_a_variant_needs_its_own_losses_and_no_others():
  needed = {
    variant: set(table.needed("ifd", {"ifd": {"variant": variant}}))
    for variant in ("plain", "cherry", "superfiltering", "data_juicer")
  }
  signals = {"nll_without_prompt", "nll_warmed_up", "answers_alone"}
  assert [needs & signals for needs in needed.values()] == [
    *({"nll_without_prompt"}, {"nll_warmed_up"}),
    *({"answers_alone"}, {"answers_alone"}),
  ]
  assert "nll_of_earlier" in needed["data_juicer"] - needed["superfiltering"]
