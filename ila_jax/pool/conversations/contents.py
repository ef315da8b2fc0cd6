"""Contents: what one message holds, a text or parts of several kinds."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import tool_calls, values

_TEXTS = ("text", "input_text", "output_text")
_TEXT_KEYS = ("text", "value", "content")
# Where an object keeps a passage, or several.
_PASSAGES = (
  *("sentences", "contexts", "passages", "passage_text", "paragraphs"),
  *("paragraph_text", "texts", "text", "content", "context", "passage"),
  *("paragraph", "document_plaintext", "document", "body"),
)
_THOUGHTS = ("thinking", "reasoning")
# One word under such a name (`off`, `high`) says how to think.
_FLAG = re.compile(r"\s*[\w./-]+\s*", re.ASCII)
_OPENED, _CLOSED = "<think>", "</think>"
# What a part has beside its text that says nothing of it.
_BESIDE = frozenset(
  (
    *("type", "content_type", "role", "index", "status", "annotations"),
    *("citations", "cache_control", "signature", "thought_signature"),
    *("logprobs", "phase"),
  )
)
# Parts that are no text, and where they keep what they hold.
_MEDIA = re.compile(r"image|audio|video|file|document|media")
_MEDIA_NAMES = (
  *("image", "image_url", "audio", "input_audio", "video", "video_url", "file"),
  *("images", "videos", "audios", "files", "file_id", "file_data", "audio_url"),
)
_MEDIA_KEYS = ("source", "data", "url", "path", "bytes", *_MEDIA_NAMES)


class Part(NamedTuple):
  """One part of a message.

  Attributes:
    kind: `text`, `thought`, `call` (to a tool) or `result` (of one).
    text: what it says; of a call its JSON.
    call_id: of a result, the id of the call; "" where the record has none.
    name: of a result, the name of the tool; "" where the record has none.
  """

  kind: str
  text: str
  call_id: str = ""
  name: str = ""


def text_of(value: Any, what: str) -> str:
  """A text, or the text of a number or of true and false; "" for none.

  Raises:
    records.Reject: for anything else; `what` names it.

  >>> text_of(12, "response"), text_of(True, "response"), text_of(None, "x")
  ('12', 'true', '')
  """
  if isinstance(value, str):
    return value
  if value is None or value is records.MISSING:
    return ""
  if isinstance(value, bool | int):
    return json.dumps(value)
  if isinstance(value, float):
    if math.isfinite(value):
      return json.dumps(value)
    raise records.Reject(f"{what} is not text", "a number out of range")
  raise records.Reject(f"{what} is not text", type(value).__name__)


def _others(part: Mapping[str, Any], read: str) -> list[str]:
  """The fields beside one that is read that say something else."""
  return [
    name
    for name, value in part.items()
    if name != read
    and value not in (None, False, "", [], {}, part[read])
    and unread.plain_name(name) not in _BESIDE
    and (
      unread.plain_name(name) in _MEDIA_NAMES
      or (not unread.is_ignored(name) and unread.says(value))
    )
  ]


def _check_others(others: Sequence[str], read: str, what: str) -> None:
  if others:
    fields = ", ".join((read, *others))
    raise records.Reject(f"{what} is not text", f"a part with {fields}"[:200])


def _part(part: Mapping[str, Any], what: str) -> Part:
  """What an object in a list of parts is."""
  call, result = tool_calls.of_part(part), tool_calls.result_of_part(part)
  if call or result:
    kind = "a call" if call else "a result"
    _check_others(tool_calls.unread_of_part(part), kind, what)
  if call:
    return Part("call", json.dumps(call, ensure_ascii=False))
  if result:
    return Part("result", data(result.value), result.call_id, result.name)
  kind = part.get("type")
  is_thought = part.get("thought") is True  # As Gemini marks its thoughts.
  if is_thought:
    part = {name: held for name, held in part.items() if name != "thought"}
  if kind in _THOUGHTS or is_thought:
    keys, into = ("thinking", "reasoning", "text", "content"), "thought"
  elif kind in (None, *_TEXTS):
    keys, into = _TEXT_KEYS, "text"
  else:
    raise records.Reject(f"{what} is not text", f"part of type {kind!r}"[:80])
  read = values.name(part, keys)
  if read is None or part[read] is None:
    fields = ", ".join(part) or "nothing"
    raise records.Reject(f"{what} is not text", f"a part with {fields}"[:200])
  _check_others(_others(part, read), read, what)
  return Part(into, text_of(part[read], what))


def parts(value: Any, what: str = "content") -> list[Part]:
  r"""The parts of what a message holds, in order; texts in a row are one.

  A list of plain texts is one text, with blank lines between. Other parts are
  objects that hold a text as `text`, `value` or `content`, thoughts, calls to
  tools (`tool_use`) and their results (`tool_result`); texts among those are
  put together as they are, as chat templates do it.

  Raises:
    records.Reject: for parts of another kind, such as images, and where a part
      holds something else beside its text.

  >>> parts(["Be kind.", "Be brief."])
  [Part(kind='text', text='Be kind.\n\nBe brief.', call_id='', name='')]
  >>> [part.text for part in parts([{"type": "text", "value": "4"}, "2"])]
  ['42']
  """
  if isinstance(value, Mapping) and value.get("parts") is not None:
    _check_others(_others(value, "parts"), "parts", what)
    value = value["parts"]
  if isinstance(value, Mapping):
    value = [value]
  if not isinstance(value, list):
    return [Part("text", text_of(value, what))]
  if not any(isinstance(part, Mapping) for part in value):
    texts = [text_of(part, what) for part in value]
    return [Part("text", "\n\n".join(text for text in texts if text.strip()))]
  pieces: list[Part] = []
  for item in value:
    is_object = isinstance(item, Mapping)
    part = _part(item, what) if is_object else Part("text", text_of(item, what))
    if (
      pieces
      and part.kind in ("text", "thought")
      and part.kind == pieces[-1].kind
    ):
      part = part._replace(text=pieces.pop().text + part.text)
    pieces.append(part)
  return pieces


def plain(value: Any, what: str) -> str:
  """The text of a value that may hold text alone, such as a system text.

  Raises:
    records.Reject: it holds something else.

  >>> plain([{"text": "Be "}, {"text": "kind."}], "system")
  'Be kind.'
  """
  pieces = parts(value, what)
  other = next((part.kind for part in pieces if part.kind != "text"), "")
  if other:
    raise records.Reject(f"{what} is not text", f"a {other} in it")
  return "".join(part.text for part in pieces)


def passages(value: Any, what: str) -> list[str]:
  r"""The texts of a context, each after its title if it has one.

  A passage is a text; an object that holds it as `text`, `sentences` or the
  like, perhaps with a `title`; or a title and a list of sentences (HotpotQA).
  An object may hold several in columns.

  Raises:
    records.Reject: for anything else; `what` names it.

  >>> passages({"contexts": ["One.", "Two."], "labels": ["x", "y"]}, "context")
  ['One.', 'Two.']
  >>> passages({"title": ["A", "B"], "sentences": [["1.", " 2."], ["3."]]}, "x")
  ['A\n1. 2.', 'B\n3.']
  """
  if isinstance(value, Mapping):
    body = passage_key(value)
    if body is None:
      raise records.Reject(
        f"{what} is not text", f"fields: {', '.join(value)}"[:200]
      )
    held, title = value[body], value.get("title")
    if isinstance(title, list):
      pairs = zip(title, held if isinstance(held, list) else [], strict=False)
      if not isinstance(held, list) or len(held) != len(title):
        raise records.Reject(f"{what} is not text", "titles without texts")
      return [_titled(t, _joined(text, what), what) for t, text in pairs]
    if body == "sentences" or title is not None:
      return [_titled(title, _joined(held, what), what)]
    return passages(held, what)
  if not isinstance(value, list):
    return [text_of(value, what)]
  found = []
  for item in value:
    if isinstance(item, list):
      if len(item) != 2 or not isinstance(item[1], list):
        raise records.Reject(f"{what} is not text", "a list of lists")
      found.append(_titled(item[0], _joined(item[1], what), what))
    else:
      found += passages(item, what)
  return found


def passage_key(value: Mapping[str, Any]) -> str | None:
  """The field of an object that holds passages; None without any.

  >>> passage_key({"title": "A", "text": "One."}), passage_key({"page": 1})
  ('text', None)
  """
  key = values.name(value, _PASSAGES)
  return key if key and isinstance(value[key], str | list) else None


def _joined(value: Any, what: str) -> str:
  """A passage in one text, of a text or its sentences."""
  texts = [text_of(text, what).strip() for text in _listed(value)]
  return " ".join(text for text in texts if text)


def _listed(value: Any) -> list[Any]:
  return value if isinstance(value, list) else [value]


def _titled(title: Any, text: str, what: str) -> str:
  title = text_of(title, what).strip()
  return f"{title}\n{text}" if title and text else text


def is_flag(name: str, value: Any) -> bool:
  """Whether a field of reasoning says how to think, and is no thought.

  >>> is_flag("reasoning", "off"), is_flag("reasoning", "1 + 1 makes 2.")
  (True, False)
  """
  if unread.plain_name(name) not in _THOUGHTS:
    return False
  return isinstance(value, str) and bool(_FLAG.fullmatch(value))


def beside_thought(text: str, thought: str) -> str:
  r"""An answer's text without the thought that stands beside it as well.

  Raises:
    records.Reject: the text begins with another thought.

  >>> beside_thought("<think>\nEasy.\n</think>\n\n4", "Easy.")
  '4'
  >>> beside_thought("4", "Easy.")
  '4'
  """
  bare, core = text.strip(), thought.strip()
  inner = bare.removeprefix(_OPENED).lstrip()
  if not core or _CLOSED not in bare:
    return text
  after = inner.removeprefix(core).lstrip()
  if inner.startswith(core) and after.startswith(_CLOSED):
    return after.removeprefix(_CLOSED).lstrip()
  if bare.startswith(_OPENED):
    raise records.Reject(
      "an answer has two thoughts", inner.partition(_CLOSED)[0].strip()[:80]
    )
  return text


def data(value: Any) -> str:
  """What a tool answers, as text: a text, parts of text, or JSON.

  Nulls in objects are left out, as columnar files fill up objects with them.

  Raises:
    records.Reject: images, files and the like are among it.

  >>> data({"rain": True, "wind": None}), data([{"type": "text", "text": "4"}])
  ('{"rain": true}', '4')
  """
  items = value if isinstance(value, list) else [value]
  objects = [item for item in items if isinstance(item, Mapping)]
  if all(map(_is_text, objects)) or any(map(_is_media, objects)):
    return plain(value, "content")
  if len(objects) == 1 and isinstance(objects[0].get("parts"), list):
    return plain(value, "content")
  return json.dumps(tool_calls.unpadded(value), ensure_ascii=False)


def _is_text(part: Mapping[str, Any]) -> bool:
  """Whether a part of what a tool answers is a text and nothing more."""
  read = values.name(part, _TEXT_KEYS)
  if read is None or part[read] is None or _others(part, read):
    return False
  held = {name for name in part if part[name] is not None}
  return part.get("type") in _TEXTS or held == {"text"}


def _is_media(part: Mapping[str, Any]) -> bool:
  kind = part.get("type")
  return (
    isinstance(kind, str)
    and bool(_MEDIA.search(kind))
    and any(part.get(key) is not None for key in _MEDIA_KEYS)
  )
