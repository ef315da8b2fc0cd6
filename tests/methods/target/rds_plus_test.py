"""RDS+ on vectors that can be followed by hand."""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, table
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


def test_it_says_that_some_target_examples_have_no_turn(capsys):
  got = table.METHODS["rds_plus"](_candidates(wanted=1))
  assert _names(got) == "C"
  assert "as many as the budget may buy" in got.rest
  assert "of 2 target examples the 1 of lowest id" in capsys.readouterr().err
