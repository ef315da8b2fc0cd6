"""Which files a source names, and which of a folder are left out.

Whatever lies in a folder and is not read is named, so that nobody trains on
half of a pool without knowing it.
"""

import glob
import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ila_jax import errors
from ila_jax.pool.sources import formats
from ila_jax.pool.sources import paths as paths_lib
from ila_jax.run import tables
from ila_jax.run.disk import paths as paths_lib_

# Extras of fsspec whose names are not those of the scheme.
_EXTRA = {"https": "http", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
# What `datasets`, dask and Spark write beside their data.
_ABOUT_DATA = {
  *("dataset_info.json", "dataset_infos.json", "dataset_dict.json"),
  *("_metadata", "_common_metadata", "_SUCCESS"),
}
_NAMES_TOLD = 5
_UNKNOWN = "of no known format"

# A path, and what it holds or why it is left out.
_Entry = tuple[str, formats.DataFile | str]


def find(
  spec: str, *, announce: Callable[[str], object] = lambda message: None
) -> list[formats.DataFile]:
  """The files of a path, a glob, a folder or a URL, in sorted order.

  Where a folder holds `train` and `test` of one thing, such as
  `gsm8k_train.jsonl` and `gsm8k_test.jsonl`, what is there to be held out
  (validation, test) is left out. Files that are named themselves are all read.

  Args:
    spec: what the user named, as `paths.of` takes it.
    announce: gets a line of what is read and what is left out, where `spec`
      is not one file.

  Raises:
    InputError: nothing to read, no regular file, a link to nothing, or a URL
      that cannot be reached.

  >>> find("no/such.jsonl")
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.pool.source is 'no/such.jsonl': no such ...
  """
  path = paths_lib.of(spec)
  look = _remote if paths_lib_.is_url(path) else _local
  try:
    entries = look(spec, path)
  except (OSError, ValueError) as error:
    raise paths_lib.missing(spec, f"cannot be opened ({error})") from error
  if isinstance(entries, formats.DataFile):
    return [entries]
  is_glob = glob.has_magic(path) and not os.path.isdir(path)
  if not is_glob:  # Which names its files itself.
    entries = _without_held_out(entries)
  kept = [what for _, what in entries if isinstance(what, formats.DataFile)]
  gone = paths_lib.absent(file.path for file in kept)
  if gone and not is_glob:
    raise paths_lib.incomplete(spec, _names(gone, ""))
  above = _above([path for path, _ in entries]) if entries else ""
  left_out = _left_out(entries, above)
  if not kept:
    where = "matches" if is_glob else "in this folder"
    raise paths_lib.missing(
      spec, f"no file of a known format {where}{left_out}"
    )
  names = _names([file.path for file in kept], above)
  if gone:
    left_out += f"; missing: {len(gone):,} ({_names(gone, above)})"
  announce(f"{spec}: reads {len(kept)} ({names}){left_out}")
  return kept


def _names(paths: Sequence[str], above: str) -> str:
  """The first paths, from the folder that is above all."""
  names = ", ".join(path.removeprefix(above) for path in paths[:_NAMES_TOLD])
  more = len(paths) - _NAMES_TOLD
  return f"{names} and {more} more" if more > 0 else names


def _above(paths: Sequence[str]) -> str:
  """The folder in which all paths are, with the slash at its end."""
  first, *others = (path.rpartition("/")[0].split("/") for path in paths)
  for other in others:
    pairs = zip(first, other, strict=False)
    first = [a for a, _ in itertools.takewhile(lambda p: p[0] == p[1], pairs)]
  return "".join(f"{folder}/" for folder in first)


def _left_out(entries: list[_Entry], above: str) -> str:
  """A clause that names what is left out, by reason; "": nothing."""
  reasons: dict[str, list[str]] = {}
  for path, what in entries:
    if isinstance(what, str):
      reasons.setdefault(what, []).append(path)
  told = [f"{len(p)} {why} ({_names(p, above)})" for why, p in reasons.items()]
  return f"; left out: {'; '.join(told)}" if told else ""


def _local(spec: str, path: str) -> formats.DataFile | list[_Entry]:
  if os.path.isdir(path):
    return list(_inside(path, (os.path.realpath(path),)))
  if os.path.lexists(path):
    _check_regular(path)
    file = formats.by_name(path) or formats.by_content(path)
    if not file:
      raise paths_lib.missing(
        spec, "its suffix tells no known format, and it begins like none"
      )
    return file
  if not glob.has_magic(path):
    raise paths_lib.missing(spec, "no such file or folder")
  folder = paths_lib.deepest_folder(path)  # Its name is no pattern.
  pattern = glob.escape(folder) + path[len(folder) :]
  matches = sorted(glob.glob(pattern, recursive=True))
  return [
    (match, "folders" if os.path.isdir(match) else _look_at(match))
    for match in matches
    if not ("**" in path and os.path.isdir(match))
  ]


def _inside(folder: str, above: tuple[str, ...]) -> Iterator[_Entry]:
  """Yields what is in a folder and below; `above` are the real paths to it."""
  entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
  names = {entry.name for entry in entries}
  if "_delta_log" in names:
    raise errors.InputError(
      f"config.pool.source: {folder} is a Delta table, whose folder also holds "
      "what was deleted from it. Write it as Parquet first."
    )
  for entry in entries:
    if entry.name.startswith("."):
      if formats.by_name(entry.name) or _holds_data(entry.path):
        yield entry.path, "hidden"
    elif os.path.isdir(entry.path):
      yield from _folder(entry.path, above)
    elif _is_about_data(entry.name, names):
      yield entry.path, "about the data"
    else:
      yield entry.path, _look_at(entry.path)


def _folder(path: str, above: tuple[str, ...]) -> Iterator[_Entry]:
  """Yields what is in a folder of a folder, or why it is left out."""
  real = os.path.realpath(path)
  if real in above:
    yield path, "links to a folder above"
  elif _is_run(path):
    yield path, "of a run of ila_jax"
  elif os.path.basename(path) == "_temporary":
    yield path, "not finished by Spark"
  else:
    yield from _inside(path, (*above, real))


def _holds_data(folder: str) -> bool:
  """Whether a folder, or one below, has a file of a known format."""
  return any(
    formats.by_name(name) for _, _, names in os.walk(folder) for name in names
  )


def _is_run(folder: str) -> bool:
  """Whether a folder is the workdir of a run, whose records are no source."""
  try:
    with open(tables.MANIFEST.path(folder), encoding="utf-8") as file:
      manifest = json.load(file)
  except (OSError, ValueError):
    return False
  return isinstance(manifest, dict) and tables.OURS in manifest


def _is_about_data(name: str, beside: Iterable[str]) -> bool:
  """Whether `datasets`, dask or Spark wrote it about others or as a cache."""
  return (
    name in _ABOUT_DATA
    or (name == "state.json" and "dataset_info.json" in beside)
    or bool(re.fullmatch(r"(cache|tmp)[-0-9a-z_]*(_of_\d+)?\.arrow", name))
  )


def _look_at(path: str) -> formats.DataFile | str:
  """What a file of a folder holds, or why it is left out."""
  file = formats.by_name(path)
  if file:
    _check_regular(path)
    return file
  if "." in os.path.basename(path) or not os.path.isfile(path):
    return _UNKNOWN
  return formats.by_content(path) or _UNKNOWN


def _check_regular(path: str) -> None:
  """Refuses links to nothing, and what has no end or is gone once read."""
  try:
    mode = os.stat(path).st_mode
  except OSError as error:
    link = f", a link to {os.readlink(path)}," if os.path.islink(path) else ""
    raise errors.InputError(
      f"config.pool.source: {path}{link} cannot be opened "
      f"({error.strerror}). Allowed: a regular file that is there. Bring the "
      "file, or take its name out of the source."
    ) from error
  if not stat.S_ISREG(mode):
    raise errors.InputError(
      f"config.pool.source: {path} is a pipe, a device or a socket. Allowed: "
      "a regular file, for a pool is read more than once. Write the records "
      "to a file first."
    )


def _without_held_out(entries: list[_Entry]) -> list[_Entry]:
  """Leaves out the other splits of what has a train split.

  Folders above all files are no matter: they are the same split for each.
  """
  splits = {
    path: paths_lib.splits(path)
    for path, what in entries
    if isinstance(what, formats.DataFile)
  }
  trained = {
    whole
    for found in splits.values()
    for whole, split in found.items()
    if split == "train"
  }
  kept = []
  for path, what in entries:
    for whole, split in splits.get(path, {}).items():
      if whole in trained and split != "train":
        what = f"of the split {split}, beside one to train on"
    kept.append((path, what))
  return kept


def _file_system(url: str) -> tuple[Any, str]:
  """The file system of a URL, and its own name for the path."""
  import fsspec

  scheme = paths_lib_.scheme(url)
  try:
    return fsspec.core.url_to_fs(url)
  except ImportError as error:
    extra = _EXTRA.get(scheme, scheme)
    raise errors.InputError(
      f"config.pool.source is {url!r}, and what reads {scheme}:// is not "
      f"installed ({error}). Run `pip install 'fsspec[{extra}]'`, or download "
      "the file and name it."
    ) from error
  except ValueError as error:
    raise paths_lib.missing(url, f"no known kind of URL ({error})") from error


def remote_signature(url: str) -> dict[str, Any]:
  """What a server says of a file that changes when the file does.

  Returns:
    {url: [bytes, name of the content or time of the last change]}.
  """
  system, path = _file_system(url)
  info = system.info(path)
  version = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "LastModified")
  known = next((info[key] for key in version if info.get(key)), "")
  return {url: [info.get("size"), str(known)]}


def _remote(spec: str, url: str) -> formats.DataFile | list[_Entry]:
  system, path = _file_system(url)
  named = formats.by_name(url)
  has_magic = glob.has_magic(url.partition("?")[0])
  try:
    if named and not has_magic:
      if system.exists(path):
        return named
      raise paths_lib.missing(spec, "no such file, or it cannot be reached")
    inside = system.glob(path) if has_magic else system.find(path)
  # Each file system raises what its own libraries raise.
  except Exception as error:
    if isinstance(error, errors.InputError):
      raise
    cause = str(error).partition("\n")[0] or type(error).__name__
    raise paths_lib.missing(spec, f"cannot be reached ({cause})") from error
  names = sorted(system.unstrip_protocol(name) for name in inside)
  beside = {formats.last(name) for name in names}
  return [
    (
      name,
      "about the data"
      if _is_about_data(formats.last(name), beside)
      else formats.by_name(name) or _UNKNOWN,
    )
    for name in names
  ]
