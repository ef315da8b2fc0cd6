"""The figures of the laboratory: arms beside chance, loss by budget."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ila_jax.report.figures import look

# Of each measure: the marker, its inside, and how far from the row's middle.
_MEASURES = {
  "micro": ("o", look.BLUE, -0.22),
  "macro": ("D", "white", 0.0),
  "pool": ("s", look.RED, 0.22),
}
_CHANCE = "random"
# Of arms: as many as there are colours have one shape.
_SHAPES = "o^sDv"
_TIMES = (
  (0.125, 0.25, 0.5, 1, 2, 4, 8),
  (0.5, 0.7, 1, 1.4, 2),
  (0.8, 0.9, 1, 1.1, 1.25),
)


def gaps(contrasts: Sequence[Mapping[str, Any]]) -> Any:
  """Loss of each arm less that of random, a panel for each equality.

  Args:
    contrasts: of `laboratory.contrasts`, one or more with random.
  """
  figure, panels = _forest(contrasts, lambda one: one)
  for axes in panels:
    axes.axvline(0, color=look.MUTED, lw=1, zorder=1)
    axes.xaxis.set_major_locator(look.few_ticks())
  figure.supxlabel(
    "arm better   ←   nats a token   →   random better", fontsize=9,
    color=look.INK,
  )  # fmt: skip
  return figure


def multiples(contrasts: Sequence[Mapping[str, Any]]) -> Any:
  """How many times the data each arm is worth, a panel for each equality.

  Args:
    contrasts: of `laboratory.contrasts`, one or more with a multiple.
  """
  known = [one for one in contrasts if one.get("multiple")]
  figure, panels = _forest(known, lambda one: one["multiple"])
  for axes in panels:
    axes.axvline(1, color=look.MUTED, lw=1, zorder=1)
    axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    wide, narrow, few = _TIMES
    times = wide if high / low > 6 else narrow if high / low > 2.2 else few
    axes.set_xticks(times, [f"{time:g}×" for time in times])
    axes.set_xlim(low, high)
    axes.minorticks_off()
  figure.supxlabel(
    "random better   ←   worth so many times the data   →   arm better",
    fontsize=9, color=look.INK,
  )  # fmt: skip
  return figure


def _forest(contrasts: Sequence[Mapping[str, Any]], told: Any) -> Any:
  """Draws each arm in a row, each equality in a panel.

  Args:
    contrasts: those with random are drawn.
    told: from a contrast to value, low and high of each measure.
  """
  ours = [one for one in contrasts if one["rival"] == _CHANCE]
  equals = list(dict.fromkeys(one["equal"] for one in ours))
  several = len({one["budget"] for one in ours}) > 1
  rows = list(dict.fromkeys((one["arm"], one["budget"]) for one in ours))
  labels = [
    look.wrap(f"{arm}, {_thousands(budget)}" if several else arm, 22)
    for arm, budget in rows
  ]
  lines = 1 + max(label.count("\n") for label in labels)
  height = 1.6 + max(0.44, 0.2 * lines) * len(rows)
  figure, panels = look.panels(
    len(equals), height=height, sharex=True, sharey=True
  )
  figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.3 / height))
  places = [-place for place in range(len(rows))]
  for axes, equal in zip(panels, equals, strict=True):
    for one in ours:
      if one["equal"] == equal:
        _row(axes, told(one), -rows.index((one["arm"], one["budget"])))
    axes.set(yticks=places, yticklabels=labels, ylim=(places[-1] - 0.5, 0.5))
    axes.margins(x=0.08)
    axes.grid(axis="y", color=look.FAINT, lw=0.8)
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=look.INK)
    axes.spines["left"].set_visible(False)
    look.title(axes, f"Equal {equal}")
  handles, measures = panels[0].get_legend_handles_labels()
  shown = dict(zip(measures, handles, strict=True))
  figure.legend(
    shown.values(), shown, **look.LEGEND, loc="upper left", ncols=3,
    borderaxespad=0.3, handletextpad=0.2,
  )  # fmt: skip
  return figure, panels


def _row(axes: Any, told: Mapping[str, Any], place: int) -> None:
  for measure, (marker, inside, offset) in _MEASURES.items():
    gap, at = told[measure], place - offset
    edge = look.RED if inside == look.RED else look.BLUE
    axes.plot((gap["low"], gap["high"]), (at, at), color=edge, lw=1.4)
    axes.plot(
      gap["value"], at, marker, ms=5, mfc=inside, mec=edge, mew=1.3,
      label=measure, ls="",
    )  # fmt: skip
    # Where the curve of chance ends, the multiple may be farther out.
    first, last = gap.get("curve", (-np.inf, np.inf))
    for end, is_out, arrow in (
      ("low", gap["low"] <= first, "<"), ("high", gap["high"] >= last, ">")
    ):  # fmt: skip
      if is_out:
        axes.plot(gap[end], at, arrow, ms=4, color=edge)


def budgets(runs: Sequence[Mapping[str, Any]]) -> Any:
  """Loss against response tokens, at equal tokens: a line for each arm.

  Args:
    runs: of `laboratory/runs.jsonl`, those that failed left out.
  """
  figure, (axes,) = look.panels(1, height=4.2)
  arms = list(dict.fromkeys(run["arm"] for run in runs))
  for number, arm in enumerate(arms):
    own = [r for r in runs if r["arm"] == arm and r["equal"] == "tokens"]
    sizes = sorted({run["budget"] for run in own})
    of_size = [
      np.array([run["micro"] for run in own if run["budget"] == size])
      for size in sizes
    ]
    turn, place = divmod(number, len(look.CATEGORIES))
    color = look.INK if arm == _CHANCE else look.CATEGORIES[place]
    axes.plot(
      sizes, [losses.mean() for losses in of_size],
      "-" + _SHAPES[turn % len(_SHAPES)], color=color, ms=6, lw=1.2,
      mec="white", mew=0.5, label=arm,
    )  # fmt: skip
    for size, losses in zip(sizes, of_size, strict=True):
      axes.plot([size] * 2, [losses.min(), losses.max()], color=color, lw=1)
  axes.set_xscale("log", base=2)
  ticks = sorted({run["budget"] for run in runs})
  axes.set_xticks(ticks, [_thousands(size) for size in ticks])
  axes.set(xlabel="response tokens of the subset", ylabel="nats a token")
  axes.yaxis.set_major_locator(look.few_ticks())
  figure.legend(**look.LEGEND, loc="outside right upper")
  return figure


def several_budgets(runs: Sequence[Mapping[str, Any]]) -> bool:
  """Whether an arm but chance was tuned at several budgets, at equal tokens.

  >>> one = {"arm": "ila", "equal": "tokens", "budget": 9}
  >>> several_budgets([one]), several_budgets([one, one | {"budget": 18}])
  (False, True)
  """
  seen = {
    (run["arm"], run["budget"])
    for run in runs
    if run["arm"] != _CHANCE and run["equal"] == "tokens"
  }
  return len(seen) > len({arm for arm, _ in seen})


def _thousands(count: int) -> str:
  """A number of tokens in few characters.

  >>> _thousands(32000), _thousands(500), _thousands(1500)
  ('32k', '500', '1.5k')
  """
  return f"{count / 1000:g}k" if count >= 1000 else f"{count}"
