"""The figures of what was tuned: the answer, trainings, and the law."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ila_jax.finetune import arms
from ila_jax.report.figures import look

# What is equal: the marker, the colour within, and how far from the middle.
_EQUAL = dict(
  zip(arms.EQUAL, (("D", "white", -0.16), ("o", look.BLUE, 0.16)), strict=True)
)


def differences(comparison: Mapping[str, Any]) -> Any:
  """Loss of the selection less that of each rival, with 95 % intervals.

  Args:
    comparison: of `comparison.compare`, with a rival or more.
  """
  rivals = comparison["rivals"]
  names = list(dict.fromkeys(rival["strategy"] for rival in rivals))
  labels = [look.wrap(name, 24) for name in names]
  lines = 1 + max(label.count("\n") for label in labels)
  height = 1.55 + max(0.42, 0.2 * lines) * len(names)
  figure, panels = look.panels(2, height=height, sharex=True, sharey=True)
  above = 0.3 / height  # for the legend
  figure.get_layout_engine().set(rect=(0, 0, 1, 1 - above))
  kinds = (("micro", "Every token alike"), ("macro", "Every example alike"))
  for axes, (kind, title) in zip(panels, kinds, strict=True):
    axes.axvline(0, color=look.MUTED, lw=1, zorder=1)
    for rival in rivals:
      place = -names.index(rival["strategy"])
      _whisker(axes, rival[kind], place, equal=rival["equal"])
    places = [-place for place in range(len(names))]
    axes.set(yticks=places, yticklabels=labels, ylim=(places[-1] - 0.5, 0.5))
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(look.few_ticks())
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=look.INK)
    axes.spines["left"].set_visible(False)
    look.title(axes, title)
  figure.supxlabel(
    "selection better   ←   nats a token   →   rival better", fontsize=9,
    color=look.INK,
  )  # fmt: skip
  handles, equals = panels[0].get_legend_handles_labels()
  shown = dict(zip(equals, handles, strict=True))
  shown = {equal: shown[equal] for equal in sorted(shown, reverse=True)}
  figure.legend(
    shown.values(), shown, **look.LEGEND, loc="upper left", ncols=2,
    borderaxespad=0.3, handletextpad=0.2,
  )  # fmt: skip
  return figure


def _whisker(
  axes: Any, gap: Mapping[str, float], place: int, *, equal: str
) -> None:
  """Draws a difference and its interval in the row of its rival."""
  marker, inside, offset = _EQUAL[equal]
  at = place + offset
  axes.plot((gap["low"], gap["high"]), (at, at), color=look.BLUE, lw=1.6)
  axes.plot(
    gap["value"], at, marker, ms=6, mfc=inside, mec=look.BLUE, mew=1.4,
    label=f"equal {equal}", ls="",
  )  # fmt: skip


def training(histories: dict[str, list[dict[str, Any]]]) -> Any:
  """Training loss against step: one panel per run."""
  rows = -(-len(histories) // 3)
  columns = -(-len(histories) // rows)
  titles = [look.wrap(name, 26) for name in histories]
  lines = 1 + max(title.count("\n") for title in titles)
  figure, panels = look.panels(
    len(histories), height=0.2 + (2.15 + 0.15 * lines) * rows, rows=rows
  )
  for i, history in enumerate(histories.values()):
    axes = panels[i]
    steps = np.array([point["step"] for point in history])
    loss = np.array([point["loss"] for point in history])
    window = max(len(loss) // 25, 1)
    if window > 1:
      axes.plot(steps, loss, color=look.BLUE, lw=0.7, alpha=0.3)
      smooth = np.convolve(loss, np.ones(window) / window, "valid")
      middle = steps[window // 2 :][: len(smooth)]
      axes.plot(middle, smooth, color=look.BLUE, lw=1.8)
    else:
      axes.plot(steps, loss, color=look.BLUE, lw=1.8, marker="o", ms=3)
    axes.set(xlabel="step")
    if i % columns == 0:
      axes.set(ylabel="loss (nats per token)")
    axes.xaxis.set_major_locator(look.few_ticks(integer=True))
    look.title(axes, titles[i])
  return figure


def evaluation(evaluations: list[dict[str, Any]]) -> Any:
  """Held-out loss of every model: per token (micro), per example (macro)."""
  names = list(dict.fromkeys(entry["name"] for entry in evaluations))
  mean = {
    name: np.mean([e["micro"] for e in evaluations if e["name"] == name])
    for name in names
  }
  names.sort(key=lambda name: -mean[name])
  labels = [look.wrap(name, 28) for name in names]
  lines = 1 + max(label.count("\n") for label in labels)
  height = 1.5 + max(0.36, 0.2 * lines) * len(names)
  figure, panels = look.panels(2, height=height, sharey=True)
  kinds = (("micro", "By token (micro)"), ("macro", "By example (macro)"))
  for axes, (kind, title) in zip(panels, kinds, strict=True):
    for place, name in enumerate(names):
      values = [entry[kind] for entry in evaluations if entry["name"] == name]
      color = look.color(name, names)
      axes.plot(values, [place] * len(values), "o", color=color, ms=7, mew=0,
                alpha=0.9 if len(values) == 1 else 0.55)  # fmt: skip
      axes.annotate(
        f"{np.mean(values):.3f}", (np.mean(values), place), (0, 6),
        textcoords="offset points", ha="center", fontsize=8.5, color=look.INK,
      )  # fmt: skip
    axes.set(yticks=range(len(names)), yticklabels=labels)
    axes.set(ylim=(-0.6, len(names) - 0.2), xlabel="nats per token")
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(look.few_ticks())
    axes.grid(axis="y", color=look.FAINT, lw=0.8)
    axes.tick_params(axis="y", length=0, labelsize=9.5)
    axes.spines["left"].set_visible(False)
    look.title(axes, title)
  return figure


def regression(fit: dict[str, Any]) -> Any:
  """The law: observed against predicted, and each slope on its own."""
  points = fit["points"]
  slopes = list(points["partial"])
  figure, panels = look.panels(1 + len(slopes), height=3.5)
  _observed_against_predicted(panels[0], points)
  loo = "not defined" if fit["loo_r2"] is None else f"{fit['loo_r2']:.2f}"
  text = f"R² {fit['r2']:.2f}\nleave-one-out {loo}"
  look.title(panels[0], text.replace("-0", "−0"))
  dots = {"color": look.BLUE, "ms": 5.5, "mec": "white", "mew": 0.5}
  for axes, name in zip(panels[1:], slopes, strict=True):
    partial = points["partial"][name]
    slope, (low, high) = fit["coefficients"][name], fit["intervals"][name]
    x = np.array([min(partial["x"]), max(partial["x"])])
    axes.plot(x, slope * x, color=look.MUTED, lw=0.9, zorder=1)
    axes.plot(partial["x"], partial["y"], "o", **dots)
    axes.set_box_aspect(1)
    axes.set(xlabel=f"log {name}, others held", ylabel="log loss, others held")
    text = f"{name} {slope:.3f}\n[{low:.3f}, {high:.3f}]"
    look.title(axes, text.replace("-", "−"))
    axes.xaxis.set_major_locator(look.few_ticks())
    axes.yaxis.set_major_locator(look.few_ticks())
  return figure


def _observed_against_predicted(axes: Any, points: dict[str, Any]) -> None:
  """Draws every run as predicted by the law that was fitted without it."""
  inside = np.exp([points["left_out"], points["observed"]])
  outside = np.exp([points["outside_predicted"], points["outside_observed"]])
  both = np.concatenate([inside.ravel(), outside.ravel()])
  pad = 0.06 * max(np.ptp(both), 1e-6)
  ends = (both.min() - pad, both.max() + pad)
  axes.plot(ends, ends, color=look.MUTED, lw=0.9, zorder=1)
  axes.plot(
    *inside, "o", color=look.BLUE, ms=5.5, mec="white", mew=0.5,
    label="designed",
  )  # fmt: skip
  if outside.size:
    axes.plot(
      *outside, "D", ms=5, mfc="white", mec=look.RED, mew=1.3,
      label="not designed",
    )  # fmt: skip
  axes.set(xlim=ends, ylim=ends, aspect="equal")
  axes.set(xlabel="predicted loss", ylabel="observed loss")
  axes.legend(**look.LEGEND, loc="upper left", handletextpad=0.1)
  axes.xaxis.set_major_locator(look.few_ticks())
  axes.yaxis.set_major_locator(look.few_ticks())
