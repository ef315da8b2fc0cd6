"""What all tasks of a pool are told: plain values that travel as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import ila_jax
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import shards
from ila_jax.pool.contamination import evaluation, screen
from ila_jax.pool.splits import outcomes, splits
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import stage_record

# Of what `task` tells of a split: one in another form is read again.
_FORM = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """How the records of a pool are read.

  Attributes:
    rules: as `examples.Rules` takes them: fields, overrides, answers.
    max_tokens: of an example.
    overflow: what becomes of longer ones, of `overflow.RULES`.
    limit: examples that a task reads at most; None: all.
    evaluations: evaluation sets with which examples are compared.
    evaluation_overrides: fields of these.
    ngram: words of an n-gram that counts.
    removes: whether what repeats an evaluation set is left out.
    tokenizer: folder or name of the base's tokenizer.
    made_from: what tokenizer and evaluation sets are, as a JSON value.
  """

  rules: Mapping[str, Any]
  max_tokens: int
  overflow: str
  limit: int | None
  evaluations: tuple[str, ...]
  evaluation_overrides: Mapping[str, Any]
  ngram: int
  removes: bool
  tokenizer: str
  made_from: Any

  def text(self) -> str:
    """The job in one line, for `from_text`."""
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_text(cls, text: str) -> "Job":
    """The job that `text` told."""
    values = json.loads(text)
    values["evaluations"] = tuple(values["evaluations"])
    return cls(**values)

  def key(self, split: splits.Split) -> str:
    """A short hash of all that the result of a split follows from."""
    known = dataclasses.asdict(self)
    del known["tokenizer"]  # Where it lies; what it is stands in `made_from`.
    return stage_record.fingerprint(
      [
        ila_jax.__version__,
        _FORM,
        shards.SCHEMA.names + outcomes.SCHEMA.names,
        known,
        [list(span) for span in split.spans],
        [splits.identity(span) for span in split.spans],
      ]
    )


class Tools(NamedTuple):
  """What tasks of a job need, made once in a process.

  Attributes:
    rules: how records are read.
    tokenizer: of the base.
    screen: of the evaluation sets; None: there are none.
  """

  rules: examples_lib.Rules
  tokenizer: Any
  screen: screen.Screen | None


def tools(job: Job) -> Tools:
  """Loads the tokenizer, and reads the evaluation sets.

  Raises:
    errors.InputError: one of them cannot be read.
  """
  return Tools(
    examples_lib.Rules(**job.rules),
    tokenizer_lib.load_tokenizer(job.tokenizer),
    screen_of(job),
  )


def screen_of(job: Job, passing: Any = iter, **options: Any) -> Any:
  """The screen of the evaluation sets; None: there are none.

  Args:
    job: names them.
    passing: sees their records pass.
    **options: of `evaluation.read`.
  """
  if not job.evaluations:
    return None
  sets = evaluation.read(
    job.evaluations, overrides=job.evaluation_overrides, **options
  )
  return screen.Screen(passing(sets), width=job.ngram)
