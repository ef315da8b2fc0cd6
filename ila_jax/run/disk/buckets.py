"""Folders in a bucket of Google Cloud Storage: gs://BUCKET/FOLDER.

A bucket has objects with slashes in their names, and no folders: nothing is
made before an object, nothing is renamed, nothing is added to an object. In
return an object has its name only when its upload has come to its end, so no
temporary name is needed: a kill leaves the former object, or none.
"""

import base64
import contextlib
import logging
import os
import re
import traceback
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import fsspec
from etils import epath

from ila_jax import errors

# gcsfs reads and writes all of it. etils would take TensorFlow where that is
# installed, which commits what it has of a file when the writing fails.
os.environ.setdefault("EPATH_USE_TF", "false")
# gcsfs would ask another server, over gRPC, of what kind each bucket is.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
# A listing that is kept does not show what other hosts and TensorStore write.
fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
# It logs errors with a traceback each, and then raises them: told once.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)

# Bytes that are sent at once; a multiple of 256 KiB, as the protocol asks for.
_PART = 2**25
_BUCKET = re.compile(r"gs://[^/]+")
# Answers that tell of an account without the right, or of no account.
_NO_RIGHT = (401, 403)
_LOGIN = (
  "Log in with `gcloud auth application-default login`, or set "
  "GOOGLE_APPLICATION_CREDENTIALS to the key file of an account that has the "
  "role Storage Object Admin (roles/storage.objectAdmin) of the bucket"
)


def is_remote(path: epath.PathLike) -> bool:
  """Whether a path is in a bucket.

  >>> is_remote("gs://bucket/run"), is_remote("runs/first")
  (True, False)
  """
  return "://" in os.fspath(path)


def make(folder: epath.PathLike) -> None:
  """Makes a local folder; in a bucket there is none to be made.

  There etils would make the bucket itself, of a name that is misspelt, too.
  """
  if not is_remote(folder):
    epath.Path(folder).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def upload(path: epath.PathLike) -> Iterator[Any]:
  """Yields a file to write bytes to; the object is there when the block ends.

  If the block raises, the bucket is as it was.

  Args:
    path: in a bucket.
  """
  name = os.fspath(path)
  file = _system(path).open(name, "wb", block_size=_PART, autocommit=False)
  try:
    yield file
    try:
      file.close()
      file.commit()
    except FileNotFoundError as error:
      raise no_bucket(path) from error
  except BaseException:
    # What failed may fail here again; what was sent then goes after a week.
    with contextlib.suppress(Exception):
      file.discard()
    file.closed = True
    raise


def create(path: epath.PathLike, content: bytes) -> bool:
  """Writes an object if there is none of its name; says whether it did.

  Of two that try at once, one succeeds.
  """
  try:
    _system(path).pipe_file(os.fspath(path), content, mode="create")
  except FileExistsError:
    return False
  except FileNotFoundError as error:
    raise no_bucket(path) from error
  return True


def copy(source: epath.PathLike, target: epath.PathLike) -> None:
  """Copies an object within the buckets, which moves no byte over here."""
  _system(source).cp_file(os.fspath(source), os.fspath(target))


class Object(NamedTuple):
  """What a bucket tells of an object.

  Attributes:
    size: in bytes.
    version: changes whenever the object is written.
    crc32c: its CRC-32C in hexadecimal digits; None where the bucket tells none.
  """

  size: int
  version: str
  crc32c: str | None


def look(path: epath.PathLike) -> Object | None:
  """Asks for what a bucket tells of an object; None where there is none."""
  try:
    told = _system(path).info(os.fspath(path))
  except FileNotFoundError:
    return None
  crc = told.get("crc32c")
  return Object(
    size=int(told["size"]),
    version=f"{told.get('generation')} {told.get('mtime')}",
    crc32c=base64.b64decode(crc).hex() if crc else None,
  )


def read(path: epath.PathLike) -> bytes:
  """Reads a small object by one request.

  Raises:
    FileNotFoundError: there is none.
  """
  return _system(path).cat_file(os.fspath(path))


def bytes_in(folder: epath.PathLike) -> int:
  """Bytes of all objects in a folder and below; 0 where there is none."""
  return sum(_system(folder).du(os.fspath(folder), total=False).values())


def _system(path: epath.PathLike) -> Any:
  """The file system of a path; fsspec keeps one for all."""
  return fsspec.core.url_to_fs(os.fspath(path))[0]


def inside(folder: epath.PathLike) -> Iterator[epath.Path]:
  """Yields what is in a folder, here or in a bucket.

  A folder that was made by the console of a bucket is an object of no bytes,
  which listings of that folder have too: it is left out.

  Raises:
    FileNotFoundError: there is no such folder.
  """
  folder = epath.Path(folder)
  if not is_remote(folder):
    yield from folder.iterdir()
    return
  system = _system(folder)
  own = system._strip_protocol(os.fspath(folder))
  for name in system.ls(os.fspath(folder), detail=False):
    if name.rstrip("/") != own:
      yield folder / name.rstrip("/").rpartition("/")[2]


def _bucket_of(frames: Iterable[types.FrameType]) -> str:
  """The bucket that was asked, by the first path in one that a caller held."""
  for frame in frames:
    for value in frame.f_locals.values():
      is_path = isinstance(value, (str, epath.Path))
      named = _BUCKET.match(os.fspath(value)) if is_path else None
      if named:
        return f"the bucket {named[0]}"
  return "the bucket"


def no_bucket(path: epath.PathLike) -> errors.InputError:
  """Tells that there is no bucket, which is where nothing can be written."""
  bucket = _BUCKET.match(os.fspath(path))[0]
  return errors.InputError(
    f"{path} cannot be written: there is no bucket {bucket}, or this account "
    f"may not see it. Make it with `gcloud storage buckets create {bucket}`, "
    "or correct the name."
  )


def explain(error: BaseException) -> tuple[int, str] | None:
  """The exit status and the message of an error of a bucket.

  gcsfs has tried six times by then, for up to a minute, where that may help.

  Returns:
    None: it is another error.

  >>> explain(ValueError("of no bucket"))
  """
  frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
  if not any(
    frame.f_globals.get("__name__", "").startswith("gcsfs") for frame in frames
  ):
    return None
  bucket = _bucket_of(frames)
  said = " ".join(str(error).split())[:300] or type(error).__name__
  refused = (
    said.startswith("Forbidden: ")
    or getattr(error, "code", None) in _NO_RIGHT
    or type(error).__name__ == "DefaultCredentialsError"
  )
  if refused:
    return errors.BAD_INPUT, (
      f"{bucket} refuses this account ({said}). {_LOGIN}."
    )
  if type(error) in (FileNotFoundError, ValueError):
    return None  # Of what asked for it.
  return errors.LOST, (
    f"{bucket} does not answer as it should ({said}). What was whole is "
    "kept: run the same command again, which goes on from here."
  )
