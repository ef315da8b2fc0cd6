"""Tags: the labels of each record by name, as numbers.

`config.pool.fields.labels` says where they stand. Depth asks how many they are;
what is chosen for its tags asks which. Beside the numbers, `names.parquet` has
the name of each.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from jaxtyping import Float

from ila_jax import errors
from ila_jax.forecast import costs, work
from ila_jax.pool import index, reading, shards
from ila_jax.pool.shapes import labels
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, tables
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal

NAME = "tags"
# What stands in a row after its last tag.
NONE = -1
# Float32 holds all whole numbers below.
_MOST = 2**24
# Of one record: all records take the room of the one that has most.
_MOST_OF_ONE = 1024
# Seconds for a record, whose JSON is read twice; assumed.
_SECONDS_EACH = 1e-4


def _paths(run: context.Run) -> list[str]:
  """Where the labels of each of the pool's sources stand."""
  named, _ = index.names(run.workdir, "source")
  return [reading.labels_field(run.config, str(name)) for name in named]


def _names(
  table: pa.Table, paths: list[str], source: np.ndarray
) -> Iterator[list[str]]:
  """The tags of each record of a shard."""
  rows = table.column("row").to_numpy()
  for row, text in zip(rows, table.column("record").to_pylist(), strict=True):
    path = paths[source[row]]
    yield labels.names(json.loads(text), path) if path else []


def numbered(
  tags: list[list[str]], number: Mapping[str, int], width: int
) -> Float[np.ndarray, "n w"]:
  """Tags as numbers, ascending, and `NONE` after the last.

  >>> numbered([["b", "a"], []], {"a": 0, "b": 1}, 3).tolist()
  [[0.0, 1.0, -1.0], [-1.0, -1.0, -1.0]]
  """
  found = np.full((len(tags), width), NONE, np.float32)
  for row, own in enumerate(tags):
    found[row, : len(own)] = sorted(number[name] for name in own)
  return found


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n w"]]:
  del account, advance
  workdir, paths = run.workdir, _paths(run)
  _, source = index.names(workdir, "source")
  seen: set[str] = set()
  width = 1
  for shard in range(shards.count(workdir)):
    table = shards.read_records(workdir, shard, ["row", "record"])
    for own in _names(table, paths, source):
      seen.update(own)
      width = max(width, len(own))
  if len(seen) >= _MOST:
    raise errors.InputError(
      f"config.pool.fields.labels: the pool has {len(seen):,} different "
      f"labels; allowed: less than {_MOST:,}. Name a field of tags, not one "
      "of text."
    )
  if width > _MOST_OF_ONE:
    raise errors.InputError(
      f"config.pool.fields.labels: a record has {width:,} different labels; "
      f"allowed: up to {_MOST_OF_ONE:,}. Name a field of tags, not one of text."
    )
  # Sorted, so that the order of the pool changes no number.
  number = {name: place for place, name in enumerate(sorted(seen))}
  # What is no Unicode, half of a pair of surrogates, is written as it was read.
  text = [name.encode(errors="backslashreplace").decode() for name in number]
  files.write_table(
    tables.TAG_NAMES.path(workdir),
    {
      "tag": np.arange(len(text), dtype=np.int32),
      "name": pa.array(text, pa.string()),
    },
  )
  return lambda table: numbered(
    list(_names(table, paths, source)), number, width
  )


def names(workdir: epath.PathLike) -> list[str]:
  """The name of each tag, by its number.

  Raises:
    checksums.Damaged: the file is missing, or not what was written.
  """
  return files.read_table(tables.TAG_NAMES.path(workdir))["name"].tolist()


def _about(
  run: context.Run, parts: Iterator[Float[np.ndarray, "_ w"]]
) -> dict[str, Any]:
  """What is noted of the tags: how many there are, and of how many records.

  Raises:
    errors.InputError: no record has tags by name.
  """
  values = np.concatenate(list(parts))
  each = (values != NONE).sum(axis=1)
  if not each.any():
    path = run.config.pool.fields.labels
    has = index.column(run.workdir, "n_labels")
    counted = (
      " Its records have counts, which name no label."
      if (path and (has > 1).any())
      else ""
    )
    raise errors.InputError(
      f"config.pool.fields.labels is {path!r}, and no record has labels by "
      f"name there.{counted} Allowed: a field with a list of labels, or a text "
      "such as 'math, code'. Name it with --config.pool.fields.labels=FIELD "
      "--redo=pool, or choose a method that needs no tags."
    )
  told = {
    "tags": int(values.max()) + 1,
    "tagged": int((each > 0).sum()),
    "tags_each": float(each.mean()),
  }
  progress.say(
    f"  {told['tags']:,} different tags; {told['tagged']:,} of {len(each):,} "
    f"examples have some, {told['tags_each']:.2f} in the mean of all"
  )
  return told


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of reading every record twice, on the host; assumed."""
  return costs.Cost(_SECONDS_EACH * run.sample.examples)


SIGNAL = example_signal.Signal(
  name=NAME,
  made_from=lambda run: {},  # The pool, and where its labels stand.
  compute=_compute,
  cost=_cost,
  reads=("row", "record"),
  width=None,
  about=_about,
  beside=tables.TAG_NAMES,
)
