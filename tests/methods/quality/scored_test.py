"""Methods that order by one number of each example, by their formulas."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from ila_jax import errors
from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference


def _pool(**inputs):
  n = len(next(iter(inputs.values())))
  pool = reference.pool(n, 0) | {"candidate": np.ones(n, bool)}
  pool |= {"ids": np.arange(n, dtype=np.uint64), "depth": np.zeros(n)}
  pool["n_tokens"] = np.array(inputs.pop("n_tokens", [1] * n))
  made = candidates.candidates(**pool, seed=0)
  more = {name: np.array(values) for name, values in inputs.items()}
  return dataclasses.replace(made, inputs=more)


def _order(name, c, **options):
  return table.METHODS[name](c, **options).order.tolist()


# Sums of 8, 6, 3, 10 and 1 nats over 2, 3, 1, 1 and 1 tokens: 4, 2, 3, 10, 1.
_SUMS = {"nll_base": [8.0, 6.0, 3.0, 10.0, 1.0], "n_tokens": [2, 3, 1, 1, 1]}


def test_perplexity_is_of_a_token():
  c = _pool(**_SUMS)
  assert _order("ppl", c, part="low") == [4, 1, 2, 0, 3]
  assert _order("ppl", c, part="high") == [3, 0, 2, 1, 4]
  # The median is 3; then its neighbours, however far they are in nats.
  assert _order("ppl", c) == [2, 0, 1, 3, 4]


def test_the_middle_is_that_of_average_ranks():
  """A witness: average ranks, centred (SciPy's `rankdata`)."""
  for seed in range(20):
    random = np.random.default_rng(seed)
    loss = random.integers(1, 9, 23).astype(np.float64)
    away = np.abs(stats.rankdata(loss) - 12)
    want = np.lexsort((np.arange(23), away)).tolist()
    assert _order("ppl", _pool(nll_base=loss)) == want


def test_the_loss_drop_is_of_a_token():
  c = _pool(**_SUMS, nll_sft=[2.0, 0.0, 2.5, 10.0, 3.0])
  # Drops 3, 2, 0.5, 0 and -2.
  assert _order("delta_loss", c) == [0, 1, 2, 3, 4]
  assert _order("delta_loss", c, first="smallest") == [4, 3, 2, 1, 0]


def test_davir_divides_by_the_loss_of_the_base():
  # Shares 0.5, 0.9 and 0.1 of 10, 1 and 100 nats.
  c = _pool(nll_base=[10.0, 1.0, 100.0], nll_sft=[5.0, 0.1, 90.0])
  assert _order("davir", c) == [1, 0, 2]


def test_grape_takes_the_likeliest_response_of_each_prompt_first():
  c = _pool(
    nll_base=[4.0, 1.0, 9.0, 3.0, 2.0, 2.0],
    n_tokens=[2, 1, 3, 1, 1, 4],
    prompt_id=np.array([7, 7, 7, 5, 5, 9], np.uint64),
  )
  got = table.METHODS["grape"](c)
  # Losses 2, 1, 3 of prompt 7; 3, 2 of prompt 5; a half of prompt 9.
  assert got.order.tolist() == [5, 1, 4, 0, 3, 2]
  assert got.round.tolist() == [1, 1, 1, 2, 2, 3]
  assert not got.warning


def test_grape_tells_that_it_has_nothing_to_choose_between():
  prompts = np.arange(3, dtype=np.uint64)
  c = _pool(nll_base=[4.0, 1.0, 9.0], n_tokens=[1, 1, 1], prompt_id=prompts)
  assert (
    "100% of the responses are the best" in table.METHODS["grape"](c).warning
  )


@pytest.mark.parametrize("name", ["ppl", "delta_loss", "davir", "grape"])
def test_what_has_no_finite_number_is_left_out_and_told(name):
  c = _pool(
    nll_base=[np.nan, 4.0, np.inf, 2.0],
    nll_sft=[1.0, 3.0, 1.0, 1.0],
    prompt_id=np.arange(4, dtype=np.uint64),
  )
  got = table.METHODS[name](c)
  assert sorted(got.order.tolist()) == [1, 3]
  assert got.rest.startswith("2 have no finite ")


@pytest.mark.parametrize(
  ("name", "options", "match"),
  [
    ("ppl", {"part": "hi"}, "allowed: low, middle, high"),
    ("delta_loss", {"first": "least"}, "allowed: largest, smallest"),
  ],
)
def test_bad_options(name, options, match):
  with pytest.raises(errors.InputError, match=match):
    _order(name, _pool(**_SUMS, nll_sft=[0.0] * 5), **options)


def test_davir_ranks_among_like_lengths():
  """Short responses drop most; of each length the largest drop comes first."""
  n_tokens = np.repeat([1, 100], 10)
  drop = np.where(n_tokens == 1, 0.9, 0.1) + np.tile(np.arange(10), 2) / 100
  c = _pool(nll_base=np.ones(20), nll_sft=1 - drop, n_tokens=n_tokens)
  vars(c)["domain"] = np.zeros(20, int)
  assert sorted(_order("davir", c)[:10]) == list(range(10))
  assert _order("davir", c, like_length=True)[:4] == [9, 19, 8, 18]
