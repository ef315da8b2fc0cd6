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


def gaps(contrasts: Sequence[Mapping[str, Any]]) -> Any:
  """Loss of each arm less that of random, a panel for each equality.

  Args:
    contrasts: of `laboratory.contrasts`, one or more with random.
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
  for axes, equal in zip(panels, equals, strict=True):
    axes.axvline(0, color=look.MUTED, lw=1, zorder=1)
    for one in ours:
      if one["equal"] == equal:
        _row(axes, one, -rows.index((one["arm"], one["budget"])))
    places = [-place for place in range(len(rows))]
    axes.set(yticks=places, yticklabels=labels, ylim=(places[-1] - 0.5, 0.5))
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(look.few_ticks())
    axes.grid(axis="y", color=look.FAINT, lw=0.8)
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=look.INK)
    axes.spines["left"].set_visible(False)
    look.title(axes, f"Equal {equal}")
  figure.supxlabel(
    "arm better   ←   nats a token   →   random better", fontsize=9,
    color=look.INK,
  )  # fmt: skip
  handles, measures = panels[0].get_legend_handles_labels()
  shown = dict(zip(measures, handles, strict=True))
  figure.legend(
    shown.values(), shown, **look.LEGEND, loc="upper left", ncols=3,
    borderaxespad=0.3, handletextpad=0.2,
  )  # fmt: skip
  return figure


def _row(axes: Any, one: Mapping[str, Any], place: int) -> None:
  for measure, (marker, inside, offset) in _MEASURES.items():
    gap, at = one[measure], place - offset
    edge = look.RED if inside == look.RED else look.BLUE
    axes.plot((gap["low"], gap["high"]), (at, at), color=edge, lw=1.4)
    axes.plot(
      gap["value"], at, marker, ms=5, mfc=inside, mec=edge, mew=1.3,
      label=measure, ls="",
    )  # fmt: skip


def budgets(runs: Sequence[Mapping[str, Any]]) -> Any:
  """Loss against response tokens: the curve of random, and the arms.

  Args:
    runs: of `laboratory/runs.jsonl`, those that failed left out.
  """
  figure, (axes,) = look.panels(1, height=4.0)
  arms = list(dict.fromkeys(run["arm"] for run in runs))
  for arm in arms:
    own = [run for run in runs if run["arm"] == arm]
    own = [run for run in own if run["equal"] in ("tokens", own[0]["equal"])]
    sizes = sorted({run["budget"] for run in own})
    of_size = [
      np.array([run["micro"] for run in own if run["budget"] == size])
      for size in sizes
    ]
    mean = [losses.mean() for losses in of_size]
    is_chance = arm == _CHANCE
    turn, place = divmod(arms.index(arm), len(look.CATEGORIES))
    color = look.INK if is_chance else look.CATEGORIES[place]
    axes.plot(
      sizes, mean, "-o" if is_chance else _SHAPES[turn % len(_SHAPES)],
      color=color, ms=5 if is_chance else 6.5, lw=1.2, mec="white", mew=0.5,
      label=arm,
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


def _thousands(count: int) -> str:
  """A number of tokens in few characters.

  >>> _thousands(32000), _thousands(500), _thousands(1500)
  ('32k', '500', '1.5k')
  """
  return f"{count / 1000:g}k" if count >= 1000 else f"{count}"
