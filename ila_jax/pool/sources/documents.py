"""A JSON value that is all of a file: one record, or a table of them.

A table is a list of objects below a name, or columns as pandas writes them. One
record may be made of lists as well: a conversation, and the answers to it. What
could be either is named, and never guessed.
"""

import io
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

from ila_jax import errors
from ila_jax.pool.conversations import messages
from ila_jax.pool.shapes import fields
from ila_jax.pool.sources import columnar, json_text

# A record of a file: line or number, record, text, reason and detail.
Entry = tuple[int, dict[str, Any] | None, str, tuple[str, str] | None]
_BETWEEN = re.compile(r"[ \t\r\n,:]*")
# Names below which files keep their records; of splits, that to train on.
_TABLES = ("data", "rows", "records", "examples", "items", "train", "entries")
_SPLITS = ("train", "test", "validation", "valid", "dev", "eval")
# A list of texts under such a name may be one conversation.
_SPOKEN = frozenset(
  (
    *("messages", "conversations", "conversation", "history", "contents"),
    *("dialogue", "dialog", "data", "turns", "chat"),
  )
)
_SAID = ("content", "value", "text", "parts", "message", "tool_calls")
_ID = re.compile(r"(^|_)(uu)?id$", re.IGNORECASE)
_DEPTH = 3


def rows(
  only: Entry,
  *,
  name: str,
  announce: Callable[[str], object] = lambda message: None,
) -> Iterator[Entry]:
  """Yields the records of a file's only value: itself, or those of its table.

  Args:
    only: the entry of that value, an object.
    name: of the file, for messages.
    announce: gets a line where it is a table.

  Raises:
    InputError: several lists of records, of which none is to train on.

  >>> text = '{"data": {"train": [{"a": 1}], "test": [{"a": 2}]}}'
  >>> only = 1, json_text.Parser().parse(text)[0], text, None
  >>> list(rows(only, name="x.json"))
  [(1, {'a': 1}, '{"a": 1}', None)]
  """
  document, text = only[1:3]
  path, table = _path(document, name), document
  for key in path:
    beside = [k for k in table if k != key]
    table = table[key]
  if path and isinstance(table, list):
    others = f", and not {', '.join(map(repr, beside))}" if beside else ""
    announce(f"{name}: the records are those of {'.'.join(path)!r}{others}")
    elements = _elements(_text_below(text, path), f"{name} {'.'.join(path)}")
    opened = (record for element in elements for record in _opened(element))
    for number, record in enumerate(opened, start=1):
      yield number, *record
    return
  if _may_be_either(table):
    problem = "one record or a table by columns", ", ".join(table)
    yield only[0], None, text, problem
    return
  cells = _by_columns(table)
  if cells is None:
    yield only
    return
  announce(f"{name}: a table, of {len(cells):,} rows")
  for number, row in enumerate(cells, start=1):
    if isinstance(row, str):
      yield number, None, "", ("row of another width", row)
    else:
      made = columnar.to_row(row)
      yield number, made.record, made.text, made.problem


def _path(
  document: dict[str, Any], name: str, depth: int = _DEPTH
) -> tuple[str, ...]:
  """The names that lead to a table; () where the document is a record."""
  if any(is_said(part) for part in document.values()):
    return ()
  lists = [key for key, part in document.items() if _is_table(part)]
  known = [k for word in _TABLES for k in lists if k.lower() == word]
  if known or (len(document) == 1 and lists):
    return ((known or lists)[0],)
  record = fields.detect(document)
  said = record.conversation if record else ""
  if said in lists and _are_records(document, said):
    return (said,)
  if lists and not record:
    length = len(document[lists[0]])
    others = [part for key, part in document.items() if key not in lists]
    if len(lists) == 1 and not any(_is_table_too(p, length) for p in others):
      return tuple(lists)
    if len(lists) > 1 and all(key.lower() in _SPLITS for key in lists):
      raise errors.InputError(
        f"{name} holds several lists of records: {', '.join(lists)}. Allowed: "
        "one, or one that is called 'train'. Write the one to read as a file "
        "of its own."
      )
  for key, part in document.items():
    is_outer = len(document) == 1 or key.lower() in _TABLES
    if not (depth and is_outer and isinstance(part, dict)):
      continue
    if fields.detect({k: v for k, v in document.items() if k != key}) is None:
      below = _path(part, name, depth - 1)
      if below or _by_columns(part) is not None:
        return (key, *below)
  return ()


def _is_table(part: Any) -> bool:
  """Whether a value is a list of objects and no conversation, or of many."""
  if not isinstance(part, list) or not part:
    return False
  are_objects = all(isinstance(item, dict) for item in part)
  return all(map(_is_whole, part)) or (are_objects and not is_said(part))


def _is_whole(part: Any) -> bool:
  """Whether a value is a list of messages, and of more than one."""
  return is_said(part) and len(part) > 1 and json_text.is_conversation(part)


def _are_records(document: dict[str, Any], key: str) -> bool:
  """Whether the items below the name of a conversation are records each.

  They hold a conversation of their own; or questions and answers, which are
  turns of one where the name speaks of one, or the document has an id.
  """
  items = [] if _are_columns(document) else document[key]
  if any(isinstance(item, list) or _holds_turns(item) for item in items):
    return True
  is_one = key.lower() != "conversations" or any(map(_ID.search, document))
  return bool(items) and not is_one and all(map(fields.detect, items))


def _holds_turns(item: dict[str, Any]) -> bool:
  """Whether an item is no message itself, and has a list of turns."""
  found = None if is_said([item]) else fields.detect(item)
  return bool(found) and isinstance(item.get(found.conversation), list)


def _is_table_too(part: Any, length: int) -> bool:
  """Whether what stands beside a table of a length may be one as well."""
  if isinstance(part, list):
    are_rows = any(isinstance(item, list | dict) for item in part)
    return len(part) > 1 and (are_rows or len(part) == length)
  if not isinstance(part, dict):
    return False
  tables = filter(_is_table, part.values())
  rows = itertools.chain(_by_columns(part) or [], *tables)
  return any(
    fields.detect(row) if isinstance(row, dict) else isinstance(row, list)
    for row in rows
  )


def is_said(part: Any) -> bool:
  """Whether a value is a list of messages, which tell who speaks.

  >>> is_said([{"role": "user", "content": "Hi"}]), is_said(["Hi"])
  (True, False)
  """
  if not isinstance(part, list) or not part:
    return False
  return all(
    isinstance(item, dict)
    and any(isinstance(item.get(k), str) for k in messages.ROLE_KEYS)
    and any(key in item for key in _SAID)
    for item in part
  )


def _text_below(text: str, path: tuple[str, ...]) -> str:
  """The text of the value to which a path leads."""
  parser = json_text.Parser()
  for key in path:
    member, at = None, text.index("{") + 1
    while member != key:
      member, at = parser.parse(text, _BETWEEN.match(text, at).end())
      start = _BETWEEN.match(text, at).end()
      _, at = parser.parse(text, start)
    text = text[start:at]
  return text


def _elements(text: str, name: str) -> Iterator[Entry]:
  """The elements of a list, each with its own text."""
  parser = json_text.Parser()
  reader = json_text.ValueReader(io.StringIO(text), parser, name=name)
  for number, (value, raw) in enumerate(reader.elements(), start=1):
    yield number, *json_text.check_object(parser, value, raw)


def _opened(
  element: Entry,
) -> Iterator[tuple[dict[str, Any] | None, str, tuple[str, str] | None]]:
  """The records that an element of a table wraps, or the element itself.

  The Hub's viewer wraps each row; SQuAD has paragraphs of many questions.
  """
  _, record, text, problem = element
  is_wrapped = record and "row_idx" in record
  if is_wrapped and isinstance(record.get("row"), dict):
    if record.get("truncated_cells"):
      cut = ", ".join(map(str, record["truncated_cells"]))
      yield None, text, ("a cell is cut off by the Hub's viewer", cut)
    else:
      yield record["row"], _text_below(text, ("row",)), None
    return
  if not record or not _is_squad(record):
    yield record, text, problem
    return
  above = {k: v for k, v in record.items() if k != "paragraphs"}
  for paragraph in record["paragraphs"]:
    about = above | {k: v for k, v in paragraph.items() if k != "qas"}
    for asked in paragraph["qas"]:
      row = columnar.to_row(about | asked)
      yield row.record, row.text, row.problem


def _is_squad(record: dict[str, Any]) -> bool:
  """Whether an article has paragraphs, and each its context and questions."""
  paragraphs = record.get("paragraphs")
  return (
    isinstance(paragraphs, list)
    and bool(paragraphs)
    and all(
      isinstance(part, dict)
      and isinstance(part.get("context"), str)
      and isinstance(part.get("qas"), list)
      and all(isinstance(asked, dict) for asked in part["qas"])
      for part in paragraphs
    )
  )


def _are_columns(document: dict[str, Any]) -> bool:
  """Whether all values, of more than one, are lists of one length."""
  parts = document.values()
  lengths = {len(p) if isinstance(p, list) else 0 for p in parts}
  return len(parts) > 1 and len(lengths) == 1 and 0 not in lengths


def _may_be_either(document: dict[str, Any]) -> bool:
  """Whether lists of one length are columns, or a conversation and others."""
  return (
    _are_columns(document)
    and not any(map(is_said, document.values()))
    and any(
      name.lower() in _SPOKEN and all(isinstance(item, str) for item in part)
      for name, part in document.items()
    )
  )


def _by_columns(document: dict[str, Any]) -> list[dict[str, Any] | str] | None:
  """The rows of a table that pandas or `datasets` wrote; None: it is none.

  A text stands for a row of another width, and says how wide it is.
  """
  names, data = document.get("columns"), document.get("data")
  if isinstance(names, list) and isinstance(data, list):
    return [_row(list(map(str, names)), row) for row in data]
  parts = list(document.values())
  if len(parts) > 1 and all(map(_is_whole, parts)):
    by_id = all(re.search(r"\d", key) for key in document)
    is_table = by_id and not fields.detect(document)
    return [{"messages": part} for part in parts] if is_table else None
  if not parts or any(map(is_said, parts)):
    return None
  if all(isinstance(part, list) for part in parts):
    (name, part), *_ = document.items()
    is_spoken = name.lower() in _SPOKEN and not all(map(is_said, part))
    if (len(parts) == 1 and is_spoken) or len(
      {len(part) for part in parts}
    ) > 1:
      return None
    return [
      dict(zip(document, r, strict=True)) for r in zip(*parts, strict=True)
    ]
  if all(isinstance(part, dict) and part for part in parts):
    return _by_index(document, parts)
  return None


def _row(names: list[str], row: Any) -> dict[str, Any] | str:
  if isinstance(row, list) and len(row) == len(names):
    return dict(zip(names, row, strict=True))
  held = f"{len(row)} cells" if isinstance(row, list) else type(row).__name__
  return f"{held}, and {len(names)} columns are named"


def _by_index(
  document: dict[str, Any], parts: list[dict[str, Any]]
) -> list[dict[str, Any] | str] | None:
  """The rows of objects of objects: rows by name, or columns by row."""
  inside = dict.fromkeys(key for part in parts for key in part)
  if all(key.isdigit() for key in document):
    return parts
  if all(key.isdigit() for key in inside):
    return _turned(document, inside)
  if len(parts) < 2:
    return None
  if fields.detect(document) is None:
    is_same = all(part.keys() == parts[0].keys() for part in parts)
    are_records = all(fields.detect(part) is not None for part in parts)
    return parts if is_same or are_records else None
  # Columns by the names of rows; or one record, of objects with a text each.
  spoken = {*_SAID, *messages.ROLE_KEYS, "type"}
  if inside.keys() & spoken or any(len(p) < len(inside) for p in parts):
    return None
  return _turned(document, inside)


def _turned(document: dict[str, Any], names: dict[str, None]) -> list[Any]:
  return [{key: document[key].get(n) for key in document} for n in names]
