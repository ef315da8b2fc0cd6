"""Paths as users write them: `~`, `$DATA`, `file:` URLs, buckets and names."""

import importlib.util
import os
import re
import urllib.parse

from ila_jax import errors

_FILE_URL = re.compile(r"file:(//(?P<host>[^/]*))?(?P<path>/.*)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
# A user's home folder; `~*.jsonl` is a pattern.
_HOME = re.compile(r"~[\w.-]*(/.*)?", re.DOTALL)
# A model's place on the Hugging Face Hub, as browsers and fsspec write it.
_HUB_URL = re.compile(
  r"(hf://(models/)?|(https?://)?(www\.)?(huggingface\.co|hf\.co)/)"
  r"(?!datasets/|spaces/|buckets/|models/)"
  r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)"
  r"(@(?P<at>[\w.-]+))?(/(tree|blob|resolve)/(?P<revision>[\w.-]+))?([/?#].*)?",
  re.IGNORECASE,
)
# A URL that lost a slash would be a folder here, by the name of its scheme.
_ONE_SLASH = re.compile(r"(gs|s3|az|https?):/(?!/)", re.IGNORECASE)
# What reads a bucket.
_PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}


def expand(path: str) -> tuple[str, str]:
  """The local path or the URL that is meant, and what is wrong with it.

  A leading `~` is the home folder, `$NAME` a variable of the environment, and
  `file:` URLs are paths, in which %20 is a space. What is there under the very
  name that is given is meant first.

  Returns:
    The path, and ""; or what keeps it from being one.

  >>> expand("file:///data/my%20pool.jsonl"), expand("s3://bucket/a.jsonl")
  (('/data/my pool.jsonl', ''), ('s3://bucket/a.jsonl', ''))
  >>> expand("$NO_SUCH/run")[1]
  'the variable $NO_SUCH is not set'
  """
  if url := _FILE_URL.fullmatch(path):
    if url["host"] not in (None, "", "localhost"):
      host = url["host"]
      return path, f"a file of the host {host!r}; write file:///PATH"
    path = url["path"]
    if not os.path.lexists(path):
      path = urllib.parse.unquote(path)
  path = os.path.expanduser(path)
  if os.path.lexists(path):
    return path, ""
  if is_url(path):  # A scheme is one in any case; what reads it knows one.
    path = f"{scheme(path)}{path[len(scheme(path)) :]}"
  if re.search(r"[\x00-\x1f]", path):
    return path, "it holds a line break or another control character"
  if _HOME.fullmatch(path):
    user = path.partition("/")[0]
    return path, f"{user} is the home folder of no user here"
  if "$" in path:
    path = os.path.expandvars(path)
    left = None if is_url(path) else _VARIABLE.search(path)
    if left:
      return path, f"the variable {left[0]} is not set"
  return path, "" if path.strip() else "it is blank"


def of_folder(
  path: str,
  *,
  name: str,
  schemes: tuple[str, ...] = tuple(_PACKAGES),
  is_model: bool = False,
) -> str:
  """The folder that a flag or a field names, here or in a bucket.

  Args:
    path: as the user wrote it.
    name: of the flag or field, for messages.
    schemes: of the buckets that are allowed.
    is_model: whether a name on the Hugging Face Hub is allowed, too.

  Raises:
    errors.InputError: no path, or a URL that cannot be read as a folder.

  >>> of_folder("file:///data/old%20run", name="--workdir")
  '/data/old run'
  >>> of_folder("hf://Qwen/Qwen2-0.5B", name="config.model.path", is_model=True)
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.model.path is 'hf://Qwen/Qwen2-0.5B', an ...
  """
  expanded, fault = expand(path)
  hub = (
    is_model and not os.path.lexists(expanded) and _HUB_URL.fullmatch(expanded)
  )
  if hub:
    revision = hub["at"] or hub["revision"]
    model = hub["name"]
    if revision and revision != "main":
      model = f"hf:{model}@{revision}"
    raise errors.InputError(
      f"{name} is {path!r}, an address of the Hugging Face Hub. Allowed: a "
      f"folder, or a name on the Hub. Give the name: --{name}={model}"
    )
  if not fault and is_url(expanded):
    fault = _unreadable(expanded, schemes)
  elif (
    not fault and _ONE_SLASH.match(expanded) and not os.path.lexists(expanded)
  ):
    fault = "a URL has two slashes behind its colon"
  if fault:
    buckets = ", ".join(f"{scheme}://" for scheme in schemes)
    named = ", or a name on the Hugging Face Hub (ORG/NAME)" if is_model else ""
    raise errors.InputError(
      f"{name} is {path!r}: {fault}. Allowed: a local folder or one in a "
      f"bucket ({buckets}){named}."
    )
  return expanded


def _unreadable(url: str, schemes: tuple[str, ...]) -> str:
  """What keeps a URL from being read as a folder, and what to do; "": none."""
  scheme = url.partition("://")[0]
  if scheme.lower() in ("http", "https"):
    return (
      "a web address is no folder that can be read or written; download what "
      "it holds, and name the folder"
    )
  if scheme not in schemes:
    return f"{scheme}:// is not read as a folder; copy it here, and name that"
  if not re.match(r"\w", url.partition("://")[2]):
    return f"it names no bucket; write {scheme}://BUCKET/FOLDER"
  package = _PACKAGES[scheme]
  if importlib.util.find_spec(package):
    return ""
  return (
    f"{package}, which reads {scheme}://, is not installed; run `pip install "
    f"{package}`, or copy the folder here and name that"
  )


_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def is_url(path: str) -> bool:
  """Whether a path is read through fsspec.

  >>> is_url("s3://bucket/a.jsonl"), is_url("a:b.jsonl")
  (True, False)
  """
  return bool(_URL.match(path))


def scheme(url: str) -> str:
  """What stands before the :// of a URL.

  >>> scheme("S3://bucket/a.jsonl")
  's3'
  """
  return _URL.match(url)["scheme"].lower()
