"""Calls to tools, and the tools themselves, as JSON lists."""

import json
from collections.abc import Mapping
from typing import Any

from ila_jax import records

# Where a message keeps its calls; the second is OpenAI's older form.
KEYS = ("tool_calls", "function_call")


def unpadded(value: Any) -> Any:
  """A value without the nulls that columnar files fill up objects with.

  >>> unpadded({"name": "say", "arguments": {"words": "hi", "x": None}})
  {'name': 'say', 'arguments': {'words': 'hi'}}
  """
  if isinstance(value, Mapping):
    return {k: unpadded(v) for k, v in value.items() if v is not None}
  if isinstance(value, list):
    return [unpadded(item) for item in value]
  return value


def json_list(value: Any) -> str | None:
  """A JSON list of objects as text: as written, or made from what is parsed.

  One object counts as a list of one, and a text in a list as the JSON of an
  object; None: it is nothing of the kind.

  >>> json_list('{"name": "say"}'), json_list([]), json_list("say it")
  ('[{"name": "say"}]', '', None)
  """
  text = value if isinstance(value, str) else None
  if text is not None:
    try:
      value = json.loads(text)
    except (ValueError, RecursionError):
      return "" if not text.strip() else None
  if value is None or value in ([], {}):
    return ""
  items = value if isinstance(value, list) else [value]
  if all(isinstance(item, str) for item in items):
    lists = [json_list(item) for item in items]
    if None in lists:
      return None
    return f"[{', '.join(item[1:-1] for item in lists if item)}]"
  if not all(isinstance(item, Mapping) for item in items):
    return None
  if text is not None:
    return text if isinstance(value, list) else f"[{text}]"
  items = [item for item in map(unpadded, items) if item]
  return json.dumps(items, ensure_ascii=False) if items else ""


def of_message(item: Mapping[str, Any]) -> str:
  """All calls of a message as one JSON list; "" without any.

  Raises:
    records.Reject: what stands there is no call.

  >>> of_message({"function_call": {"name": "say", "arguments": "{}"}})
  '[{"name": "say", "arguments": "{}"}]'
  """
  found = []
  for key in KEYS:
    calls = json_list(item.get(key))
    if calls is None:
      raise records.Reject("tool call is no JSON object", repr(item[key])[:80])
    if calls:
      found.append(calls)
  if len(found) < 2:
    return "".join(found)
  both = [call for calls in found for call in json.loads(calls)]
  return json.dumps(both, ensure_ascii=False)
