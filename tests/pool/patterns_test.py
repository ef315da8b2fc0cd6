"""Every pattern of the pool takes time in proportion to the text."""

import importlib
import inspect
import itertools
import pkgutil
import re
import time

import pytest

from ila_jax import pool
from ila_jax.pool.shapes import labels

LENGTH = 10_000
# Repeated, and then spoilt at the end, so that a match must be given up.
UNITS = (
  *(" ", "\n", "\t", "a", "A", "1", "_", "-", "#", ",", ".", '"', "'"),
  *("#a", "#a,", "#a,,,,", "#a, ", "<a>", "<", "<a> ", "1. ", "- ", "(A)"),
  *("\\'", '\\"', "'a' ", "'a', ", "} {", "}  ", "{", "[", "{'", "A) "),
  *("\\\\", "'\\\n", "a:", "a: ", ": ", "=", "a = ", "<|im_start|>", "[INST]"),
  *("<|start|>", "<｜", "<think>", "</think>", "</s>", "</s> ", "<|eot_id|> "),
  *("<extra_id_1>", "<extra_id_1>a ", "Human: ", "\n\nHuman:", "### Human:"),
  *("USER: ", "<<SYS>>", '{"a":', '"a",', "a.b", "é", "%(a)s", "a\t", "\r\n"),
  *("<|end|>", "<|start_header_id|>", "ab ", "a/", "label_", "_id", "-1", "e1"),
)
HEADS = ("", "'", "['", "#a", "<extra_id_1>", "A")


def held(value):
  """The patterns in a constant, also within tuples."""
  if isinstance(value, re.Pattern):
    return [value]
  if isinstance(value, tuple | list):
    return [pattern for item in value for pattern in held(item)]
  return []


def patterns():
  """The patterns by name, and whether something searches with them."""
  found = {}
  for info in pkgutil.walk_packages(pool.__path__, f"{pool.__name__}."):
    module = importlib.import_module(info.name)
    source = inspect.getsource(module)
    for name, value in vars(module).items():
      matches = rf"\b({name}|pattern)\.(full)?match\b"
      for place, pattern in enumerate(held(value)):
        key = f"{info.name.removeprefix(pool.__name__)}.{name}.{place}"
        found[key] = pattern, not re.search(matches, source)
  return found


PATTERNS = patterns()


def test_patterns_are_found():
  assert len(PATTERNS) > 60
  assert 30 < sum(is_searched for _, is_searched in PATTERNS.values()) < 60


@pytest.mark.parametrize("name", PATTERNS)
def test_a_long_hostile_text_takes_no_long_time(name):
  pattern, is_searched = PATTERNS[name]
  for unit, head in itertools.product(UNITS, HEADS):
    text = f"{head}{unit * (LENGTH // len(unit))}!"
    if isinstance(pattern.pattern, bytes):
      text = text.encode()
    began = time.process_time()
    pattern.match(text)
    pattern.fullmatch(text)
    if is_searched:
      sum(1 for _ in pattern.finditer(text))
    assert time.process_time() - began < 0.08, (unit, head)


@pytest.mark.parametrize(
  "text",
  [
    ", ".join(f"#tag{i}" for i in range(5000)) + " and more stuff",
    "#a,,,," * 5000 + " x y",
    "<a> " * 5000 + "<",
    "1" * 20_000 + "x",
  ],
)
def test_labels_take_no_long_time(text):
  began = time.process_time()
  labels.count({"k": text}, "k")
  assert time.process_time() - began < 0.5
