"""The pool with its scores, as the strategies read it."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape import grid, join, ordering
from ila_jax.landscape.duplicates import near_reference, write
from ila_jax.methods import candidates as candidates_lib
from ila_jax.methods import table as table_lib
from ila_jax.pool import index
from ila_jax.run import context, progress, tables
from ila_jax.run.disk import files
from ila_jax.score import split
from ila_jax.score.signals import table as signals_table
from ila_jax.sections import selection
from ila_jax.selection import budget as budget_lib
from ila_jax.selection import filters, target
from ila_jax.selection import inputs as inputs_lib


@dataclasses.dataclass(frozen=True)
class ScoredPool:
  """The scored examples, one entry a row: where each lies and what it costs.

  Attributes:
    row: of the pool [n].
    candidates: the pool as selection sees it [n].
    n_candidates: how many may be selected.
    near_evaluation: how many may not, for they are near an evaluation set.
    where: counts of those that config.select.where lets in; {}: it is not set.
  """

  row: np.ndarray
  candidates: candidates_lib.Candidates
  n_candidates: int
  near_evaluation: int = 0
  where: dict[str, int] = dataclasses.field(default_factory=dict)


# So many chosen examples a cell are told, where cells follow the budget.
_FEW_CELLS = 2
_COLUMNS = ["row", "id", "cell", "depth", "relative_depth", "domain"]


def load(run: context.Run) -> ScoredPool:
  """The scored examples as candidates; dev and reference are set apart."""
  config, workdir = run.config, run.workdir
  cells = files.read_table(tables.CELLS.path(workdir), _COLUMNS)
  free = split.candidates(run, cells["row"])
  select = config.select
  # First the filter: of near-duplicates one that it lets in is to stay.
  let_in, counted = filters.kept(workdir, select, cells, free)
  candidate = write.kept(run, cells, let_in)
  n_candidates = int(candidate.sum())
  n_tokens = index.column(workdir, "n_response_tokens")[cells["row"]]
  left_out = int(let_in.sum()) - n_candidates
  _check_left(select, n_tokens[candidate], left_out=left_out)
  budget, unit = _in_examples(config, n_candidates)
  made = candidates_lib.candidates(
    cells["id"],
    cell=cells["cell"],
    depth=cells["depth"],
    relative_depth=cells["relative_depth"],
    n_tokens=n_tokens,
    domain=cells["domain"],
    candidate=candidate,
    seed=config.seed,
  )
  ties = filters.ties(workdir, select, cells, candidate)
  made = made if ties is None else candidates_lib.tied_by(made, ties)
  made = candidates_lib.with_inputs(
    made,
    inputs_lib.Inputs(epath.Path(workdir), cells["row"]),
    wanted=budget_lib.most_rows(n_tokens[candidate], budget=budget, unit=unit),
    tokens=int(budget) if unit == "tokens" else None,
  )
  near = near_reference.is_near_evaluation(run, cells["row"])
  left_out = int((near & free).sum())
  return ScoredPool(cells["row"], made, n_candidates, left_out, counted)


def few_cells(run: context.Run, pool: ScoredPool, chosen: int) -> str | None:
  """A sentence where cells that follow the budget are few for a filter.

  They are made before config.select.where is asked, so that all conditions
  choose on one map. What is let in may then lie in few of them, and depth alone
  decides within a cell.

  Args:
    run: whose map it is.
    pool: its scored examples.
    chosen: how many of the candidates the budget pays for.
  """
  settings, c = run.config.landscape, pool.candidates
  on_grid = settings.cells == "grid"
  occupied = len(np.unique(c.cell[c.candidate]))
  if (
    not pool.where
    or (settings.grid if on_grid else settings.clusters) not in ("auto", None)
    or settings.map
    or min(chosen, pool.n_candidates - 1) < _FEW_CELLS * occupied
  ):
    return None
  known = files.read_json(tables.MAP.path(run.workdir))
  if on_grid:
    path = tables.CELLS.path(run.workdir)
    at = files.read_table(path, grid.axes(known["dimensions"]))
    wanted = grid.auto_grid(
      np.stack([*at.values()], axis=1)[c.candidate],
      max_cells=chosen,
      low=np.array(known["low"], np.float32),
      high=np.array(known["high"], np.float32),
    )
  else:
    wanted = min(known["num_cells"] * chosen // occupied, len(c.cell))
  if wanted <= (known["grid"] or known["num_cells"]):
    return None
  field = "landscape.grid" if on_grid else "landscape.clusters"
  return (
    f"config.{field} counts the whole pool: the {pool.n_candidates:,} "
    f"candidates that config.select.where lets in lie in {occupied:,} cells "
    f"only, and {chosen:,} were chosen of them (for more cells: "
    f"--config.{field}={wanted} --redo=landscape)"
  )


def _check_left(
  select: selection.Select, n_tokens: np.ndarray, *, left_out: int
) -> None:
  """Says who left out too many candidates, where what is near them does.

  Raises:
    errors.InputError: the budget is above those that are left.
  """
  held = {"examples": len(n_tokens), "tokens": n_tokens.sum(dtype=np.int64)}
  if not left_out or (
    len(n_tokens) and select.budget <= held.get(select.unit, np.inf)
  ):
    return
  defaults, names = type(select)(), ("exclude_near_reference",)
  names += "exclude_near_evaluation", "drop_duplicates"
  asked = [
    f"config.select.{name}={getattr(select, name)}"
    for name in names
    if getattr(select, name) != getattr(defaults, name)
  ]
  raise errors.InputError(
    f"config.select.budget is {select.budget:,.12g} {select.unit}, and "
    f"{' and '.join(asked)} left out {left_out:,} of "
    f"{left_out + len(n_tokens):,} candidates: {held['examples']:,} of "
    f"{held['tokens']:,} response tokens are left. Lower the budget, or change "
    "what is left out."
  )


def place_target(run: context.Run, pool: ScoredPool) -> dict[str, Any] | None:
  """Writes where the target set lies on the map; tells how it lies there.

  Args:
    run: whose map it is.
    pool: its scored examples.

  Returns:
    What `target.about` tells; None where config.select.target is not set.
  """
  config, workdir = run.config, run.workdir
  if not config.select.targets:
    return None
  own, rows = inputs_lib.target_rows(workdir)
  embedded = rows_lib.load(own, rows)
  xy, cell = join.points(run, embedded)
  x = rows_lib.Rows(workdir, pool.row)
  c = pool.candidates
  places = np.flatnonzero(c.candidate)
  near = target.nearest(embedded, x, places, mesh=run.mesh)
  dev = x[np.flatnonzero(index.is_dev(workdir)[pool.row])]
  of_dev = target.nearest(dev, x, places, mesh=run.mesh)
  axes = zip(grid.axes(xy.shape[1]), xy.T, strict=True)
  files.write_table(
    tables.TARGET_PLACES.path(workdir),
    {
      "row": rows,
      "id": index.column(own, "id")[rows],
      **dict(axes),
      "cell": cell,
      "nearest_row": pool.row[near.place],
      "cosine": near.cosine,
    },
  )
  mesh_lib.barrier("target placed")
  told = target.about(c.cell, cell, near.cosine, of_dev.cosine)
  for sentence in target.sentences(told):
    progress.say(f"  {sentence}")
  return told


def weighed(run: context.Run, pool: ScoredPool) -> ScoredPool:
  """The same pool, whose cells share the budget as config.select says.

  Args:
    run: whose target set is placed, if cells are weighed by it.
    pool: its scored examples.
  """
  power, c = run.config.select.cell_weight, pool.candidates
  if power != ordering.TARGET:
    made = candidates_lib.with_power(c, power)
    return dataclasses.replace(pool, candidates=made)
  path = tables.TARGET_PLACES.path(run.workdir)
  of_target = files.read_table(path, ["cell"])["cell"]
  weight = target.weights(c.cell, of_target)
  if weight is None:
    progress.say(
      "  warning: config.select.cell_weight is 'target', and no target example "
      "lies in a cell that the pool occupies: all cells are alike"
    )
  made = candidates_lib.with_weights(c, weight, mass=weight)
  return dataclasses.replace(pool, candidates=made)


def rank(
  config: config_lib.Config, pool: ScoredPool, strategy: str
) -> candidates_lib.Ranking:
  """The order of one method, with the options of the config."""
  options = table_lib.options(strategy, config.select.options)
  return table_lib.METHODS[strategy].run(pool.candidates, options)


def made_from(run: context.Run, strategies: Iterable[str]) -> dict[str, Any]:
  """The settings and signals that some methods' orders are made from.

  Returns:
    By method: its options, and the signals that it needs; without those that
    have neither.

  Raises:
    errors.InputError: a signal has not been computed.
  """
  config, workdir = run.config, run.workdir
  made = {}
  for name in strategies:
    options = table_lib.options(name, config.select.options)
    parts = {
      "options": dataclasses.asdict(options),
      "signals": signals_table.outputs(
        workdir, table_lib.METHODS[name].needed(options)
      ),
    }
    parts = {part: value for part, value in parts.items() if value}
    if parts:
      made[name] = parts
  return made


def cut(
  config: config_lib.Config,
  pool: ScoredPool,
  ranking: candidates_lib.Ranking,
  strategy: str,
) -> int:
  """The number of ranked examples that the budget pays for.

  Raises:
    errors.InputError: the budget is above the pool, or above what the method
      has ordered.
  """
  held = len(ranking.order)
  if held == pool.n_candidates:
    budget, unit = config.select.budget, config.select.unit
  else:
    budget, unit = _in_examples(config, pool.n_candidates)
    wants = f"config.select.budget: {strategy!r} is to order"
    check_held(config, pool, ranking, wants=wants, budget=budget, unit=unit)
  return budget_lib.budget_prefix(
    ranking.order, pool.candidates.n_tokens, budget=budget, unit=unit
  )


def check_held(
  config: config_lib.Config,
  pool: ScoredPool,
  ranking: candidates_lib.Ranking,
  *,
  wants: str,
  budget: float | int,
  unit: str,
) -> None:
  """Checks that the head of an order is long enough for a budget.

  Args:
    config: the run.
    pool: what was ordered.
    ranking: its order, or the head of one.
    wants: the field that asks, and for what; the budget follows.
    budget: in `unit`.
    unit: "examples" or "tokens".

  Raises:
    errors.InputError: it is too short.
  """
  held = len(ranking.order)
  tokens = pool.candidates.n_tokens[ranking.order].sum(dtype=np.int64)
  if budget <= {"examples": held, "tokens": tokens}[unit]:
    return
  raise errors.InputError(
    f"{wants} {budget:,.12g} {unit}; allowed: up to {held:,} examples of "
    f"{tokens:,} response tokens, for it orders no more of the "
    f"{pool.n_candidates:,} candidates. The rest is left out: {ranking.rest} "
    "Lower config.select.budget, or choose another method."
  )


def _in_examples(
  config: config_lib.Config, n_candidates: int
) -> tuple[float | int, str]:
  """The budget and its unit; a share becomes a number of examples."""
  budget, unit = config.select.budget, config.select.unit
  if unit == "fraction":
    return round(budget * n_candidates), "examples"
  return budget, unit
