"""Consensus over maps: by hand, by plain Python in fractions, and its ends."""

import fractions

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

CONSENSUS = table.METHODS["ila_consensus"]


def _with_cells(c, other):
  inputs = {"other_cells": np.asarray(other, np.int32)}
  return candidates.with_inputs(c, inputs, wanted=None)


def test_by_hand():
  """Rows 0 to 3 of depth 4 to 1; the maps part them into cells otherwise.

  Places on the run's own map, with cells {0, 1, 2} and {3}: 0, 1, 2 and 0. On
  the other, {0, 1} and {2, 3}: 0, 1, 0 and 1. Times in sum, without the halves:
  0, 2, 2 and 1. Of the two at 2 the deeper comes first.
  """
  n = 4
  c = candidates.candidates(
    np.arange(n, dtype=np.uint64),
    cell=np.array([5, 5, 5, 0]),
    depth=np.array([4.0, 3.0, 2.0, 1.0]),
    relative_depth=np.full(n, 0.5),
    n_tokens=np.ones(n, int),
    domain=np.zeros(n, int),
    candidate=np.ones(n, bool),
    seed=0,
  )
  got = CONSENSUS(_with_cells(c, [[0], [0], [1], [1]]))
  assert got.order.tolist() == [0, 3, 1, 2]
  assert got.round.tolist() == [1, 1, 2, 3]


def _slowly(c, cells, *, by_size):
  """The mean of (r + 1/2) / W over maps; W is 1, or the size of the cell."""
  rows = np.flatnonzero(c.candidate).tolist()
  deepest_first = sorted(rows, key=lambda i: (-c.depth[i], c.ids[i]))
  time = dict.fromkeys(rows, fractions.Fraction(0))
  places = dict.fromkeys(rows, 0)
  for cell in cells:
    for row in rows:
      mine = [other for other in deepest_first if cell[other] == cell[row]]
      weight = len(mine) if by_size else 1
      time[row] += fractions.Fraction(2 * mine.index(row) + 1, 2) / weight
      places[row] += mine.index(row)
  return sorted(rows, key=lambda i: (time[i], places[i], -c.depth[i], c.ids[i]))


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(10))
def test_it_is_that_of_plain_python(seed, power):
  rng = np.random.default_rng(seed)
  pool = reference.pool(24, seed)
  pool["candidate"] = rng.permutation(24) < 15
  pool["depth"] = rng.integers(0, 4, 24) / 4
  # Cells of 1, 2, 4 and 8 candidates: by these, floats divide exactly.
  cells = rng.integers(0, 4, (3, 24))
  for cell in cells:
    sizes = np.repeat(np.arange(4), [1, 2, 4, 8])
    cell[pool["candidate"]] = rng.permutation(sizes)
  c = candidates.candidates(**(pool | {"cell": cells[0]}), seed=seed)
  c = candidates.with_power(c, power)
  got = CONSENSUS(_with_cells(c, cells[1:].T))
  assert got.order.tolist() == _slowly(c, cells, by_size=bool(power))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_maps_that_agree_are_ila(power):
  pool = reference.big_pool()
  c = candidates.with_power(candidates.candidates(**pool, seed=0), power)
  same = np.repeat(pool["cell"][:, None], 3, axis=1)
  ila = table.METHODS["ila"](c)
  got = CONSENSUS(_with_cells(c, same))
  assert got.order.tolist() == ila.order.tolist()
  assert got.round.tolist() == ila.round.tolist()


def test_cells_that_are_called_otherwise_change_nothing():
  pool = reference.big_pool()
  rng = np.random.default_rng(1)
  c = candidates.candidates(**pool, seed=0)
  other = rng.integers(0, 50, (4000, 2))
  names = rng.permutation(50)

  def order(cells):
    return CONSENSUS(_with_cells(c, cells)).order.tolist()

  assert order(other) == order(names[other])
  # Nor does the order in which the other maps come.
  assert order(other) == order(other[:, ::-1])
