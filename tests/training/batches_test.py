"""The plan of a run: every example once an epoch, in an order of its own."""

import itertools

import numpy as np
import pytest

from ila_jax.training import batches


def _lengths(n: int) -> np.ndarray:
  return np.random.default_rng(n).integers(1, 33, n)


def _examples(steps) -> list[int]:
  return list(itertools.chain.from_iterable(itertools.chain(*steps)))


@pytest.mark.parametrize("epochs", [0.01, 0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("n", [1, 2, 101])
def test_epochs_pass_over_every_example(n, epochs):
  steps = batches.plan(_lengths(n), width=32, rows=4, seed=0, epochs=epochs)
  counts = np.bincount(_examples(steps), minlength=n)
  assert counts.sum() == max(round(epochs * n), 1)
  assert counts.max() - counts.min() <= 1
  assert all(len(step) == 4 for step in steps[:-1])
  assert 1 <= len(steps[-1]) <= 4
  lengths = _lengths(n)
  for row in itertools.chain(*steps):
    assert lengths[row].sum() <= 32


@pytest.mark.parametrize("total_steps", [1, 7, 100])
def test_total_steps_are_full_steps(total_steps):
  steps = batches.plan(
    _lengths(23), width=32, rows=4, seed=0, total_steps=total_steps
  )
  assert [len(step) for step in steps] == [4] * total_steps


def test_order_is_that_of_seed_and_epoch():
  def order(seed: int) -> list[int]:
    # One example a row: the plan is the permutations themselves.
    steps = batches.plan(np.full(50, 8), width=8, rows=1, seed=seed, epochs=2)
    return _examples(steps)

  assert order(1) == order(1)
  assert order(1) != order(2)
  assert order(1)[:50] != order(1)[50:]
  wanted = [np.random.default_rng((1, e)).permutation(50) for e in (0, 1)]
  assert order(1) == np.concatenate(wanted).tolist()


def test_one_kind_of_length_must_be_given():
  for given in ({}, {"epochs": 1.0, "total_steps": 3}):
    with pytest.raises(ValueError, match="either epochs or total_steps"):
      batches.plan(_lengths(3), width=32, rows=1, seed=0, **given)
