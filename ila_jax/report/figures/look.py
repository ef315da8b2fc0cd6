"""The look that all figures share: colours, panels, scales, labels.

Built on matplotlib `Figure` objects, never on pyplot, so that nothing global
changes. Colours of names: Okabe and Ito (2008); of depth: magma. Both survive
colour blindness and grey print.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ila_jax.methods import table

INK, MUTED, FAINT, AXIS = "#1d2329", "#66707a", "#e4e7ea", "#b5bcc4"
BLUE, RED, GREY = "#0072b2", "#d55e00", "#8b949e"
OTHER_COLORS = ("#7a6a4f", "#5c4b9b", "#a3b82c")
# For names that are nothing but names, the most frequent first.
CATEGORIES = (
  *(BLUE, "#e69f00", "#009e73", "#cc79a7", "#56b4e9", RED),
  *("#5c4b9b", "#7a6a4f"),
)
LEGEND = {"frameon": False, "fontsize": 9, "labelcolor": INK}
WIDTH = 8.5  # inches; one width, so that type is one size on the page
DPI = 150


def png(figure: Any) -> bytes:
  """The figure as PNG; equal input gives equal bytes.

  >>> from matplotlib.figure import Figure
  >>> png(Figure(figsize=(1, 1)))[:4]
  b'\\x89PNG'
  """
  buffer = io.BytesIO()
  figure.savefig(
    buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": ""}
  )
  return buffer.getvalue()


def panels(
  count: int, *, height: float, rows: int = 1, **options: Any
) -> tuple[Any, list[Any]]:
  """A figure and its bare axes.

  >>> figure, axes = panels(3, height=2.0)
  >>> len(axes), figure.get_size_inches().tolist()
  (3, [8.5, 2.0])
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(WIDTH, height), layout="constrained")
  figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
  grid = figure.subplots(rows, -(-count // rows), squeeze=False, **options)
  for axes in grid.flat[count:]:
    axes.remove()
  for axes in grid.flat[:count]:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(AXIS)
    axes.tick_params(which="both", color=AXIS, labelcolor=MUTED, labelsize=8.5)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
  return figure, list(grid.flat[:count])


def wrap(text: str, width: int = 34) -> str:
  """Text on lines of so many characters, cut between words where that can be.

  >>> wrap("a_name_of_five_words", 12).split("\\n")
  ['a_name_of_', 'five_words']
  """
  lines = [""]
  for part in re.findall(f"[^ _-]{{0,{width}}}[ _-]?", text):
    if len(lines[-1]) + len(part.rstrip()) > width and lines[-1]:
      lines.append("")
    lines[-1] += part
  return "\n".join(line.rstrip() for line in lines)


def title(axes: Any, text: str) -> None:
  """A bold title, flush left."""
  axes.set_title(
    text, loc="left", fontsize=10, color=INK, pad=9, fontweight="bold"
  )


def bare(axes: Any) -> None:
  """Takes the frame off a map, whose directions mean nothing."""
  axes.set(xticks=[], yticks=[])
  axes.set_aspect("equal", adjustable="datalim")
  axes.spines[:].set_visible(False)


def shares(
  axes: Any,
  values: np.ndarray,
  bins: np.ndarray,
  *,
  name: str,
  filled: bool = False,
  scale: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> None:
  """Histogram as a density; what lies beyond the bins counts in the last."""
  counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
  heights = counts / max(len(values), 1) / np.diff(scale(bins))
  if filled:
    axes.stairs(heights, bins, fill=True, color="#d3d9df", label=name)
  else:
    axes.stairs(heights, bins, color=RED, lw=1.8, label=name)
  axes.set_xlim(bins[0], bins[-1])


def legend_above(axes: Any) -> None:
  """A legend in one row, over the data and not upon them."""
  axes.set_ylim(0, 1.16 * axes.get_ylim()[1])
  axes.legend(**LEGEND, loc="upper right", ncols=2, borderaxespad=0.1)


def colorbar(
  figure: Any, axes: Any, mappable: Any, label: str, *, place: float,
  **options: Any,
) -> Any:  # fmt: skip
  """A slim bar right of the panel, from `place` of its height upward."""
  bar = figure.colorbar(
    mappable, cax=axes.inset_axes([1.02, place, 0.02, 0.42]), **options
  )
  bar.outline.set_visible(False)
  bar.ax.tick_params(color=AXIS, labelcolor=MUTED, labelsize=8.5)
  bar.set_label(wrap(label), color=INK, fontsize=9)
  bar.minorticks_off()
  return bar


def end_labels(
  axes: Any, x: int, ends: Sequence[tuple[float, str, str]], *, line: float
) -> None:
  """Names at the right ends of lines (height, name, colour), moved apart.

  Heights are from 0 to 1, and so is that of a line of text; what is moved stays
  between them as long as there is room for all.
  """
  # Of equal heights the first stays first: ours, in all figures.
  ends = sorted(ends, key=lambda end: -end[0])
  names = [wrap(name, 24) for _, name, _ in ends]
  sizes = [line * (1 + name.count("\n")) for name in names]
  places = spread([value for value, _, _ in ends], sizes)
  for place, name, (_, _, shade) in zip(places, names, ends, strict=True):
    axes.annotate(
      name, (x, place), (6, 0), textcoords="offset points", va="center",
      fontsize=9, color=shade, fontweight="bold", annotation_clip=False,
    )  # fmt: skip


def spread(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
  """Centres of labels near where they are wanted, none upon another.

  Args:
    wanted: in descending order, from 0 to 1.
    sizes: heights of the labels.

  >>> [round(place, 2) for place in spread([0.5, 0.5, 0.0], [0.2, 0.2, 0.2])]
  [0.5, 0.3, 0.1]
  """
  halves = np.asarray(sizes) / 2
  gaps = [*(halves[:-1] + halves[1:]), 0.0]
  places = list(wanted)
  for i in range(1, len(places)):
    places[i] = min(places[i], places[i - 1] - gaps[i - 1])
  below = halves[-1]
  for i in reversed(range(len(places))):
    places[i] = max(places[i], below)
    below = places[i] + gaps[i - 1]
  return [float(place) for place in places]


def color(name: str, names: Sequence[str]) -> str:
  """The colour of a method in all figures, or one of the others in turn.

  A label may say more than the method's name; of several, the longest counts.

  >>> color("tuned on random", ["tuned on random"]) == GREY
  True
  """
  if name == "base":
    return INK
  methods = [method for method in table.METHODS if method in name]
  if methods:
    return table.METHODS[max(methods, key=len)].colour
  return OTHER_COLORS[list(names).index(name) % len(OTHER_COLORS)]


def marker_area(count: int, at_500: float | int) -> float:
  """Area of a marker in points²: smaller as they get more.

  >>> marker_area(500, 20), marker_area(10**7, 20)
  (20.0, 1.2)
  """
  return float(np.clip(at_500 * (500 / max(count, 1)) ** 0.55, 1.2, 46))


def bounds(values: np.ndarray, tail: float) -> tuple[float, float]:
  """Quantiles that leave both tails out; a unit apart where all are equal.

  >>> bounds(np.arange(101.0), 0.02), bounds(np.zeros(0), 0.02)
  ((2.0, 98.0), (-0.5, 0.5))
  """
  low, high = 0.0, 0.0
  if len(values):
    low, high = (float(q) for q in np.quantile(values, [tail, 1 - tail]))
  return (low, high) if high > low else (low - 0.5, high + 0.5)


def magma() -> Any:
  """Magma from pale to dark, without the ends that vanish on the page."""
  import matplotlib
  from matplotlib import colors

  shades = matplotlib.colormaps["magma_r"](np.linspace(0.14, 0.93, 256))
  return colors.ListedColormap(shades)


def greys() -> Any:
  """Light to middle grey: what lies on it must stay visible."""
  from matplotlib import colors

  return colors.LinearSegmentedColormap.from_list(
    "pool", ["#e4e8ec", "#b4bfcb", "#5f7086"]
  )


def diverging() -> Any:
  """Purple to orange; its middle is grey, for white is the page."""
  from matplotlib import colors

  return colors.LinearSegmentedColormap.from_list(
    "depth", ["#35206b", "#8b7fc0", "#d6d6d6", "#e8a24a", "#8f3f04"]
  )


def percent() -> Any:
  """Tick labels of shares."""
  from matplotlib import ticker

  return ticker.PercentFormatter(1.0, decimals=0, symbol=" %")


def thousands() -> Any:
  """Tick labels of counts: none between 0 and 1."""
  from matplotlib import ticker

  return ticker.FuncFormatter(
    lambda value, _: "" if 0 < value < 1 else f"{value:,.0f}"
  )


def few_ticks(*, integer: bool = False) -> Any:
  """Places of at most six ticks."""
  from matplotlib import ticker

  return ticker.MaxNLocator(5, integer=integer)
