"""MIG, by hand and beside a walk through all gains in NumPy."""

import dataclasses

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

METHOD = table.METHODS["mig"]


def _candidates(tags, quality, names=None, **more):
  """Candidates with labels, which are apart unless their names are given."""
  n = len(tags)
  pool = reference.pool(n, 0) | {"candidate": np.ones(n, bool)}
  pool |= {"ids": np.arange(n, dtype=np.uint64), "depth": np.float32(quality)}
  pool |= {"relative_depth": np.float32(quality)}
  c = candidates.candidates(**pool | more, seed=0)
  names = np.eye(int(np.max(tags)) + 1) if names is None else names
  inputs = {"tags": np.float32(tags), "tag_embeddings": np.float32(names)}
  return dataclasses.replace(c, inputs=inputs)


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


def test_a_graph_by_hand():
  """Labels 0 and 1 have a cosine of 0.8, label 2 is apart; b = ½.

  Columns of W are divided by 1.8: of a point of 0, 5/9 stay and 4/9 flow to 1.
  """
  tags = [[0], [1], [1], [2]]
  names = [[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1]]
  c = _candidates(tags, [9, 8, 1, 2], names)
  # 9 of label 0 are 5 for it and 4 for label 1. Then 2 of label 2, which has
  # nothing. Then 8 of label 1, though 0 and 1 hold 5 and 4.
  got = METHOD(c, power=0.5, quality="depth", threshold=0.75)
  assert got.order.tolist() == [0, 3, 1, 2]
  # Apart, label 1 has nothing, either: 8 come before 2, and 2 before 1.
  apart = METHOD(c, power=0.5, quality="depth", threshold=0.85).order
  assert apart.tolist() == [0, 1, 3, 2]
  left_out = dataclasses.replace(c, inputs={"tags": c.inputs["tags"]})
  got = METHOD(left_out, power=0.5, quality="depth", propagation=0)
  assert got.order.tolist() == apart.tolist()


def _walk(tags, given, names, *, threshold, propagation):
  """Sums over all labels and all rows, one after the other."""
  n, t = len(tags), len(names)
  used = sorted({tag for row in tags.tolist() for tag in row if tag >= 0})
  p = np.zeros((t, t))
  for i in used:
    for j in used:
      w = 1.0 if i == j else float(np.float32(names[i] @ names[j]))
      p[i, j] = w * (i == j or w >= threshold) * (1 if i == j else propagation)
  u = np.zeros((n, t))
  for row in range(n):
    for tag, amount in zip(tags[row], given[row], strict=True):
      for other in used if tag >= 0 else ():
        u[row, other] += amount * p[tag, other] / p[:, other].sum()
  left = [row for row in range(n) if (tags[row] >= 0).any()]
  full, order = np.zeros(t), []
  while left:
    gain = np.float32(u[left] @ (0.8 * (full + 1e-6) ** -0.2))
    row = left[int(np.argmax(gain))]
    order.append(row)
    left.remove(row)
    full += u[row]
  return order


@pytest.mark.parametrize(
  ("divide", "threshold", "propagation"),
  [(False, 1.0, 1.0), (True, 1.0, 1.0), (False, 0.5, 1.0), (True, 0.3, 0.25)],
)
def test_lazy_is_the_walk_through_all_gains(divide, threshold, propagation):
  for seed in range(6):
    random = np.random.default_rng(seed)
    tags = random.integers(-1, 7, (60, 3))
    names = random.normal(size=(7, 3))
    names = (names.T / np.linalg.norm(names, axis=1)).T.astype(np.float32)
    quality = random.integers(-1, 5, 60)
    c = _candidates(tags, quality, names)
    has = tags >= 0
    given = np.where(has, np.maximum(quality, 0)[:, None], 0.0)
    if divide:
      given = given / np.maximum(has.sum(axis=1, keepdims=True), 1)
    graph = {"threshold": threshold, "propagation": propagation}
    got = METHOD(c, quality="depth", divide=divide, **graph)
    want = _walk(tags, given, names.astype(np.float64), **graph)
    assert got.order.tolist() == want


def test_a_score_of_others_is_the_quality():
  c = _candidates([[0], [0], [1]], [9, 8, 1])
  held = np.array([(1.0,), (2.0,), (np.nan,)], [("good", np.float32)])
  c = dataclasses.replace(c, inputs=dict(c.inputs) | {"scores": held})
  got = METHOD(c, score="good")
  assert got.order.tolist() == [1, 0]
  assert got.rest == "1 have no finite score."


def test_an_encoder_to_which_all_labels_are_alike_is_told():
  names = np.float32([[1, 0], [1, 0], [0.8, 0.6], [0, 1]])
  c = _candidates([[0], [1], [2], [3]], [1, 2, 3, 4], names)
  told = METHOD(c, threshold=0.7, quality="depth").warning
  assert told.startswith("3 of all 6 pairs") is False
  told = METHOD(c, threshold=0.5, quality="depth").warning
  assert told.startswith("4 of all 6 pairs of labels are alike to the encoder")


def test_cells_of_alike_quality_come_in_rounds():
  cell = np.random.default_rng(1).permutation(np.repeat(np.arange(6), 5))
  c = _candidates(np.zeros((30, 1)), np.full(30, 0.5), cell=cell)
  order = METHOD(dataclasses.replace(c, inputs={}), labels="cells").order
  rounds = cell[order].reshape(5, 6)
  assert (np.sort(rounds, axis=1) == np.arange(6)).all()
