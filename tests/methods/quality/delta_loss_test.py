"""The loss drop by hand, from both ends."""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference


def test_the_smallest_reduction_is_hard_to_follow():
  """Drops a token of 2, -1, 0.5 and none."""
  pool = reference.pool(4, 0) | {"candidate": np.ones(4, bool)}
  pool |= {"depth": np.zeros(4), "n_tokens": np.array([1, 2, 4, 1])}
  inputs = {"nll_base": [6, 4, 6, np.nan], "nll_sft": [4, 6, 4, 1]}
  c = dataclasses.replace(
    candidates.candidates(**pool, seed=0),
    inputs={name: np.float32(values) for name, values in inputs.items()},
  )
  delta_loss = table.METHODS["delta_loss"]
  largest, smallest = delta_loss(c), delta_loss(c, first="smallest")
  assert largest.order.tolist() == [0, 2, 1]
  assert smallest.order.tolist() == [1, 2, 0]  # What tuning made worse first.
  for got in (largest, smallest):
    assert got.rest == "1 have no finite loss drop."
