"""LESS against a worked example and against loops of plain NumPy."""

import dataclasses

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import candidates, table
from ila_jax.methods.target import less
from ila_jax.score.gradients import warmup


def _pool(n, **inputs):
  one = np.ones(n, int)
  c = candidates.candidates(
    np.arange(n, dtype=np.uint64),
    cell=one,
    depth=0.0 * one,
    relative_depth=0.0 * one,
    n_tokens=one,
    domain=one,
    candidate=one > 0,
    seed=0,
  )
  return dataclasses.replace(c, inputs=inputs)


def test_a_worked_example():
  """Two epochs of weights 0.75 and 0.25, two numbers each; two subtasks."""
  target = np.array(
    [[0.75, 0, 0.25, 0], [0, 0.75, 0.25, 0], [-0.75, 0, 0, 0.25]]
  )
  pool = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-1, 0, 0, 1], [0.6, 0.8, 1, 0]])
  # Of "sums" the mean is (3/8, 3/8, 1/4, 0), of "words" (-3/4, 0, 0, 1/4):
  # the rows have 5/8, 3/8, 1 (of "words") and 0.525 + 0.25.
  c = _pool(
    4,
    gradients=pool.astype(np.float16),
    target_gradients=target.astype(np.float32),
    target_domain=np.array(["sums", "sums", "words"]),
  )
  assert table.METHODS["less"](c).order.tolist() == [2, 3, 0, 1]
  means = less.subtask_means(
    c.inputs["target_gradients"], c.inputs["target_domain"]
  )
  found = less.influence(c.inputs["gradients"], np.arange(4), means)
  np.testing.assert_allclose(found, [0.625, 0.375, 1, 0.775], atol=1e-3)


def test_it_is_the_loop_over_epochs_examples_and_subtasks(monkeypatch):
  rng = np.random.default_rng(0)
  n, m, epochs, width = 70, 9, 3, 8
  weights = np.array([0.5, 0.3, 0.2])

  def units(count):
    x = rng.normal(size=(count, epochs, width))
    return (x / np.linalg.norm(x, axis=2, keepdims=True)).astype(np.float16)

  pool, target = units(n), units(m)
  subtask = rng.integers(0, 3, m)  # Of unequal sizes, in no order.
  wanted = np.full(n, -np.inf)
  for z in range(n):
    for task in range(3):
      scores = [
        sum(
          weights[i] * pool[z, i].astype(float) @ target[v, i].astype(float)
          for i in range(epochs)
        )
        for v in np.flatnonzero(subtask == task)
      ]
      wanted[z] = max(wanted[z], np.mean(scores))
  weighed = target.astype(np.float32) * weights[None, :, None]
  # Blocks of four rows, and more subtasks than one.
  monkeypatch.setattr(less, "_BLOCK_BYTES", 4 * 4 * epochs * width)
  c = _pool(
    n,
    gradients=pool.reshape(n, -1),
    target_gradients=weighed.reshape(m, -1).astype(np.float32),
    target_domain=subtask,
  )
  found = table.METHODS["less"](c).order
  assert found.tolist() == np.argsort(-wanted, kind="stable").tolist()


def test_a_gradient_that_is_not_finite_is_refused():
  c = _pool(
    2,
    gradients=np.array([[1, 0], [np.nan, 0]], np.float16),
    target_gradients=np.ones((1, 2), np.float32),
    target_domain=np.array([None]),
  )
  with pytest.raises(errors.InputError, match="1 of 2 candidates are not fin"):
    table.METHODS["less"](c)


def test_a_width_is_a_power_of_two():
  with pytest.raises(errors.InputError, match="1000; allowed: a power of two,"):
    table.METHODS["less"].options(width=1000)
  assert warmup.Settings(width=512).width == 512
