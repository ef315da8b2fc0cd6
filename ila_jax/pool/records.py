"""Records, the turns that they become, and their ids."""

import ast
import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class RawRecord(NamedTuple):
  """One record as a source holds it, or the reason why it cannot be read.

  Attributes:
    file: path of the file, or the name of the data set.
    line: 1-based line; for arrays and columnar files, the number of the record.
    source: short name of the source, the pool's `source` column.
    record: the parsed JSON object, or None.
    text: the record's JSON text, in one line; equal to it as a JSON value.
    reason: why there is no record: a phrase without variable parts.
    detail: what was found, for `rejects.jsonl`.
    lost: (column, why) of a table's cells that the record does not hold.
  """

  file: str
  line: int
  source: str
  record: dict[str, Any] | None = None
  text: str = ""
  reason: str = ""
  detail: str = ""
  lost: tuple[tuple[str, str], ...] = ()


class Turn(NamedTuple):
  """What one side says.

  Attributes:
    role: `tools` (first, if at all), `system`, `user`, `tool` or `assistant`.
    text: what is said; of `tools` the JSON list that describes the tools.
    is_learnt: whether an answer is response; False where a record masks it.
    thought: an assistant's reasoning, which its record keeps beside the text.
    calls: JSON list of an assistant's calls to tools, as the record has it.
    call_id: of what a tool answers, the id of the call, if the record has it.
    name: of what a tool answers, the tool's name, if the record has it.
  """

  role: str
  text: str
  is_learnt: bool = True
  thought: str = ""
  calls: str = ""
  call_id: str = ""
  name: str = ""


def where(turns: Sequence[Turn], place: int) -> str:
  """Names one of the turns of a conversation, for a message.

  It is counted among those of its role: what stands in other fields of the
  record, such as tools, or what is told apart, changes no number.

  >>> said = [Turn("system", "Be brief."), Turn("user", "1 + 1?")]
  >>> where([*said, Turn("assistant", "2")], 2)
  'assistant turn 1'
  """
  role = turns[place].role
  number = sum(turn.role == role for turn in turns[: place + 1])
  return f"{role} turn {number}"


class Reject(Exception):
  """One record cannot be used; `reason` has no variable parts."""

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason, self.detail = reason, detail


MISSING = object()
# As NumPy prints a list of texts.
_ARRAY = re.compile(r"""\[\s*(('[^']*'|"[^"]*")\s*)+\]""")
# ... and objects: without commas, and what is an array within them.
_PRINTED = re.compile(
  r"""('(?:\\[\s\S]?|[^'\\])*(?:'|\Z)|"(?:\\[\s\S]?|[^"\\])*(?:"|\Z))"""
  r"""|(\}\s+(?=\{))"""
  r"""|\barray(?=\()|,\s*dtype=\w+"""
)
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
# Python takes some 200 bytes of memory a character to read its own notation.
_PYTHON_CHARACTERS = 1 << 20
_PLAIN = Turn("", "")[2:]
_quoted = json.encoder.encode_basestring


def _walk(value: Any, path: str) -> Any:
  for part in path.split("."):
    if isinstance(value, Mapping) and part in value:
      value = value[part]
    elif (
      isinstance(value, list) and part.isdecimal() and int(part) < len(value)
    ):
      value = value[int(part)]
    else:
      return MISSING
  return value


def lookup(record: Mapping[str, Any], path: str) -> Any:
  """What stands at a dotted path; `MISSING` where nothing does.

  A field whose own name has dots in it goes before the path.

  >>> lookup({"instances": [{"output": "x"}]}, "instances.0.output")
  'x'
  >>> lookup({"output": "x"}, "instances") is MISSING
  True
  """
  if not path:
    return MISSING
  if path in record:
    return record[path]
  return _walk(record, path)


def paths(record: Mapping[str, Any], path: str) -> list[str]:
  """The paths of a field that names several, with commas between.

  >>> paths({}, "passage, notes.0"), paths({"a, b": 1}, "a, b")
  (['passage', 'notes.0'], ['a, b'])
  """
  if "," not in path or path in record:
    return [path]
  return [part.strip() for part in path.split(",")]


def _of_python(text: str) -> Any:
  """What a text writes as Python does."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Of backslashes, in what may be no Python.
    return ast.literal_eval(text)


def _of_numpy(text: str) -> Any:
  """What a text writes that NumPy printed."""
  return _of_python(
    _PRINTED.sub(lambda m: m[1] or ("}, " if m[2] else ""), text)
  )


def literal(text: str) -> list[Any] | dict[str, Any] | None:
  """The list or object that a text writes, as JSON, Python or NumPy do.

  Tuples and sets become lists. None: the text writes none.

  Raises:
    Reject: it is longer than a million characters, and is not JSON.

  >>> literal('["a", "b"]'), literal("['a' 'b']"), literal("a, b")
  (['a', 'b'], ['a', 'b'], None)
  """
  text = text.strip()
  if text[:1] + text[-1:] not in ("[]", "{}", "()"):
    return None
  if _ARRAY.fullmatch(text):
    return [single or double for single, double in _QUOTED.findall(text)]
  for read in (json.loads, _of_python, _of_numpy):
    if read is _of_python and len(text) > _PYTHON_CHARACTERS:
      raise Reject(
        "Python's notation is too long",
        f"{len(text)} characters that are not JSON",
      )
    try:
      value = read(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
      continue
    if isinstance(value, tuple | set):
      return list(value)
    return value if isinstance(value, list | dict) else None
  return None


def _said(turn: Turn) -> str:
  """One turn as JSON; fields that few turns have are left out where empty."""
  parts = [f'"{turn.role}"', _quoted(turn.text)]
  if turn[2:] != _PLAIN:
    parts += [_quoted(turn.thought), _quoted(turn.calls)]
    parts.append("true" if turn.is_learnt else "false")
  if turn.call_id or turn.name:
    parts += [_quoted(turn.call_id), _quoted(turn.name)]
  return f"[{','.join(parts)}]"


def _digest(turns: tuple[Turn, ...]) -> int:
  # The turns' JSON, put together here: it is made twice for every record.
  said = ",".join(map(_said, turns))
  digest = hashlib.sha256(f"[{said}]".encode()).digest()
  return int.from_bytes(digest[:8], "big")


def example_id(turns: tuple[Turn, ...]) -> int:
  """Id from content: the first 64 bits of the SHA-256 of the turns' JSON.

  >>> f"{example_id((Turn('user', 'hi'), Turn('assistant', 'hello'))):016x}"
  '8ba09e74ddca9dcb'
  """
  return _digest(turns)


def prompt_id(turns: tuple[Turn, ...]) -> int:
  """The same over all turns before the first response.

  >>> a = (Turn("user", "hi"), Turn("assistant", "hello"))
  >>> b = (Turn("user", "hi"), Turn("assistant", "good day"))
  >>> prompt_id(a) == prompt_id(b), example_id(a) == example_id(b)
  (True, False)
  """
  first = next(i for i, turn in enumerate(turns) if turn.role == "assistant")
  return _digest(turns[:first])
