"""Where two JSON values differ, and how that is told."""

from collections.abc import Iterator
from typing import Any


def find(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
  """Yields (dotted name, old, new) where two JSON values differ.

  A file ({"bytes": ..., "sha256": ...}) differs as a whole.

  >>> list(find({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}))
  [('a.c', 2, 3)]
  """
  parts = [{} if value is None else value for value in (old, new)]
  if old != new and any(parts) and all(map(_nested, parts)):
    for key in sorted(parts[0].keys() | parts[1].keys()):
      values = [part.get(key) for part in parts]
      between = ": " if any(map(_is_file, values)) else "."
      dotted = f"{name}{between}{key}" if name else key
      yield from find(*values, dotted)
  elif old != new:
    yield name, old, new


def _nested(value: Any) -> bool:
  """Whether a difference is one of parts; a file's is one as a whole."""
  return isinstance(value, dict) and not _is_file(value)


def _is_file(value: Any) -> bool:
  return isinstance(value, dict) and "sha256" in value


def tell(changed: list[tuple[str, Any, Any]]) -> str:
  """What differs, in words; the first three are enough to find out why.

  >>> tell([("config.limit", 5, 6)])
  'config.limit was 5 and is now 6'
  """
  what = []
  for name, *values in changed[:3]:
    files = any(map(_is_file, values))
    old, new = (_brief(value, file=files) for value in values)
    what.append(f"{name} was {old} and is now {new}")
  if len(changed) > 3:
    what[-1] += f" (and {len(changed) - 3} more)"
  return "; ".join(what)


def _brief(value: Any, *, file: bool) -> str:
  if file and value is None:
    return "absent"
  if _is_file(value):
    return f"{value['bytes']:,} bytes (sha256 {value['sha256'][:12]})"
  text = repr(value)
  return text if len(text) <= 200 else text[:200] + "..."
