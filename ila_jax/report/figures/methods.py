"""The figures of methods beside each other, readable with twenty and more."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ila_jax.report.figures import look

# More curves than these are drawn one a panel, with the others in grey.
MOST_IN_ONE = 8
_PANELS_ACROSS = 5


class Measure(NamedTuple):
  """A number of each method, in a panel of its own.

  Attributes:
    key: of the rows of the table.
    title: above the panel.
    scale: "share", "log" or "": how it is drawn.
  """

  key: str
  title: str
  scale: str = ""


MEASURES = (
  Measure("pool_cells", "cells of\nthe pool", "share"),
  Measure("mean_distance", "mean\ndistance"),
  Measure("features", "features", "share"),
  Measure("mean_depth", "mean\ndepth"),
  Measure("median_tokens", "median\ntokens", "log"),
  Measure("effective_domains", "effective\ndomains"),
  Measure("seconds", "seconds", "log"),
)


def measured(table: Sequence[dict[str, Any]]) -> list[Measure]:
  """The measures that tell methods apart: known, and not equal of all.

  Shares are equal where they are the same whole percentage.

  >>> table = [{"pool_cells": 0.5, "seconds": None, "features": 0.999},
  ...          {"pool_cells": 0.4, "features": 1.0}]
  >>> [measure.key for measure in measured(table)]
  ['pool_cells']
  """

  def told_apart(measure: Measure) -> bool:
    values = {row.get(measure.key) for row in table} - {None}
    if measure.scale == "share":
      values = {f"{value:.0%}" for value in values}
    return len(values) > 1

  return [measure for measure in MEASURES if told_apart(measure)]


def beside(
  table: Sequence[dict[str, Any]], candidates: dict[str, Any] | None
) -> Any:
  """A line a method, a panel a measure; ours is printed bold.

  Args:
    table: rows of methods in the order of the lines; of `measured`, one or
      more is told.
    candidates: what all candidates have, drawn as a line; None: not known.
  """
  measures = measured(table)
  height = 1.15 + 0.21 * len(table)
  figure, panels = look.panels(len(measures), height=height, sharey=True)
  names = [row["strategy"] for row in table]
  places = -np.arange(len(table), dtype=float)
  for axes, measure in zip(panels, measures, strict=True):
    _panel(axes, measure, table, places)
    beyond = (candidates or {}).get(measure.key)
    if beyond is not None and measure.scale != "share":
      axes.axvline(beyond, color=look.MUTED, lw=1, ls=(0, (2, 2)), zorder=1)
  labels = [look.wrap(name, 24).partition("\n")[0] for name in names]
  first = panels[0]
  first.set(ylim=(places[-1] - 0.7, 0.7), yticks=places, yticklabels=labels)
  for label, name in zip(first.get_yticklabels(), names, strict=True):
    is_ours = name == table[0]["strategy"]
    label.set(color=look.INK, fontweight="bold" if is_ours else "normal")
  return figure


def _panel(
  axes: Any,
  measure: Measure,
  table: Sequence[dict[str, Any]],
  places: np.ndarray,
) -> None:
  """Draws the dots of one measure."""
  axes.tick_params(axis="y", length=0, pad=2)
  axes.tick_params(axis="x", labelsize=7.5)
  axes.spines["left"].set_visible(False)
  for place in places:
    axes.axhline(place, color=look.FAINT, lw=0.8, zorder=0)
  axes.axhspan(-0.5, 0.5, color="#eef3f7", lw=0, zorder=-1)
  names = [row["strategy"] for row in table]
  known = [
    (row[measure.key], place, look.color(row["strategy"], names))
    for row, place in zip(table, places, strict=True)
    if row.get(measure.key) is not None
  ]
  values = np.array([value for value, *_ in known], float)
  low, high = values.min(), values.max()
  ends = np.array([low, high])
  if measure.scale == "log" and low > 0:
    axes.set_xscale("log")
    ends = np.log(ends)
  # A dot at an end would be cut.
  edge = 0.1 * (ends[1] - ends[0])
  ends = np.array([ends[0] - edge, ends[1] + edge])
  axes.set_xlim(np.exp(ends) if axes.get_xscale() == "log" else ends)
  _label_ends(axes, measure, low, high)
  axes.scatter(
    values, [place for _, place, _ in known], s=34, lw=0.5, zorder=3,
    color=[color for *_, color in known], edgecolors="white",
  )  # fmt: skip
  axes.set_title(
    measure.title, loc="left", fontsize=8.5, color=look.INK, pad=7,
    fontweight="bold",
  )  # fmt: skip


def _label_ends(axes: Any, measure: Measure, low: float, high: float) -> None:
  """Says the least and the greatest value below a panel, which is narrow."""
  from matplotlib import ticker

  def said(value: float) -> str:
    if measure.scale == "share":
      return f"{100 * value:.0f} %"
    if abs(value) >= 100:
      return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) < 0.01 else 2}g}".replace("-", "−")

  values = [low] if said(low) == said(high) else [low, high]
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.set_xticks(values, [said(value) for value in values])
  sides = ("left", "right") if len(values) > 1 else ("center",)
  for label, side in zip(axes.get_xticklabels(), sides, strict=True):
    label.set_horizontalalignment(side)


def overlap(found: dict[str, Any]) -> Any:
  """The Jaccard index of each two selections, the alike beside each other.

  Args:
    found: `strategies`, their names; `jaccard`, by the places of two of them;
      `by_chance`, that of two random selections of the largest size, below
      which nothing is shaded.
  """
  from matplotlib import colors

  names, by_chance = found["strategies"], found["by_chance"]
  order = alike(np.array(found["jaccard"]))
  shown = np.array(found["jaccard"])[np.ix_(order, order)]
  labels = [look.wrap(names[i], 28).partition("\n")[0] for i in order]
  figure, (axes,) = look.panels(1, height=1.9 + 0.25 * len(names))
  shades = colors.LinearSegmentedColormap.from_list(
    "overlap", ["#ffffff", "#9cc7e4", look.BLUE, "#08335c"]
  )
  apart = shown[~np.eye(len(shown), dtype=bool)]
  high = max(float(apart.max()), by_chance + 0.05)
  axes.imshow(
    np.where(np.eye(len(shown)) > 0, np.nan, shown), cmap=shades, aspect="auto",
    vmin=by_chance, vmax=high,
  )  # fmt: skip
  for (i, j), value in np.ndenumerate(shown):
    if i != j:
      is_dark = (value - by_chance) / (high - by_chance) > 0.55
      axes.text(
        j, i, f"{value:.2f}".removeprefix("0"), ha="center", va="center",
        fontsize=7.5, color="white" if is_dark else look.INK,
      )  # fmt: skip
  every = range(len(order))
  axes.set(yticks=every, yticklabels=labels, xticks=every)
  axes.set_xticklabels(labels, rotation=90)
  axes.tick_params(length=0, labelcolor=look.INK)
  axes.spines[:].set_visible(False)
  for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
    for label, i in zip(ticks, order, strict=True):
      label.set_fontweight("bold" if not i else "normal")
  return figure


def alike(jaccard: np.ndarray) -> list[int]:
  """An order in which what is alike stands together.

  That of the leaves of average linkage, ours (0) in the upper half.

  >>> alike(np.array([[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]]))
  [0, 2, 1]
  """
  from scipy.cluster import hierarchy
  from scipy.spatial import distance

  if len(jaccard) < 3:
    return list(range(len(jaccard)))
  apart = distance.squareform(1 - jaccard, checks=False)
  tree = hierarchy.linkage(apart, "average", optimal_ordering=True)
  order = hierarchy.leaves_list(tree).tolist()
  return order if order.index(0) < len(order) / 2 else order[::-1]


def coverage(
  curves: dict[str, tuple[np.ndarray, np.ndarray]], *, budget: int
) -> Any:
  """Occupied share of the pool's cells against the budget, a panel a method.

  The most covering first; each panel has the others in grey, and ours dashed.
  """
  from matplotlib import ticker

  names = list(curves)
  at = {n: float(np.interp(budget, *curves[n])) for n in names}
  names.sort(key=lambda name: -at[name])
  rows = -(-len(names) // _PANELS_ACROSS)
  figure, panels = look.panels(
    len(names), rows=rows, height=0.5 + 1.45 * rows, sharex=True, sharey=True
  )
  ours, right = next(iter(curves)), max(c[0][-1] for c in curves.values())
  figure.supxlabel("examples selected", fontsize=9, color=look.INK)
  for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
    for other in names:
      axes.plot(*curves[other], color="#dde2e6", lw=0.8, zorder=1)
    axes.plot(*curves[ours], color=look.MUTED, lw=1.1, ls=(0, (3, 2)), zorder=2)
    (line,) = axes.plot(
      *curves[name], color=look.color(name, names), lw=2.2, zorder=3
    )
    if len(curves[name][0]) == 1:  # One budget has no line.
      line.set(marker="o", ms=6)
    axes.axvline(budget, color=look.MUTED, lw=0.7, ls=(0, (2, 2)))
    axes.set(ylim=(0, 1.02), xlim=(0, int(right)))
    axes.yaxis.set_major_formatter(look.percent())
    axes.xaxis.set_major_formatter(look.thousands())
    axes.xaxis.set_major_locator(
      ticker.MaxNLocator(2, integer=True, prune="upper")
    )
    axes.tick_params(labelsize=7.5)
    if number + _PANELS_ACROSS >= len(names):  # No panel is below it.
      axes.tick_params(labelbottom=True)
    said = look.wrap(name, 18).replace("\n", "")
    said = said if len(said) <= 18 else said[:17] + "…"
    axes.set_title(
      f"{said}  {at[name]:.0%}".replace("%", " %"), loc="left", fontsize=8,
      color=look.INK, pad=4, fontweight="bold" if name == ours else "normal",
    )  # fmt: skip
  return figure
