"""RDS+ on vectors that can be followed by hand."""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, table
from ila_jax.methods.target import nearness
from tests.support import reference_selection as reference

_POOL = {"A": (0.6, 0.8), "B": (0.6, -0.8), "C": (0, 1), "D": (-1, 0)}
_TARGET = ((1, 0), (0, 1))


def _candidates(wanted=None):
  pool = reference.pool(4, 0) | {
    "ids": np.array([4, 3, 2, 1], np.uint64),
    "candidate": np.ones(4, bool),
    "depth": np.zeros(4),
  }
  inputs = {
    "rds_embedding": np.array(list(_POOL.values()), np.float32),
    "target_rds_embedding": np.array(_TARGET, np.float32),
    "target_id": np.array([20, 10], np.uint64),
  }
  made = candidates.candidates(**pool, seed=0)
  return dataclasses.replace(made, inputs=inputs, wanted=wanted)


def _names(ranking):
  return "".join(np.array(list(_POOL))[ranking.order])


def test_target_examples_take_turns_by_their_ids():
  """(0, 1) takes C, then (1, 0) the lower id of A and B, then (0, 1) A."""
  got = table.METHODS["rds_plus"](_candidates())
  assert _names(got) == "CBAD"
  assert got.round.tolist() == [1, 1, 2, 2] and not got.rest


def test_the_greatest_cosine_to_any_counts():
  got = table.METHODS["rds_plus"](_candidates(), pick="max")
  assert _names(got) == "CABD"
  assert got.round.tolist() == [1] * 4


def test_tasks_take_turns_by_their_names():
  """Task a holds (0, 1) and (0, -1); task b holds (1, 0).

  a takes C, then b the lower id of A and B, which is B; then a takes A, whose
  cosine to (0, 1) is 0.8, and D is left.
  """
  c = _candidates()
  more = {
    "target_rds_embedding": np.float32([(1, 0), (0, 1), (0, -1)]),
    "target_id": np.array([20, 10, 30], np.uint64),
    "target_domain": np.array(["b", "a", "a"], object),
  }
  c = dataclasses.replace(c, inputs=dict(c.inputs) | more)
  got = table.METHODS["rds_plus"](c, pick="tasks")
  assert _names(got) == "CBAD"
  assert got.round.tolist() == [1, 1, 2, 2] and not got.rest
  # Nothing else decides: examples in another order, another number of them.
  mixed = {name: held[[2, 0, 1, 1]] for name, held in more.items()}
  mixed["target_id"] = np.array([4, 3, 2, 1], np.uint64)
  c = dataclasses.replace(c, inputs=dict(c.inputs) | mixed)
  assert _names(table.METHODS["rds_plus"](c, pick="tasks")) == "CBAD"


def test_one_task_is_the_greatest_cosine(capsys):
  c = _candidates()
  domain = {"target_domain": np.array([None, None], object)}
  c = dataclasses.replace(c, inputs=dict(c.inputs) | domain)
  got = table.METHODS["rds_plus"](c, pick="tasks")
  assert _names(got) == _names(table.METHODS["rds_plus"](c, pick="max"))
  assert "so there is one task" in capsys.readouterr().err


def test_tasks_are_a_walk_over_all_pairs():
  random = np.random.default_rng(0)
  pool = random.integers(-3, 4, (40, 5)).astype(np.float32)
  tasks = [random.integers(-3, 4, (k, 5)).astype(np.float32) for k in (1, 3, 6)]
  rows = random.permutation(40)[:30]
  found = nearness.greatest_by_task(pool, rows, tasks)

  def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)

  want = np.stack([(unit(pool[rows]) @ unit(t).T).max(axis=1) for t in tasks])
  np.testing.assert_allclose(found, want, atol=1e-3)
  left, order = list(range(30)), []
  for turn in range(17):
    own = found[turn % 3]
    order.append(max(left, key=lambda place, own=own: (own[place], -place)))
    left.remove(order[-1])
  places, turn = nearness.tasks_in_turn(found, count=17)
  assert places.tolist() == order
  assert turn.tolist() == [at // 3 + 1 for at in range(17)]


def test_it_says_that_some_target_examples_have_no_turn(capsys):
  got = table.METHODS["rds_plus"](_candidates(wanted=1))
  assert _names(got) == "C"
  assert "as many as the budget may buy" in got.rest
  assert "of 2 target examples the 1 of lowest id" in capsys.readouterr().err
