"""Selection: a strategy orders the whole pool, a budget cuts the order.

Every strategy returns one total order of the candidates, so that any prefix
is its answer for a smaller budget. Ties always go to the lower id, and random
draws are keyed by seed and id, so the order in which the pool was read
changes nothing. `STRATEGIES` registers them by name. Where a strategy takes
`rank_by`, it is "depth" or "relative_depth".

>>> five = np.arange(5)
>>> pool = candidates(
...   np.array(["e", "d", "c", "b", "a"]), cell=np.array([0, 0, 0, 1, 1]),
...   depth=np.array([4.0, 3.0, 2.0, 1.0, 0.0]), relative_depth=five / 5,
...   n_tokens=five + 1, domain=0 * five, candidate=five >= 0, seed=0)
>>> for name in STRATEGIES:
...   print(name, STRATEGIES[name](pool).order)
ila [0 3 1 4 2]
trim [3 1 0 4 2]
random [4 2 1 3 0]
longest [4 3 2 1 0]
depth_only [0 1 2 3 4]
coverage_only [2 4 3 1 0]
stratified [0 3 1 4 2]
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ila_jax import draws, errors, ordering

UNITS = ("examples", "tokens", "fraction")
LENGTH_WARNING_RATIO = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidates:
  """The pool as selection sees it, one entry a row; made by `candidates`.

  Depth, cells and ids are checked here, once, since a sort would place a NaN
  or a repeated id somewhere without a word.
  """

  id_rank: Int[np.ndarray, " n"]  # place of the id among the sorted ids
  cell: Int[np.ndarray, " n"]
  depth: Float[np.ndarray, " n"]
  relative_depth: Float[np.ndarray, " n"]
  n_tokens: Int[np.ndarray, " n"]  # of the response
  domain: Int[np.ndarray, " n"]
  uniform: Float[np.ndarray, " n"]  # keyed draw: order inside a cell
  uniform_across: Float[np.ndarray, " n"]  # keyed draw: order across cells
  candidate: Bool[np.ndarray, " n"]  # False: reference or dev

  def __post_init__(self) -> None:
    ordering.require_finite(self.depth, self.candidate)
    ordering.require_finite(self.relative_depth, self.candidate)
    if (self.cell < 0).any():
      raise ValueError("cells are numbered from 0; a row has a negative cell")
    if len(np.unique(self.id_rank)) < len(self.id_rank):
      raise ValueError("ids repeat; the order of the pool would be ambiguous")


@dataclasses.dataclass(frozen=True)
class Ranking:
  """A total order of the m candidates."""

  order: Int[np.ndarray, " m"]  # rows of the pool, best first
  round: Int[np.ndarray, " m"]  # from 1; all 1 without rounds


def candidates(
  ids: Shaped[np.ndarray, " n"],
  *,
  cell: Int[np.ndarray, " n"],
  depth: Float[np.ndarray, " n"],
  relative_depth: Float[np.ndarray, " n"],
  n_tokens: Int[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
  candidate: Bool[np.ndarray, " n"],
  seed: int,
) -> Candidates:
  """Makes `Candidates`; ties and random draws come from the ids.

  Ids are distinct strings, `seed` is that of the random draws, and the other
  arrays are those of the same name in `Candidates`.

  Raises:
    ValueError: depth that is not finite, a negative cell, a repeated id.
  """
  _, id_rank = np.unique(ids, return_inverse=True)
  inside, across = (
    draws.keyed_uniform(ids, seed=seed, purpose=purpose).astype(np.float32)
    for purpose in ("select", "select-across-cells")
  )
  return Candidates(
    id_rank=id_rank.astype(np.int32),
    cell=cell.astype(np.int32),
    depth=depth.astype(np.float32),
    relative_depth=relative_depth.astype(np.float32),
    n_tokens=n_tokens.astype(np.int32),
    domain=domain.astype(np.int32),
    uniform=inside,
    uniform_across=across,
    candidate=candidate,
  )


def ila(c: Candidates, *, rank_by: str = "depth") -> Ranking:
  """Information Landscape Approximation: deepest of every cell, in rounds.

  Ranks by depth as the design says: inside a cell of one domain relative
  depth gives the same order. `rank_by="relative_depth"` changes which cells
  come first inside a round.
  """
  return Ranking(
    *ordering.total_order(c.cell, _depth(c, rank_by), c.id_rank, c.candidate)
  )


def trim(
  c: Candidates, *, quantile: float = 1 / 3, rank_by: str = "depth"
) -> Ranking:
  """Depth as a filter: coverage at random, after the shallow are set aside.

  In each cell the candidates below the `quantile` of the cell's own depths
  are shallow. The others come first, in the order of `coverage_only`; the
  shallow follow when all of those are used, in rounds again. The quantile is
  taken cell by cell since one of the whole pool would empty the cells of
  domains whose losses are low; so every cell keeps at least its deepest.
  0 is `coverage_only`; 1 keeps the deepest of each cell.

  Raises:
    errors.InputError: the quantile is not in [0, 1].
  """
  if not 0 <= quantile <= 1:
    raise errors.InputError(
      f"config.select.trim_quantile is {quantile}; allowed: 0 to 1. It is the "
      "share of each cell that is set aside; 0.33 drops the lowest third."
    )
  shallow = ~ordering.reaches_quantile(
    c.cell, _depth(c, rank_by), c.id_rank, c.candidate, quantile=quantile
  )
  place = _place(c, shallow, c.uniform)
  return _ranking(c, (shallow, place, c.uniform_across), place)


def random(c: Candidates) -> Ranking:
  """Uniformly at random, keyed by seed and id. All in round 1."""
  return _ranking(c, (c.uniform,))


def longest(c: Candidates) -> Ranking:
  """The longest response first. All in round 1."""
  return _ranking(c, (-c.n_tokens,))


def depth_only(c: Candidates, *, rank_by: str = "depth") -> Ranking:
  """The deepest first, wherever it lies on the map. All in round 1."""
  return _ranking(c, (-_depth(c, rank_by),))


def coverage_only(c: Candidates) -> Ranking:
  """Rounds over the cells as in `ila`, with no regard to depth.

  The order inside a cell and the order of cells inside a round come from two
  independent draws: with one alone, crowded cells, whose lowest draw is lower,
  would come first.
  """
  place = _place(c, c.uniform)
  return _ranking(c, (place, c.uniform_across), place)


def stratified(
  c: Candidates,
  *,
  tiers: Sequence[tuple[int, int]] = ((1000, 5), (1000, 3)),
  rest: int = 1,
  rank_by: str = "depth",
) -> Ranking:
  """The authors' depth-aware stratified sampling, extended to a total order.

  Cells are ranked by their deepest candidate. Each of the first 1000 gives
  its 5 deepest, each of the next 1000 its 3 deepest, the others 1: one cycle.
  Inside a cycle the rows come in rounds as in `ila`, so that also a budget
  below the cycle covers the map first; the next cycle takes the next 5, 3
  and 1. Quotas of 1 throughout are `ila`. That a cell gives its deepest,
  and ranks by the deepest, is our reading of the description. `tiers` holds
  (cells, rows from each); `rest`, at least 1, is for the cells beyond.
  """
  depth = _depth(c, rank_by)
  first = ila(c, rank_by=rank_by)
  deepest_rows = first.order[first.round == 1]
  quotas = [np.full(cells, quota) for cells, quota in tiers]
  by_rank = np.concatenate([*quotas, np.full(len(deepest_rows), rest)])
  quota = np.ones(c.cell.max(initial=-1) + 1, np.int32)
  quota[c.cell[deepest_rows]] = by_rank[: len(deepest_rows)]
  place = _place(c, -depth)
  cycle, turn = np.divmod(place, quota[c.cell])
  return _ranking(c, (cycle, turn, -depth), place)


STRATEGIES: dict[str, Callable[..., Ranking]] = {
  "ila": ila,
  "trim": trim,
  "random": random,
  "longest": longest,
  "depth_only": depth_only,
  "coverage_only": coverage_only,
  "stratified": stratified,
}

# They take one of every cell a round, so that a stream keeps the first few.
STREAMED = ("ila", "coverage_only")


def budget_prefix(
  order: Int[np.ndarray, " m"],
  n_tokens: Int[np.ndarray, " n"],
  *,
  budget: float | int,
  unit: str,
) -> int:
  """The number of rows at the head of a ranking that a budget buys.

  Args:
    order: rows of the pool, best first [m].
    n_tokens: response tokens of each row of the pool [n].
    budget: in `unit`, from 0 to the whole of the candidates.
    unit: "examples"; "tokens", the longest prefix whose response tokens do
      not exceed the budget; or "fraction" of the candidates, rounded to the
      nearest example.

  Raises:
    errors.InputError: an unknown unit; a budget that is negative, above the
      pool, or no whole number of examples.

  >>> order, n_tokens = np.array([2, 0, 1]), np.array([10, 10, 5])
  >>> budget_prefix(order, n_tokens, budget=2, unit="examples")
  2
  >>> budget_prefix(order, n_tokens, budget=24, unit="tokens")
  2
  """
  spent = np.cumsum(n_tokens[order], dtype=np.int64)
  total = int(spent[-1]) if len(order) else 0
  wholes = {"examples": len(order), "tokens": total, "fraction": 1}
  if unit not in wholes:
    raise errors.InputError(
      f"config.select.unit is {unit!r}; allowed: {', '.join(UNITS)}."
    )
  if not 0 <= budget <= wholes[unit]:
    raise errors.InputError(
      f"config.select.budget is {budget} {unit}; allowed: 0 to "
      f"{wholes[unit]}, all {len(order)} candidates of the pool. Lower it, or "
      "say what it counts with --config.select.unit=examples, tokens or "
      "fraction."
    )
  if unit == "tokens":
    return int(np.searchsorted(spent, budget, side="right"))
  if unit == "fraction":
    return round(budget * len(order))
  if budget != int(budget):
    raise errors.InputError(
      f"config.select.budget is {budget} examples; allowed: a whole number. "
      "For a share of the pool set --config.select.unit=fraction."
    )
  return int(budget)


def length_profile(
  n_tokens: Int[np.ndarray, " n"], selected: Int[np.ndarray, " k"]
) -> dict[str, float | bool]:
  """Response lengths of what was chosen beside those of the pool.

  Depth prefers short answers, so a selection may differ from its pool in
  length alone; the report warns when the means differ by more than a factor
  of 1.5 either way.

  Args:
    n_tokens: response tokens of the pool, at least 1 [n].
    selected: the chosen rows, at least one [k].

  Returns:
    selected_mean, selected_median, pool_mean, pool_median (tokens), ratio
    (of the means) and warning.

  Raises:
    ValueError: nothing was selected.

  >>> length_profile(np.array([2, 4, 12]), np.array([0]))["ratio"]
  0.3333333333333333
  """
  if not len(selected):
    raise ValueError("nothing was selected; there is no length to compare")
  chosen = n_tokens[selected]
  ratio = float(chosen.mean() / n_tokens.mean())
  return {
    "selected_mean": float(chosen.mean()),
    "selected_median": float(np.median(chosen)),
    "pool_mean": float(n_tokens.mean()),
    "pool_median": float(np.median(n_tokens)),
    "ratio": ratio,
    "warning": max(ratio, 1 / ratio) > LENGTH_WARNING_RATIO,
  }


def _ranking(
  c: Candidates, keys: tuple, place: np.ndarray | None = None
) -> Ranking:
  """Sorts the candidates; without a place in the cell there is one round."""
  rows = np.asarray(ordering.sort_rows(keys, c.id_rank, c.candidate))
  order = rows[: c.candidate.sum()]
  if place is None:
    return Ranking(order, np.ones(len(order), np.int32))
  return Ranking(order, place[order] + 1)


def _place(c: Candidates, *keys: np.ndarray) -> np.ndarray:
  """Place of each row in its cell, from 0, by ascending keys."""
  place = ordering.place_in_cell(c.cell, keys, c.id_rank, c.candidate)
  return np.asarray(place)


def _depth(c: Candidates, rank_by: str) -> np.ndarray:
  depths = {"depth": c.depth, "relative_depth": c.relative_depth}
  if rank_by not in depths:
    raise errors.InputError(
      f"rank_by is {rank_by!r}; allowed: {', '.join(depths)}."
    )
  return depths[rank_by]
