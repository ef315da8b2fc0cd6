"""The report: a self-contained HTML page, its figures as PNG, and the map.

`render` turns a `ReportData` into file contents; writing them is the stage's.
"""

import base64
import dataclasses
import importlib.resources
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ila_jax.advice import told
from ila_jax.finetune import verdict
from ila_jax.pool.conversations import conversation
from ila_jax.report import beside, map_page, quantities
from ila_jax.report.figures import (
  laboratory,
  landscape,
  look,
  methods,
  trust,
  tuning,
)
from ila_jax.run import tables, units
from ila_jax.selection import compare, lengths

# What the cost table tells of a stage, as its record has it.
COSTS = (
  *("seconds", "flops", "utilisation", "matrix_rate"),
  *("tokens", "tokens_per_second", "padding", "bytes"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportData:
  """All that the page shows; None where the stage that makes it did not run.

  Row numbers index the n rows of the pool's arrays.
  """

  title: str
  config: dict[str, Any]  # nested; shown as dotted fields
  # Whether the selection helped, in a sentence; then what weakens that
  answer: list[str]
  # What was to be expected before any tuning on the selection
  advice: told.Advice | None = None
  comparison: dict[str, Any] | None = None  # as comparison.compare returns it
  # Sentences: what was read as what, and what was chosen
  read: list[str] = dataclasses.field(default_factory=list)
  chosen: list[str] = dataclasses.field(default_factory=list)
  warnings: list[str] = dataclasses.field(default_factory=list)
  n_tokens: Int[np.ndarray, " n"] | None = None  # response tokens
  xy: Float[np.ndarray, "n 2"] | None = None
  cell: Int[np.ndarray, " n"] | None = None
  grid: dict[str, Any] | None = None  # what the cells are, in words
  inputs: str | None = None  # what the encoder read of the prompts, in words
  depth: Float[np.ndarray, " n"] | None = None
  depth_label: str = "information depth (nats per token)"
  # As landscape.duplicates.write sums them up; rows come with their text
  duplicates: dict[str, Any] | None = None
  selected: Int[np.ndarray, " k"] | None = None  # rows in rank order
  reference: Int[np.ndarray, " r"] | None = None  # rows
  coverage_curves: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
  # As beside.table returns it; a value may be None
  coverage_table: list[dict[str, Any]] | None = None
  # What all candidates have in it, and how alike the selections are, as
  # selection.compare writes them; and the examples that tell them apart
  all_candidates: dict[str, Any] | None = None
  overlap: dict[str, Any] | None = None
  features: dict[str, Any] | None = None  # as beside.features has them
  disagreement: dict[str, Any] | None = None  # as beside.disagreement has it
  # Examples over which its distances are taken; None: all
  distance_examples: int | None = None
  stability: dict[str, Any] | None = None  # as stage `landscape` writes it
  training: dict[str, list[dict[str, Any]]] | None = None  # step, loss
  # name (repeated per seed), micro, macro, n_examples, n_tokens; also
  # train_examples and train_tokens where the model was tuned
  evaluations: list[dict[str, Any]] | None = None
  runs: list[dict[str, Any]] | None = None  # as law.fit_law takes them
  fits: dict[str, Any] | None = None  # as law.fit_law returns it
  axes: list[dict[str, Any]] | None = None  # as axes.axes returns them
  # contrasts and verdict, as stage `laboratory` writes them; and its runs
  laboratory: dict[str, Any] | None = None
  rejects: dict[str, int] | None = None  # reason -> records
  # stage, and `COSTS`; a value may be None
  costs: list[dict[str, Any]] | None = None
  # rank, id, depth; turns, and the place of the response among them
  examples: list[dict[str, Any]] | None = None
  points: map_page.Points | None = None  # what the map to explore shows


def render(data: ReportData) -> dict[str, bytes]:
  """File name -> content: index.html, the PNGs that it also holds, map.html.

  >>> files = render(ReportData(title="x", config={}, answer=["Not known."]))
  >>> list(files)
  ['index.html']
  """
  files = {
    tables.FIGURE.file(name=name): look.png(figure)
    for name, figure in draw(data).items()
  }
  files[tables.PAGE.file()] = page(data, files).encode()
  if data.points is not None:
    files[tables.MAP_PAGE.file()] = map_page.page(
      data.points, title=data.title, depth_label=data.depth_label
    ).encode()
  return files


def draw(data: ReportData) -> dict[str, Any]:
  """Figure name -> matplotlib Figure, for whatever the data holds.

  >>> draw(ReportData(title="x", config={}, answer=["Not known."]))
  {}
  """
  made = {}
  label = data.depth_label
  scored = data.depth is not None and data.selected is not None
  if scored and data.xy is not None and len(data.xy):
    reference = np.zeros(0, np.int64)
    if data.reference is not None:
      reference = data.reference
    made["map"] = landscape.depth_on_map(
      data.xy, data.depth, data.selected, reference, depth_label=label
    )
    if data.cell is not None:
      made["depth_per_cell"] = landscape.depth_per_cell(
        data.xy, data.cell, data.depth, data.selected, depth_label=label
      )
  if scored and data.n_tokens is not None and len(data.selected):
    made["lengths"] = landscape.lengths(
      data.n_tokens, data.depth, data.selected, depth_label=label
    )
  if data.coverage_curves and data.selected is not None:
    few = len(data.coverage_curves) <= methods.MOST_IN_ONE
    draw = landscape.coverage if few else methods.coverage
    made["coverage"] = draw(data.coverage_curves, budget=len(data.selected))
  if data.overlap and methods.measured(data.coverage_table):
    made["methods"] = methods.beside(data.coverage_table, data.all_candidates)
    if len(data.overlap["strategies"]) > 2:
      made["overlap"] = methods.overlap(data.overlap)
  if data.stability:
    made["stability"] = trust.stability(data.stability)
  if data.training:
    made["training"] = tuning.training(data.training)
  if data.comparison and data.comparison["rivals"]:
    made["differences"] = tuning.differences(data.comparison)
  elif data.evaluations:
    made["evaluation"] = tuning.evaluation(data.evaluations)
  if data.fits and data.fits["fitted"]:
    made["regression"] = tuning.regression(data.fits)
  if data.laboratory and data.laboratory["contrasts"]:
    made["gaps"] = laboratory.gaps(data.laboratory["contrasts"])
    if any(one.get("multiple") for one in data.laboratory["contrasts"]):
      made["multiples"] = laboratory.multiples(data.laboratory["contrasts"])
    if laboratory.several_budgets(data.laboratory["runs"]):
      made["budgets"] = laboratory.budgets(data.laboratory["runs"])
  return made


def page(data: ReportData, images: dict[str, bytes]) -> str:
  """The HTML page; every text of the pool in it is escaped.

  >>> data = ReportData(title="<b>", config={}, answer=["Not known."])
  >>> "&lt;b&gt;" in page(data, {})
  True
  """
  import jinja2

  environment = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {
    "count": quantities.count,
    "fixed": quantities.fixed,
    "si": units.si,
    "duration": units.duration,
    "percent": quantities.percent,
    "estimate": quantities.estimate,
    "code": _code,
    "quantity": told.quantity,
    "said": conversation.said,
  }
  files = importlib.resources.files("ila_jax.report").joinpath("web")
  template = files.joinpath("page.html.j2")
  style = files.joinpath("report.css").read_text("utf-8").strip()
  warning = None
  if data.n_tokens is not None and data.selected is not None:
    warning = lengths.length_warning(data.n_tokens, data.selected)
  return environment.from_string(template.read_text("utf-8")).render(
    data=data,
    style=style,
    style_hash=map_page.policy_hash(style),
    answer=data.answer[0].partition(":"),
    length_warnings=[warning] if warning else [],
    cautions=[said for said in data.answer[1:] if said != verdict.SCOPE],
    scope=verdict.SCOPE if verdict.SCOPE in data.answer else "",
    rivals=_rivals(data),
    most_in_one=methods.MOST_IN_ONE,
    often=compare.OFTEN,
    shares=beside.shares(data.coverage_table or ()),
    same=beside.same(data.overlap),
    images={
      name.removesuffix(".png"): {
        "data": base64.b64encode(content).decode(),
        "width": _css_width(content),
      }
      for name, content in images.items()
    },
    settings=list(_dotted(data.config)),
  )


def _code(sentence: str) -> str:
  """The sentence as HTML, with what stands between ` marks as code.

  Its flags are marked, too: a line may end before one, and not after its `--`.
  """
  import markupsafe

  def marked(found: re.Match[str]) -> str:
    flags = re.sub(r"(--[^ ]+)", r"<span>\1</span>", found[1])
    return f"<code>{flags}</code>"

  text = re.sub("`([^`]*)`", marked, str(markupsafe.escape(sentence)))
  return markupsafe.Markup(text)  # All else in it is escaped.


def _rivals(data: ReportData) -> list[dict[str, Any]]:
  """The rows of the first table: every model that was evaluated."""
  if not data.evaluations:
    return []
  gaps = {}
  if data.comparison:
    gaps = {rival["name"]: rival for rival in data.comparison["rivals"]}
  nothing = {"micro": None, "macro": None}
  return [
    {
      "name": _model_name(row),
      "is_ours": row.get("equal") == "selection",
      "examples": row.get("train_examples"),
      "tokens": row.get("train_tokens"),
      "steps": len((data.training or {}).get(row["name"], ())) or None,
      "loss": {kind: row[kind] for kind in nothing},
      "gap": gaps.get(row["name"], nothing),
    }
    for row in data.evaluations
  ]


def _model_name(evaluation: dict[str, Any]) -> str:
  """What a model was tuned on, in words."""
  equal = evaluation.get("equal", "selection")
  if equal == "selection":
    return evaluation["name"]
  return f"{evaluation['strategy']}, equal {equal}"


def _css_width(png: bytes) -> int:
  """Width in CSS pixels (1/96 inch), so that type is as large as drawn."""
  pixels = int.from_bytes(png[16:20])  # of the IHDR chunk
  return round(pixels * 96 / look.DPI)


def _dotted(
  config: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
  """Yields (dotted field, value)."""
  for name, value in config.items():
    if isinstance(value, dict) and value:
      yield from _dotted(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value
