"""No label lies upon another, whatever the names and numbers are."""

import itertools

import numpy as np
import pytest
from matplotlib import text
from matplotlib.backends import backend_agg

from ila_jax.methods import table
from ila_jax.report import page
from ila_jax.report.figures import landscape, look, methods, tuning
from tests.support.report_data import report_data

NAMES = [
  *table.METHODS,
  *("a_users_method_of_a_rather_long_name_v2", "stratified by domain, length"),
  *("k-center-greedy", "nobreak" * 6, "facility_location_mixture"),
][:12]
LABEL = "depth: a score of the user's with a long name; higher is better"


def _texts(figure):
  """The boxes of all texts that are drawn, with what they say."""
  canvas, drawn = backend_agg.FigureCanvasAgg(figure), {}
  draw = text.Text.draw

  def note(artist, renderer):
    # Ticks beyond the ends of an axis have labels that nobody sees.
    drawn[id(artist)] = artist
    draw(artist, renderer)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(text.Text, "draw", note)
    canvas.draw()
  renderer = canvas.get_renderer()
  return [
    (artist.get_text(), text.Text.get_window_extent(artist, renderer))
    for artist in drawn.values()
    if artist.get_text().strip() and artist.get_visible()
  ]


def _check(figure):
  """Asserts that texts are inside of the figure and apart."""
  texts = _texts(figure)
  assert texts
  width, height = figure.canvas.get_width_height()
  for said, box in texts:
    assert box.x0 > -1 and box.y0 > -1, said
    assert box.x1 < width + 1 and box.y1 < height + 1, said
  for (said, a), (other, b) in itertools.combinations(texts, 2):
    across = min(a.x1, b.x1) - max(a.x0, b.x0)
    upward = min(a.y1, b.y1) - max(a.y0, b.y0)
    assert across < 1 or upward < 1, (said, other)


def _comparison(names):
  rng = np.random.default_rng(0)
  rivals = []
  for name, equal in itertools.product(names, ("examples", "tokens")):
    value, half = rng.normal(0, 0.03), rng.uniform(0.005, 0.03)
    gap = {"value": value, "low": value - half, "high": value + half}
    rivals.append(
      {"strategy": name, "equal": equal, "micro": gap, "macro": gap}
    )
  return {"rivals": rivals}


def _runs(names):
  return [f"{name}-equal-{e}" for name in names for e in ("examples", "tokens")]


@pytest.mark.parametrize("count", [1, 2, 12])
def test_differences(count):
  comparison = _comparison(NAMES[:count])
  figure = tuning.differences(comparison)
  _check(figure)
  panel, _ = figure.axes
  assert len(panel.get_yticks()) == count
  shown = [line.get_xdata() for line in panel.lines if len(line.get_xdata())]
  ends = [tuple(x) for x in shown if len(x) == 2]
  for rival in comparison["rivals"]:
    assert (rival["micro"]["low"], rival["micro"]["high"]) in ends


@pytest.mark.parametrize("count", [1, 12])
def test_trainings_and_losses(count):
  names = _runs(NAMES[:count])
  history = [{"step": i, "loss": 3 + 5 / (i + 1)} for i in range(1200)]
  _check(tuning.training(dict.fromkeys(names, history)))
  losses = np.random.default_rng(1).normal(3.2, 0.02, len(names))
  _check(
    tuning.evaluation(
      [
        {"name": name, "micro": loss, "macro": loss + 0.1}
        for name, loss in zip(names, losses.tolist(), strict=True)
      ]
    )
  )


@pytest.mark.parametrize("count", [5, 12])
@pytest.mark.parametrize("height", [0.0, 0.08, 1.0])
@pytest.mark.parametrize("budget", [1, 19_000])
def test_coverage(count, height, budget):
  budgets = np.unique(np.linspace(1, 20_000, 40).astype(int))
  curves = {
    name: (budgets, height * (1 - np.exp(-budgets / (2000 + 400 * i))))
    for i, name in enumerate(NAMES[:count])
  }
  _check(landscape.coverage(curves, budget=budget))


TWENTY = [
  *("ila", "a_users_method_of_a_rather_long_name_v2", "nobreak" * 6),
  *(f"another_method_{i}" for i in range(17)),
]


def _beside(count, **same):
  rng = np.random.default_rng(count)
  return [
    {
      "strategy": name,
      "pool_cells": rng.random(),
      "mean_distance": rng.uniform(0.3, 0.4),
      "features": rng.random(),
      "mean_depth": rng.normal(),
      "median_tokens": rng.uniform(9, 900),
      "effective_domains": rng.uniform(1, 40),
      "seconds": 10 ** rng.uniform(-3, 4),
    }
    | same
    for name in TWENTY[:count]
  ]


@pytest.mark.parametrize("count", [2, 20])
def test_methods_beside_each_other(count):
  table = _beside(count)
  figure = methods.beside(table, {"mean_depth": 0.1, "median_tokens": 1.0})
  _check(figure)
  for axes, measure in zip(figure.axes, methods.MEASURES, strict=True):
    (dots,) = axes.collections
    wanted = [row[measure.key] for row in table]
    assert dots.get_offsets()[:, 0].tolist() == pytest.approx(wanted)
    low, high = axes.get_xlim()
    assert low <= min(wanted) and max(wanted) <= high


def test_measures_by_which_none_differs_are_not_drawn():
  table = _beside(3, features=None, effective_domains=1.0)
  keys = [measure.key for measure in methods.measured(table)]
  assert len(keys) == 5 and not {"features", "effective_domains"} & {*keys}
  assert not methods.measured(table[:1])
  # A method that took no time at all is no reason for a scale without 0.
  table[0]["seconds"] = 0.0
  _check(methods.beside(table, None))


@pytest.mark.parametrize("count", [2, 3, 20])
def test_overlap(count):
  rng = np.random.default_rng(count)
  jaccard = rng.random((count, count))
  jaccard = (jaccard + jaccard.T) / 2
  np.fill_diagonal(jaccard, 1.0)
  found = {
    "strategies": TWENTY[:count],
    "jaccard": jaccard.tolist(),
    "by_chance": 0.05,
  }
  figure = methods.overlap(found)
  _check(figure)
  (axes,) = figure.axes
  order = methods.alike(jaccard)
  assert sorted(order) == list(range(count))
  written = {text.get_position(): text.get_text() for text in axes.texts}
  assert len(written) == count * (count - 1)
  for (j, i), said in written.items():
    assert said == f"{jaccard[order[i], order[j]]:.2f}".removeprefix("0")


@pytest.mark.parametrize("count", [9, 17, 20])
@pytest.mark.parametrize("height", [0.0, 1.0])
def test_coverage_of_many_methods(count, height):
  budgets = np.unique(np.linspace(1, 20_000, 40).astype(int))
  curves = {
    name: (budgets, height * (1 - np.exp(-budgets / (2000 + 400 * i))))
    for i, name in enumerate(TWENTY[:count])
  }
  figure = methods.coverage(curves, budget=700)
  _check(figure)
  assert len(figure.axes) == count
  for axes, (_, covered) in zip(figure.axes, curves.values(), strict=True):
    np.testing.assert_array_equal(axes.lines[-2].get_ydata(), covered)


@pytest.mark.parametrize("label", [LABEL, "information depth (nats per token)"])
@pytest.mark.parametrize("n", [7, 300, 20_000])
def test_maps_and_lengths(label, n):
  data = report_data(max(n, 200), depth_label=label)
  if n < 200:
    rng = np.random.default_rng(0)
    data = report_data(
      200,
      depth_label=label,
      xy=rng.normal(0, 1, (n, 2)).astype(np.float32),
      cell=np.arange(n, dtype=np.int32) // 2,
      depth=rng.normal(0, 1, n).astype(np.float32),
      n_tokens=rng.integers(1, 9, n).astype(np.int32),
      selected=np.arange(3),
      reference=np.arange(0),
    )
  made = page.draw(data)
  for name in ("map", "depth_per_cell", "lengths", "regression"):
    _check(made[name])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_depths_of_any_size(scale):
  data = report_data(300)
  data = report_data(300, depth=(scale * data.depth).astype(np.float32))
  made = page.draw(data)
  for name in ("map", "depth_per_cell", "lengths"):
    _check(made[name])


def test_labels_of_lines_that_end_together_stand_in_the_order_of_the_table():
  budgets = np.arange(1, 9)
  names = ["trim", "ila", "random"]
  curves = dict.fromkeys(names, (budgets, budgets / 8))
  (axes,) = landscape.coverage(curves, budget=4).axes
  height = {text.get_text(): text.xy[1] for text in axes.texts}
  assert sorted(height, key=height.get, reverse=True) == names


def test_labels_keep_their_order_and_their_distance():
  rng = np.random.default_rng(2)
  for count in (1, 2, 9):
    wanted = sorted(rng.random(count), reverse=True)
    sizes = rng.uniform(0.02, 0.1, count)
    found = np.array(look.spread(wanted, sizes.tolist()))
    assert (found - sizes / 2 > -1e-9).all()
    gaps = (sizes[:-1] + sizes[1:]) / 2
    assert (found[:-1] - found[1:] > gaps - 1e-9).all()
  assert look.spread([0.9, 0.5, 0.1], [0.1] * 3) == [0.9, 0.5, 0.1]


def test_long_names_are_cut_between_words_where_that_can_be():
  assert look.wrap("short") == "short"
  assert look.wrap("one two three", 7) == "one two\nthree"
  assert look.wrap("w" * 9, 4) == "wwww\nwwww\nw"
