"""Fields that nobody reads: which may go unread, and what is told of others.

A field is read, or its name stands in the list below, or, where it holds
anything, the pool tells it once, with its share of the records.
"""

import collections
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ila_jax.run import tables

# Names that say nothing of what is asked or answered, whatever they hold: ids,
# addresses, times, licences, languages, lengths, and the like. As `plain_name`
# spells them; those that end in one of `_ENDINGS` count as well. `file_name` is
# none of them: folders of images and sounds call their files so.
IGNORED = frozenset(
  (
    *("id", "idx", "index", "uid", "uuid", "guid", "__index_level_0__"),
    *("url", "uri", "link", "links", "href", "filename", "filepath"),
    *("file_path", "data_source", "dataset", "dataset_name"),
    *("origin_dataset", "subset", "split", "date", "time", "datetime"),
    *("timestamp", "created", "created_at", "updated", "updated_at"),
    *("create_time", "update_time", "version", "license", "licence"),
    *("copyright", "hash", "sha", "sha1", "sha256", "md5", "digest"),
    *("checksum", "fingerprint", "lang", "language", "locale"),
    *("token_count", "n_tokens", "num_tokens", "length", "len"),
    *("num_turns", "n_turns", "turn_count", "word_count"),
    *("model_name", "model_id", "generator", "annotator", "annotators"),
    *("finish_reason", "stop_reason", "type_id", "parallel_tool_calls"),
    *("tool_choice", "answer_start"),
  )
)
_ENDINGS = re.compile(
  r"_(id|ids|idx|index|url|urls|uri|hash|date|timestamp|tokens|count|length|"
  r"version)$|^unnamed:_\d+$"
)
# ... unless they name what is seen or heard with a question, or the row before.
_TOLD = re.compile(
  r"(^|_)(image|img|picture|photo|audio|video)s?(_|$)|"
  r"^(parent|previous|prev|reply_to|in_reply_to)(_|$)"
)
# A record nested deeper than that is looked at no further.
_DEPTH = 8
# Shapes that are told in full; mixtures of data sets may have dozens.
_SHAPES = 6
# Names that are counted; where records have keys of their own, the rest is one.
_NAMES = 100
_NAME_CHARACTERS = 80
_OTHERS = "fields of other names"


@functools.lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
  """A field's name in lower case, with underscores between its words.

  >>> plain_name("System-Prompt"), plain_name("systemPrompt")
  ('system_prompt', 'system_prompt')
  """
  spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
  return re.sub(r"[-\s]+", "_", spaced).lower()


@functools.lru_cache(maxsize=4096)
def is_ignored(name: str) -> bool:
  """Whether a field of that name may go unread without a word.

  >>> is_ignored("prompt_id"), is_ignored("context"), is_ignored("image_url")
  (True, False, False)
  """
  name = plain_name(name)
  is_known = name in IGNORED or bool(_ENDINGS.search(name))
  return is_known and not _TOLD.search(name)


def says(value: Any, depth: int = _DEPTH) -> bool:
  """Whether an unread value may matter: it is neither empty nor ignored.

  >>> says(0), says({"id": "x", "note": " "})
  (True, False)
  """
  if isinstance(value, str):
    return bool(value.strip())
  if isinstance(value, Mapping):
    return depth > 0 and any(
      not is_ignored(name) and says(item, depth - 1)
      for name, item in value.items()
    )
  if isinstance(value, list):
    return depth > 0 and any(says(item, depth - 1) for item in value)
  return value is not None and value == value  # NaN is an empty cell.


class Notes:
  """What one record held beside that which was read of it.

  Attributes:
    unread: fields that nothing reads, and what else is left out.
    weights: fields that say which answers are learnt.
  """

  def __init__(self):
    self.unread: set[str] = set()
    self.weights: set[str] = set()

  def leave(
    self, holder: Mapping[str, Any], names: Iterable[str], prefix: str = ""
  ) -> None:
    """Notes those of the fields `names` that hold anything.

    Objects that hold nothing but names of the closed list hold nothing.

    >>> notes = Notes()
    >>> held = {"context": " ", "k": 0, "meta": {"id": "x"}}
    >>> notes.leave(held, held)
    >>> sorted(notes.unread)
    ['k']
    """
    self.unread.update(prefix + n for n in names if says(holder[n]))


class Reading:
  """How the records of a pool were read, for the run and the report.

  Attributes:
    shapes: examples by the fields that were read.
    sources: the sources of each shape.
    weights: examples by the field that says which answers are learnt.
    unread: examples by what went unread.

  >>> reading, notes = Reading(), Notes()
  >>> notes.unread.add("context")
  >>> reading.add("a", "prompt = q, response = a", notes)
  ['a: prompt = q, response = a', 'a: not read: `context`']
  >>> sentences(reading.told())[1]
  'Not read: `context`, 100 % of the records.'
  """

  def __init__(self, elsewhere: Iterable[str] = ()):
    """Begins with no example.

    Args:
      elsewhere: fields that are no text, and that another part reads.
    """
    self._elsewhere = frozenset(elsewhere)
    self.shapes: collections.Counter[str] = collections.Counter()
    self.sources: dict[str, dict[str, None]] = {}
    self.weights: collections.Counter[str] = collections.Counter()
    self.unread: collections.Counter[str] = collections.Counter()

  def add(
    self, source: str, shape: str, notes: Notes, count: int = 1
  ) -> list[str]:
    """Counts examples that are alike; returns what they are first to show.

    The first names in their order are counted each for itself: whether one is
    among them is known when it first comes.

    Args:
      source: name of their source.
      shape: the fields that were read.
      notes: what they hold beside those.
      count: how many examples.
    """
    self.shapes[shape] += count
    new = []
    sources = self.sources.setdefault(shape, {})
    if source not in sources:
      sources[source] = None
      new.append(f"{source}: {shape}")
    if not (notes.weights or notes.unread):
      return new
    for what, names, seen in (
      ("weights", notes.weights, self.weights),
      ("not read", notes.unread - self._elsewhere, self.unread),
    ):
      first = sorted(names - seen.keys())
      room = max(_NAMES - len(seen.keys() - {_OTHERS}), 0)
      if len(first) > room:
        names = names.difference(first[room:]) | {_OTHERS}
        first = first[:room] + [_OTHERS] * (_OTHERS not in seen)
      if first:
        new.append(f"{source}: {what}: {', '.join(map(_quoted, first))}")
      seen.update(dict.fromkeys(names, count))
    return new

  def told(self) -> dict[str, Any]:
    """The same as plain values, as `pool/counts.json` keeps them."""
    return {
      "read_as": [
        {"fields": shape, "examples": n, "sources": list(self.sources[shape])}
        for shape, n in self.shapes.most_common()
      ],
      "weights": _by_count(self.weights),
      "unread": _by_count(self.unread),
    }


def _by_count(counts: collections.Counter[str]) -> dict[str, int]:
  """The commonest first; of like ones, by name."""
  return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def sentences(told: Mapping[str, Any]) -> list[str]:
  """How records were read, in sentences; `told` is from `Reading.told`.

  >>> shape = {"fields": "prompt = q", "examples": 4, "sources": ["a", "b"]}
  >>> sentences({"read_as": [shape], "weights": {}, "unread": {}})
  ['Read from a, b: prompt = q.']
  """
  shapes = told["read_as"]
  lines = [
    f"Read from {_some(shape['sources'], 3)}: {shape['fields']}."
    for shape in shapes[:_SHAPES]
  ]
  if len(shapes) > _SHAPES:
    rest = sum(shape["examples"] for shape in shapes[_SHAPES:])
    lines.append(
      f"{len(shapes) - _SHAPES} more shapes, of {rest:,} records, stand in "
      f"{tables.COUNTS.template}."
    )
  return lines + [f"{line[0].upper()}{line[1:]}." for line in shares(told)]


def shares(told: Mapping[str, Any]) -> list[str]:
  """The shares of the records that have weights, or something unread.

  >>> shape = {"fields": "conversation = chat", "examples": 400, "sources": []}
  >>> shares({"read_as": [shape], "weights": {"train": 1}, "unread": {}})
  ['weights: `train`, under 1 % of the records']
  """
  lines = []
  examples = sum(shape["examples"] for shape in told["read_as"])
  for what, key in (("weights", "weights"), ("not read", "unread")):
    parts = [
      f"{_quoted(n)}, {_share(k, examples)}" for n, k in told[key].items()
    ]
    if parts:
      parts[0] += " of the records"
      lines.append(f"{what}: {_some(parts, 10, '; ')}")
  return lines


def _quoted(name: str) -> str:
  """A field's name between marks; what is said in words stays as it is."""
  name = "".join(c if c.isprintable() else "�" for c in name[:_NAME_CHARACTERS])
  return name if " " in name else f"`{name}`"


def _some(names: list[str], most: int, separator: str = ", ") -> str:
  more = f" and {len(names) - most} more" if len(names) > most else ""
  return separator.join(names[:most]) + more


def _share(count: int, total: int) -> str:
  percent = 100 * count / total
  return f"{percent:.0f} %" if percent >= 1 else "under 1 %"
