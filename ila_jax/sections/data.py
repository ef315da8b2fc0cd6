"""Sections `pool` and `tokens`: what is read, and how long it may be."""

import dataclasses
from typing import Any

from ila_jax.sections import checked, ranges


def _where(what: str) -> Any:
  """Declares where in a record something stands."""
  return checked.field("", f"dotted name of {what}; '': found by its name")


def several(specs: str | tuple[str, ...]) -> tuple[str, ...]:
  """The sources, also when there is only one.

  >>> several("a.jsonl"), several(())
  (('a.jsonl',), ())
  """
  return (specs,) if isinstance(specs, str) else specs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields(checked.Checked):
  """Where a record keeps things: dotted paths; '': found by its name."""

  prompt: str = _where("the prompt, such as 'problem'")
  input: str = _where("more of the prompt, such as 'instances.0.input'")
  context: str = _where("still more of it: one field, or 'a, b'")
  choices: str = _where("answers to choose from: a list, or fields: 'A, B, C'")
  response: str = _where("the response, such as 'instances.0.output'")
  thought: str = _where("the reasoning that leads to the response")
  system: str = _where("the system text")
  tools: str = _where("descriptions of tools, shown to the model")
  history: str = _where("earlier turns, as pairs")
  conversation: str = _where("a list of turns")
  labels: str = checked.field(
    "", "labels: a list, a text such as 'a, b', or a count; '': K = 1"
  )
  domain: str = checked.field(
    "", "domain: a text, or a list whose first counts; '': blocks of the map"
  )
  scores: str = checked.field(
    "",
    "scores of others: 'quality, ifd=scores.ifd'; '': all numbers of the files "
    "in pool.scores",
    changes=checked.ELSEWHERE,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool(checked.Checked):
  """Where the records come from, and which fields of them mean what."""

  source: str | tuple[str, ...] = checked.field(
    (),
    "a file, a folder, a URL, tfds:NAME/SPLIT, hf:NAME/SPLIT or "
    "docstrings:PACKAGE,...; or several",
    path=checked.SOURCE,
  )
  limit: int | None = checked.field(
    None, "usable records to read; None: all", **ranges.EXAMPLES
  )
  max_reject_fraction: float = checked.field(
    0.1,
    "share of the records that may be unusable; above it: exit status 2",
    **ranges.SHARE,
    changes=checked.NOTHING,
  )
  dev_examples: int = checked.field(
    1000,
    "examples held out for the dev loss, never candidates",
    **ranges.EXAMPLES,
  )
  # They are held in memory at once.
  shard_examples: int = checked.field(
    8192, "examples of a shard file, the unit of resuming", low=1, high=2**24
  )
  workers: int = checked.field(
    0,
    "processes that read the pool; 0: one for each core, where that is worth "
    "their start",
    low=0,
    high=1024,
    changes=checked.NOTHING,
  )
  split_bytes: int = checked.field(
    4 << 20,
    "bytes of input that a process reads at a time, the unit of resuming",
    low=1,
    high=2**34,
    changes=checked.NOTHING,
  )
  fields: Fields = dataclasses.field(default_factory=Fields)
  scores: str | tuple[str, ...] = checked.field(
    (),
    "files with scores of others, named as in source; joined by id or by text",
    changes=checked.ELSEWHERE,
    path=checked.BESIDE,
  )
  overrides: dict[str, dict[str, str]] = checked.field(
    {}, "{pattern of source names: fields as above that differ there}"
  )
  answers: str = checked.field(
    "first",
    "which of a list of answers is the response",
    choices="pool.shapes.responses.RULES",
  )
  decontaminate: str | tuple[str, ...] = checked.field(
    (),
    "evaluation sets that the pool must not repeat, named as in source",
    path=checked.BESIDE,
  )
  contaminated: str = checked.field(
    "remove",
    "what becomes of examples that repeat a record of an evaluation set",
    choices="pool.contamination.findings.ACTIONS",
  )
  contamination_ngram: int = checked.field(
    13,
    "words in a row that an example and an evaluation record may not share",
    low=4,
    high=100,
  )

  @property
  def sources(self) -> tuple[str, ...]:
    """The sources, also when there is only one."""
    return several(self.source)

  @property
  def evaluations(self) -> tuple[str, ...]:
    """The evaluation sets, also when there is only one."""
    return several(self.decontaminate)

  @property
  def score_files(self) -> tuple[str, ...]:
    """The files with scores of others, also when there is only one."""
    return several(self.scores)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens(checked.Checked):
  """How long an example may be."""

  max_tokens: int = checked.field(
    2048,
    "tokens of prompt and response together",
    low=8,
    high=ranges.MAX_TOKENS,
  )
  overflow: str = checked.field(
    "reject",
    "what becomes of longer examples",
    choices="pool.tokens.overflow.RULES",
  )
