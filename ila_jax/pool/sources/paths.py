"""Paths of sources, patterns among them, and what is said of a missing one."""

import os
import re

from ila_jax import errors
from ila_jax.pool.sources import formats
from ila_jax.run.disk import paths


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


def missing(spec: str, what: str) -> errors.InputError:
  """The error of a source that is not there."""
  return errors.InputError(
    f"config.pool.source is {spec!r}: {what}. Allowed: a file "
    f"({formats.ALLOWED}), a glob or a folder of such files, a URL "
    "(https://, s3://, gs://, hf://datasets/ORG/NAME), tfds:NAME/SPLIT, "
    "hf:NAME/SPLIT or docstrings:PACKAGE,... Correct the path."
  )
