"""The figures of the report: arrays in, matplotlib `Figure`s out."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ila_jax.report.figures import look

# More crosses than this would hide what they stand on.
MAX_CROSSES = 1000


def depth_on_map(
  xy: Float[np.ndarray, "n 2"],
  depth: Float[np.ndarray, " n"],
  selected: Int[np.ndarray, " k"],
  reference: Int[np.ndarray, " r"],
  *,
  depth_label: str,
) -> Any:
  """The map: pool as density, chosen examples by depth, reference crosses."""
  from matplotlib import colors, ticker

  span = np.maximum(np.ptp(xy, axis=0), 1e-6)
  aspect = float(np.clip(span[1] / span[0], 0.68, 1.1))
  figure, (axes,) = look.panels(1, height=0.6 + 6.8 * aspect)
  across = int(np.clip(0.9 * np.sqrt(len(xy)), 18, 90))
  upward = max(round(across * span[1] / span[0] / 3**0.5), 4)
  pool = axes.hexbin(
    *xy.T, gridsize=(across, upward), mincnt=1, cmap=look.greys(),
    linewidths=0.15, zorder=1,
  )  # fmt: skip
  most = max(int(pool.get_array().max()), 2)
  pool.set_norm(colors.LogNorm(1, most))
  if len(reference):
    step = -(-len(reference) // MAX_CROSSES)
    shown = f", 1 in {step} shown" if step > 1 else ""
    axes.scatter(
      *xy[reference[::step]].T, marker="x", lw=0.7, color=look.BLUE, alpha=0.8,
      s=look.marker_area(len(reference[::step]), 10), zorder=2,
      label=f"reference ({len(reference):,}{shown})",
    )  # fmt: skip
  rows = selected[np.argsort(depth[selected], kind="stable")]  # deepest on top
  low, high = look.bounds(depth[selected], 0.02)
  dots = axes.scatter(
    *xy[rows].T, c=depth[rows], s=look.marker_area(len(rows), 22), vmin=low,
    vmax=high, cmap=look.magma(), lw=0.3 if len(rows) < 3000 else 0,
    edgecolors="white", zorder=3,
  )  # fmt: skip
  axes.scatter([], [], color="#b63679", label=f"selected ({len(rows):,})")
  look.bare(axes)
  legend = axes.legend(
    **look.LEGEND, loc="upper left", bbox_to_anchor=(0.0, 0.0), ncols=2,
    handletextpad=0.3, columnspacing=1.6, reverse=True, borderaxespad=0.2,
  )  # fmt: skip
  for handle in legend.legend_handles:
    handle.set_sizes([34])
  look.colorbar(figure, axes, dots, depth_label, place=0.54, extend="both")
  subs = (1, 2, 5) if most < 50 else (1,)
  look.colorbar(
    figure, axes, pool, "pool examples per hexagon", place=0.03,
    ticks=ticker.LogLocator(subs=subs), format=look.thousands(),
  )  # fmt: skip
  return figure


def depth_per_cell(
  xy: Float[np.ndarray, "n 2"],
  cell: Int[np.ndarray, " n"],
  depth: Float[np.ndarray, " n"],
  selected: Int[np.ndarray, " k"],
  *,
  depth_label: str,
) -> Any:
  """Median depth of every cell on the map; depth of pool and of the chosen."""
  figure, (left, right) = look.panels(2, height=3.9)
  _, code = np.unique(cell, return_inverse=True)
  order = np.lexsort((depth, code))
  counts = np.bincount(code)
  starts = np.cumsum(counts) - counts
  medians = depth[order][starts + (counts - 1) // 2]
  signed = depth.min() < 0  # quantiles are not: they need no middle
  low, high = look.bounds(medians, 0.02)
  if signed:
    high = max(abs(low), abs(high))
    low = -high
  dots = left.scatter(
    *xy.T, c=medians[code], s=look.marker_area(len(xy), 12), marker="s", lw=0,
    cmap=look.diverging() if signed else look.magma(), vmin=low, vmax=high,
  )  # fmt: skip
  look.bare(left)
  look.title(left, "Median depth of each cell")
  look.colorbar(figure, left, dots, depth_label, place=0.29, extend="both")
  ends = [look.bounds(values, 0.004) for values in (depth, depth[selected])]
  low, high = min(end[0] for end in ends), max(end[1] for end in ends)
  bins = np.linspace(low, high, 41)
  look.shares(right, depth, bins, name="pool", filled=True)
  look.shares(right, depth[selected], bins, name="selected")
  if signed:
    right.axvline(0, ymax=0.86, color=look.MUTED, lw=0.8, ls=(0, (2, 2)))
  right.set(xlabel=look.wrap(depth_label, 44))
  right.xaxis.set_major_locator(look.few_ticks())
  right.set(yticks=[], ylabel="share of examples")
  look.legend_above(right)
  look.title(right, "Depth of the pool and of the selection")
  return figure


def coverage(
  curves: dict[str, tuple[np.ndarray, np.ndarray]], *, budget: int
) -> Any:
  """Occupied share of the pool's cells against the budget, per strategy."""
  lines = sum(1 + look.wrap(name, 24).count("\n") for name in curves)
  height = max(4.6, 1.0 + 0.22 * lines)
  figure, (axes,) = look.panels(1, height=height)
  ends = []
  for number, (name, (budgets, covered)) in enumerate(curves.items()):
    color = look.color(name, list(curves))
    style = (0, (5, 1.5)) if color == look.GREY else "-"
    (line,) = axes.plot(
      budgets, covered, color=color, ls=style, lw=2.2, zorder=9 - number
    )
    if len(budgets) == 1:  # One budget has no line.
      line.set(marker="o", ms=7)
    ends.append((float(covered[-1]), name, color))
  right = max(int(budgets[-1]) for budgets, _ in curves.values())
  axes.axvline(budget, color=look.MUTED, lw=0.8, ls=(0, (2, 2)))
  axes.set(ylim=(0, 1.02), xlim=(0, right))
  axes.yaxis.set_major_formatter(look.percent())
  axes.xaxis.set_major_formatter(look.thousands())
  axes.set(xlabel=f"examples selected (dotted: the budget, {budget:,})")
  axes.set(ylabel="occupied cells of the pool")
  look.end_labels(axes, right, ends, line=0.22 / (height - 0.9))
  look.title(axes, "Coverage against budget")
  return figure


def lengths(
  n_tokens: Int[np.ndarray, " n"],
  depth: Float[np.ndarray, " n"],
  selected: Int[np.ndarray, " k"],
  *,
  depth_label: str,
) -> Any:
  """Response lengths of pool and chosen; depth by decile of length."""
  from matplotlib import ticker

  figure, (left, right) = look.panels(2, height=3.5)
  # Whole numbers between the bins' edges: no bin is empty by arithmetic.
  edges = np.geomspace(max(n_tokens.min(), 1), n_tokens.max() + 1, 32)
  bins = np.unique(np.round(edges)) - 0.5
  for values, color, name in (
    (n_tokens, look.GREY, "pool"),
    (n_tokens[selected], look.RED, "selected"),
  ):
    look.shares(
      left, values, bins, name=f"{name}, mean {values.mean():,.0f}",
      filled=name == "pool", scale=np.log,
    )  # fmt: skip
    left.axvline(values.mean(), ymax=0.86, color=color, lw=1.2, ls=(0, (4, 2)))
  left.set_xscale("log")
  subs = (1, 2, 5) if n_tokens.max() < 50 * max(n_tokens.min(), 1) else (1,)
  left.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
  left.xaxis.set_major_formatter(look.thousands())
  left.xaxis.set_minor_formatter(ticker.NullFormatter())
  left.set(xlabel="response tokens", yticks=[], ylabel="share of examples")
  look.legend_above(left)
  look.title(left, "Response length")
  rank = np.argsort(np.argsort(n_tokens, kind="stable"), kind="stable")
  decile = rank * 10 // len(n_tokens)
  groups = [depth[decile == i] for i in range(10)]
  groups = [(i, group) for i, group in enumerate(groups, 1) if len(group)]
  places = [i for i, _ in groups]
  quartiles = np.array([np.quantile(g, [0.25, 0.5, 0.75]) for _, g in groups])
  right.fill_between(places, quartiles[:, 0], quartiles[:, 2], color=look.BLUE,
                     alpha=0.18, lw=0, label="middle half")  # fmt: skip
  right.plot(places, quartiles[:, 1], color=look.BLUE, lw=2, marker="o", ms=4,
             label="median")  # fmt: skip
  right.set(xlabel="decile of response length (10 = longest)", xticks=places)
  right.set_ylabel(look.wrap(depth_label))
  right.legend(**look.LEGEND)
  look.title(right, "Depth by response length")
  return figure
