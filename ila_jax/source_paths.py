"""Paths of sources: what a user means by `~`, `$DATA`, `file:` and patterns."""

import os
import re
import urllib.parse

from ila_jax import errors, file_formats

_FILE_URL = re.compile(r"file:(//(?P<host>[^/]*))?(?P<path>/.*)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


def of(spec: str) -> str:
  """The local path, or the URL, that a source names.

  A leading `~` is the home folder, `$NAME` a variable of the environment, and
  `file:` URLs are paths, in which %20 is a space. What is there under the very
  name that is given is meant first.

  Raises:
    InputError: a variable that is not set, or a file of another host.

  >>> of("file:///data/my%20pool.jsonl"), of("s3://bucket/a.jsonl")
  ('/data/my pool.jsonl', 's3://bucket/a.jsonl')
  """
  path = spec
  if url := _FILE_URL.fullmatch(spec):
    if url["host"] not in (None, "", "localhost"):
      raise missing(
        spec, f"a file of the host {url['host']!r}; write file:///PATH"
      )
    path = url["path"]
    if not os.path.lexists(path):
      path = urllib.parse.unquote(path)
  path = os.path.expanduser(path)
  if "$" in path and not os.path.lexists(path):
    path = os.path.expandvars(path)
    left = None if file_formats.is_url(path) else _VARIABLE.search(path)
    if left:
      raise missing(spec, f"the variable {left[0]} is not set")
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
    f"({file_formats.ALLOWED}), a glob or a folder of such files, a URL "
    "(https://, s3://, gs://, hf://datasets/ORG/NAME), tfds:NAME/SPLIT, "
    "hf:NAME/SPLIT or docstrings:PACKAGE,... Correct the path."
  )
