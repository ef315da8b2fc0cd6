"""The records of a run's stages: which are done, from what, by what version."""

import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.run import stage_record, stages, tables
from ila_jax.verify import artifacts, findings

Records = dict[str, dict[str, Any]]


def read(workdir: epath.Path) -> tuple[Records, findings.Check]:
  """The records by the names of their folders, and whether they fit together.

  A stage that is done must have been made from what the stages before it hold
  now. A record that is damaged is left out.
  """
  records: Records = {}
  differs = []
  for name in artifacts.names(workdir):
    try:
      record = stage_record.read_record(workdir / name)
    except errors.InputError as error:
      differs.append(str(error))
      continue
    if record:
      records[name] = record
  for name, record in records.items():
    differs += _misfits(name, record, records)
  done = [name for name in records if records[name]["done"]]
  looked = f"{len(done)} folders done, each from what is there now"
  if left := [name for name in stages.NAMES if name not in done]:
    looked += f"; not done: {', '.join(left)}"
  return records, findings.made("records", looked, differs)


def _misfits(
  name: str, record: dict[str, Any], records: Records
) -> Iterator[str]:
  if not record["done"]:
    return
  for parent in stages.NAMES:
    theirs = record["inputs"].get(parent)
    if not isinstance(theirs, str):
      continue
    made = records.get(parent, {})
    if not made.get("done"):
      yield f"{name}: it was made from {parent}, which is not done or damaged"
    elif made["output"] != theirs:
      yield f"{name}: it was made from another {parent} than is there"


def versions(records: Records) -> findings.Check:
  """Compares the versions that made each stage with the present ones."""
  ours, by_version = stage_record.VERSIONS, dict[str, list[str]]()
  for name, record in records.items():
    found = [record.get("versions", {}), *record.get("versions_before", [])]
    for version in found:
      if version != ours:
        names = by_version.setdefault(stage_record.told(version), [])
        names += [name] if name not in names else []
  differs = [
    f"{', '.join(names)}: made by {version}, and this is "
    f"{stage_record.told(ours)}"
    for version, names in by_version.items()
  ]
  looked = f"{len(records)} folders by {stage_record.told(ours)}"
  return findings.made("versions", looked, differs)


def config(workdir: epath.Path, records: Records) -> dict[str, Any]:
  """The settings of a run as plain values: what its stages were made from.

  Raises:
    errors.InputError: the manifest, which has them, is lost or damaged.
  """
  path = tables.MANIFEST.path(workdir)
  try:
    values = json.loads(path.read_text())["config"]
    if not isinstance(values, dict):
      raise TypeError(f"config is {values!r}")
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.InputError(
      f"{path} does not tell the settings of the run ({error})"
    ) from error
  # The manifest has those of the last call, in which a stage may have been
  # skipped: what it was made from goes before.
  for name, record in records.items():
    made_from = record["inputs"].get("config")
    if name in stages.NAMES and isinstance(made_from, dict):
      values = _merged(values, made_from)
  return values


def _merged(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
  """Nested settings, of which those in `others` count."""
  merged = dict(values)
  for name, value in others.items():
    held = values.get(name)
    if isinstance(value, dict) and isinstance(held, dict):
      merged[name] = _merged(held, value)
    elif name in values:  # Notes of a stage beside its settings are none.
      merged[name] = value
  return merged
