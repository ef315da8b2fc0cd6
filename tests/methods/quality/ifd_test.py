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
  assert got.rest.endswith("Of 1 it is not finite.")
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
    ({"ratio": "los"}, "allowed: loss, perplexity. Did you mean 'loss'"),
    ({"most": -1.0}, "most is -1.0; allowed: 0 to 1000000"),
    ({"most": float("nan")}, "most is nan"),
    ({"limit": 1.0}, "ifd.limit is 1.0, and there is no such field"),
  ],
)
def test_bad_options(options, match):
  with pytest.raises(errors.InputError, match=match):
    _IFD(_pool(_GIVEN, _ALONE, [1, 1, 1]), **options)
