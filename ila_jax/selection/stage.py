"""Stage `select`: the total order of the pool, cut at the budget."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.methods import candidates as candidates_lib
from ila_jax.pool import shards
from ila_jax.run import context, progress, stage_record, tables, units
from ila_jax.run.disk import files
from ila_jax.sections import selection
from ila_jax.selection import compare as compare_lib
from ila_jax.selection import filters, lengths, needs, scored_pool

# Rows that are put together before they are written.
_WRITE_ROWS = 200_000


def run(run: context.Run) -> None:
  """Writes `select/ranking.parquet`, `selected.jsonl` and `coverage.json`.

  Raises:
    errors.InputError: the budget is above what the pool has.
  """
  config, workdir = run.config, run.workdir
  settings = _settings(config)
  compare = settings.pop("compare")
  method = scored_pool.made_from(run, [config.select.strategy])
  rivals = scored_pool.made_from(run, compare)
  inputs = {
    "config": {"select": settings | filters.made_from(workdir, config.select)},
    "method": method,
    "exclude_reference": config.score.exclude_reference,
    **stage_record.parents(workdir, "select"),
    **needs.made_from(run, "select"),
    "seed": config.seed,
  }
  stage = stage_record.Stage(
    workdir, "select", inputs | {"compare": compare, "rivals": rivals}
  )
  if stage.begin():
    return
  strategy = config.select.strategy
  pool = scored_pool.load(run)
  told = scored_pool.place_target(run, pool)
  pool = scored_pool.weighed(run, pool)
  with stage.account.part(strategy):
    ranking = scored_pool.rank(config, pool, strategy)
  k = scored_pool.cut(config, pool, ranking, strategy)
  if not k:
    raise errors.InputError(
      f"config.select.budget is {config.select.budget:g} "
      f"{config.select.unit}, which does not pay for the first example of "
      f"{strategy}. Raise it."
    )
  chosen = ranking.order[:k]
  _write_ranking(workdir, pool, ranking)
  files.write_lines(
    tables.SELECTED.path(workdir), _records(workdir, pool.row[chosen])
  )
  coverage = compare_lib.compare(run, pool, ranking, stage.account)
  files.write_json(tables.COVERAGE.path(workdir), coverage)
  ours = coverage["table"][0]
  progress.answer(
    f"  {k:,} of {pool.n_candidates:,} candidates, "
    f"{pool.candidates.n_tokens[chosen].sum():,} response tokens, "
    f"{ours['pool_cells']:.1%} of the pool's cells"
  )
  warning = lengths.length_warning(pool.candidates.n_tokens, chosen)
  if warning:
    progress.say(f"  warning: {warning}")
  # The rivals that it is compared with are no part of the selection.
  stage.finish(output=inputs, selected=k, **_notes(run, pool, told, k))


def _notes(
  run: context.Run,
  pool: scored_pool.ScoredPool,
  target: dict[str, Any] | None,
  k: int,
) -> dict[str, Any]:
  """What the record of the stage tells beside; what is left out is said."""
  notes: dict[str, Any] = {"target": target} if target else {}
  if pool.where:
    notes["where"] = pool.where
  few = scored_pool.few_cells(run, pool, k)
  if few:
    notes["few_cells"] = few
    progress.say(f"  warning: {few}")
  if run.config.select.exclude_near_evaluation is not None:
    notes["near_evaluation"] = pool.near_evaluation
    progress.say(
      f"  {pool.near_evaluation:,} more are left out, for they are near an "
      "evaluation set"
    )
  return notes


# What older versions did not have; at its default it is no input.
_LATER = ("exclude_near_evaluation", "target", "cell_weight")


def _settings(config: config_lib.Config) -> dict[str, Any]:
  """The fields of config.select, but for options: those of methods count."""
  defaults = selection.Select()
  settings = config.section("select")["select"]
  del settings["options"]
  return {
    name: value
    for name, value in settings.items()
    if name not in _LATER or value != getattr(defaults, name)
  }


def _write_ranking(
  workdir: epath.Path,
  pool: scored_pool.ScoredPool,
  ranking: candidates_lib.Ranking,
) -> None:
  def parts() -> Iterator[pa.Table]:
    for start in range(0, max(len(ranking.order), 1), _WRITE_ROWS):
      part = slice(start, start + _WRITE_ROWS)
      order = ranking.order[part]
      ids = pa.array(units.id_text(pool.candidates.ids[order]))
      yield pa.table(
        {
          "row": pool.row[order],
          "id": ids.cast(pa.string()),
          "rank": start + np.arange(1, len(order) + 1),
          "cell": pool.candidates.cell[order],
          "round": ranking.round[part],
          "depth": pool.candidates.depth[order],
        }
      )

  files.write_parts(tables.RANKING.path(workdir), parts())


def _records(workdir: epath.Path, rows: np.ndarray) -> Iterator[str]:
  """The chosen records' own JSON text, in rank order, a part at a time."""
  for start in range(0, len(rows), _WRITE_ROWS):
    part = rows[start : start + _WRITE_ROWS]
    for text in shards.gather(workdir, part, ["record"])["record"].to_pylist():
      yield text + "\n"
