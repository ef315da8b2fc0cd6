"""Findings: which evaluation sets a pool repeats, and how often."""

import collections
from collections.abc import Callable, Mapping
from typing import Any

from ila_jax.pool import examples as examples_lib
from ila_jax.pool.contamination import screen as screen_lib
from ila_jax.run import tables

# What is done with examples that repeat an evaluation set.
ACTIONS = ("remove", "report")
REMOVE, REPORT = ACTIONS
# One text in more examples than that may be a phrase that many texts have.
_MANY = 10
_SHOWN_CHARACTERS = 120


def line(
  example: examples_lib.Example, match: screen_lib.Match
) -> dict[str, Any]:
  """What `contamination.jsonl` says of an example that repeats a record."""
  return {
    "id": f"{example.id:016x}",
    "file": example.file,
    "line": example.line,
    "source": example.source,
    "how": match.how,
    "evaluation": match.source,
    "evaluation_file": match.file,
    "evaluation_line": match.line,
    "text": match.text,
  }


class Findings:
  """Counts the examples that repeat a record of an evaluation set.

  >>> screen = screen_lib.Screen([], width=13)
  >>> findings = Findings(screen, action=REMOVE, write=print)
  >>> findings.compare(2)
  >>> findings.told()["compared"], findings.removed
  (2, 0)
  """

  def __init__(
    self,
    screen: screen_lib.Screen,
    *,
    action: str,
    write: Callable[[dict[str, Any]], object],
  ):
    """Begins with nothing found.

    Args:
      screen: of the evaluation sets.
      action: one of `ACTIONS`.
      write: gets each line of `contamination.jsonl`.
    """
    self._screen, self._action, self._write = screen, action, write
    self._compared = 0
    self._how: dict[str, collections.Counter[str]] = {}
    self._shown: dict[str, dict[str, Any]] = {}
    self._texts: collections.Counter[str] = collections.Counter()

  def compare(self, count: int) -> None:
    """Notes that so many more examples were compared."""
    self._compared += count

  def add(self, found: dict[str, Any]) -> None:
    """Counts and writes an example of them, as `line` tells it."""
    self._write(found)
    source, how = found["evaluation"], found["how"]
    self._how.setdefault(source, collections.Counter())[how] += 1
    self._shown.setdefault(source, found)
    if how in (screen_lib.SHORT, screen_lib.NGRAM):
      self._texts[found["text"]] += 1

  @property
  def examples(self) -> int:
    """The examples that were found."""
    return sum(counts.total() for counts in self._how.values())

  @property
  def removed(self) -> int:
    """Number of examples that are left out of the pool of the pool."""
    return self.examples if self._action == REMOVE else 0

  def told(self) -> dict[str, Any]:
    """The same as plain values, as `pool/counts.json` keeps them."""
    ((text, count),) = self._texts.most_common(1) or [("", 0)]
    return {
      "action": self._action,
      "compared": self._compared,
      "examples": self.examples,
      "ngrams": self._screen.size,
      "sets": [
        {
          "evaluation": source,
          "records": records,
          "examples": dict(self._how.get(source, {})),
          "shown": self._shown.get(source),
          "templates": self._templates(source),
        }
        for source, records in self._screen.records.items()
      ],
      "commonest": {"text": text, "examples": count},
    }

  def _templates(self, source: str) -> dict[str, Any] | None:
    templates = self._screen.templates.get(source)
    return templates and templates._asdict()


def sentences(counts: Mapping[str, Any]) -> list[str]:
  """What was found, in sentences; none where nothing was looked for.

  Args:
    counts: as `pool/counts.json` has them.

  >>> one = {"evaluation": "gsm8k", "records": 1319, "examples": {},
  ...        "shown": None, "templates": None}
  >>> told = {"action": "remove", "compared": 9, "examples": 0, "sets": [one],
  ...         "commonest": {"text": "", "examples": 0}}
  >>> sentences({"contamination": told})
  ['Contaminated: none of 9 examples repeats a record of gsm8k (1,319).']
  """
  told = counts.get("contamination")  # Not in runs of older versions.
  if not told:
    return []
  read = told["compared"]
  sets = told["sets"]
  named = ", ".join(f"{s['evaluation']} ({s['records']:,})" for s in sets)
  count = told["examples"]
  if count:
    left = "are left out" if told["action"] == REMOVE else "stay in the pool"
    lines = [
      f"Contaminated: {count:,} of {read:,} examples ({_share(count, read)}) "
      f"repeat a record of {named}; they {left}, and "
      f"{tables.CONTAMINATION.template} lists them."
    ]
  else:
    lines = [
      f"Contaminated: none of {read:,} examples repeats a record of {named}."
    ]
  for one in sets:
    if one["examples"]:
      lines.append(_of_set(one))
  for one in sets:
    if one["templates"]:
      lines.append(_of_templates(one))
  common = told["commonest"]
  if common["examples"] > _MANY:
    lines.append(
      f"One text is in {common['examples']:,} of them: "
      f"'{_cut(common['text'])}'. If it is a phrase that many texts have, "
      "raise config.pool.contamination_ngram."
    )
  return lines


def _of_set(one: Mapping[str, Any]) -> str:
  counts = sorted(one["examples"].items(), key=lambda item: -item[1])
  ways = ", ".join(f"{count:,} by {how}" for how, count in counts)
  shown = one["shown"]
  return (
    f"{one['evaluation']}: {ways}; such as {shown['file']} line "
    f"{shown['line']}, as {shown['evaluation_file']} line "
    f"{shown['evaluation_line']}: '{_cut(shown['text'])}'."
  )


def _of_templates(one: Mapping[str, Any]) -> str:
  common = one["templates"]
  limit = screen_lib.COMMON_PROMPTS
  return (
    f"{common['ngrams']:,} n-grams of {one['evaluation']} stand in more than "
    f"{limit} of its prompts and {screen_lib.COMMON_SHARE:.0%} of them: "
    "templates, which count for nothing (the first is in "
    f"{common['file']} line {common['line']})."
  )


def _cut(text: str) -> str:
  text = "".join(c if c.isprintable() else "�" for c in text)
  if len(text) <= _SHOWN_CHARACTERS:
    return text
  return text[:_SHOWN_CHARACTERS] + "…"


def _share(count: int, total: int) -> str:
  percent = 100 * count / total
  return f"{percent:.1f} %" if percent >= 0.1 else "under 0.1 %"
