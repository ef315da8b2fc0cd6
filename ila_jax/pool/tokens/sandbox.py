"""Bounds on what comes with a tokenizer: its chat template, its normalizer.

A template is a small program. One that loops or grows without end cannot be
stopped from inside, so it is first tried in a process of its own, where time
and memory are limited.
"""

import functools
import json
import math
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from ila_jax import errors

_SECONDS = 5
_BYTES = 2 * 2**30
# A machine under load is slow to start a process.
_WALL_SECONDS = 120
# Published normalizers add a character here and there.
_MOST_GROWTH = 100
_TOO_LONG, _TOO_MUCH_MEMORY = 3, 4
# What a short conversation may be wrapped in.
LEAST_CHARACTERS = 20_000
# Turns of the conversations that are tried: what doubles with each shows.
_TURNS = (2, 40)
# Jinja as transformers sets it up; what a template may raise is no matter here.
_PROGRAM = f"""
import json, re, resource, sys
import jinja2.ext, jinja2.sandbox
resource.setrlimit(resource.RLIMIT_CPU, ({_SECONDS}, {_SECONDS} + 1))
resource.setrlimit(resource.RLIMIT_AS, ({_BYTES}, {_BYTES}))
work = json.load(sys.stdin)
def stop(message):
  raise jinja2.TemplateError(message)
env = jinja2.sandbox.ImmutableSandboxedEnvironment(
  trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
env.filters["tojson"] = lambda value, **kwargs: json.dumps(value)
env.globals |= dict(raise_exception=stop, strftime_now=lambda form: form)
tags = r"{{%[-+]?\\s*(end)?generation\\s*[-+]?%}}"
source = re.sub(tags, "", work["template"])
try:
  template = env.from_string(source)
  for values, most in work["tries"]:
    size = 0
    for text in template.generate(**values):
      size += len(text)
      if size > most:
        sys.exit({_TOO_LONG})
except MemoryError:
  sys.exit({_TOO_MUCH_MEMORY})
except Exception:
  pass
"""


def most_characters(messages: Sequence[Any], tools: Any) -> int:
  """Characters of a rendering that a template may write.

  >>> most_characters([{"role": "user", "content": "Hi"}], None) > 1000
  True
  """
  size = len(json.dumps([messages, tools], ensure_ascii=False))
  return LEAST_CHARACTERS + 2_000 * len(messages) + 20 * size


@functools.lru_cache(maxsize=64)
def check(template: str, name: str) -> None:
  """Tries a template on short and long conversations, within bounds.

  Args:
    template: Jinja source.
    name: of the tokenizer, for the message.

  Raises:
    errors.InputError: it takes too long, too much memory, or writes too much.

  >>> check("{{ 'a' * 10 ** 10 }}", "./model")
  Traceback (most recent call last):
  ila_jax.errors.InputError: the chat template of './model' takes more than...
  """
  tries = []
  for turns in _TURNS:
    messages = [
      {"role": ("user", "assistant")[i % 2], "content": f"word{i} " * 20}
      for i in range(turns)
    ]
    for ask in (False, True):
      values = {
        "messages": messages,
        "tools": None,
        "add_generation_prompt": ask,
        "bos_token": "<s>",
        "eos_token": "</s>",
      }
      tries.append((values, most_characters(messages, None)))
  try:
    done = subprocess.run(
      [sys.executable, "-I", "-c", _PROGRAM],
      input=json.dumps({"template": template, "tries": tries}),
      text=True,
      capture_output=True,
      timeout=_WALL_SECONDS,
      check=False,
    )
    status = done.returncode
  except subprocess.TimeoutExpired:
    status = -signal.SIGXCPU
  problem = {
    _TOO_LONG: "writes far more than it is given",
    _TOO_MUCH_MEMORY: f"takes more than {_BYTES // 2**30} GB of memory",
    -signal.SIGXCPU: f"takes more than {_SECONDS} seconds",
    -signal.SIGKILL: f"takes more than {_SECONDS} seconds",
  }.get(status)
  if problem:
    raise errors.InputError(
      f"the chat template of {name!r} {problem} for a conversation of "
      f"{_TURNS[-1]} turns: it loops or grows without end. Give a tokenizer "
      "with another chat template (chat_template.jinja, or chat_template in "
      "tokenizer_config.json), or with none."
    )


def check_normalizer(normalizer: Any, name: str) -> None:
  """Refuses a normalizer that could lengthen a text until memory is full.

  Args:
    normalizer: of a tokenizer, from `tokenizers`; None if it has none.
    name: of the tokenizer, for the message.

  Raises:
    errors.InputError: it may make a text more than 100 times as long.

  >>> from tokenizers import normalizers
  >>> twice = normalizers.Replace("a", "aa")
  >>> check_normalizer(normalizers.Sequence([twice] * 40), "./model")
  Traceback (most recent call last):
  ila_jax.errors.InputError: the normalizer in the tokenizer.json of...
  """
  if normalizer is None:
    return
  growth = _growth(json.loads(normalizer.__getstate__()))
  if growth > _MOST_GROWTH:
    raise errors.InputError(
      f"the normalizer in the tokenizer.json of {name!r} may make a text "
      f"{growth:,.0f} times as long; allowed: {_MOST_GROWTH} times. Give "
      "another tokenizer."
    )


def _growth(normalizer: dict[str, Any]) -> float:
  """By how much a normalizer may lengthen a text, at most."""
  parts = normalizer.get("normalizers", [])
  growth = float(math.prod(map(_growth, parts)))
  if "content" in normalizer:
    # A regular expression may match a single character, or none.
    pattern = normalizer.get("pattern", {}).get("String", "")
    growth = (len(normalizer["content"]) + (not pattern)) / max(len(pattern), 1)
  return max(growth, 1.0, float(len(normalizer.get("prepend", ""))))
