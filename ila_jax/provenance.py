"""Stages that know what made them: done, resumable, or another run's.

Every stage folder holds `stage.json`: the inputs that made it (config fields,
fingerprints of the parents), whether it is done, and what it cost. A stage
whose record matches its inputs is skipped or resumed; one that does not match
belongs to another run, and is refused.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from ila_jax import artifacts, checksums, errors, hub, mesh, metrics

RECORD = "stage.json"
# Bytes at each end of a file that tell whether it is still the same.
_SIGNED_BYTES = 65536


def fingerprint(value: Any) -> str:
  """A short hash of a JSON value: equal values have equal fingerprints.

  >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
  True
  """
  text = json.dumps(value, sort_keys=True, ensure_ascii=False)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def signature(path: epath.PathLike) -> dict[str, Any] | None:
  """Tells whether files are what they were: sizes, and hashes of both ends.

  Args:
    path: a file, or a folder, whose own files count.

  Returns:
    {name: [bytes, hash]}; None where there is nothing.
  """
  path = epath.Path(path)
  if not path.exists():
    return None
  if not path.is_dir():
    return {path.name: _signed(path)}
  below = path / "1_Pooling"  # Of sentence-transformers.
  found = [*path.iterdir(), *(below.iterdir() if below.exists() else ())]
  files = sorted(file for file in found if not file.is_dir())
  return {str(file.relative_to(path)): _signed(file) for file in files}


def model_signature(path: epath.PathLike) -> dict[str, Any] | str:
  """Tells whether a model's files, or the revision of its name, are the same.

  Args:
    path: a folder, or a name that `hub.find` knows.

  Returns:
    `signature` of the folder, or the commit that the name stands for now.

  Raises:
    errors.InputError: a name that neither the Hub nor the cache has.
  """
  found = signature(path)
  if found is None:
    return hub.find(path, with_weights=False).name
  return found


def _signed(file: epath.Path) -> list[Any]:
  size = file.stat().length
  with file.open("rb") as stream:
    content = stream.read(_SIGNED_BYTES)
    stream.seek(max(size - _SIGNED_BYTES, 0))
    content += stream.read()
  return [size, hashlib.sha256(content).hexdigest()[:16]]


class Stage:
  """One stage's folder and record, from `open` to `finish`.

  Attributes:
    folder: where the stage writes.
    account: seconds, FLOPs and tokens, added up while it runs.
  """

  def __init__(
    self, workdir: epath.PathLike, name: str, inputs: dict[str, Any]
  ):
    """Names a stage and what it is made from, as a JSON value."""
    self.name = name
    self.folder = epath.Path(workdir) / name
    self.account = metrics.Account()
    self._inputs = json.loads(json.dumps(inputs))
    self._record = self.folder / RECORD

  def open(self, *, replace: str = "nothing") -> bool:
    """Returns whether the stage is done; otherwise claims its folder.

    The first host looks, and all do what it found.

    Args:
      replace: what may be thrown away where it was made from other inputs:
        "nothing"; "unfinished", what is quickly made; or "all", what follows
        from the rest of the run and from nothing else.

    Raises:
      errors.InputError: the folder was made from other inputs.
    """
    done, refusal = False, None
    if mesh.is_writer():
      try:
        done = self._claim(replace)
      except errors.InputError as error:
        refusal = error
    agreed = mesh.agree([done, refusal is not None])
    if agreed[1]:
      raise refusal or errors.InputError("see what the first host says")
    return bool(agreed[0])

  def _claim(self, replace: str) -> bool:
    """Looks at the folder; makes it this run's if it is free."""
    held = visible(self.folder)
    if self._record in held:
      record = read_record(self.folder)
      changed = list(_differences(record["inputs"], self._inputs))
      if not changed:
        self.account.go_on(record.get("spent", {}))
        return self._mend(record)
      unfinished = not record["done"]
      empty = unfinished and held == {self._record}
      if not (
        replace == "all" or empty or (replace == "unfinished" and unfinished)
      ):
        raise self._refusal(changed)
      self.folder.rmtree()
    elif held:
      raise errors.InputError(
        f"--workdir: {self.folder} holds files that no run of ila_jax "
        f"recorded (there is no {RECORD}). Use another --workdir; nothing "
        "was changed."
      )
    self._write(done=False, extra={})
    return False

  def _mend(self, record: dict[str, Any]) -> bool:
    """Removes what is damaged; returns whether the stage is done and whole.

    What is damaged in a folder below, a model or a map, takes that folder with
    it. The stage then goes on as if it had been killed before it wrote them.
    """
    gone = set()
    damage = checksums.find_damage(self.folder)
    for name in record.get("folders", []):
      if not (self.folder / name / checksums.FILE).exists():
        damage[self.folder / name / checksums.FILE] = "it is missing"
    for path, reason in damage.items():
      # In a stage that is not done, a file may be yet to come.
      if record["done"] or path.exists():
        metrics.say(f"  {path} is damaged ({reason}): it is made anew")
      gone.add(path if path.parent == self.folder else path.parent)
    if gone and record["done"]:
      self.account.go_on(record)
      self._write(done=False, extra={"spent": self.account.totals()})
    for path in gone:
      if path.is_dir():
        path.rmtree()
      else:
        artifacts.remove(path)
    return record["done"] and not gone

  def keep(self) -> None:
    """Notes what was spent so far, for the account of a resumed run."""
    if mesh.is_writer():
      self._write(done=False, extra={"spent": self.account.totals()})

  def finish(
    self, output: Any = None, *, matrix_rate: float | None = None, **extra: Any
  ) -> None:
    """Marks the stage done.

    Args:
      output: a JSON value that tells what was made, where the inputs alone do
        not; its children are made from its fingerprint.
      matrix_rate: FLOP/s of the devices that worked for it.
      **extra: JSON values for the manifest.
    """
    mesh.barrier(f"{self.name} written")
    if mesh.is_writer():
      totals = self.account.totals(matrix_rate) | {
        "bytes": _bytes_in(self.folder)
      }
      made = fingerprint([self._inputs if output is None else output])
      folders = sorted(
        path.name
        for path in self.folder.iterdir()
        if path.is_dir() and (path / checksums.FILE).exists()
      )
      known = {"output": made, "folders": folders}
      self._write(done=True, extra=known | totals | extra)
    mesh.barrier(f"{self.name} recorded")

  def recorded_inputs(self) -> dict[str, Any]:
    """The inputs that the folder's finished content was made from, or {}."""
    record = read_record(self.folder)
    return record["inputs"] if record.get("done") else {}

  def _write(self, *, done: bool, extra: dict[str, Any]) -> None:
    artifacts.write_json(
      self._record,
      {"stage": self.name, "done": done, "inputs": self._inputs, **extra},
    )

  def _refusal(self, changed: list[tuple[str, Any, Any]]) -> errors.InputError:
    what = "; ".join(
      f"{name} was {old!r} and is now {new!r}" for name, old, new in changed[:3]
    )
    more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
    return errors.InputError(
      f"--workdir: {self.folder} was made by another run: {what}{more}. Use "
      f"another --workdir, or add --redo={self.name} to replace this stage "
      "and what was made from it; nothing was changed."
    )


def read_record(folder: epath.PathLike) -> dict[str, Any]:
  """What a stage has noted in its folder; {} where it has not begun.

  Raises:
    errors.InputError: the record, or the ledger beside it, is damaged.
  """
  folder = epath.Path(folder)
  if not (folder / RECORD).exists():
    return {}
  reason = ""
  if checksums.read(folder) is None:
    reason = f"{checksums.FILE} is missing"
  try:
    if not reason:
      return artifacts.read_json(folder / RECORD)
  except checksums.Damaged as error:
    reason = f"{RECORD}: {error.reason}"
  raise errors.InputError(
    f"{folder} does not tell what made it and whether it is whole ({reason}). "
    "Remove that folder and run again: it is made anew, and what was made from "
    "it is kept."
  )


def visible(folder: epath.PathLike) -> set[epath.Path]:
  """What is in a folder, but for the ledger and what a killed writer left."""
  folder = epath.Path(folder)
  if not folder.exists():
    return set()
  return {
    path
    for path in folder.iterdir()
    if not (path.name.startswith(".") and path.name.endswith(".tmp"))
    and path.name != checksums.FILE
  }


def _bytes_in(folder: epath.Path) -> int:
  return sum(
    _bytes_in(path) if path.is_dir() else path.stat().length
    for path in folder.iterdir()
  )


def _differences(
  old: Any, new: Any, name: str = ""
) -> Iterator[tuple[str, Any, Any]]:
  """Yields (dotted name, old, new) where two JSON values differ."""
  if isinstance(old, dict) and isinstance(new, dict):
    for key in sorted(old.keys() | new.keys()):
      dotted = f"{name}.{key}" if name else key
      yield from _differences(old.get(key), new.get(key), dotted)
  elif old != new:
    yield name, old, new


def output(workdir: epath.PathLike, stage: str) -> str:
  """The fingerprint of what a finished stage made, for its children.

  Raises:
    errors.InputError: the stage has not been run to its end.
  """
  record = read_record(epath.Path(workdir) / stage)
  if not record.get("done"):
    raise errors.InputError(
      f"--stages: stage {stage!r} is needed and has not finished in "
      f"{workdir}. Add it to --stages, or leave --stages out to run all."
    )
  return record["output"]
