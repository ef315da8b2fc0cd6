"""Fields: where a record keeps prompt, response and the rest.

They are detected from the names of the fields that hold something, record by
record, and can be overridden by a mapping of dotted paths.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.pool import records, unread
from ila_jax.pool.conversations import beside, transcripts
from ila_jax.pool.shapes import field_names, pointers, structures
from ila_jax.pool.shapes import kinds as kinds_lib


class Fields(NamedTuple):
  """Where a record keeps things: dotted paths such as `instances.0.output`.

  Either `conversation`, which `response` goes on where it ends without an
  answer; or `prompt` and `response` (with `history`, a list of pairs, before
  them). An empty string: no such field. Those of `SEVERAL` may name more than
  one, with commas between.
  """

  prompt: str = ""
  input: str = ""
  context: str = ""
  choices: str = ""
  response: str = ""
  thought: str = ""
  system: str = ""
  tools: str = ""
  history: str = ""
  conversation: str = ""
  labels: str = ""
  domain: str = ""

  def __str__(self) -> str:
    pairs = zip(self._fields, self, strict=True)
    return ", ".join(f"{name} = {path}" for name, path in pairs if path)


# These may name several paths, with commas between.
SEVERAL = ("context", "choices", "conversation", "response")
# Fields with a conversation in them, whatever else a record holds.
_CONVERSATIONS = ("messages", "conversations", "conversation")
# ... where nothing else is known and they hold messages, or texts in turn. A
# list of texts under another name, such as `turns`, may hold questions alone.
_MESSAGES = (*("contents", "turns", "chat", "chosen_messages", "chosen"),)
# ... where each item has a role: other things are called so as well.
_WITH_ROLES = ("items", "context")
_EITHER = ("dialogue", "dialog", "data")
_TRANSCRIPTS = (
  *("text", "chosen", "dialogue", "dialog", "chat", "transcript", "content"),
)
# Texts beside which a `source` is no text itself.
_BODIES = (
  *("text", "sentence", "content", "translation", "utterance", "body"),
  *("review", "comment", "tweet", "input_text", "sentence1", "premise"),
)
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_BESIDE = ("input", "context", "choices", "thought", "system", "history")
_ASKED = ("instruction", "prompt", *field_names.QUESTIONS)
# Kinds of what stands under the name of a context, and is none.
_NO_CONTEXT = ("", "object", "aside")


def check_names(mapping: Mapping[str, str], *, where: str) -> None:
  """Checks a user's field mapping; `where` names it in the message.

  Raises:
    InputError: for a name that is no field.

  >>> check_names({"prompt": "problem"}, where="config.pool.fields")
  """
  for name in mapping:
    if name not in Fields._fields:
      raise errors.InputError(
        f"{where} has the key {name!r}; allowed: {', '.join(Fields._fields)}. "
        "Each names a path in the record, such as 'instances.0.output'."
      )


_Shape = tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=4096)
def _detect(shape: _Shape) -> Fields | None:
  """Fields by their names and kinds; those that are filled come first."""
  filled = {unread.plain_name(n): n for n, kind in reversed(shape) if kind}
  every = {unread.plain_name(name): name for name, _ in reversed(shape)}
  every |= filled
  kinds = dict(shape)
  for there in (filled, every):
    # A conversation in one text may be a note beside a prompt and a response.
    lists = {n: field for n, field in there.items() if kinds[field] != "text"}
    listed = kinds_lib.first(_CONVERSATIONS, lists)
    any_kind = kinds_lib.first(_CONVERSATIONS, there)
    detected = (
      _conversation(listed, there, every, kinds)
      or _pair(there, every, shape)
      or _conversation(any_kind, there, every, kinds)
    )
    if detected is None and there is filled:
      other = _other_list(shape, every)
      detected = _conversation(other, there, every, kinds)
      detected = detected or _preference(shape, every)
    if detected:
      return detected
  return None


def _conversation(
  path: str,
  there: dict[str, str],
  every: dict[str, str],
  kinds: dict[str, str],
) -> Fields | None:
  """A conversation, with what goes on with it and what stands beside it."""
  if not path:
    return None
  marks = {
    n for n in field_names.PREFERRED if kinds.get(there.get(n)) == "number"
  }
  others = {n: f for n, f in there.items() if f != path and n not in marks}
  texts = {n: field for n, field in others.items() if kinds[field] == "text"}
  response = _response(field_names.CONTINUED, others, kinds)
  return Fields(
    conversation=path,
    response=response,
    thought=kinds_lib.first(_THOUGHTS, texts) if response else "",
    system=kinds_lib.first(field_names.SYSTEMS, every, kinds),
    tools=kinds_lib.first(field_names.TOOLS, every, kinds),
  )


def _response(
  names: tuple[str, ...], there: dict[str, str], kinds: dict[str, str]
) -> str:
  """The field of the answer, or several fields of which another names one."""
  for chosen, rejected in field_names.PREFERRED.items():
    held = [kinds[there[n]] for n in (chosen, rejected) if n in there]
    are_answers = len(held) == 2 and all(held) and "number" not in held
    if chosen in names and are_answers:
      return there[chosen]
  response = kinds_lib.first(names, there)
  if not response and any(kinds[n] and pointers.names_one(n) for n in kinds):
    response = kinds_lib.family(kinds, field_names.ANSWER)
  return response


def _pair(
  there: dict[str, str], every: dict[str, str], shape: _Shape
) -> Fields | None:
  """A prompt and a response, with all that stands beside them."""
  kinds = dict(shape)
  choice = kinds_lib.choices(every, kinds)
  is_asked = any(kinds.get(there.get(name)) for name in _ASKED)
  for prompt, responses in field_names.RESPONSES.items():
    if choice:
      responses += (*field_names.ANSWERS, *field_names.INDICES)
    response = _response(responses, there, kinds)
    instances = prompt == "instruction" and there.get("instances")
    if prompt not in there or not (response or instances):
      continue
    both = kinds[there[prompt]] + kinds.get(response, "")
    if prompt in field_names.TEXTS and both != "texttext":
      continue
    if prompt == "text" and "test_list" not in there:
      continue  # A code may be that of a language or a product.
    if prompt == "source" and any(name in there for name in _BODIES):
      continue  # It may name where such a text is from, and a class.
    if prompt == "human" and is_asked:
      continue  # Both answer: which of them is a person's is the task.
    every = {name: field for name, field in every.items() if name != prompt}
    contexts = (
      field_names.QUESTIONS if prompt in ("instruction", "prompt") else ()
    )
    contexts = [
      every[n] for n in (*contexts, *field_names.CONTEXTS) if n in every
    ]
    contexts = [n for n in contexts if kinds[n] not in _NO_CONTEXT]
    texts = {n: f for n, f in every.items() if kinds[f] == "text"}
    return Fields(
      prompt=there[prompt],
      input=kinds_lib.first(field_names.INPUTS, every, kinds)
      if response
      else f"{instances}.0.input",
      context=", ".join(contexts),
      choices=pointers.offered(choice, response),
      response=response or f"{instances}.0.output",
      thought=kinds_lib.first(_THOUGHTS, texts),
      system=kinds_lib.first(field_names.SYSTEMS, every, kinds),
      tools=kinds_lib.first(field_names.TOOLS, every, kinds),
      history=kinds_lib.first(field_names.HISTORIES, every, kinds),
    )
  return None


def _other_list(shape: _Shape, every: dict[str, str]) -> str:
  """A conversation under a name that is often used for other things."""
  kinds = dict(shape)
  names = [n for n in (*_MESSAGES, *_EITHER, *_WITH_ROLES) if n in every]
  names = [
    every[n]
    for n in names
    if kinds[every[n]] == "messages"
    or (kinds[every[n]] in ("list", "object") and n not in _WITH_ROLES)
    or (kinds[every[n]] == "texts" and n in _EITHER)
  ]
  return names[0] if names else kinds_lib.family(kinds, field_names.TURN)


def _preference(shape: _Shape, every: dict[str, str]) -> Fields | None:
  """OpenAI's preference data: messages in `input`, and the answer beside."""
  asked = every.get("input", "")
  if dict(shape).get(asked) != "object" or "preferred_output" not in every:
    return None
  return Fields(
    conversation=f"{asked}.messages",
    response=every["preferred_output"],
    tools=f"{asked}.tools",
  )


def _transcript(record: Mapping[str, Any]) -> Fields | None:
  """A conversation in one text, with what goes on with it or goes before."""
  there = {unread.plain_name(name): name for name in reversed(record)}
  kinds = {n: kinds_lib.of_field(n, value) for n, value in record.items()}
  filled = {unread.plain_name(n): n for n in reversed(record) if kinds[n]}
  there |= filled
  for plain, name in reversed(filled.items()):
    text = record[name]
    if plain not in _TRANSCRIPTS or not isinstance(text, str):
      continue
    if transcripts.is_one(text):
      return _conversation(name, filled, there, kinds)
  return None


def detect(record: Mapping[str, Any]) -> Fields | None:
  """Which fields hold prompt and response, by their names; None if unknown.

  Of several shapes, that one whose fields are filled. Known: a conversation
  (`messages`, `conversations`, ...), a prompt (`instruction` with `input`,
  `prompt`, `question`, `problem`, ...) with a response (`output`, `answer`,
  `chosen`, ...), `turn_1` and so on, and transcripts in `text`, `chat` and the
  like. Names count in any case.

  >>> str(detect({"Question": "1 + 1?", "Answer": "2", "messages": None}))
  'prompt = Question, response = Answer'
  """
  return _detected(structures.opened(record))


def _detected(record: Mapping[str, Any]) -> Fields | None:
  shape = tuple((n, kinds_lib.of_field(n, held)) for n, held in record.items())
  return _detect(shape) or _transcript(record)


def resolve(record: Mapping[str, Any], configured: Fields) -> Fields:
  """The fields to read: what is configured, and for the rest what is detected.

  A configured prompt or conversation replaces all that was detected but the
  response; labels and domain are never guessed.

  Raises:
    Reject: no known shape; the detail lists the record's fields.

  >>> str(resolve({"task": "1 + 1?", "answer": "2"},
  ...             Fields(prompt="task", response="answer")))
  'prompt = task, response = answer'
  """
  record = structures.opened(record)
  resolved = _detected(record) or Fields()
  if configured.conversation or configured.prompt:
    resolved = Fields(
      response="" if configured.conversation else resolved.response
    )
  if any(configured):
    # What is named for one purpose does not stand beside the prompt as well.
    named = {p for path in configured[:-2] for p in records.paths(record, path)}
    again = {n: "" for n in _BESIDE if getattr(resolved, n) in named}
    found = resolved._replace(**again)
    resolved = Fields(*(c or f for c, f in zip(configured, found, strict=True)))
  path = beside.opened(record, resolved.conversation)
  resolved = _with_nested(record, resolved._replace(conversation=path))
  asked = resolved.choices, resolved.response
  if not (configured.choices or kinds_lib.are_asked(record, *asked)):
    resolved = resolved._replace(choices="")
  if not (resolved.conversation or (resolved.prompt and resolved.response)):
    raise records.Reject(
      "no known record shape", f"fields: {', '.join(record)}"
    )
  return resolved


def _with_nested(record: Mapping[str, Any], read: Fields) -> Fields:
  """The fields with those that stand beside them in the same object.

  They are what they would be in the record itself; what is named goes before.
  """
  for prefix, held, names in beside.holders(record, read)[1:]:
    kinds = {n: kinds_lib.of_field(n, held[n]) for n in reversed(held)}
    filled = (n for n in kinds if kinds[n] not in ("", "aside"))
    there = {unread.plain_name(n): n for n in filled}
    shape = {prefix + name for name in names}
    contexts = [there[n] for n in field_names.CONTEXTS if n in there]
    found = {}
    if shape & {read.conversation, read.prompt, read.input}:
      found |= {"system": field_names.SYSTEMS, "tools": field_names.TOOLS}
    if shape & {read.prompt, read.input} and not read.conversation:
      found |= {"input": field_names.INPUTS, "choices": field_names.CHOICES}
      found |= {"history": field_names.HISTORIES}
    if read.response in shape:
      found |= {"thought": _THOUGHTS}
    found = {
      what: kinds_lib.first(known, there) for what, known in found.items()
    }
    if "input" in found:
      passages = [n for n in contexts if kinds[n] not in _NO_CONTEXT]
      found["context"] = f", {prefix}".join(passages)
    for what, name in found.items():
      is_free = not getattr(read, what) and name not in ("", *names)
      if is_free and (what != "thought" or kinds[name] == "text"):
        read = read._replace(**{what: prefix + name})
  return read
