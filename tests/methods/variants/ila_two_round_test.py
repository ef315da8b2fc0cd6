"""Two rounds by hand, by plain loops, and where R may not be chosen."""

import fractions

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference
from tests.support import tiny

TWO = table.METHODS["ila_two_round"]


def _candidates(pool, is_reference, seed=0, wanted=None):
  c = candidates.candidates(**pool, seed=seed)
  return candidates.with_inputs(
    c, {"reference": np.array(is_reference)}, wanted=wanted
  )


def test_by_hand():
  """Rows 0 and 3 are R; cell 0 has one of them, cell 1 the other."""
  pool = {
    "ids": np.arange(7, dtype=np.uint64),
    "cell": np.array([0, 0, 0, 1, 1, 2, 2]),
    "depth": np.array([9.0, 1.0, 5.0, 0.0, 7.0, 2.0, 3.0]),
    "relative_depth": np.zeros(7),
    "n_tokens": np.ones(7, int),
    "domain": np.zeros(7, int),
    "candidate": np.ones(7, bool),
  }
  is_reference = [True, False, False, True, False, False, False]
  got = TWO(_candidates(pool, is_reference))
  assert sorted(got.order[:2].tolist()) == [0, 3]
  # Cell 2 has its first turn; then 4 (7.0), 2 (5.0), 5 (2.0); then 1.
  assert got.order[2:].tolist() == [6, 4, 2, 5, 1]
  assert got.round[2:].tolist() == [1, 2, 2, 2, 3]
  assert got.warning == "" and got.rest == ""
  few = TWO(_candidates(pool, is_reference, wanted=3))
  assert "more than half of the selection is random" in few.warning
  assert few.order.tolist() == got.order.tolist()


@pytest.mark.parametrize("seed", range(12))
def test_it_is_that_of_plain_loops(seed):
  n = 24
  pool = reference.pool(n, seed)
  rng = np.random.default_rng(seed)
  is_reference = rng.random(n) < 0.3
  c = _candidates(pool, is_reference, seed)
  weight = np.ones(n)
  if seed % 2:
    weight = 1.0 + pool["cell"] % 3
    c = candidates.with_weights(c, weight)
  rows = np.flatnonzero(pool["candidate"]).tolist()
  first = [row for row in rows if is_reference[row]]
  first.sort(key=lambda row: (c.uniform[row], pool["ids"][row]))
  taken, keys = {}, []
  for row in first:
    taken[c.cell[row]] = taken.get(c.cell[row], 0) + 1
  rest = [row for row in rows if row not in first]
  for row in sorted(rest, key=lambda r: (-c.depth[r], pool["ids"][r])):
    place = taken[c.cell[row]] = taken.get(c.cell[row], 0) + 1
    time = fractions.Fraction(2 * place - 1, 2) / fractions.Fraction(
      weight[row]
    )
    keys.append((time, place, -c.depth[row], pool["ids"][row], row))
  want = first + [key[-1] for key in sorted(keys)]
  assert TWO(c).order.tolist() == want


@pytest.mark.parametrize(
  "field", ["select__strategy", "select__compare", "finetune__compare"]
)
def test_a_reference_set_that_is_left_out_is_refused(field):
  name = "ila_two_round"
  value = name if field == "select__strategy" else (name,)
  with pytest.raises(
    errors.InputError, match=r"exclude_reference is True.*allowed: False\. Set"
  ):
    tiny.config("pool.jsonl", **{field: value})
  tiny.config("pool.jsonl", **{field: value, "score__exclude_reference": False})
