"""The page and its figures: whole, escaped, true to the data, at any size."""

import base64
import dataclasses
import html.parser
import re

import jinja2
import matplotlib
import numpy as np
import pytest

from ila_jax.advice import line, told
from ila_jax.laboratory import runs
from ila_jax.landscape import depth
from ila_jax.methods import table
from ila_jax.pool import records
from ila_jax.report import map_page
from ila_jax.report import page as page_lib
from ila_jax.report.figures import look, tuning
from ila_jax.scaling import law
from ila_jax.selection import lengths
from tests.support.report_data import SCRIPT, report_data

PNGS = {
  "map.png",
  "depth_per_cell.png",
  "lengths.png",
  "coverage.png",
  "methods.png",
  "overlap.png",
  "training.png",
  "differences.png",
  "regression.png",
}
# Fields of the figures that a test is not about.
ONLY_THE_MAP = dict.fromkeys(
  (
    *("coverage_curves", "training", "evaluations", "fits", "coverage_table"),
    *("comparison", "overlap", "disagreement", "features"),
  )
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Page(html.parser.HTMLParser):
  """Collects tags, texts and images, and asserts that tags are balanced."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.texts, self.images = [], set(), [], []
    self.links, self.policy, self.style = [], None, None
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.add(tag)
    for name, value in attrs:
      # The policy would block both.
      assert not name.startswith("on") and name != "style"
      if name == "href":
        assert value.partition("#")[0] == "map.html"
        self.links.append(value)
      if name == "src":
        assert value.startswith("data:image/png;base64,")
        self.images.append(base64.b64decode(value.split(",", 1)[1]))
    if ("http-equiv", "Content-Security-Policy") in attrs:
      self.policy = dict(attrs)["content"]
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    self.handle_endtag(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data)
    if self.open[-1:] == ["style"]:
      self.style = data


@pytest.fixture(scope="module")
def data():
  return report_data(3000)


@pytest.fixture(scope="module")
def files(data):
  return page_lib.render(data)


def test_page_is_self_contained_and_holds_every_figure(files):
  assert set(files) == PNGS | {"index.html"}
  page = _Page(files["index.html"].decode())
  pngs = {content for name, content in files.items() if name != "index.html"}
  assert set(page.images) == pngs
  assert all(content.startswith(b"\x89PNG") for content in pngs)
  assert not [text for text in page.texts if "was not run" in text]


def test_pool_text_is_escaped_and_unchanged(files, data):
  page = _Page(files["index.html"].decode())
  assert "script" not in page.tags
  shown = "".join(page.texts)
  # Near-duplicates show it twice.
  assert shown.count(SCRIPT) == len(data.examples) + 2
  for example in data.examples:
    assert example["turns"][-1].text in shown


def test_who_said_what_stands_in_order(files, data):
  texts = [t.strip() for t in _Page(files["index.html"].decode()).texts]
  texts = [text for text in texts if text]
  last = data.examples[-1]
  _, ask, _, _, answer = last["turns"]
  shown = texts[texts.index(last["id"]) + 1 :]
  assert shown[:10] == [
    *("tools", '[{"name": "see"}]'),
    *("user", ask.text),
    *("assistant, not learnt", 'Which f?\n\n[{"name": "see"}]'),
    *("tool", "def f3():"),
    *("assistant", answer.text.strip()),
  ]


def test_of_many_turns_the_first_and_the_last_stand_open():
  turns = [
    records.Turn("assistant" if i % 2 else "user", f"turn {i}")
    for i in range(9)
  ]
  example = {"rank": 1, "id": "0", "depth": 0.1, "turns": turns, "place": 7}
  data = report_data(300, examples=[example], **ONLY_THE_MAP)
  text = re.sub(r"\s+", " ", " ".join(_Page(page_lib.page(data, {})).texts))
  assert (
    "user turn 0 5 more turns: assistant, user, assistant, user, assistant "
    "assistant turn 1" in text
  )
  assert "user turn 6 assistant turn 7 user turn 8" in text


def test_the_policy_allows_the_style_and_the_figures_and_nothing_else(files):
  page = _Page(files["index.html"].decode())
  rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
  assert rules == {
    "default-src": "'none'",
    "img-src": "data:",
    "style-src": map_page.policy_hash(page.style),
    "base-uri": "'none'",
    "form-action": "'none'",
  }


def test_text_from_elsewhere_is_escaped_too():
  fields = {
    "title": SCRIPT,
    "answer": [SCRIPT, SCRIPT],
    "read": [SCRIPT],
    "chosen": [SCRIPT],
    "warnings": [SCRIPT],
    "config": {"pool": {"source": (SCRIPT,)}, SCRIPT: 1},
    "rejects": {SCRIPT: 3},
    "grid": {"cells": SCRIPT},
    "depth_label": "a < b",
    **ONLY_THE_MAP,
  }
  page = _Page(
    page_lib.render(report_data(300, **fields))["index.html"].decode()
  )
  assert "script" not in page.tags
  assert "".join(page.texts).count(SCRIPT) >= 9


def test_numbers_of_the_page_are_those_of_the_data(files, data):
  text = re.sub(
    r"\s+", " ", " ".join(_Page(files["index.html"].decode()).texts)
  )
  row = data.coverage_table[1]
  assert f"{row['strategy']} {row['n_examples']} {row['n_tokens']:,}" in text
  assert "duplicate of an earlier record 611 empty response 28" in text
  assert "base 3.4120 – 3.6550 – – – –" in text
  assert "ila 3.0820 – 3.2600 – 500 41,500 –" in text
  assert (
    "random, equal examples 3.0610 0.021 [−0.004, 0.045] "
    "3.3010 −0.031 [−0.049, −0.012] 500 41,500 –" in text
  )
  assert "responses of 400 examples (31,022 response tokens)" in text
  assert "10,000 resamples over 398 dev prompts" in text
  assert "stage time compute MFU tokens tokens a second padding" in text
  # 34 TFLOP in 171.2 s at 210 GFLOP/s; 612,311 tokens in that time.
  score = "score 2 min 51 s 34.0 TFLOP 94.6 % 612,311 3,577 4.1 % 220 kB"
  assert score in text
  assert "they multiply 210 GFLOP/s, measured in the run" in text
  assert f"the law 18 {data.fits['r2']:.3f}" in text
  shared = f"{row['strategy']} 0.10 {row['mean_depth']:.3f} "
  assert shared + f"{row['median_tokens']:.0f} 3 2.5 " in text
  assert "0.310 0.520 0.456" in text and "in 10 chosen ones or more" in text
  # In a table of what tells them apart, and a sentence of what does not.
  shares = f"{row['strategy']} {100 * row['features']:.1f} % "
  shares += f"{100 * row['tag_diversity']:.1f} % {row['tag_complexity']:.2f}"
  assert shares in text
  assert "Equal of all methods: features, 10 times or more: 10.0 % of al" in (
    text
  )
  assert "3 examples that more than half of the other methods choose, ila" in (
    text
  )
  assert "31 features are on in what ila chooses and in nothing that ran" in (
    text
  )
  assert "· Has most of 9. <i> · Has less of it. 9 4 19" in text
  assert "chosen by random, longest Differ 1. It differs 1." in text
  assert "select.strategy ila" in text
  assert "no label field: K = 1" in text


def test_methods_that_choose_the_same_are_named(files, data):
  images = {name: files[name] for name in files if name.endswith(".png")}
  same = [[1.0, 0.1, 1.0], [0.1, 1.0, 0.1], [1.0, 0.1, 1.0]]
  names = data.overlap["strategies"]
  overlap = {"strategies": names[:3], "jaccard": same, "by_chance": 0.05}
  text = page_lib.page(dataclasses.replace(data, overlap=overlap), images)
  said = "choose exactly the same examples at this budget."
  assert f"{names[0]} and {names[2]} {said}" in text
  assert said not in page_lib.page(data, images)


def test_what_the_map_keeps_stands_beside_what_is_usual(files, data):
  images = {name: files[name] for name in files if name.endswith(".png")}
  plain = page_lib.page(data, images)
  assert "Neighbours kept:" not in plain
  grid = data.grid | {"neighbours_kept": "0.412", "kept_by_chance": "0.001"}
  of_tsne = grid | {"kl": "2.1", "kl_of_one_place": "5.8"}
  for shown, usual in ((grid, False), (of_tsne, True)):
    page = page_lib.page(dataclasses.replace(data, grid=shown), images)
    assert "neighbours kept: 0.412" in page and "Neighbours kept:" in page
    assert ("without any structure" in page) == usual


def test_equal_data_give_equal_bytes(files):
  assert page_lib.render(report_data(3000)) == files


def test_the_map_to_explore_and_its_links_come_with_the_points(files, data):
  assert not _Page(files["index.html"].decode()).links
  points = map_page._EMPTY
  found = page_lib.render(dataclasses.replace(data, points=points))
  links = _Page(found["index.html"].decode()).links
  assert links == [
    "map.html",
    # What ours alone chooses; what it leaves out may not be on the map.
    f"map.html#{data.disagreement['alone'][0]['id']}",
    *(f"map.html#{example['id']}" for example in data.examples),
  ]
  assert found["map.html"].decode() == map_page.page(
    points, title=data.title, depth_label=data.depth_label
  )


def test_nothing_global_changes(data):
  before = dict(matplotlib.rcParams)
  page_lib.draw(data)
  assert dict(matplotlib.rcParams) == before


def test_stages_that_did_not_run_are_said_so():
  files = page_lib.render(
    page_lib.ReportData(title="empty", config={}, answer=["Not known."])
  )
  page = _Page(files["index.html"].decode())
  assert list(files) == ["index.html"] and not page.images
  # A line each: a title over nothing would be a section.
  lines = [line.strip() for line in page.texts if line.strip()]
  start = lines.index("Not known.") + 1
  names, reasons = lines[start:-2:2], lines[start + 1 : -2 : 2]
  assert names == [
    *("What was read as what:", "The map:", "Coverage:", "Depth:", "Length:"),
    *("Near-duplicates:", "How far the map can be trusted:"),
    *("Some of what was chosen:", "The scaling law:", "Training:", "Cost:"),
  ]
  assert all("not " in reason or "no stage" in reason for reason in reasons)


def test_the_answer_comes_first(data, files):
  texts = [t.strip() for t in _Page(files["index.html"].decode()).texts]
  texts = [text for text in texts if text]
  start = texts.index(data.title)
  answer, *cautions, scope = data.answer
  shown = texts[start + 1 : start + 3 + len(cautions)]
  assert [" ".join(shown[:2]), *shown[2:]] == [answer, *cautions]
  assert answer.startswith("ila helped at equal tokens and made no difference")
  assert [c for c in cautions if "depends on what is averaged" in c]
  assert scope in " ".join(texts)
  titles = ["What was read as what", "The map and what was chosen", "Coverage"]
  titles += ["The scaling law", "Cost", "Settings"]
  places = [texts.index(title) for title in titles]
  assert places == sorted(places) and start < places[0]


def test_a_run_without_intervals_shows_its_losses(data):
  old = dataclasses.replace(data, comparison=None, answer=["Not known."])
  files = page_lib.render(old)
  assert "evaluation.png" in files and "differences.png" not in files
  text = re.sub(
    r"\s+", " ", " ".join(_Page(files["index.html"].decode()).texts)
  )
  assert "random, equal tokens 3.1130 – 3.3100 – 500 41,500 –" in text
  assert "bootstrap of" not in text


def test_bands_come_in_the_order_of_their_numbers(data):
  bands = [
    {"low": low, "high": high, "near": 9, "peers": 9, "gain": None,
     "interval": None}
    for low, high in ((0.9, 1.0), (0.8, 0.9), (0.95, 1.0), (0.9, 0.95))
  ]  # fmt: skip
  depth_of = data.duplicates["false_depth"] | {"bands": bands}
  found = data.duplicates | {"false_depth": depth_of}
  page = page_lib.page(
    dataclasses.replace(data, duplicates=found, fits=None), {}
  )
  assert re.findall(r"<td>(0\.\d+ to [^<]*)</td><td>9<", page) == [
    *("0.8 to 0.9", "0.9 to 0.95", "0.95 to 1.0", "0.9 to 1.0, in all"),
  ]


def test_a_law_that_was_not_fitted_gives_its_reason():
  fits = law.fit_law([])
  files = page_lib.render(report_data(300, **(ONLY_THE_MAP | {"fits": fits})))
  assert "regression.png" not in files
  text = "".join(_Page(files["index.html"].decode()).texts)
  assert "Not fitted: runs: 0; needed: at least 5." in text


def test_a_missing_value_is_an_error_not_a_blank():
  examples = [{"rank": 1, "id": "0", "depth": 0.1, "place": 1}]
  data = report_data(300, examples=examples, **ONLY_THE_MAP)
  with pytest.raises(jinja2.UndefinedError, match="turns"):
    page_lib.page(data, {})


@pytest.mark.parametrize(
  ("n", "chosen"), [(1, 0), (1, 1), (2, 1), (7, 7), (40, 3)]
)
def test_tiny_pools_are_drawn(n, chosen):
  rng = np.random.default_rng(n)
  data = report_data(
    200,
    xy=rng.normal(0, 1, (n, 2)).astype(np.float32),
    cell=np.arange(n, dtype=np.int32) // 2,
    depth=rng.normal(0, 1, n).astype(np.float32),
    n_tokens=rng.integers(1, 9, n).astype(np.int32),
    selected=np.arange(chosen),
    reference=np.arange(0),
    **ONLY_THE_MAP,
  )
  files = page_lib.render(data)
  assert ("lengths.png" in files) == (chosen > 0)
  assert {"map.png", "depth_per_cell.png"} < set(files)


def test_everything_equal_is_drawn():
  data = report_data(
    200,
    xy=np.zeros((200, 2), np.float32),
    cell=np.zeros(200, np.int32),
    depth=np.zeros(200, np.float32),
    n_tokens=np.full(200, 5, np.int32),
    coverage_curves={"ila": (np.array([1]), np.array([1.0]))},
    training={"one step": [{"step": 0, "loss": 2.0}]},
    evaluations=[{"name": "base", "micro": 2.0, "macro": 2.0,
                  "n_examples": 1, "n_tokens": 1}],
  )  # fmt: skip
  assert set(page_lib.render(data)) > PNGS


def test_map_shows_every_example_and_every_choice(data):
  figure = page_lib.draw(data)["map"]
  hexagons, crosses, dots, *_ = figure.axes[0].collections
  assert hexagons.get_array().sum() == len(data.xy)
  np.testing.assert_array_equal(
    np.asarray(crosses.get_offsets()), data.xy[data.reference]
  )
  deepest_last = data.selected[
    np.argsort(data.depth[data.selected], kind="stable")
  ]
  np.testing.assert_array_equal(
    np.asarray(dots.get_offsets()), data.xy[deepest_last]
  )
  np.testing.assert_array_equal(dots.get_array(), data.depth[deepest_last])
  legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
  assert legend == ["selected (300)", "reference (150)"]


def test_too_many_crosses_are_thinned_and_the_legend_says_so():
  data = report_data(3000, reference=np.arange(2500))
  axes = page_lib.draw(data)["map"].axes[0]
  assert len(axes.collections[1].get_offsets()) == 834
  texts = [text.get_text() for text in axes.get_legend().get_texts()]
  assert texts[1] == "reference (2,500, 1 in 3 shown)"


def test_median_depth_of_the_cell(data):
  figure = page_lib.draw(data)["depth_per_cell"]
  shown = np.asarray(figure.axes[0].collections[0].get_array())
  for cell in np.unique(data.cell)[:50]:
    rows = data.cell == cell
    middle = np.sort(data.depth[rows])[(rows.sum() - 1) // 2]
    assert (shown[rows] == middle).all()


def test_only_signed_depth_has_a_zero():
  signed = report_data(300, **ONLY_THE_MAP)
  quantiles = depth.relative_depth(signed.depth, np.zeros(300, np.int32))
  ranks = report_data(300, **ONLY_THE_MAP, depth=quantiles)
  lines = [
    len(page_lib.draw(data)["depth_per_cell"].axes[1].lines)
    for data in (signed, ranks)
  ]
  assert lines == [1, 0]
  pages = [page_lib.page(data, {"depth_per_cell.png": b"\0" * 32})
           for data in (signed, ranks)]  # fmt: skip
  assert ["Below zero" in page for page in pages] == [True, False]


def test_shares_integrate_to_one():
  _, (axes,) = look.panels(1, height=2.0)
  bins = np.linspace(-1, 1, 21)
  values = np.random.default_rng(0).normal(0, 1, 500)
  look.shares(axes, values, bins, name="pool")
  heights, edges, _ = axes.patches[0].get_data()
  assert np.sum(heights * np.diff(edges)) == pytest.approx(1)
  assert heights[-1] * np.diff(edges)[-1] == np.mean(values >= 0.9)


def test_coverage_curves_are_drawn_as_given(data):
  axes = page_lib.draw(data)["coverage"].axes[0]
  drawn = {tuple(line.get_ydata()) for line in axes.lines}
  for budgets, covered in data.coverage_curves.values():
    assert tuple(covered) in drawn
    assert axes.get_xlim()[1] == budgets[-1]


def test_evaluations_best_on_top_and_seeds_side_by_side():
  entries = [
    {"name": name, "micro": micro, "macro": micro + 1}
    for name, micro in (("ila", 2.0), ("ila", 2.2), ("base", 3.0))
  ]
  axes, macro = tuning.evaluation(entries).axes
  assert [label.get_text() for label in axes.get_yticklabels()] == [
    "base",
    "ila",
  ]
  assert list(axes.lines[1].get_xdata()) == [2.0, 2.2]
  assert list(macro.lines[1].get_xdata()) == [3.0, 3.2]
  assert [text.get_text() for text in axes.texts] == ["3.000", "2.100"]


def test_training_mean_lies_amid_its_window():
  history = [{"step": i, "loss": 100.0 - i} for i in range(100)]
  thin, thick = tuning.training({"run": history}).axes[0].lines
  assert len(thin.get_xdata()) == 100
  # A line's running mean is the line itself, but for half a step.
  steps, mean = thick.get_data()
  assert np.abs(mean - (100.0 - steps)).max() <= 0.5


def test_lengths_far_from_the_pools_are_warned_of():
  n_tokens = np.array([10, 10, 30, 50])
  short = lengths.length_warning(n_tokens, np.array([0, 1]))
  assert short.startswith("Chosen responses are 2.5 times shorter")
  long = lengths.length_warning(n_tokens, np.array([3]))
  assert long.startswith("Chosen responses are 2.0 times longer")
  assert lengths.length_warning(np.array([2, 2, 5, 3]), np.array([0])) is None
  assert lengths.length_warning(n_tokens, np.arange(0)) is None
  data = report_data(
    300, n_tokens=np.arange(1, 301), selected=np.arange(30), xy=None,
    **ONLY_THE_MAP,
  )  # fmt: skip
  page = page_lib.render(data)["index.html"].decode()
  assert "times shorter than the pool&#39;s" in page


def test_a_method_has_one_colour_whatever_else_its_label_says():
  methods = {name: m.colour for name, m in table.METHODS.items()}
  for name, colour in methods.items():
    for label in (name, f"{name}-equal-tokens", f"tuned on {name}"):
      assert look.color(label, [label]) == colour
  assert look.color("base", ["base"]) == look.INK
  assert not {*look.OTHER_COLORS, look.INK} & set(methods.values())


def test_the_page_says_over_how_many_examples_distances_are_taken():
  text = "over 65,536 examples drawn from the pool"
  whole = report_data(300)
  drawn = dataclasses.replace(whole, distance_examples=65_536)
  assert text not in page_lib.render(whole)["index.html"].decode()
  assert text in page_lib.render(drawn)["index.html"].decode()


def test_advice_comes_first_until_something_was_tuned():
  lines = (
    line.Line(
      **{"name": "predicted gain", "verdict": line.OK, "sentence": "<b>"},
      **{"number": 0.05, "low": 0.02, "high": 0.08, "threshold": 0.01},
    ),
    line.unknown("junk", "run `this`, or `that --a=1 --b`."),
  )
  advice = told.Advice(lines=lines, calibration=lines[1])
  asked = {"title": "x", "config": {}, "answer": ["Not known: why."]}
  text = page_lib.page(page_lib.ReportData(**asked, advice=advice), {})
  verdict = text.index("Expected to help by 0.050 [0.020, 0.080]")
  assert verdict < text.index("2&nbsp;junk") < text.index("Not known: why.")
  assert "&lt;b&gt;" in text and "<b>" not in text
  assert "<code>this</code>" in text and "(threshold 0.01)" in text
  assert "<code>that <span>--a=1</span> <span>--b</span></code>" in text
  row = {"name": "base", "micro": 1.0, "macro": 1.0}
  row |= {"n_examples": 3, "n_tokens": 9}
  tuned = page_lib.ReportData(**asked, advice=advice, evaluations=[row])
  text = page_lib.page(tuned, {})
  assert text.index("</strong> why.") < text.index("Expected to help by")


def test_the_laboratory_is_shown_with_rivals_that_have_no_multiple():
  told = {"value": -0.01, "low": -0.02, "high": 0.0, "p": 0.02}
  measured = dict.fromkeys(("micro", "macro", "pool"), told)
  one = {"arm": "ila", "equal": "tokens", "budget": 32_000, "draws": 4}
  line = one | measured | {"multiple": None, "rival": "covered"}
  worth = dict.fromkeys(("micro", "macro", "pool"), told | {"value": 1.3})
  verdict = {"arm": "ila", "p": 0.02, "missing": [], "succeeds": False}
  files = page_lib.render(
    page_lib.ReportData(
      title="x",
      config={},
      answer=["Not known."],
      laboratory={
        "contrasts": [line | {"rival": "random", "multiple": worth}, line],
        "verdict": [verdict | {"is_strong": False}],
        "runs": [one | {"draw": 0, "micro": 3.0}],
        "had": runs.had(
          one | dict.fromkeys(runs.MEANS, 3.0) | {"tokens": tokens}
          for tokens in (31_990, 32_011)
        ),
        "failed": 1,
      },
    )
  )
  text = files["index.html"].decode()
  assert "not shown to be better than its rivals (p 0.020)" in text
  assert "<td>covered</td>" in text and "1.30 (" in text
  assert "<td>2</td><td>3</td><td>32,000</td><td>3</td>" in text
  assert {"gaps.png", "multiples.png"} <= set(files)
