"""What the report shows, from the files of the run."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from ila_jax import errors
from ila_jax.advice import finished_run, gain, line, told
from ila_jax.embed import inputs
from ila_jax.laboratory import runs as laboratory_runs
from ila_jax.landscape import depth
from ila_jax.pool import index
from ila_jax.report import beside, map_points, others, page, sentences
from ila_jax.run import context, stage_record, stages, tables
from ila_jax.run.disk import files, folders
from ila_jax.score import split


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
    parts |= _selection(run, records)
  if "finetune" in done:
    parts |= _finetune(workdir)
  if "scaling" in done:
    parts["runs"] = files.read_jsonl(tables.RUNS.path(workdir))
    parts["fits"] = files.read_json(tables.FITS.path(workdir))
    parts["axes"] = others.axes(workdir, parts["runs"])
  if "laboratory" in done and records["laboratory"].get("runs"):
    lines = files.read_jsonl(tables.LABORATORY.path(workdir))
    whole = [line for line in lines if "failed" not in line]
    parts["laboratory"] = {
      **files.read_json(tables.CONTRASTS.path(workdir)),
      "runs": whole,
      "had": laboratory_runs.had(x for x in whole if not x["missing"]),
      "failed": len(lines) - len(whole),
    }
  parts["advice"] = advice(run)
  warnings = sentences.warnings(records)
  for row in parts.get("coverage_table", ()):
    said = (row.get("warning"), row.get("left_out"))
    warnings += [f"{row['strategy']}: {one}" for one in said if one]
  return page.ReportData(
    title=_title(config.pool.sources),
    config=config.plain(),
    answer=sentences.answer(workdir, records),
    read=sentences.read(records),
    chosen=sentences.chosen(workdir, records),
    warnings=warnings,
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


def advice(run: context.Run) -> told.Advice | None:
  """What was to be expected of the selection; None: nothing is selected.

  The report is not refused for what the advice cannot read: it says so.
  """
  if finished_run.missing_stages(epath.Path(run.workdir)):
    return None
  try:
    return finished_run.advise(run)
  except errors.InputError as error:
    return told.Advice(lines=(line.unknown(gain.NAME, str(error)),))


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


def coverage(workdir: epath.Path) -> dict[str, Any] | None:
  """What the methods choose and cover, where stage `select` has run."""
  path = tables.COVERAGE.path(workdir)
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


def _selection(
  run: context.Run, records: dict[str, dict[str, Any]]
) -> dict[str, Any]:
  workdir = epath.Path(run.workdir)
  record = stage_record.read_record(workdir / "select")
  k = record["selected"]
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
    "coverage_table": beside.table(
      coverage,
      record,
      beside.signal_seconds(
        [row["strategy"] for row in coverage["table"]],
        run.config.select.options,
        records,
      ),
    ),
    "all_candidates": coverage.get("candidates"),
    "overlap": coverage.get("overlap"),
    "features": beside.features(workdir, coverage),
    "disagreement": beside.disagreement(workdir, coverage),
    "distance_examples": measured if measured < len(cells["row"]) else None,
    "examples": map_points.examples(workdir, ranking, k),
  }


def _finetune(workdir: epath.Path) -> dict[str, Any]:
  history: dict[str, list[dict[str, Any]]] = {}
  for step in files.read_jsonl(tables.METRICS.path(workdir)):
    history.setdefault(step["name"], []).append(step)
  return {
    "training": history,
    "evaluations": sentences.evaluations(workdir),
    "comparison": sentences.comparison(workdir),
  }
