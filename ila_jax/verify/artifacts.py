"""The files of a run: each is there, is what was written, and has its form."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from ila_jax import errors
from ila_jax.run import progress, stages, tables, units
from ila_jax.run.disk import artifact, checksums, folders
from ila_jax.verify import findings

_MEGABYTE = 10**6


def names(workdir: epath.Path) -> list[str]:
  """The folders that a run keeps a record in, as far as they are there."""
  known = (*stages.RECORDED, *folders.on_demand(workdir))
  return [name for name in known if (workdir / name).exists()]


def _below(folder: epath.Path) -> Iterator[epath.Path]:
  """A folder and all in it, but for checkpoints, which come and go."""
  yield folder
  for path in sorted(folder.iterdir()):
    passing = tables.CHECKPOINTS.matches(f"{folder.name}/{path.name}/")
    if path.is_dir() and not passing:
      yield from _below(path)


def _with_ledgers(workdir: epath.Path) -> list[epath.Path]:
  found = [workdir, tables.COMPILED.path(workdir)]
  for name in names(workdir):
    found += _below(workdir / name)
  return found


def short(workdir: epath.Path, path: epath.Path) -> str:
  """A path as it is called in the workdir.

  >>> short(epath.Path("runs/a"), epath.Path("runs/a/pool/stage.json"))
  'pool/stage.json'
  """
  return os.fspath(path).removeprefix(os.fspath(workdir)).lstrip("/")


def whole(
  workdir: epath.Path, records: dict[str, dict[str, Any]]
) -> findings.Check:
  """Compares each file with the checksum that was taken when it was written.

  Args:
    workdir: of the run.
    records: of its folders, by name; files of one that is not done may be yet
      to come.
  """
  differs, listed = [], []
  unfinished = {name for name in records if not records[name]["done"]}
  for name, record in records.items():
    for folder in record.get("folders", []):  # Each has a ledger of its own.
      path = workdir / name / folder / checksums.FILE
      if not path.exists():
        differs.append(f"{short(workdir, path)}: it is missing")
  for folder in _with_ledgers(workdir):
    try:
      ledger = checksums.read(folder) or {}
    except errors.InputError as error:
      differs.append(str(error))
      continue
    for name, entries in ledger.items():
      path = folder / name
      inside = f"{short(workdir, folder)}/"
      to_come = any(inside.startswith(f"{one}/") for one in unfinished)
      if path.exists() or not to_come:
        listed.append((path, entries))
  total = sum(p.stat().length for p, _ in listed if p.exists())
  with progress.counter(
    total // _MEGABYTE, desc="checksums", unit="MB"
  ) as advance:
    for path, entries in listed:
      reason = checksums.damage(path, entries, _megabytes(advance))
      if reason:
        differs.append(f"{short(workdir, path)}: {reason}")
  for name in names(workdir):
    differs += [
      f"{short(workdir, path)}: no run has noted that it wrote it"
      for path in _theirs(workdir / name)
    ]
  looked = f"{len(listed):,} files of {units.si(total, 'B')} by their checksums"
  return findings.made("files", looked, differs)


def _theirs(folder: epath.Path) -> list[epath.Path]:
  try:
    return folders.theirs(folder)
  except errors.InputError:
    return []  # Of a damaged ledger, which was named.


def _megabytes(advance: Callable[[int], object]) -> Callable[[int], None]:
  """Passes bytes on as whole megabytes."""
  left = 0

  def add(size: int) -> None:
    nonlocal left
    whole, left = divmod(left + size, _MEGABYTE)
    if whole:
      advance(whole)

  return add


def forms(workdir: epath.Path) -> findings.Check:
  """Compares the columns of each table with those of this version."""
  differs, count = [], 0
  for folder in _with_ledgers(workdir)[2:]:
    for path in sorted(folder.iterdir()):
      name = short(workdir, path)
      found = _declared(name)
      if found is not None and checksums.is_whole(path):
        count += 1
        differs += _of_columns(name, found, path)
  looked = f"columns of {count:,} tables by those of this version"
  return findings.made("formats", looked, differs)


def _declared(name: str) -> artifact.Artifact | None:
  """The artifact with columns that a file is, in the run or in a set beside."""
  parts = name.split("/")
  own = "/".join(parts[2:]) if parts[0] == folders.BESIDE else name
  for one in tables.ARTIFACTS:
    if one.columns and (one.matches(name) or one.matches(own)):
      return one
  return None


def _of_columns(
  name: str, declared: artifact.Artifact, path: epath.Path
) -> Iterator[str]:
  try:
    with path.open("rb") as file:
      schema = pq.read_schema(file)
  except pa.ArrowException as error:
    yield f"{name}: it is no Parquet table ({str(error).splitlines()[0]})"
    return
  for column in schema:
    kind = declared.column_type(column.name)
    if kind is None:
      yield f"{name}: column {column.name!r} is not one of this version"
    elif kind != str(column.type):
      yield f"{name}: column {column.name!r} is {column.type}, not {kind}"
  for column in declared.columns:
    if "{" not in column and column not in schema.names:
      yield f"{name}: column {column!r} is missing"
