"""The figure of how far other maps agree with the run's own."""

from typing import Any

import numpy as np

from ila_jax import look

AXES = {
  "map_seed": "another seed",
  "perplexity": "another perplexity",
  "grid": "another grid",
  "projection": "another projection",
  "reference_seed": "another reference set",
}


def stability(found: dict[str, Any]) -> Any:
  """Selections and coverage on other maps, one line a variant.

  Args:
    found: what stage `landscape` writes as `stability.json`.
  """
  rows = [row for row in found["rows"] if row["axis"] in AXES]
  dealt = {r["variant"]: r for r in found["rows"] if r["axis"] == "chance"}
  places, labels, titles, place = [], [], [], 0.0
  for number, row in enumerate(rows):
    if not number or row["axis"] != rows[number - 1]["axis"]:
      place -= 0.55 if number else 0.0
      titles.append((place, AXES[row["axis"]]))
      place -= 1.0
    places.append(place)
    labels.append(row["variant"])
    place -= 1.0
  height = 1.35 + 0.2 * (1 - place)
  figure, panels = look.panels(2, height=height, sharey=True)
  left, right = panels
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
  _selections(left, rows, places, dealt, found["jaccard_by_chance"])
  own = [row["distance"] for row in found["rows"] if row["axis"] == "run"]
  _correlations(right, rows, places, own[0])
  return figure


def _selections(axes, rows, places, dealt, chance):
  """Jaccard index of the selections, beside what less than a map gives."""
  marks = [(chance, "two random subsets", (0, (1, 2)))]
  marks += [
    (dealt[name]["jaccard"], f"{name}: {meaning}", style)
    for name, meaning, style in (
      ("cells dealt at random", "depth alone", (0, (4, 2))),
      ("depths dealt at random", "cells alone", "-"),
    )
  ]
  for value, name, style in marks:
    axes.axvline(value, color=look.MUTED, lw=1, ls=style, label=name, zorder=1)
  values = [row["jaccard"] for row in rows]
  axes.plot(values, places, "o", color=look.BLUE, ms=6, mec="white", mew=0.5)
  for value, place in zip(values, places, strict=True):
    axes.annotate(
      f"{value:.2f}", (value, place), (6, 0), textcoords="offset points",
      va="center", fontsize=8, color=look.MUTED,
    )  # fmt: skip
  axes.set(xlim=(0, 1), xlabel="Jaccard index (1: the same examples)")
  _legend(axes)
  look.title(axes, "What is selected")


def _correlations(axes, rows, places, own):
  """Rank correlations with the run, with their intervals where there are."""
  kinds = (
    ("coverage", "o", look.BLUE, "coverage, with the run's map"),
    ("distance", "D", look.RED, "coverage, with distances (no cells)"),
    ("depth", "s", "#009e73", "depth, with the run's"),
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
      axes.axvline(own[0], color=color, lw=1, ls=(0, (4, 2)), zorder=1,
                   label="the same, of the run's own map")  # fmt: skip
  low = min([0.8, *(np.floor(10 * value) / 10 for value in _values(rows))])
  axes.set(xlim=(low, 1.01), xlabel="Spearman's rank correlation")
  _legend(axes)
  look.title(axes, "What is measured")


def _values(rows):
  """All that is drawn on the right, the ends of intervals too."""
  kinds = ("coverage", "distance", "depth")
  found = [row[kind] for row in rows for kind in kinds if row[kind]]
  return [value for one in found for value in one if value is not None]


def _legend(axes):
  """Below the panel: the lines leave no room inside."""
  if not axes.get_legend_handles_labels()[0]:
    return
  axes.legend(
    **(look.LEGEND | {"fontsize": 8.5}), loc="upper left",
    bbox_to_anchor=(-0.02, 0.0), bbox_transform=axes.transAxes,
    borderaxespad=3.6, handletextpad=0.6,
  )  # fmt: skip
