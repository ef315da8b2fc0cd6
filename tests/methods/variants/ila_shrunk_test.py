"""Shrunk depth: by hand, in plain loops, and a simulation that knows truth."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import candidates, table
from ila_jax.methods.variants import ila_shrunk
from tests.support import reference_selection as reference

SHRUNK = table.METHODS["ila_shrunk"]


def _candidates(pool, base, tuned, labels=None):
  c = candidates.candidates(**pool, seed=0)
  n = len(pool["ids"])
  inputs = {
    "nll_base": np.asarray(base, np.float32),
    "nll_by_reference": np.asarray(tuned, np.float32),
    "n_labels": np.ones(n, int) if labels is None else np.asarray(labels),
  }
  return candidates.with_inputs(c, inputs, wanted=None)


def _pool(cell):
  n = len(cell)
  return {
    "ids": np.arange(n, dtype=np.uint64),
    "cell": np.array(cell),
    "depth": np.zeros(n),
    "relative_depth": np.full(n, 0.5),
    "n_tokens": np.ones(n, int),
    "domain": np.zeros(n, int),
    "candidate": np.ones(n, bool),
  }


def test_by_hand():
  """Four examples of one cell, two sets, one token: depth is minus the loss.

  Depths 5 ± 3, 4 ± 0, 0 ± 0 and -1 ± 3: means 5, 4, 0 and -1 around 2, whose
  variance is 26/3. Of two sets, the variance is 18, 0, 0 and 18; that of the
  mean is half of it, 4.5 in the mean, so 26/3 - 4.5 = 25/6 is between them. The
  noise of the first, by itself, has 9: it keeps (25/6) / (25/6 + 9) = 25/79 of
  5 - 2, and the second all of its 2. So the second comes first.
  """
  tuned = [[-8, -2], [-4, -4], [0, 0], [4, -2]]
  c = _candidates(_pool([0, 0, 0, 0]), np.zeros(4), tuned)
  known = ila_shrunk.posterior(c, noise_weight=0.0)
  assert known.between == pytest.approx(25 / 6)
  kept = 25 / 79
  np.testing.assert_allclose(known.mean, [2 + 3 * kept, 4, 0, 2 - 3 * kept])
  np.testing.assert_allclose(
    known.deviation, [np.sqrt(kept * 9), 0, 0, np.sqrt(kept * 9)]
  )
  got = SHRUNK(c, noise_weight=0.0)
  assert got.order.tolist() == [1, 0, 2, 3] and got.warning == ""
  # With much weight all have the noise of their length: as by the mean.
  assert SHRUNK(c, noise_weight=1e6).order.tolist() == [0, 1, 2, 3]
  # One deviation is 1.69, so that the last of the four sinks further.
  score = known.mean - known.deviation
  assert np.argsort(-score).tolist() == [1, 0, 2, 3]


def _slowly(c, weight, deviations):
  """Row by row, in float64."""
  rows = np.flatnonzero(c.candidate).tolist()
  tuned = c.inputs["nll_by_reference"].astype(float)
  sets = tuned.shape[1]
  depth = {
    r: [
      (float(c.inputs["nll_base"][r]) - loss)
      * int(c.inputs["n_labels"][r])
      / int(c.n_tokens[r])
      for loss in tuned[r]
    ]
    for r in rows
  }
  mean = {r: float(np.mean(depth[r])) for r in rows}
  own = {r: float(np.var(depth[r], ddof=1)) for r in rows}

  def bin_of(row):
    mine = [o for o in rows if c.domain[o] == c.domain[row]]
    bins = min(max(len(mine) // 10, 1), 10)
    below = sum(c.n_tokens[o] < c.n_tokens[row] for o in mine)
    equal = sum(c.n_tokens[o] == c.n_tokens[row] for o in mine)
    return int(c.domain[row]), int(bins * (below + equal / 2) / len(mine))

  alike, noise = {}, {}
  for r in rows:
    alike[r] = np.mean([own[o] for o in rows if bin_of(o) == bin_of(r)])
    both = (sets - 1) * own[r] + weight * alike[r]
    noise[r] = both / (sets - 1 + weight) / sets
  cells = {int(c.cell[r]) for r in rows}
  members = {cell: [r for r in rows if c.cell[r] == cell] for cell in cells}
  squares = taken = 0.0
  for mine in members.values():
    if len(mine) > 1:
      squares += np.var([mean[r] for r in mine]) * len(mine)
      # The mean noise of a cell of n stands in n - 1 of its n parts.
      taken += np.mean([own[r] / sets for r in mine]) * (len(mine) - 1)
  freedom = len(rows) - len(cells)
  between = max((squares - taken) / freedom, 0.0) if freedom else 0.0
  score = {}
  for mine in members.values():
    center = np.mean([mean[r] for r in mine])
    for r in mine:
      total = between + noise[r]
      kept = between / total if total else 0.0
      score[r] = center + kept * (mean[r] - center)
      score[r] -= deviations * np.sqrt(kept * noise[r])
  return score


@pytest.mark.parametrize("seed", range(8))
def test_it_is_that_of_plain_loops(seed):
  pool = reference.pool(24, seed)
  rng = np.random.default_rng(seed)
  truth = rng.normal(size=24) * 3
  c = _candidates(
    pool,
    np.full(24, 20.0),
    20 - truth[:, None] + rng.normal(size=(24, 3)),
    rng.integers(1, 4, 24),
  )
  want = _slowly(c, 4.0, 1.0)
  known = ila_shrunk.posterior(c, noise_weight=4.0)
  score = known.mean - known.deviation
  rows = sorted(want)
  np.testing.assert_allclose(score[rows], [want[r] for r in rows], atol=1e-9)
  left = {}
  for r in sorted(rows, key=lambda r: (-np.float32(score[r]), pool["ids"][r])):
    left.setdefault(int(pool["cell"][r]), []).append(r)
  order = sorted(
    rows,
    key=lambda r: (
      left[int(pool["cell"][r])].index(r),
      -np.float32(score[r]),
      pool["ids"][r],
    ),
  )
  assert SHRUNK(c).order.tolist() == order


def test_it_finds_what_is_deep_where_short_answers_are_noisy():
  """400 cells of ten, of which three are short, with four times the noise.

  The first of every cell: by the mean of three sets the short ones are picked
  far too often, and what is picked is less deep.
  """
  rng = np.random.default_rng(0)
  cells, each = 400, 10
  n = cells * each
  is_short = np.tile(np.arange(each) < 3, cells)
  truth = rng.normal(size=n)
  deviation = np.where(is_short, 2.0, 0.5)
  tuned = -truth[:, None] + rng.normal(size=(n, 3)) * deviation[:, None]
  length = np.where(is_short, 1, 100)
  pool = _pool(np.repeat(np.arange(cells), each)) | {"n_tokens": length}
  pool["depth"] = -tuned.mean(axis=1)
  # Losses are sums: of one nat a token for each unit of depth.
  c = _candidates(pool, np.zeros(n), tuned * length[:, None])
  known = ila_shrunk.posterior(c, noise_weight=4.0)
  assert known.between == pytest.approx(1.0, rel=0.1)
  first = {
    "mean": table.METHODS["ila"](c).order[:cells],
    "posterior": SHRUNK(c, deviations=0.0).order[:cells],
    "lower": SHRUNK(c).order[:cells],
  }
  short = {name: is_short[rows].mean() for name, rows in first.items()}
  deep = {name: truth[rows].mean() for name, rows in first.items()}
  assert deep["posterior"] > deep["mean"] + 0.1
  assert short["mean"] > 0.45 > 0.3 > short["posterior"] > short["lower"]
  # What the posterior promises is what the truth holds.
  rows = first["posterior"]
  assert known.mean[rows].mean() == pytest.approx(truth[rows].mean(), abs=0.1)
  raw = -tuned.mean(axis=1)
  assert raw[first["mean"]].mean() > truth[first["mean"]].mean() + 0.4


def test_sets_that_agree_are_ila():
  pool = reference.big_pool()
  rng = np.random.default_rng(0)
  loss = rng.integers(0, 9, 4000) / 4
  pool["depth"] = (3 - loss) / pool["n_tokens"]
  c = _candidates(pool, np.full(4000, 3.0), np.repeat(loss[:, None], 3, axis=1))
  ila = table.METHODS["ila"](c)
  assert SHRUNK(c).order.tolist() == ila.order.tolist()


def test_sets_that_do_not_agree_at_all_are_told():
  c = _candidates(_pool([0, 0, 0]), np.zeros(3), [[1, -1], [-1, 1], [2, -2]])
  got = SHRUNK(c)
  assert got.order.tolist() == [0, 1, 2]
  assert "Raise config.score.reference_examples" in got.warning


def test_one_set_is_refused():
  c = _candidates(_pool([0, 0]), np.zeros(2), [[1], [2]])
  with pytest.raises(errors.InputError, match="two or more"):
    SHRUNK(c)
