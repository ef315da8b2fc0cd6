"""Paths of sources, patterns among them, and what is said of a missing one."""

import os
import re
from collections.abc import Iterable

from ila_jax import errors
from ila_jax.pool.sources import formats
from ila_jax.run.disk import paths

_NUMBERED = re.compile(r"(.*?)(?<!\d)(\d+)-of-(\d+)(\D.*|)")
_MOST_SHARDS = 100_000
# Splits by words in a path, as the Hugging Face Hub knows them.
_SPLITS = {
  **dict.fromkeys(("train", "training"), "train"),
  **dict.fromkeys(("validation", "valid", "dev", "val"), "validation"),
  **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def of(spec: str) -> str:
  """The local path, or the URL, that a source names: `paths.expand`.

  Raises:
    InputError: a variable that is not set, or a file of another host.

  >>> of("file:///data/my%20pool.jsonl"), of("s3://bucket/a.jsonl")
  ('/data/my pool.jsonl', 's3://bucket/a.jsonl')
  """
  path, fault = paths.expand(spec)
  if fault:
    raise missing(spec, fault)
  return path


def deepest_folder(path: str) -> str:
  """The last folder on the way to a path that is there by its very name.

  >>> deepest_folder("/no/such/[ab]*.jsonl")
  '/'
  """
  folder = os.path.dirname(path)
  while folder and folder != os.path.dirname(folder):
    if os.path.isdir(folder):
      break
    folder = os.path.dirname(folder)
  return folder


def folder_of(spec: str) -> str:
  """The folder from which the files of a local source are named.

  >>> folder_of("no/such/*.jsonl"), folder_of("no/such.jsonl")
  ('no/such', 'no')
  """
  path = of(spec)
  if os.path.isdir(path):
    return path
  if os.path.lexists(path):
    return os.path.dirname(path)
  folder = deepest_folder(path)
  fixed = re.split(r"[*?\[]", path[len(folder) :])[0]
  return os.path.dirname(folder + fixed)


def absent(names: Iterable[str]) -> list[str]:
  """The files that are numbered among others, "3-of-8", and are not there.

  They are numbered from 0, or from 1 where one is the last, 8-of-8.

  >>> absent(["a/x-00001-of-00003.jsonl", "a/x-00002-of-00003.jsonl"])
  ['a/x-00000-of-00003.jsonl']
  >>> absent(["x-1-of-2", "x-2-of-2", "y.jsonl"])
  []
  """
  numbers: dict[tuple[str, str, int], dict[int, str]] = {}
  for name in names:
    head, slash, last = name.rpartition("/")
    if match := _NUMBERED.fullmatch(last):
      before, number, total, after = match.groups()
      whole = f"{head}{slash}{before}", f"-of-{total}{after}", int(total)
      numbers.setdefault(whole, {})[int(number)] = number
  first = int(any(total in there for (*_, total), there in numbers.items()))
  gone = []
  for (before, after, total), there in numbers.items():
    digits = len(next(iter(there.values())))
    # No more are numbered: with so many the name means something else.
    for number in range(first, min(total, _MOST_SHARDS) + first):
      if number not in there:
        gone.append(f"{before}{number:0{digits}d}{after}")
  return gone


def splits(path: str) -> dict[str, str]:
  """What a path is a split of, by each word of it that names one, and which.

  >>> splits("data/dev/test-00000-of-00002.parquet")
  {'data/*': 'validation', 'data/dev/*': 'test'}
  """
  *folders, name = path.lower().split("/")
  found = {}
  for depth, folder in enumerate(folders):
    if split := _SPLITS.get(folder.removeprefix("split=")):
      found["/".join([*folders[:depth], "*"])] = split
  words = re.split(r"[-._ 0-9]+", formats.source_name(name))
  words = [word for word in words if word]
  for place, word in enumerate(words):
    if word in _SPLITS:
      others = "_".join([*words[:place], "*", *words[place + 1 :]])
      found["/".join([*folders, others])] = _SPLITS[word]
  return found


def incomplete(spec: str, names: str) -> errors.InputError:
  """The error of a folder without some of its numbered files."""
  return errors.InputError(
    f"config.pool.source is {spec!r}, a folder without {names}, as the names "
    "of the other files say. Bring what is missing; or name what is to be read "
    f"by a pattern, such as {spec.rstrip('/')}/**/*-of-*."
  )


def missing(spec: str, what: str) -> errors.InputError:
  """The error of a source that is not there."""
  return errors.InputError(
    f"config.pool.source is {spec!r}: {what}. Allowed: a file "
    f"({formats.ALLOWED}), a glob or a folder of such files, a URL "
    "(https://, s3://, gs://, hf://datasets/ORG/NAME), tfds:NAME/SPLIT, "
    "hf:NAME/SPLIT or docstrings:PACKAGE,... Correct the path."
  )
