"""The figure of how far other maps agree with the run's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ila_jax.landscape.trust import variants
from ila_jax.report.figures import look

_TITLES = (
  *("another seed", "another perplexity", "another grid"),
  *("another projection", "another reference set"),
)
AXES = dict(zip(variants.AXES, _TITLES, strict=True))

_DOTTED, _DASHED = (0, (1, 2)), (0, (4, 2))


def stability(summary: dict[str, Any]) -> Any:
  """What other maps select, cover and measure, one line a variant.

  Args:
    summary: what stage `landscape` writes as `stability.json`.
  """
  rows = [row for row in summary["rows"] if row["axis"] in AXES]
  dealt = {r["variant"]: r for r in summary["rows"] if r["axis"] == "chance"}
  places, labels, titles, place = [], [], [], 0.0
  for number, row in enumerate(rows):
    if not number or row["axis"] != rows[number - 1]["axis"]:
      place -= 0.55 if number else 0.0
      titles.append((place, AXES[row["axis"]]))
      place -= 1.0
    places.append(place)
    labels.append(row["variant"])
    place -= 1.0
  height = 1.75 + 0.2 * (1 - place)
  figure, panels = look.panels(3, height=height, sharey=True)
  below = 0.72 / height  # for the legends
  figure.get_layout_engine().set(rect=(0, below, 1, 1 - below))
  left, middle, right = panels
  left.set(ylim=(place + 0.3, 0.7), yticks=places, yticklabels=labels)
  for at, title in titles:
    left.annotate(
      title, (0, at), (-6, 0), xycoords=("axes fraction", "data"), ha="right",
      textcoords="offset points", va="center", fontsize=8.5, color=look.INK,
      fontweight="bold", annotation_clip=False,
    )  # fmt: skip
  for axes in panels:
    axes.tick_params(axis="y", length=0, pad=2)
    axes.spines["left"].set_visible(False)
    for at in places:
      axes.axhline(at, color=look.FAINT, lw=0.8, zorder=0)
  chance = summary["jaccard_by_chance"]
  left.axvline(chance, color=look.MUTED, lw=1, ls=_DOTTED, label="random sets")
  for axes, kind in ((left, "jaccard"), (middle, "covers")):
    _shares(axes, kind, rows, places, dealt)
  left.set(xlabel="Jaccard index")
  _legend(left)
  look.title(left, "Selection shared")
  middle.set(xlabel="share of the run's cells")
  look.title(middle, "What it covers here")
  own = [row["distance"] for row in summary["rows"] if row["axis"] == "run"]
  _correlations(right, rows, places, own[0])
  return figure


def _shares(
  axes: Any,
  kind: str,
  rows: list[dict[str, Any]],
  places: list[float],
  dealt: dict[str, dict[str, Any]],
) -> None:
  """Draws shares as dots, beside those of cells and depths at random.

  Reference sets change no cells: these have no dot in the second panel.
  """
  for name, label, style in (
    ("cells dealt at random", "cells at random: depth alone", _DASHED),
    ("depths dealt at random", "depths at random: cells alone", "-"),
  ):
    value = dealt[name][kind]
    axes.axvline(value, color=look.MUTED, lw=1, ls=style, label=label, zorder=1)
  points = [
    (row[kind], place)
    for row, place in zip(rows, places, strict=True)
    if kind == "jaccard" or row["axis"] != "reference_seed"
  ]
  values, heights = zip(*points, strict=True) if points else ((), ())
  axes.plot(values, heights, "o", color=look.BLUE, ms=6, mec="white", mew=0.5)
  for value, place in points:
    axes.annotate(
      f"{value:.2f}", (value, place), (6, 0), textcoords="offset points",
      va="center", fontsize=8, color=look.MUTED,
    )  # fmt: skip
  axes.set(xlim=(0, 1))


def _correlations(
  axes: Any,
  rows: list[dict[str, Any]],
  places: list[float],
  own: Sequence[float | None],
) -> None:
  """Draws rank correlations with the run, with their intervals if known."""
  kinds = (
    ("coverage", "o", look.BLUE, "with the run's map"),
    ("distance", "D", look.RED, "with distances (no cells)"),
    ("depth", "s", "#009e73", "of depth, with the run's"),
  )
  for kind, marker, color, label in kinds:
    points = [
      (row[kind], place)
      for row, place in zip(rows, places, strict=True)
      if row[kind] and row[kind][0] is not None
    ]
    offset = {"coverage": 0.14, "distance": -0.14}.get(kind, 0.0)
    for (_, *ends), place in points:
      if None not in ends and ends:
        axes.plot(ends, [place + offset] * 2, color=color, lw=1.4, zorder=2)
    if points:
      axes.plot(
        [rho[0] for rho, _ in points], [at + offset for _, at in points],
        marker, color=color, ms=5.5, mec="white", mew=0.5, label=label,
        zorder=3,
      )  # fmt: skip
    if kind == "distance" and points and own[0] is not None:
      axes.axvline(own[0], color=color, lw=1, ls=_DASHED, zorder=1,
                   label="that, of the run's map")  # fmt: skip
  low = min([0.8, *(np.floor(10 * value) / 10 for value in _values(rows))])
  axes.set(xlim=(low, 1.01), xlabel="Spearman correlation")
  _legend(axes)
  look.title(axes, "Rank of coverage")


def _values(rows: list[dict[str, Any]]) -> list[float]:
  """All correlations of the panel on the right, and ends of intervals."""
  kinds = ("coverage", "distance", "depth")
  given = [row[kind] for row in rows for kind in kinds if row[kind]]
  return [value for one in given for value in one if value is not None]


def _legend(axes: Any) -> None:
  """Draws the legend below the panel: the lines leave no room inside."""
  from matplotlib import transforms

  if not axes.get_legend_handles_labels()[0]:
    return
  below = transforms.ScaledTranslation(0, -0.46, axes.figure.dpi_scale_trans)
  legend = axes.legend(
    **(look.LEGEND | {"fontsize": 8.5}), loc="upper left", borderaxespad=0,
    bbox_to_anchor=(0, 0), bbox_transform=axes.transAxes + below,
    handletextpad=0.6, borderpad=0,
  )  # fmt: skip
  legend.set_in_layout(False)
