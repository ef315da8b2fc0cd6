"""The README.md of an export: a data set card with the numbers of the run."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ila_jax.export import rows


class Facts(NamedTuple):
  """What a card says of the run.

  Attributes:
    sources: of the pool, as the config has them.
    method: that selected.
    budget: in words, such as "500 examples".
    selected: examples that the run chose.
    longest: tokens of the longest record, as far as the run has read it; None:
      not known.
    cut: records of which the run has read a part only.
    is_nested: whether the first rows are what the method chooses for a smaller
      budget (`Method.is_nested`).
    sentences: the findings of the run, with their numbers.
    made_by: versions, in words.
  """

  sources: Sequence[str]
  method: str
  budget: str
  selected: int
  sentences: Sequence[str]
  made_by: str
  longest: int | None = None
  cut: int = 0
  is_nested: bool = True


class Export(NamedTuple):
  """What a card says of the files beside it.

  Attributes:
    name: of the configuration, another for other rows: `datasets` keeps what
      it has read under this name and the folder's last, and would give the rows
      of an earlier export.
    pattern: of the files that hold the rows, for `load_dataset`.
    count: rows.
    columns: what a row holds, in sentences.
    train: the command that trains on it.
    left_out: how many records were left out, by reason.
    has_length: whether the command says how long a record may be.
  """

  name: str
  pattern: str
  count: int
  columns: str
  train: str
  left_out: Mapping[str, int]
  has_length: bool = False


def lengths(facts: Facts) -> list[str]:
  """What to know of the length that the command gives a trainer.

  >>> facts = Facts(["a.jsonl"], "ila", "2 examples", 2, [], "By hand", 512)
  >>> lengths(facts)[0][:54]
  'The length in the command is that of the longest recor'
  """
  if facts.longest is None:
    return []
  told = [
    "The length in the command is that of the longest record, "
    f"{facts.longest:,} tokens by the tokenizer of the run. Trainers cut or "
    "skip what is longer. If MODEL has another tokenizer, the same records may "
    "have more tokens or fewer."
  ]
  if facts.cut:
    is_one = facts.cut == 1
    them, are = ("it", "it is") if is_one else ("them", "they are")
    told.append(
      f"{facts.cut:,} {'record is' if is_one else 'records are'} longer: the "
      f"run has cut {them} to its config.tokens.max_tokens "
      f"(pool/truncated.parquet), and {are} whole here. A trainer that cuts "
      "the end of a record may cut all of its answer."
    )
  return told


def text(facts: Facts, export: Export) -> str:
  """The card: a YAML header that `load_dataset` reads, and the numbers.

  >>> facts = Facts(
  ...   ["a.jsonl"], "ila", "2 examples", 2, ["Of 4, 4 are usable."], "By hand")
  >>> export = Export("trl", "train.jsonl", 2, "Messages.", "trl sft", {})
  >>> print(text(facts, export).splitlines()[5])
          path: "train.jsonl"
  """
  sources = "".join(f"* `{source}`\n" for source in facts.sources)
  sentences = "".join(f"* {sentence}\n" for sentence in facts.sentences)
  left_out = ""
  if export.left_out:
    reasons = "".join(
      f"* {count:,}: {reason}\n" for reason, count in export.left_out.items()
    )
    left_out = (
      "\nLeft out, for this format cannot hold them as they are; "
      f"`left_out.jsonl` names each:\n\n{reasons}"
    )
  columns = _filled(f"{export.columns} {_order(facts)}")
  about_lengths = ""
  if export.has_length and facts.longest is not None:
    about_lengths = f"\n{_filled(' '.join(lengths(facts)))}\n"
  return f"""---
configs:
  - config_name: {export.name}
    data_files:
      - split: train
        path: {rows.json_text(export.pattern)}
task_categories:
  - text-generation
tags:
  - instruction-tuning
  - ila_jax
---

# {export.count:,} examples selected by `{facts.method}`

{columns}
{left_out}
## Train on it

FOLDER is this folder.

```
{export.train}
```
{about_lengths}
## Where it comes from

Method: `{facts.method}`; budget: {facts.budget}. From:

{sources}
{sentences}
{facts.made_by}. The licences of the records are those of their sources.
"""


def _order(facts: Facts) -> str:
  order = "The rows stand in the order in which they were chosen"
  if facts.is_nested:
    return f"{order}: the first N are a selection of N on this map."
  return f"{order}. For a smaller budget `{facts.method}` chooses others."


def _filled(text: str) -> str:
  return textwrap.fill(text, 80, break_long_words=False, break_on_hyphens=False)
