"""Records: where their fields stand, and their ids.

Which fields hold prompt and response is detected from their names, and can be
overridden by a mapping of dotted paths.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ila_jax import errors


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
  """

  role: str
  text: str
  is_learnt: bool = True
  thought: str = ""
  calls: str = ""


class Fields(NamedTuple):
  """Where a record keeps things: dotted paths such as `instances.0.output`.

  Either `conversation`, or `prompt` and `response` (with `history`, a list of
  pairs, before them). An empty string: no such field.
  """

  prompt: str = ""
  input: str = ""
  response: str = ""
  system: str = ""
  tools: str = ""
  history: str = ""
  conversation: str = ""
  labels: str = ""
  domain: str = ""

  def __str__(self) -> str:
    pairs = zip(self._fields, self, strict=True)
    return ", ".join(f"{name} = {path}" for name, path in pairs if path)


class Reject(Exception):
  """One record cannot be used; `reason` has no variable parts."""

  def __init__(self, reason: str, detail: str = ""):
    super().__init__(reason, detail)
    self.reason, self.detail = reason, detail


_PROMPTS = ("instruction", "prompt", "question", "query")
_RESPONSES = {
  "instruction": ("output", "response", "completion", "answer"),
  "prompt": ("completion", "response", "output", "answer"),
  "question": ("answer", "response", "output"),
  "query": ("response", "answer", "output"),
}
_CONVERSATIONS = ("messages", "conversations", "conversation")
_SYSTEMS = ("system", "system_prompt")
MISSING = object()
_quoted = json.encoder.encode_basestring
_canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def fields_from(mapping: Mapping[str, str], *, where: str) -> Fields:
  """A user's field mapping, checked; `where` names it in the message.

  Raises:
    InputError: for a name that is no field.

  >>> fields_from({"prompt": "problem"}, where="config.pool.fields").prompt
  'problem'
  """
  for name in mapping:
    if name not in Fields._fields:
      raise errors.InputError(
        f"{where} has the key {name!r}; allowed: {', '.join(Fields._fields)}. "
        "Each names a path in the record, such as 'instances.0.output'."
      )
  return Fields(**mapping)


def _first(names: tuple[str, ...], keys: tuple[str, ...]) -> str:
  return next((name for name in names if name in keys), "")


def _detect_keys(keys: tuple[str, ...]) -> Fields | None:
  system, tools = _first(_SYSTEMS, keys), _first(("tools",), keys)
  conversation = _first(_CONVERSATIONS, keys)
  if conversation:
    return Fields(conversation=conversation, system=system, tools=tools)
  for prompt in _PROMPTS:
    response = _first(_RESPONSES[prompt], keys)
    if prompt in keys and response:
      return Fields(
        prompt=prompt,
        input=_first(("input",), keys) if prompt == "instruction" else "",
        response=response,
        system=system,
        tools=tools,
        history=_first(("history",), keys),
      )
  return None


def detect(record: Mapping[str, Any]) -> Fields | None:
  """Which fields hold prompt and response, by their names; None if unknown.

  Known: a conversation (`messages`, `conversations`), or a prompt
  (`instruction` with `input`, `prompt`, `question`, `query`) with a response
  (`output`, `response`, `completion`, `answer`) and `history`, in that order.

  >>> str(detect({"question": "1 + 1?", "answer": "2"}))
  'prompt = question, response = answer'
  """
  return _detect_keys(tuple(record))


@functools.lru_cache(maxsize=1024)
def _resolve_keys(keys: tuple[str, ...], configured: Fields) -> Fields | None:
  found = _detect_keys(keys) or Fields()
  if configured.conversation or configured.prompt:
    found = Fields(response="" if configured.conversation else found.response)
  elif configured.response:
    found = found._replace(conversation="")
  merged = Fields(*(c or f for c, f in zip(configured, found, strict=True)))
  if merged.conversation or (merged.prompt and merged.response):
    return merged
  return None


def resolve(record: Mapping[str, Any], configured: Fields) -> Fields:
  """The fields to read: what is configured, and for the rest what is detected.

  A configured prompt or conversation replaces all that was detected but the
  response; labels and domain are never guessed.

  Raises:
    Reject: no known shape; the detail lists the record's fields.

  >>> str(resolve({"problem": "1 + 1?", "answer": "2"},
  ...             Fields(prompt="problem", response="answer")))
  'prompt = problem, response = answer'
  """
  fields = _resolve_keys(tuple(record), configured)
  if fields is None:
    raise Reject("no known record shape", f"fields: {', '.join(record)}")
  return fields


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


def n_labels(record: Mapping[str, Any], path: str) -> int | None:
  """K of section 2.2: distinct labels, at least 1; None where there are none.

  A list counts its distinct members, a number counts itself, a text is one.

  Raises:
    Reject: when the field holds anything else.

  >>> n_labels({"label": {"ability_en": ["math", "code", "math"]}},
  ...          "label.ability_en")
  2
  """
  value = lookup(record, path)
  if value is None or value is MISSING:
    return None
  if isinstance(value, str):
    return 1
  if isinstance(value, list):
    return max(1, len({_canonical(label) for label in value}))
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if number and value >= 0 and value == value // 1 and value < 2**31:
    return max(1, int(value))
  raise Reject("labels are neither a list nor a count", repr(value)[:80])


def domain(record: Mapping[str, Any], path: str) -> str:
  """The example's domain: a text, a number, or the first of a list; else "".

  Raises:
    Reject: when the field holds anything else.

  >>> domain({"type": ["Algebra", "Geometry"]}, "type")
  'Algebra'
  """
  value = lookup(record, path)
  if isinstance(value, list):
    value = value[0] if value else None
  if value is None or value is MISSING:
    return ""
  if isinstance(value, str | int | float):
    return str(value)
  raise Reject("domain is not text", type(value).__name__)


def _said(turn: Turn) -> str:
  """One turn as JSON; what few turns have is written only where it is."""
  parts = [f'"{turn.role}"', _quoted(turn.text)]
  if turn.thought or turn.calls or not turn.is_learnt:
    parts += [_quoted(turn.thought), _quoted(turn.calls)]
    parts.append("true" if turn.is_learnt else "false")
  return f"[{','.join(parts)}]"


def _digest(turns: tuple[Turn, ...]) -> str:
  # The turns' JSON, put together here: it is made twice for every record.
  said = ",".join(map(_said, turns))
  return hashlib.sha256(f"[{said}]".encode()).hexdigest()[:16]


def example_id(turns: tuple[Turn, ...]) -> str:
  """Id from content: 16 hex digits of the SHA-256 of the turns' JSON.

  >>> example_id((Turn("user", "hi"), Turn("assistant", "hello")))
  '8ba09e74ddca9dcb'
  """
  return _digest(turns)


def prompt_id(turns: tuple[Turn, ...]) -> str:
  """The same over all turns before the first response.

  >>> a = (Turn("user", "hi"), Turn("assistant", "hello"))
  >>> b = (Turn("user", "hi"), Turn("assistant", "good day"))
  >>> prompt_id(a) == prompt_id(b), example_id(a) == example_id(b)
  (True, False)
  """
  first = next(i for i, turn in enumerate(turns) if turn.role == "assistant")
  return _digest(turns[:first])
