"""Candidates: what a method may choose from, and the order it returns."""

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from ila_jax.landscape import ordering
from ila_jax.run import draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidates:
  """The pool as selection sees it, one entry a row; made by `candidates`.

  Depth, cells and ids are checked here, since a sort would place a NaN or a
  repeated id somewhere without a word. Draws are made when asked for.
  """

  ids: UInt64[np.ndarray, " n"]
  cell: Int[np.ndarray, " n"]
  depth: Float[np.ndarray, " n"]
  relative_depth: Float[np.ndarray, " n"]
  n_tokens: Int[np.ndarray, " n"]  # of the response
  domain: Int[np.ndarray, " n"]
  candidate: Bool[np.ndarray, " n"]  # False: reference or dev
  seed: int  # of the random draws
  # What a method needs beyond the columns, by name (see `selection.inputs`);
  # each is read when it is asked for.
  inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # Rows that the budget may buy at most: a method that cannot order all has to
  # order so many. None: all.
  wanted: int | None = None
  wanted_tokens: int | None = None  # that it buys; None: it counts examples
  # What each row's cell shares the budget by, above 0; None: all are alike.
  cell_weight: Float[np.ndarray, " n"] | None = None
  # The power of their sizes by which cells have these weights, also those of
  # other maps; 0: all are alike, or no power has made them.
  cell_power: float = 0.0
  # How much of what the model is for lies in each row's cell, in any unit;
  # None: that is known of no cell, and its candidates stand for it.
  cell_mass: Float[np.ndarray, " n"] | None = None

  def __post_init__(self) -> None:
    ordering.require_finite(self.depth, self.candidate)
    ordering.require_finite(self.relative_depth, self.candidate)
    if (self.cell < 0).any():
      raise ValueError("cells are numbered from 0; a row has a negative cell")
    self.id_rank  # noqa: B018 — looks whether ids repeat.

  @functools.cached_property
  def id_rank(self) -> Int[np.ndarray, " n"]:
    """What decides every tie: the place of the id among all, int32 [n].

    Of candidates that `tied_by` made it is that by another number, and id.
    """
    order = np.argsort(self.ids)
    ordered = self.ids[order]
    if (ordered[1:] == ordered[:-1]).any():
      raise ValueError("ids repeat; the order of the pool would be ambiguous")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank

  @functools.cached_property
  def uniform(self) -> Float[np.ndarray, " n"]:
    """A keyed draw, for the order inside a cell, float32 [n]."""
    return self._draw("select")

  @functools.cached_property
  def uniform_across(self) -> Float[np.ndarray, " n"]:
    """A keyed draw, for the order across cells, float32 [n]."""
    return self._draw("select-across-cells")

  def _draw(self, purpose: str) -> Float[np.ndarray, " n"]:
    uniform = draws.keyed_uniform(self.ids, seed=self.seed, purpose=purpose)
    return uniform.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Ranking:
  """A total order of the candidates, or the exact head of one."""

  order: Int[np.ndarray, " m"]  # rows of the pool, best first
  round: Int[np.ndarray, " m"]  # from 1; all 1 without rounds
  # Why candidates are not among these m, and how they come in.
  rest: str = ""
  # What makes this order worth little in this pool, in a sentence; "": nothing.
  warning: str = ""


# The columns that a method names in its `needs`, if it reads them.
COLUMNS = (
  *("cell", "depth", "relative_depth", "n_tokens", "domain"),
  *("cell_weight", "cell_power", "cell_mass", "uniform", "uniform_across"),
)
# The inputs that it names likewise (`selection.inputs.READERS` reads them);
# signals are inputs too.
INPUTS = (
  *("nll_base", "nll_sft", "prompt_id", "n_labels", "n_prompt_tokens"),
  *("dev", "reference", "early_gain", "embeddings", "turns", "tokens"),
  "other_cells",
)
# One entry a tag of the signal `tags`, and not a row.
OF_TAGS = ("tag_embeddings",)
# Those that there are where config.select.target is set: one entry a target
# example, and not a row.
OF_TARGET = (
  *("target_embeddings", "target_id", "target_domain"),
  *("target_tokens", "target_turns"),
  *("target_nll_base", "target_nll_sft", "target_gradients"),
)


def candidates(
  ids: UInt64[np.ndarray, " n"],
  *,
  cell: Int[np.ndarray, " n"],
  depth: Float[np.ndarray, " n"],
  relative_depth: Float[np.ndarray, " n"],
  n_tokens: Int[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
  candidate: Bool[np.ndarray, " n"],
  seed: int,
) -> Candidates:
  """Makes `Candidates` of columns of any number type.

  Args:
    ids: distinct; ties and random draws come from them, uint64 [n].
    cell: as in `Candidates`, like the others.
    depth: in any unit [n].
    relative_depth: quantiles [n].
    n_tokens: of the response [n].
    domain: number of each domain [n].
    candidate: False: reference or dev [n].
    seed: of the random draws.

  Raises:
    ValueError: depth that is not finite, a negative cell, a repeated id.
  """
  return Candidates(
    ids=ids,
    cell=cell.astype(np.int32, copy=False),
    depth=depth.astype(np.float32, copy=False),
    relative_depth=relative_depth.astype(np.float32, copy=False),
    n_tokens=n_tokens.astype(np.int32, copy=False),
    domain=domain.astype(np.int32, copy=False),
    candidate=candidate,
    seed=seed,
  )


def _changed(c: Candidates, **values: Any) -> Candidates:
  """The same candidates but for these; nothing is checked or drawn again."""
  other = copy.copy(c)
  vars(other).update(values)
  return other


def with_inputs(
  c: Candidates,
  inputs: Mapping[str, Any],
  *,
  wanted: int | None,
  tokens: int | None = None,
) -> Candidates:
  """The same candidates with other inputs, and for another budget.

  Args:
    c: the candidates.
    inputs: what methods may read beyond the columns, by name.
    wanted: rows that the budget may buy at most.
    tokens: response tokens that it buys; None: it counts examples.
  """
  return _changed(c, inputs=inputs, wanted=wanted, wanted_tokens=tokens)


def with_power(c: Candidates, power: float) -> Candidates:
  """The same candidates, whose cells weigh (number of candidates)^power.

  Args:
    c: the candidates.
    power: 0 or more; with 0 all cells are alike.
  """
  weight = ordering.power_weights(c.cell, c.candidate, power)
  return _changed(with_weights(c, weight), cell_power=power)


def with_weights(
  c: Candidates,
  weight: Float[np.ndarray, " n"] | None,
  *,
  mass: Float[np.ndarray, " n"] | None = None,
) -> Candidates:
  """The same candidates, whose cells share the budget by weight.

  Args:
    c: the candidates.
    weight: of each row's cell, equal in a cell; None: all are alike.
    mass: as `Candidates.cell_mass`, above 0; None: it is not known.

  Raises:
    ValueError: a weight that is not above 0, or not finite.
  """
  if weight is not None and not ((weight > 0) & np.isfinite(weight)).all():
    raise ValueError("the weights of cells are finite and above 0")
  return _changed(c, cell_weight=weight, cell_power=0.0, cell_mass=mass)


def drawn(
  c: Candidates, candidate: Bool[np.ndarray, " n"], *, seed: int
) -> Candidates:
  """The same pool with fewer candidates, and other draws by chance.

  Args:
    c: the candidates.
    candidate: rows that stay candidates [n].
    seed: of the draws.

  >>> one = np.array([1, 1])
  >>> c = candidates(np.array([3, 1], np.uint64), cell=one, depth=one / 1,
  ...   relative_depth=one / 1, n_tokens=one, domain=one, candidate=one > 0,
  ...   seed=0)
  >>> other = drawn(c, np.array([True, False]), seed=1)
  >>> other.candidate.tolist(), bool(c.uniform[0] == other.uniform[0])
  ([True, False], False)
  """
  other = _changed(c, candidate=candidate & c.candidate, seed=seed)
  for made in ("uniform", "uniform_across"):
    vars(other).pop(made, None)
  return other


def tied_by(c: Candidates, values: Float[np.ndarray, " n"]) -> Candidates:
  """The same candidates, of which among equals the greater value goes first.

  Args:
    c: the candidates.
    values: by which ties are broken before the id is asked [n]; NaN goes last.

  >>> one = np.array([1, 1, 1])
  >>> c = candidates(np.array([3, 1, 2], np.uint64), cell=one, depth=one / 1,
  ...   relative_depth=one / 1, n_tokens=one, domain=one, candidate=one > 0,
  ...   seed=0)
  >>> tied_by(c, np.array([0.5, 0.5, 9.0])).id_rank
  array([2, 1, 0], dtype=int32)
  """
  order = np.lexsort((c.id_rank, -np.nan_to_num(values, nan=-np.inf)))
  return _changed(c, id_rank=np.argsort(order).astype(np.int32))


def ranking(
  c: Candidates,
  keys: tuple[np.ndarray, ...],
  place: np.ndarray | None = None,
  *,
  among: np.ndarray | None = None,
  rest: str = "",
) -> Ranking:
  """Sorts the candidates by ascending keys, the first decides; ties by id.

  Args:
    c: the candidates.
    keys: of all rows [n], finite where they are sorted.
    place: in the cell, from 0 [n]; None: there is one round.
    among: the candidates to sort, bool [n]; None: all.
    rest: why the other candidates are left out.
  """
  among = c.candidate if among is None else among
  rows = np.asarray(ordering.sort_rows(keys, c.id_rank, among))
  order = rows[: among.sum()]
  turn = np.ones(len(order), np.int32) if place is None else place[order] + 1
  return Ranking(order, turn, rest if len(order) < c.candidate.sum() else "")


def place(c: Candidates, *keys: np.ndarray) -> np.ndarray:
  """Place of each row in its cell, from 0, by ascending keys."""
  place = ordering.place_in_cell(c.cell, keys, c.id_rank, c.candidate)
  return np.asarray(place)


def turns(c: Candidates, level: np.ndarray) -> np.ndarray:
  """When each row comes, by level and weight of its cell: `ordering.turns`.

  Args:
    c: the candidates; the method has named `cell_weight`.
    level: from 0, ascending in a cell: the place, where cells give one row a
      round [n].
  """
  return ordering.turns(level, c.cell_weight)


def mean_within(
  c: Candidates,
  group: Int[np.ndarray, " n"],
  values: Float[np.ndarray, " n"],
  *,
  weight: Float[np.ndarray, " n"] | None = None,
  among: Bool[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " n"]:
  """The mean of values over the candidates of each row's group, float64 [n].

  It is 0 where none of a group counts. Sums go by id, so they have the same
  bits in whatever order the rows come.

  Args:
    c: the candidates.
    group: of each row [n].
    values: finite where they count [n].
    weight: of each row in the mean, above 0 [n]; None: all are alike.
    among: the candidates that count [n]; None: all.
  """
  _, number = np.unique(group, return_inverse=True)
  rows = np.flatnonzero(c.candidate if among is None else among)
  rows = rows[np.argsort(c.id_rank[rows])]
  weight = np.ones(len(group)) if weight is None else weight.astype(np.float64)
  products = values[rows].astype(np.float64) * weight[rows]
  size = number.max(initial=-1) + 1
  total = np.bincount(number[rows], weights=products, minlength=size)
  weights = np.bincount(number[rows], weights=weight[rows], minlength=size)
  return (total / np.where(weights > 0, weights, 1))[number]


def depth(c: Candidates, rank_by: str) -> np.ndarray:
  """The depths that count (`options.ByDepth`): raw, or relative."""
  return {"depth": c.depth, "relative_depth": c.relative_depth}[rank_by]
