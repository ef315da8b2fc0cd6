"""The map to explore: one HTML page that opens from disk, without a network.

`web/map.html.j2` is the page, `web/map.js` its program, `web/d3.min.js` the
library (d3, unmodified) that pans, zooms and finds the point under the pointer.
"""

import base64
import dataclasses
import gzip
import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt64

from ila_jax.report.figures import look
from ila_jax.run import draws

# More points than this make a page that mail and phones refuse: 20 MB and more.
MAX_POINTS = 150_000
# Characters of a text that the page holds.
MAX_CHARACTERS = 160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Points:
  """The examples that the page shows; their order changes nothing."""

  id: Shaped[np.ndarray, " n"]
  # What precedes the response; a line each where that is several turns
  instruction: list[str]
  response: list[str]  # whole or cut already
  roles: list[str]  # who speaks, in order
  xy: Float[np.ndarray, "n m"]  # the first two of the map's directions count
  depth: Float[np.ndarray, " n"]
  relative_depth: Float[np.ndarray, " n"]  # in (0, 1]
  cell: Int[np.ndarray, " n"]
  n_tokens: Int[np.ndarray, " n"]  # of the response
  source: Shaped[np.ndarray, " n"]
  domain: Shaped[np.ndarray, " n"]  # names; "" where the pool names none
  rank: Int[np.ndarray, " n"]  # place in the total order; 0: none
  round: Int[np.ndarray, " n"]  # 0: none
  selected: Bool[np.ndarray, " n"]
  reference: Bool[np.ndarray, " n"]
  # Scores of others by name; NaN where an example has none.
  scores: Mapping[str, Float[np.ndarray, " n"]] = dataclasses.field(
    default_factory=dict
  )
  pool_size: int  # of which the n are all, or a draw
  selected_size: int  # of the pool
  kept_size: int  # selected or reference, of the pool


def choose(
  ids: UInt64[np.ndarray, " n"],
  keep: Bool[np.ndarray, " n"],
  *,
  limit: int = MAX_POINTS,
) -> Int[np.ndarray, " k"]:
  """Rows that the page shows: all where they fit, else `keep` and a draw.

  Where `keep` alone does not fit, a draw of it is shown and nothing else. Draws
  are keyed by id, so the order of the pool changes nothing.

  Args:
    ids: of the pool, uint64 [n].
    keep: rows that come before all others.
    limit: rows in all.

  Returns:
    Ascending rows.

  >>> ids = np.array([1, 2, 3, 4], np.uint64)
  >>> choose(ids, np.array([False, False, False, True]), limit=2)
  array([1, 3])
  """
  if len(ids) <= limit:
    return np.arange(len(ids))
  kept, free = np.flatnonzero(keep), np.flatnonzero(~keep)
  drawn = _draw(ids, kept, limit)
  return np.sort(np.r_[drawn, _draw(ids, free, limit - len(drawn))])


def _draw(
  ids: Shaped[np.ndarray, " n"], rows: Int[np.ndarray, " k"], count: int
) -> Int[np.ndarray, " drawn"]:
  """Draws some of the rows, or takes all."""
  if len(rows) <= count:
    return rows
  place = draws.keyed_uniform(ids[rows], seed=0, purpose="page")
  return rows[np.lexsort((ids[rows], place))][:count]


def brief(text: str, *, most: int = MAX_CHARACTERS) -> str:
  """A text on one line, cut where it is long.

  >>> brief(" two \\n lines"), brief("abcdef", most=4)
  ('two lines', 'abc…')
  """
  # A text of megabytes is cut before its white space is looked at.
  line = " ".join(text[: 4 * most].split())
  if len(line) <= most and not text[4 * most :].strip():
    return line
  return line[: most - 1].rstrip() + "…"


def payload(points: Points, *, depth_label: str) -> str:
  """What the page's program reads: base64 of gzip of JSON.

  No character of it means anything to HTML. Points are sorted by id, which is
  a hash: which of two dots hides the other is chance, not the order of reading.

  >>> text = base64.b64decode(payload(_EMPTY, depth_label="depth"))
  >>> json.loads(gzip.decompress(text))["pool"]
  0
  """
  order = np.argsort(points.id, kind="stable")
  source, domain = _names(points.source), _names(points.domain)
  roles = _names(np.array(points.roles, np.str_))
  # Depth beyond these is drawn in the colours of the ends.
  low, high = look.bounds(points.depth, 0.02)
  columns = {
    "x": points.xy[:, 0],
    "y": points.xy[:, 1],
    "depth": points.depth,
    "relative": points.relative_depth,
    "cell": points.cell,
    "tokens": points.n_tokens,
    "rank": points.rank,
    "round": points.round,
    "source": source[1],
    "domain": domain[1],
    "roles": roles[1],
    "state": points.selected + 2 * points.reference,
  }
  held = {
    "pool": points.pool_size,
    "depthLabel": depth_label,
    "depthBounds": [low, high],
    "sources": source[0],
    "domains": domain[0],
    "roles": roles[0],
    "scores": [
      _score(name, values[order]) for name, values in points.scores.items()
    ],
    "shades": _shades(),
    "categories": look.CATEGORIES,
    "ids": points.id[order].tolist(),
    "texts": [
      "\n".join(map(brief, points.instruction[i].split("\n"))) for i in order
    ],
    "responses": [brief(points.response[i]) for i in order],
    "columns": {
      name: _bytes(values[order]) for name, values in columns.items()
    },
  }
  written = json.dumps(held, separators=(",", ":"), allow_nan=False).encode()
  packed = gzip.compress(written, compresslevel=6, mtime=0)
  return base64.b64encode(packed).decode()


def _score(name: str, values: Float[np.ndarray, " n"]) -> dict[str, Any]:
  """A score as the page's program reads it; numbers have three good digits.

  Beyond the bounds it is drawn in the colours of the ends, like depth.
  """
  bounds = look.bounds(values[~np.isnan(values)], 0.02)
  # What is rounded off is nothing to see, and zeros pack well.
  bits = values.astype("<f4").view("<u4") + np.uint32(0x800)
  short = (bits & np.uint32(0xFFFFF000)).view("<f4")
  return {"name": name, "bounds": bounds, "values": _bytes(short)}


def _names(
  names: Shaped[np.ndarray, " n"],
) -> tuple[list[str], Int[np.ndarray, " n"]]:
  """The names, the most frequent first, and the number of each row's name."""
  distinct, number, counts = np.unique(
    names, return_inverse=True, return_counts=True
  )
  order = np.lexsort((distinct, -counts))
  return distinct[order].tolist(), np.argsort(order)[number]


def _bytes(values: Shaped[np.ndarray, " n"]) -> str:
  """A column as base64 of little-endian float32 or int32."""
  kind = "<f4" if values.dtype.kind == "f" else "<i4"
  return base64.b64encode(values.astype(kind).tobytes()).decode()


def _shades(count: int = 64) -> list[str]:
  """Magma, pale to dark, as the figures have it."""
  from matplotlib import colors

  return [colors.to_hex(c) for c in look.magma()(np.linspace(0, 1, count))]


def page(points: Points, *, title: str, depth_label: str) -> str:
  """The page: the points, the program and the library in one HTML text.

  Its content-security policy names the hashes of the page's own scripts and
  forbids all else: nothing is fetched, and no text of the pool can run.

  Args:
    points: what to show.
    title: of the page.
    depth_label: what depth is called, with its unit.

  Returns:
    HTML; equal points give equal text.

  >>> text = page(_EMPTY, title="<b>", depth_label="depth")
  >>> "<title>&lt;b&gt;" in text, "default-src 'none'" in text
  (True, True)
  """
  import jinja2

  web = importlib.resources.files("ila_jax.report").joinpath("web")
  read = {
    name: web.joinpath(name).read_text("utf-8").strip()
    for name in ("map.html.j2", "map.css", "d3.min.js", "map.js")
  }
  environment = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
  )  # fmt: skip
  scripts = [read["d3.min.js"], read["map.js"]]
  return environment.from_string(read["map.html.j2"]).render(
    title=title,
    sentence=sentence(points),
    payload=payload(points, depth_label=depth_label),
    scripts=scripts,
    style=read["map.css"],
    script_hashes=" ".join(map(policy_hash, scripts)),
    style_hash=policy_hash(read["map.css"]),
  )


def policy_hash(text: str) -> str:
  """A script or style as a content-security policy names it, by its SHA-256.

  >>> policy_hash("")
  "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
  """
  digest = hashlib.sha256(text.encode()).digest()
  return f"'sha256-{base64.b64encode(digest).decode()}'"


def sentence(points: Points) -> str:
  """How many examples the page shows, and of how many.

  >>> sentence(_EMPTY)
  '0 examples, 0 of them selected.'
  """
  count, kept = len(points.id), points.kept_size
  told = (
    f"{points.pool_size:,} examples, {points.selected_size:,} of them selected"
  )
  if count == points.pool_size:
    return f"{told}."
  if count < kept:
    return (
      f"{told}. The page shows 1 in {kept / count:.3g} of the selected and the "
      "reference, drawn at random, and no others."
    )
  if count == kept:
    return f"{told}; only the selected and the reference are shown."
  return (
    f"{told}. The page shows every selected and reference example and 1 in "
    f"{(points.pool_size - kept) / (count - kept):.3g} of the others, drawn at "
    "random."
  )


def _empty() -> Points:
  """No example at all."""
  integers = ("cell", "n_tokens", "rank", "round")
  none: dict[str, Any] = dict.fromkeys(integers, np.zeros(0, np.int32))
  none |= dict.fromkeys(("depth", "relative_depth"), np.zeros(0, np.float32))
  none |= dict.fromkeys(("id", "source", "domain"), np.zeros(0, np.str_))
  none |= dict.fromkeys(("selected", "reference"), np.zeros(0, bool))
  none |= dict.fromkeys(("pool_size", "selected_size", "kept_size"), 0)
  none |= {key: [] for key in ("instruction", "response", "roles")}
  return Points(xy=np.zeros((0, 2), np.float32), **none)


_EMPTY = _empty()
