"""Stage `select`: the total order of the pool, cut at the budget."""

from collections.abc import Iterator

import numpy as np
from etils import epath

from ila_jax import errors
from ila_jax.methods import candidates as candidates_lib
from ila_jax.pool import shards
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.selection import compare as compare_lib
from ila_jax.selection import lengths, scored_pool

# Rows whose text is held while the selection is written.
_WRITE_ROWS = 200_000


def run(run: context.Run) -> None:
  """Writes `select/ranking.parquet`, `selected.jsonl` and `coverage.json`.

  Raises:
    errors.InputError: the budget is above what the pool has.
  """
  config, workdir, mesh = run.config, run.workdir, run.mesh
  settings = config.section("select")["select"]
  compare = settings.pop("compare")
  del settings["options"]  # Of all methods; those of the chosen one count.
  method = scored_pool.made_from(config, workdir, [config.select.strategy])
  rivals = scored_pool.made_from(config, workdir, compare)
  inputs = {
    "config": {"select": settings},
    "method": method,
    "exclude_reference": config.score.exclude_reference,
    **stage_record.parents(workdir, "select"),
    "seed": config.seed,
  }
  stage = stage_record.Stage(
    workdir, "select", inputs | {"compare": compare, "rivals": rivals}
  )
  if stage.begin():
    return
  pools = scored_pool.load_all(config, workdir, mesh)
  pool = pools[config.select.strategy]
  ranking = scored_pool.rank(config, pool, config.select.strategy)
  k = scored_pool.cut(config, pool, ranking, config.select.strategy)
  if not k:
    raise errors.InputError(
      f"config.select.budget is {config.select.budget:g} "
      f"{config.select.unit}, which does not pay for the first example of "
      f"{config.select.strategy}. Raise it."
    )
  chosen = ranking.order[:k]
  _write_ranking(workdir, pool, ranking)
  files.write_lines(
    tables.SELECTED.path(workdir), _records(workdir, pool.row[chosen])
  )
  coverage = compare_lib.compare(config, workdir, mesh, pools)
  files.write_json(tables.COVERAGE.path(workdir), coverage)
  ours = coverage["table"][0]
  progress.say(
    f"  {k:,} of {pool.n_candidates:,} candidates, "
    f"{pool.candidates.n_tokens[chosen].sum():,} response tokens, "
    f"{ours['pool_cells']:.1%} of the pool's cells"
  )
  n_tokens, places = _lengths(workdir, pool.row[chosen])
  warning = lengths.length_warning(n_tokens, places)
  if warning:
    progress.say(f"  warning: {warning}")
  # What it is compared with is no part of the selection.
  stage.finish(output=inputs, selected=k)


def _write_ranking(
  workdir: epath.Path,
  pool: scored_pool.ScoredPool,
  ranking: candidates_lib.Ranking,
) -> None:
  order = ranking.order
  files.write_table(
    tables.RANKING.path(workdir),
    {
      "row": pool.row[order],
      "id": pool.ids[order],
      "rank": np.arange(1, len(order) + 1),
      "cell": pool.candidates.cell[order],
      "round": ranking.round,
      "depth": pool.candidates.depth[order],
    },
  )


def _records(workdir: epath.Path, rows: np.ndarray) -> Iterator[str]:
  """The chosen records' own JSON text, in rank order, a part at a time."""
  for start in range(0, len(rows), _WRITE_ROWS):
    part = rows[start : start + _WRITE_ROWS]
    for text in shards.gather(workdir, part, ["record"])["record"].to_pylist():
      yield text + "\n"


def _lengths(
  workdir: epath.Path, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Response tokens of what was scored, and the places of the chosen there."""
  row = scored_pool.scored_rows(workdir)
  index = files.read_table(tables.INDEX.path(workdir), ["n_response_tokens"])
  return index["n_response_tokens"][row], np.searchsorted(row, chosen)
