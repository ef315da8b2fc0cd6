"""What the report shows, from the files of the run."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from ila_jax.embed import inputs
from ila_jax.landscape import depth
from ila_jax.pool import index, unread
from ila_jax.pool.contamination import findings
from ila_jax.pool.scores import names
from ila_jax.pool.tokens import tally
from ila_jax.report import map_points, page
from ila_jax.run import context, stage_record, stages, tables
from ila_jax.run.disk import files, folders
from ila_jax.scaling import axes, law
from ila_jax.score import split
from ila_jax.score.signals import scores
from ila_jax.selection import target


def stage_outputs(
  workdir: epath.Path,
) -> Iterator[tuple[str, str | None]]:
  """What each finished stage made."""
  for name in stages.NAMES[:-1]:
    record = stage_record.read_record(epath.Path(workdir) / name)
    yield name, record["output"] if record.get("done") else None


def stage_records(workdir: epath.Path) -> dict[str, dict[str, Any]]:
  """What the stages that are done have noted, and the making of the base."""
  records = {
    name: stage_record.read_record(epath.Path(workdir) / name)
    for name in (*stages.RECORDED, *folders.on_demand(workdir))
  }
  return {name: r for name, r in records.items() if r.get("done")}


def gather(run: context.Run) -> page.ReportData:
  """Reads the artifacts of a run into what the page shows."""
  config, workdir = run.config, run.workdir
  workdir = epath.Path(workdir)
  done = {name for name, output in stage_outputs(workdir) if output}
  records = stage_records(workdir)
  parts: dict[str, Any] = {}
  if "pool" in done:
    parts["rejects"] = dict(records["pool"]["reasons"])
    lost = records.get("score", {}).get("not_finite")
    if lost:
      parts["rejects"]["loss is not finite"] = lost
  if "distinct_inputs" in records.get("embed", {}):
    parts["inputs"] = inputs.told(records["embed"])
  if "landscape" in done:
    parts |= _landscape(run)
    parts["points"] = map_points.points(workdir, selected="select" in done)
    parts["stability"] = stability(workdir)
  if "select" in done:
    parts |= _selection(workdir)
  if "finetune" in done:
    parts |= _finetune(workdir)
  if "scaling" in done:
    parts["runs"] = files.read_jsonl(tables.RUNS.path(workdir))
    parts["fits"] = files.read_json(tables.FITS.path(workdir))
    parts["axes"] = _axes(workdir, parts["runs"])
  return page.ReportData(
    title=_title(config.pool.sources),
    config=config.plain(),
    headline=headline(workdir, records),
    warnings=_warnings(records),
    costs=[
      {
        "stage": "the base" if name == stages.BASE else name,
        **{key: record.get(key) for key in page.COSTS},
      }
      for name, record in records.items()
      if name != "report"
    ],
    **parts,
  )


def _landscape(run: context.Run) -> dict[str, Any]:
  config, workdir = run.config, run.workdir
  cells = files.read_table(tables.CELLS.path(workdir))
  reference = split.reference_rows(workdir)
  return {
    "n_tokens": index.column(workdir, "n_response_tokens")[cells["row"]],
    "xy": np.stack([cells["x"], cells["y"]], axis=1),
    "cell": cells["cell"],
    "grid": _cells(workdir),
    "depth": cells["depth"],
    "depth_label": depth.label(config.landscape.depth),
    "reference": np.flatnonzero(np.isin(cells["row"], reference)),
    "duplicates": _duplicates(workdir),
  }


def _duplicates(workdir: epath.Path) -> dict[str, Any] | None:
  """The near-duplicates, with the prompts that are shown."""
  path = tables.DUPLICATES.path(workdir)
  if not path.exists():
    return None
  duplicates = files.read_json(path)
  groups, pairs = duplicates.get("largest", []), duplicates.get("shown", [])
  named = [g["row"] for g in groups] + [row for p in pairs for row in p["rows"]]
  rows = np.unique(np.array(named, np.int64))
  return duplicates | {"prompt_of": map_points.prompts(workdir, rows)}


def stability(workdir: epath.Path) -> dict[str, Any] | None:
  """How far other maps agree with this one, where that was asked for."""
  path = tables.STABILITY.path(workdir)
  return files.read_json(path) if path.exists() else None


def _cells(workdir: epath.Path) -> dict[str, Any]:
  """What the map and its cells are, name by name, as the page says it."""
  cells = files.read_json(tables.MAP.path(workdir))
  notes = {name: f"{value:.4g}" for name, value in cells["notes"].items()}
  return {
    "cells": cells["description"],
    "cells in all": cells["num_cells"],
    "occupied": cells["occupied"],
    **notes,
  }


def _title(sources: tuple[str, ...]) -> str:
  """The page's title: short, whatever the sources are called."""
  source = sources[0]
  if source.startswith("docstrings:"):
    packages = source.partition(":")[2].split(",")
    name = f"the docstrings of {len(packages)} packages"
    if len(packages) == 1:
      name = f"the docstrings of {packages[0]}"
  else:
    name = epath.Path(source).name or source
  more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
  return f"The information landscape of {name}{more}"


def _selection(workdir: epath.Path) -> dict[str, Any]:
  k = stage_record.read_record(workdir / "select")["selected"]
  ranking = files.read_head(tables.RANKING.path(workdir), k)
  cells = files.read_table(tables.CELLS.path(workdir), ["row"])
  rows = ranking["row"]
  coverage = files.read_json(tables.COVERAGE.path(workdir))
  # A selection of an older version has measured all.
  measured = coverage.get("distance_examples", len(cells["row"]))
  return {
    "selected": np.searchsorted(cells["row"], rows),
    "coverage_curves": {
      name: (np.array(curve["budgets"]), np.array(curve["coverage"]))
      for name, curve in coverage["curves"].items()
    },
    "coverage_table": coverage["table"],
    "distance_examples": measured if measured < len(cells["row"]) else None,
    "examples": map_points.examples(workdir, ranking, k),
  }


def _finetune(workdir: epath.Path) -> dict[str, Any]:
  history: dict[str, list[dict[str, Any]]] = {}
  for line in files.read_jsonl(tables.METRICS.path(workdir)):
    history.setdefault(line["name"], []).append(line)
  return {
    "training": history,
    "evaluations": _evaluations(workdir),
  }


def _axes(
  workdir: epath.Path, runs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
  """How scores of others go with the dev loss of the trained subsets."""
  path = tables.SUBSETS.path(workdir)
  named = [one["name"] for one in scores.noted(workdir)]
  if not (named and path.exists()):  # Older versions did not write it.
    return []
  subsets = files.read_table(path, ["subset", "row"])
  held = scores.read(workdir, named, subsets["row"])
  return axes.axes(runs, subsets["subset"], held, given=law.LAW)


def _evaluations(workdir: epath.Path) -> list[dict[str, Any]]:
  return files.read_jsonl(tables.EVALUATIONS.path(workdir))


def headline(
  workdir: epath.Path, records: dict[str, dict[str, Any]]
) -> list[str]:
  """The findings in sentences with their numbers; reads no example."""
  workdir = epath.Path(workdir)
  lines = []
  if "pool" in records:
    pool = records["pool"]
    lines.append(
      f"Of {pool['read']:,} records, {pool['used']:,} are usable and "
      f"{pool['rejected']:,} are not{_left_out(pool)}."
    )
    lines += findings.sentences(pool)
    lines += tally.sentences(pool)
    if "read_as" in pool:  # Not in runs of older versions.
      lines += unread.sentences(_without_scores(pool, records))
  if "select" in records:
    coverage = files.read_json(tables.COVERAGE.path(workdir))
    ours, *rivals = coverage["table"]
    line = (
      f"{ours['strategy']} chose {ours['n_examples']:,} examples with "
      f"{ours['n_tokens']:,} response tokens; they occupy "
      f"{ours['pool_cells']:.1%} of the pool's cells"
    )
    if rivals:
      name, share = rivals[0]["strategy"], rivals[0]["pool_cells"]
      line += f", those of {name} at the same budget {share:.1%}"
    lines.append(line + ".")
    lines += _beside(records)
  if "finetune" in records:
    losses = ", ".join(
      f"{entry['name']} {entry['micro']:.4f}" for entry in _evaluations(workdir)
    )
    lines.append(f"Dev loss in nats a token: {losses}.")
  if "scaling" in records:
    fits = files.read_json(tables.FITS.path(workdir))
    if fits["fitted"]:
      loo = "undefined" if fits["loo_r2"] is None else f"{fits['loo_r2']:.2f}"
      lines.append(
        f"Coverage and depth explain log dev loss over {fits['runs']} subsets "
        f"with R² {fits['r2']:.2f}, leave-one-out {loo}."
      )
  return lines


def _beside(records: dict[str, dict[str, Any]]) -> list[str]:
  """How the target set lies, and how many are near an evaluation set."""
  select, lines = records["select"], []
  if "near_evaluation" in select:
    limit = select["inputs"]["config"]["select"]["exclude_near_evaluation"]
    lines.append(
      f"{select['near_evaluation']:,} candidates are left out, for a prompt of "
      f"an evaluation set has a cosine of {limit:g} or more to them."
    )
  if "target" in select:
    lines += target.sentences(select["target"])
  return lines


def _without_scores(
  pool: dict[str, Any], records: dict[str, dict[str, Any]]
) -> dict[str, Any]:
  """What was noted of a pool, without fields that have been read since."""
  record = records.get(f"{stages.SIGNALS}/{scores.NAME}", {})
  paths = record.get("inputs", {}).get("made_from", {}).get("names", {})
  unread_ = dict(pool["unread"])
  for field in names.roots(paths):
    unread_.pop(field, None)
  return pool | {"unread": unread_}


def _left_out(pool: dict[str, Any]) -> str:
  """How many examples repeat an evaluation set, and are not used for that."""
  count = pool.get("contaminated", 0)
  return f"; {count:,} more are left out as contaminated" if count else ""


def _warnings(records: dict[str, dict[str, Any]]) -> list[str]:
  pool = records.get("pool")
  if pool is None:
    return []
  warnings = []
  if "distinct_inputs" in records.get("embed", {}):
    unlike = inputs.warning(records["embed"])
    warnings += [unlike] if unlike else []
  if not pool["with_labels"]:
    warnings.append(
      "No record has labels (config.pool.fields.labels): K = 1 for all, so "
      "depth is loss reduction alone."
    )
  elif pool["with_labels"] < pool["used"]:
    warnings.append(
      f"{pool['used'] - pool['with_labels']:,} examples have no labels: K = 1 "
      "for them, which favours the labelled ones."
    )
  if pool["limited"]:
    warnings.append(
      "Reading stopped at config.pool.limit; what follows in the sources was "
      "not read."
    )
  return warnings + tally.warnings(pool)
