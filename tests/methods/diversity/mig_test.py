"""MIG, by hand and beside a walk through all gains in NumPy."""

import dataclasses

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

METHOD = table.METHODS["mig"]


def _candidates(tags, quality, **more):
  n = len(tags)
  pool = reference.pool(n, 0) | {"candidate": np.ones(n, bool)}
  pool |= {"ids": np.arange(n, dtype=np.uint64), "depth": np.float32(quality)}
  pool |= {"relative_depth": np.float32(quality)}
  c = candidates.candidates(**pool | more, seed=0)
  return dataclasses.replace(c, inputs={"tags": np.float32(tags)})


def test_by_hand():
  """With φ' = b X^(b - 1), b = ½: after 9, label 0 pays 1/6 of each point."""
  tags = [[0, -1], [0, 1], [0, -1], [1, -1], [-1, -1]]
  c = _candidates(tags, [9, 3, 6, 2, 9])
  # At first each point pays 500, so 9 is the most. Then 3 points of label 1
  # pay 1,500. Then 2 of label 1, which holds 3: 0.58; 6 of label 0, which holds
  # 12: 0.87.
  got = METHOD(c, power=0.5, quality="depth")
  assert got.order.tolist() == [0, 1, 2, 3]
  assert got.rest.startswith("1 have no label (config.pool.fields.labels")
  # Divided, the second gives 1.5 to each label.
  got = METHOD(c, power=0.5, quality="depth", divide=True)
  assert got.order.tolist() == [0, 3, 2, 1]
  # Quality alone.
  got = METHOD(c, power=1.0, quality="depth", divide=True)
  assert got.order.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("divide", [False, True])
def test_lazy_is_the_walk_through_all_gains(divide):
  for seed in range(6):
    random = np.random.default_rng(seed)
    tags = random.integers(-1, 7, (60, 3))
    quality = random.integers(-1, 5, 60)
    c = _candidates(tags, quality)
    has = tags >= 0
    given = np.where(has, np.maximum(quality, 0)[:, None], 0.0)
    if divide:
      given = given / np.maximum(has.sum(axis=1, keepdims=True), 1)
    v = np.zeros((60, 7))
    for row in range(60):
      for tag, amount in zip(tags[row], given[row], strict=True):
        v[row, tag] += amount * (tag >= 0)
    left, full, want = np.flatnonzero(has.any(axis=1)).tolist(), np.zeros(7), []
    while left:
      gain = np.float32(v[left] @ (0.8 * (full + 1e-6) ** -0.2))
      row = left[int(np.argmax(gain))]
      want.append(row)
      left.remove(row)
      full += v[row]
    got = METHOD(c, quality="depth", divide=divide)
    assert got.order.tolist() == want


def test_cells_of_alike_quality_come_in_rounds():
  cell = np.random.default_rng(1).permutation(np.repeat(np.arange(6), 5))
  c = _candidates(np.zeros((30, 1)), np.full(30, 0.5), cell=cell)
  order = METHOD(dataclasses.replace(c, inputs={}), labels="cells").order
  rounds = cell[order].reshape(5, 6)
  assert (np.sort(rounds, axis=1) == np.arange(6)).all()
