"""The map to explore: every point in it, no text that runs, equal bytes."""

import base64
import dataclasses
import gzip
import hashlib
import html.parser
import importlib.resources
import json
import re

import numpy as np
import pytest
from matplotlib import image
from scipy import ndimage

from ila_jax.report import map_page
from ila_jax.report.figures import look
from tests.support import browser

HOSTILE = (
  "</script><script>document.title='run'</script>"
  "<img src=x onerror=document.title='run'> & \u2028 \ud800"
)


def _points(n, **changes):
  rng = np.random.default_rng(0)
  order = rng.permutation(n).astype(np.int32)
  fields = {
    "id": np.array([f"{i:016x}" for i in order]),
    "instruction": [f"Say {i}." for i in range(n)],
    "response": [f"I say {i}." for i in range(n)],
    "roles": ["tools, user, assistant", "user, assistant"] * (n // 2)
    + ["user, assistant"] * (n % 2),
    "xy": rng.normal(size=(n, 2)).astype(np.float32),
    "depth": rng.normal(size=n).astype(np.float32),
    "relative_depth": rng.random(n).astype(np.float32),
    "cell": rng.integers(0, 90, n),
    "n_tokens": rng.integers(1, 900, n),
    "source": rng.choice(["a", "b <i>", "c"], n, p=[0.2, 0.7, 0.1]),
    "domain": np.full(n, ""),
    "rank": order + 1,
    "round": order // 10 + 1,
    "selected": order < n // 10,
    "reference": order == n - 1,
    "pool_size": n,
  } | changes
  kept = fields["selected"] | fields["reference"]
  fields = {
    "selected_size": int(fields["selected"].sum()),
    "kept_size": int(kept.sum()),
  } | fields
  return map_page.Points(**fields)


def _page(points):
  return map_page.page(points, title=HOSTILE[:-2], depth_label="depth (nats)")


def _held(points):
  """The payload as the page's program reads it."""
  text = map_page.payload(points, depth_label="depth")
  held = json.loads(gzip.decompress(base64.b64decode(text)))
  for name, column in held["columns"].items():
    real = name in ("x", "y", "depth", "relative")
    held["columns"][name] = np.frombuffer(
      base64.b64decode(column), "<f4" if real else "<i4"
    )
  return held


class _Page(html.parser.HTMLParser):
  """Tags with their attributes, and the text of each script and of #card p."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.texts, self.open = [], [], False
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self.texts.append("")
    self.open = True

  def handle_endtag(self, tag):
    self.open = False

  def handle_data(self, data):
    if self.open:
      self.texts[-1] += data

  def all(self, tag):
    return [
      (attrs, text)
      for (name, attrs), text in zip(self.tags, self.texts, strict=True)
      if name == tag
    ]


def test_every_column_arrives():
  points = _points(300)
  held = _held(points)
  order = np.argsort(points.id)
  assert held["ids"] == points.id[order].tolist() == sorted(points.id)
  assert held["texts"] == [points.instruction[i] for i in order]
  assert held["responses"] == [points.response[i] for i in order]
  roles = [held["roles"][number] for number in held["columns"]["roles"]]
  assert roles == [points.roles[i] for i in order]
  columns = held["columns"]
  for name, values in (
    ("x", points.xy[:, 0]), ("y", points.xy[:, 1]), ("depth", points.depth),
    ("relative", points.relative_depth), ("cell", points.cell),
    ("tokens", points.n_tokens), ("rank", points.rank),
    ("round", points.round),
  ):  # fmt: skip
    np.testing.assert_array_equal(columns[name], values[order], err_msg=name)
  assert held["sources"] == ["b <i>", "a", "c"]  # the most frequent first
  names = np.array(held["sources"])[columns["source"]]
  np.testing.assert_array_equal(names, points.source[order])
  assert held["domains"] == [""]
  chosen, reference = columns["state"] & 1, columns["state"] & 2
  np.testing.assert_array_equal(chosen > 0, points.selected[order])
  np.testing.assert_array_equal(reference > 0, points.reference[order])


def _scores(n):
  rng = np.random.default_rng(5)
  judged = rng.integers(1, 6, n).astype(np.float32)
  judged[::7] = np.nan
  return {"quality": judged, "ifd": rng.random(n).astype(np.float32)}


def test_every_score_arrives_to_three_digits():
  points = _points(300, scores=_scores(300))
  held = _held(points)
  assert [score["name"] for score in held["scores"]] == ["quality", "ifd"]
  order = np.argsort(points.id)
  for score in held["scores"]:
    found = np.frombuffer(base64.b64decode(score["values"]), "<f4")
    wanted = points.scores[score["name"]][order]
    np.testing.assert_allclose(found, wanted, rtol=2.0**-12)
    low, high = np.nanquantile(wanted, [0.02, 0.98])
    assert score["bounds"] == [pytest.approx(low), pytest.approx(high)]
  found = np.frombuffer(base64.b64decode(held["scores"][0]["values"]), "<f4")
  np.testing.assert_array_equal(found, points.scores["quality"][order])


def test_a_score_that_few_have_does_not_harm_the_page():
  none = {"rare": np.full(9, np.nan, np.float32)}
  (score,) = _held(_points(9, scores=none))["scores"]
  assert score["bounds"] == [-0.5, 0.5]


def test_every_cut_end_is_marked():
  assert map_page.brief("x" * 160) == "x" * 160
  for text in ("x" * 161, "x" + " " * 700 + "y", "\n" * 700 + "y"):
    found = map_page.brief(text)
    assert found.endswith("…") and len(found) <= 160
    assert map_page.brief(found) == found
  assert map_page.brief("x" + "\n" * 999) == "x"


def test_only_two_directions_of_a_map_are_shown():
  xyz = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
  assert map_page.payload(
    _points(20, xy=xyz), depth_label="d"
  ) == map_page.payload(_points(20, xy=xyz[:, :2]), depth_label="d")


def test_the_order_of_the_pool_changes_no_byte():
  points = _points(200)
  order = np.random.default_rng(2).permutation(200)
  fields = {
    field.name: getattr(points, field.name)
    for field in dataclasses.fields(points)
  }
  moved = {
    name: value[order]
    if isinstance(value, np.ndarray)
    else [value[i] for i in order]
    if isinstance(value, list)
    else value
    for name, value in fields.items()
  }
  assert _page(map_page.Points(**moved)) == _page(points) == _page(points)


def test_no_text_of_the_pool_is_markup():
  hostile = ["".join(HOSTILE)] * 30
  page = _page(_points(30, instruction=hostile, source=np.array(hostile)))
  found = _Page(page)
  tags = [tag for tag, _ in found.tags]
  assert tags.count("script") == 3 and "img" not in tags
  assert not any(name.startswith("on") for _, a in found.tags for name in a)
  assert re.fullmatch(r"[A-Za-z0-9+/=]+", found.all("script")[0][1])
  held = _held(_points(30, instruction=hostile))
  assert held["texts"][0] == map_page.brief(HOSTILE)


def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else():
  page = _Page(_page(_points(30)))
  (policy,) = (
    attrs["content"]
    for attrs, _ in page.all("meta")
    if attrs.get("http-equiv") == "Content-Security-Policy"
  )
  rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
  program = [text for _, text in page.all("script")[1:]]
  style = [text for _, text in page.all("style")]
  assert rules["default-src"] == "'none'"
  assert rules["script-src"].split() == [
    map_page.policy_hash(t) for t in program
  ]
  assert rules["style-src"].split() == [map_page.policy_hash(t) for t in style]
  assert "unsafe" not in policy
  # Nothing to fetch, either.
  assert not any({"src", "style"} & set(attrs) for _, attrs in page.tags)
  links = [attrs["href"] for _, attrs in page.tags if "href" in attrs]
  assert links == ["index.html"]


def test_a_large_pool_keeps_the_selection_and_draws_the_rest():
  rng = np.random.default_rng(3)
  ids = rng.permutation(5000).astype(np.uint64)
  keep = rng.random(5000) < 0.02
  rows = map_page.choose(ids, keep, limit=1000)
  assert len(rows) == 1000 and (np.diff(rows) > 0).all()
  assert np.isin(np.flatnonzero(keep), rows).all()
  # The same examples whatever the order, and more of them with a larger limit.
  order = rng.permutation(5000)
  moved = map_page.choose(ids[order], keep[order], limit=1000)
  assert set(ids[order][moved]) == set(ids[rows])
  more = map_page.choose(ids, keep, limit=2000)
  assert set(rows) < set(more)
  # Drawn evenly: 900 of 4,900 in each tenth of the pool.
  tenths = np.bincount(rows[~keep[rows]] // 500, minlength=10)
  assert tenths.min() > 55 and tenths.max() < 130
  np.testing.assert_array_equal(
    map_page.choose(ids, keep, limit=5000), np.arange(5000)
  )
  just = map_page.choose(ids, keep, limit=int(keep.sum()))
  np.testing.assert_array_equal(just, np.flatnonzero(keep))


def test_a_large_selection_is_drawn_too():
  rng = np.random.default_rng(4)
  ids = rng.permutation(5000).astype(np.uint64)
  keep = rng.random(5000) < 0.4
  rows = map_page.choose(ids, keep, limit=500)
  assert len(rows) == 500 and keep[rows].all() and (np.diff(rows) > 0).all()
  tenths = np.bincount(rows // 500, minlength=10)
  assert tenths.min() > 25 and tenths.max() < 80
  order = rng.permutation(5000)
  moved = map_page.choose(ids[order], keep[order], limit=500)
  assert set(ids[order][moved]) == set(ids[rows])
  assert set(rows) < set(map_page.choose(ids, keep, limit=900))


def test_the_page_says_what_it_leaves_out():
  assert map_page.sentence(_points(100)) == (
    "100 examples, 10 of them selected."
  )
  # 11 of 100 are never left out; 89 shown stand for 1,157 - 11.
  some = map_page.sentence(_points(100, pool_size=1157))
  assert some.startswith("1,157 examples, 10 of them selected. ")
  assert "1 in 12.9 of the others" in some
  kept = _points(10, selected=np.ones(10, bool), pool_size=50)
  assert "only the selected and the reference" in map_page.sentence(kept)
  # 10 shown of 40 that are selected, and 5 of the reference.
  drawn = dataclasses.replace(kept, selected_size=40, kept_size=45)
  assert map_page.sentence(drawn) == (
    "50 examples, 40 of them selected. The page shows 1 in 4.5 of the selected "
    "and the reference, drawn at random, and no others."
  )


def test_a_hundred_thousand_points_stay_a_small_page():
  page = _page(_points(100_000))
  library = len(_web("d3.min.js"))
  # 11 columns of 4 bytes, the id and the text of each, packed.
  assert len(page) - library < 60 * 100_000


def test_the_library_is_what_its_authors_published():
  # The digest of dist/d3.min.js in d3-7.9.2.tgz of the npm registry.
  digest = hashlib.sha256(_web("d3.min.js").encode()).hexdigest()
  assert (
    digest == "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1"
  )
  assert "Mike Bostock" in _web("d3.LICENSE")


def _web(name):
  folder = importlib.resources.files("ila_jax.report").joinpath("web")
  return folder.joinpath(name).read_text("utf-8")


# The page has unpacked its data, and has shown it.
_SHOWN = "document.getElementById('wait').hidden"


def _dom(path, place):
  with browser.page(path.parent / "profile") as page:
    page.open(place, until=_SHOWN)
    return _Page(page.dom())


def test_a_browser_shows_hostile_text_as_text(tmp_path):
  points = _points(40, instruction=[HOSTILE[:-1]] * 40)
  path = tmp_path / "map.html"
  path.write_text(_page(points))
  place = f"file://{path}#{points.id[7]}"
  found = _dom(path, place)
  tags = [tag for tag, _ in found.tags]
  assert "img" not in tags and tags.count("script") == 3
  assert dict(found.tags)["title"] == {} and found.all("title")[0][1] != "run"
  (card,) = (i for i, (_, a) in enumerate(found.tags) if a.get("id") == "card")
  assert "hidden" not in found.tags[card][1]
  assert found.texts[card + 1] == map_page.brief(HOSTILE[:-1])
  assert found.texts[card + 2] == points.response[7]
  assert {points.id[7], points.roles[7]} <= set(found.texts[card:])
  values = [a["value"] for a, _ in found.all("input") if "value" in a]
  assert values == ["selection", "depth", "relative", "source", "round"]


def test_a_browser_offers_and_shows_a_score(tmp_path):
  scores = {"quality": np.repeat(np.float32([1, 5, np.nan]), [3, 3, 4])}
  points = _points(10, scores=scores)
  path = tmp_path / "map.html"
  path.write_text(_page(points))
  known, other = points.id[4], points.id[8]
  found = _dom(path, f"file://{path}#{known}")
  values = [a["value"] for a, _ in found.all("input") if "value" in a]
  assert values[-1] == "score:quality"
  terms = [text for _, text in found.all("dt")]
  held = [text for _, text in found.all("dd")]
  assert dict(zip(terms, held, strict=True))["quality"] == "5"
  found = _dom(path, f"file://{path}#{other}")
  assert "none" in [text for _, text in found.all("dd")]


def test_a_browser_paints_the_points_where_they_are(tmp_path):
  # Three selected dots: up is up, and both directions have one scale.
  points = dataclasses.replace(
    _points(3),
    xy=np.array([[0, 1], [2, 1], [0, 0]], np.float32),
    selected=np.ones(3, bool),
    reference=np.zeros(3, bool),
  )
  path = tmp_path / "map.html"
  path.write_text(_page(points))
  shot = tmp_path / "shot.png"
  with browser.page(tmp_path / "profile", "--window-size=900,900") as page:
    page.open(f"file://{path}", until=_SHOWN)
    page.screenshot(shot)
  pixels = (image.imread(shot)[..., :3] * 255).round().astype(int)
  wanted = [int(look.RED[i : i + 2], 16) for i in (1, 3, 5)]
  blobs, count = ndimage.label((pixels == wanted).all(axis=-1))
  centres = ndimage.center_of_mass(blobs > 0, blobs, range(1, count + 1))
  *dots, legend = sorted(centres)  # from top to bottom
  assert len(dots) == 3 and legend[0] > dots[-1][0] + 20
  (bottom, below) = dots.pop()
  (top, left), (level, right) = sorted(dots, key=lambda dot: dot[1])
  assert abs(top - level) < 1 and abs(left - below) < 1
  assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.02)
