"""A workdir compared with what `run.tables` declares."""

import pathlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from ila_jax.run import tables


def faults(workdir: str | pathlib.Path, stage: str = "") -> list[str]:
  """Files that are not declared, and tables that are not as declared.

  Args:
    workdir: of a run that has ended.
    stage: the folder in it that is looked at; "" for all of it.
  """
  workdir = pathlib.Path(workdir)
  found: list[str] = []
  for path in sorted((workdir / stage).rglob("*")):
    name = path.relative_to(workdir).as_posix()
    if path.is_dir() or any(part.startswith(".") for part in name.split("/")):
      continue
    artifact = find(name)
    if artifact is None:
      found.append(f"{name} is not declared")
    elif artifact.is_passing:
      found.append(f"{name} was to go")
    elif artifact.columns:
      found += _of_columns(name, artifact, pq.read_schema(path))
  return found


def find(path: str) -> tables.Artifact | None:
  """The artifact that a path in a workdir is, or lies in; None of others."""
  parents = path.split("/")[:-1]
  above = ["/".join(parents[:n]) + "/" for n in range(len(parents), 0, -1)]
  for name in (path, *above):
    for artifact in tables.ARTIFACTS:
      if artifact.matches(name):
        return artifact
  return None


def _of_columns(
  name: str, artifact: tables.Artifact, schema: pa.Schema
) -> Iterator[str]:
  for column in schema:
    declared = artifact.column_type(column.name)
    if declared != str(column.type):
      yield f"{name}: {column.name} is {column.type}, declared is {declared}"
  declared = [column for column in artifact.columns if "{" not in column]
  if declared != [column for column in schema.names if column in declared]:
    yield f"{name}: columns {schema.names}, declared are {declared}"


def written(workdir, *stages: str) -> dict:
  """When each file of some stages was written, and what is in it."""
  return {
    path: (path.stat().st_mtime_ns, path.read_bytes())
    for stage in stages
    for path in (workdir / stage).rglob("*")
    if path.is_file()
  }
