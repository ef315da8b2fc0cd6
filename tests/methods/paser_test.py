"""PASER by hand, and by plain Python in exact fractions."""

import fractions

import numpy as np
import pytest

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

PASER = table.METHODS["paser"]


def _candidates(cell, jsd, prompt, response, candidate=None):
  n = len(cell)
  c = candidates.candidates(
    np.arange(n, dtype=np.uint64),
    cell=np.array(cell),
    depth=np.zeros(n),
    relative_depth=np.zeros(n),
    n_tokens=np.array(response),
    domain=np.zeros(n, int),
    candidate=np.ones(n, bool) if candidate is None else np.array(candidate),
    seed=0,
  )
  inputs = {
    "jsd_sft": np.array(jsd, np.float32),
    "n_prompt_tokens": np.array(prompt, np.int32),
  }
  return candidates.with_inputs(c, inputs, wanted=None)


def test_by_hand():
  """Cell 0 has the mean 3/8, cell 1 has 1/8, and cell 2 no share.

  In units of 1 / ln 4, JSD / ln(cost) of the rows of cell 0 is 0.125, 0.0625
  (of 256 tokens) and 0.25 (of 4 tokens): its order is 2, 0, 1. In cell 1 it is
  0.125 and 0.0625. A row of place r comes at (r + 1/2) / mean: cell 0 at 4/3, 4
  and 20/3, cell 1 at 4 and 12; of the two at 4 the lower place goes first.
  """
  c = _candidates(
    cell=[0, 0, 0, 1, 1, 2],
    jsd=[0.125, 0.5, 0.5, 0.125, 0.125, 0],
    prompt=[1, 128, 2, 1, 2, 1],
    response=[1, 128, 2, 1, 2, 1],
  )
  got = PASER(c)
  assert got.order.tolist() == [2, 3, 0, 1, 4, 5]
  assert got.round.tolist() == [1, 1, 2, 3, 2, 1]
  assert got.rest == "" and got.warning == ""


def test_a_row_that_may_not_be_chosen_has_no_part_in_the_share():
  c = _candidates(
    cell=[0, 0, 1],
    jsd=[0.125, 0.5, 0.25],
    prompt=[1, 1, 1],
    response=[1, 1, 1],
    candidate=[True, False, True],
  )
  assert PASER(c).order.tolist() == [2, 0]


def test_what_has_no_divergence_is_left_out_and_told():
  c = _candidates([0, 0, 0], [np.nan, 0.5, np.inf], [1, 1, 1], [1, 1, 1])
  got = PASER(c)
  assert got.order.tolist() == [1]
  assert got.rest == "2 have no finite jsd_sft."


def test_models_that_do_not_differ_are_told():
  got = PASER(_candidates([0, 0, 1], [0, 0, 0], [3, 1, 1], [1, 1, 1]))
  assert got.order.tolist() == [0, 2, 1] and got.round.tolist() == [1, 1, 2]
  assert "agree on every response" in got.warning


def _slowly(pool, more):
  """Each cell's row r at (r + 1/2) / CDS; cells without a share at last."""
  rows = np.flatnonzero(pool["candidate"]).tolist()
  by_cell = {}
  for row in rows:
    by_cell.setdefault(int(pool["cell"][row]), []).append(row)
  keys = []
  for mine in by_cell.values():
    jsd = {row: fractions.Fraction(float(more["jsd_sft"][row])) for row in mine}
    share = sum(jsd.values()) / len(mine)
    ies = {}
    for row in mine:
      size = more["n_prompt_tokens"][row] + pool["n_tokens"][row]
      ies[row] = np.float32(float(jsd[row]) / np.log(float(size) ** 2))
    mine.sort(key=lambda row: (-ies[row], pool["ids"][row]))
    for place, row in enumerate(mine):
      time = fractions.Fraction(2 * place + 1, 2) / (share or 1)
      keys.append((share == 0, time, place, -ies[row], pool["ids"][row], row))
  return [key[-1] for key in sorted(keys)]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_that_of_plain_python(seed):
  pool = reference.pool(24, seed)
  rng = np.random.default_rng(seed)
  more = {
    # Eighths and cells of equal sums, so that there are ties.
    "jsd_sft": (rng.integers(0, 4, 24) / 8).astype(np.float32),
    "n_prompt_tokens": rng.integers(1, 4, 24),
  }
  c = candidates.candidates(**pool, seed=seed)
  c = candidates.with_inputs(c, more, wanted=None)
  assert PASER(c).order.tolist() == _slowly(pool, more)


def test_every_prefix_has_about_the_shares_of_the_cells():
  """Within a row of them, while no cell is empty (Sainte-Laguë)."""
  rng = np.random.default_rng(3)
  cell = np.repeat([0, 1, 2, 3], 400)
  jsd = np.array([0.4, 0.3, 0.2, 0.1])[cell] + rng.uniform(-0.05, 0.05, 1600)
  size = rng.integers(1, 99, 1600)
  got = PASER(_candidates(cell, jsd, size, size))
  mean = np.array([jsd[cell == k].mean() for k in range(4)])
  chosen = np.cumsum(cell[got.order][:, None] == np.arange(4), axis=0)[:900]
  wanted = np.arange(1, 901)[:, None] * mean / mean.sum()
  assert np.abs(chosen - wanted).max() <= 1.5
