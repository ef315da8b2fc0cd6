"""Stages that know what made them: done, resumable, or another run's.

Every stage folder holds `stage.json`: the inputs that made it (config fields,
fingerprints of the parents), whether it is done, and what it cost. A stage
whose record matches its inputs is skipped or resumed; one that does not match
belongs to another run, and is refused.
"""

import hashlib
import json
from typing import Any

import jax
from etils import epath

import ila_jax
from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run import account, progress, stages, tables
from ila_jax.run.disk import buckets, checksums, differences, files, folders
from ila_jax.run.reuse import finished

RECORD = tables.RECORD.file()
# What may change a result and is no input: told, and not refused.
VERSIONS = {"ila_jax": ila_jax.__version__, "jax": jax.__version__}


def fingerprint(value: Any) -> str:
  """A short hash of a JSON value: equal values have equal fingerprints.

  >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
  True
  """
  text = json.dumps(value, sort_keys=True, ensure_ascii=False)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


class Stage:
  """One stage's folder and record, from `begin` to `finish`.

  Attributes:
    folder: where the stage writes.
    account: seconds, FLOPs and tokens, added up while it runs.
  """

  def __init__(
    self,
    workdir: epath.PathLike,
    name: str,
    inputs: dict[str, Any],
    *,
    scope: Any = None,
  ):
    """Names a stage and what it is made from.

    `inputs` are a JSON value of what its content follows from, `scope` of how
    much of it is to be made: done with another scope, it is gone on with.
    """
    self.name = name
    self.folder = epath.Path(workdir) / name
    self.account = account.Account()
    self._inputs, self._scope = json.loads(json.dumps([inputs, scope]))
    self._record = self.folder / RECORD
    self._before: list[dict[str, str]] = []

  def begin(self, *, replace: str = "nothing", quiet: bool = False) -> bool:
    """Returns whether the stage is done; otherwise claims its folder.

    The first host looks, and all do what it found.

    Args:
      replace: what may be thrown away where it was made from other inputs:
        "nothing"; "unfinished", what is quickly made; or "all", what follows
        from the rest of the run and from nothing else.
      quiet: does not say that it is done: a part of another stage.

    Raises:
      errors.InputError: the folder was made from other inputs.
    """
    done = mesh.first_host_does(self._claim, replace)
    if done and not quiet:
      progress.say("  skipped: it is done")
    return done

  def _claim(self, replace: str) -> bool:
    """Looks at the folder; makes it this run's if it is free."""
    folders.finish_removal(self.folder)
    record = read_record(self.folder) or finished.take(
      self.folder, self._inputs, VERSIONS, self._scope, read=read_record
    )
    if record:
      changed = list(differences.find(record["inputs"], self._inputs))
      if not changed:
        self._tell_versions(record)
        return self._mend(record)
      unfinished = not record["done"]
      empty = folders.visible(self.folder) == {self._record}
      if not (
        replace == "all" or (unfinished and (empty or replace == "unfinished"))
      ):
        raise self._refusal(changed)
      check_all_ours(self.folder)
      if unfinished and not empty:
        progress.say(f"  begun anew, for {differences.tell(changed)}")
      folders.remove(self.folder)
    self._write(done=False, extra={})
    return False

  def _tell_versions(self, record: dict[str, Any]) -> None:
    """Tells of another version of ila_jax or JAX that was at work here."""
    theirs = record.get("versions", {})
    self._before = record.get("versions_before", [])
    if theirs == VERSIONS:
      return
    made = "was made" if record["done"] else "was begun"
    progress.say(
      f"  note: stage {self.name} {made} by {told(theirs)}, and this is "
      f"{told(VERSIONS)}: results may differ in the last digits or more "
      "(--redo makes a stage anew)"
    )
    if not record["done"]:
      self._before = [*self._before, theirs]
      self._write(done=False, extra={"spent": record.get("spent", {})})

  def _mend(self, record: dict[str, Any]) -> bool:
    """Removes what is damaged; returns whether the stage is done and whole.

    What is damaged in a folder below, a model or a map, takes that folder with
    it. The stage then goes on as if it had been killed before it wrote them.
    """
    gone, damage = set(), checksums.find_damage(self.folder)
    whole = record.get("scope") == self._scope
    for name in record.get("folders", []):
      if not (self.folder / name / checksums.FILE).exists():
        damage[self.folder / name / checksums.FILE] = "it is missing"
    for path, reason in damage.items():
      # In a stage that is not done, a file may be yet to come.
      if record["done"] or path.exists():
        progress.say(f"  {path} is damaged ({reason}): it is made anew")
      gone.add(path if path.parent == self.folder else path.parent)
    # What is done and damaged has its account beside, not below, "spent".
    self.account.go_on(record if record["done"] else record.get("spent", {}))
    if record["done"] and (gone or not whole):
      self._write(done=False, extra={"spent": self.account.totals()})
    for path in gone:
      if path.is_dir():
        if checksums.read(path) is not None:  # Else nothing tells.
          check_all_ours(path)
        folders.remove(path)
      else:
        files.remove(path)
    return record["done"] and whole and not gone

  def save_progress(self) -> None:
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
        "bytes": bytes_in(self.folder)
      }
      made = fingerprint([self._inputs if output is None else output])
      below = sorted(
        path.name
        for path in self.folder.iterdir()
        if path.is_dir() and (path / checksums.FILE).exists()
      )
      known = {"output": made, "folders": below}
      self._write(done=True, extra=known | totals | extra)
    mesh.barrier(f"{self.name} recorded")

  def recorded_inputs(self) -> dict[str, Any]:
    """The inputs that the folder's finished content was made from, or {}."""
    record = read_record(self.folder)
    return record["inputs"] if record.get("done") else {}

  def _write(self, *, done: bool, extra: dict[str, Any]) -> None:
    files.write_json(
      self._record,
      {
        "stage": self.name,
        "done": done,
        "inputs": self._inputs,
        **({} if self._scope is None else {"scope": self._scope}),
        "versions": VERSIONS,
        # Of those that had begun what another one went on with.
        "versions_before": self._before,
        **extra,
      },
    )

  def _refusal(self, changed: list[tuple[str, Any, Any]]) -> errors.InputError:
    what = differences.tell(changed)
    return errors.InputError(
      f"--workdir: {self.folder} was made by another run: {what}. Use another "
      f"--workdir, or add --redo={self.name} to replace this stage and what "
      "was made from it; nothing was changed."
    )


def read_record(folder: epath.PathLike) -> dict[str, Any]:
  """What a stage has noted in its folder; {} where there is nothing.

  Raises:
    errors.InputError: the folder holds files and no record of ila_jax, or the
      record or the ledger beside it is damaged.

  >>> read_record("no/such/folder")
  {}
  """
  folder = epath.Path(folder)
  path = folder / RECORD
  if not path.exists():
    if not folders.visible(folder):
      return {}
    raise _foreign(folder, f"there is no {RECORD}")
  is_ours = checksums.read(folder) is not None
  try:
    record = files.read_json(path)
  except errors.InputError as error:
    if not is_ours:
      raise _foreign(folder, f"its {RECORD} is damaged") from None
    reason = getattr(error, "reason", error)
    raise _damaged(folder, f"{RECORD}: {reason}") from error
  if not (
    isinstance(record, dict)
    and record.get("stage") == folder.name
    and isinstance(record.get("inputs"), dict)
    and isinstance(record.get("done"), bool)
  ):
    raise _foreign(folder, f"its {RECORD} is another program's")
  if not is_ours:
    raise _damaged(folder, f"{checksums.FILE} is missing")
  return record


def check_all_ours(folder: epath.PathLike) -> None:
  """Checks that nothing in a folder would be lost with what a run made.

  Raises:
    errors.InputError: a file is there that no run made.

  >>> check_all_ours("no/such/folder")
  """
  others = folders.theirs(folder)
  if others:
    more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
    raise errors.InputError(
      f"{others[0]}{more} was made by no run, and {folder} is to be made anew: "
      "it would be lost. Move it out of that folder, and run again."
    )


def _foreign(folder: epath.Path, why: str) -> errors.InputError:
  return errors.InputError(
    f"--workdir: {folder} holds files that no run of ila_jax recorded ({why}). "
    "Move that folder away, or use another --workdir; nothing was changed."
  )


def _damaged(folder: epath.Path, reason: str) -> errors.InputError:
  return errors.InputError(
    f"{folder} does not tell what made it and whether it is whole ({reason}). "
    "Remove that folder and run again: it is made anew, and what was made from "
    "it is kept."
  )


def told(versions: dict[str, str]) -> str:
  """Names the versions that made a stage.

  >>> told({"ila_jax": "0.1.0", "jax": "0.10.2"})
  'ila_jax 0.1.0 with JAX 0.10.2'
  """
  ours = versions.get("ila_jax", "(unknown)")
  return f"ila_jax {ours} with JAX {versions.get('jax', '(unknown)')}"


def bytes_in(folder: epath.Path) -> int:
  """Bytes of all files in a folder and below; 0 where there is none."""
  if buckets.is_remote(folder):
    return buckets.bytes_in(folder)
  if not folder.exists():
    return 0
  return sum(
    bytes_in(path) if path.is_dir() else path.stat().length
    for path in folder.iterdir()
  )


def parents(workdir: epath.PathLike, stage: str) -> dict[str, str]:
  """The fingerprints of the stages that a stage is made from, for its inputs.

  Which signals it read depends on its methods: it notes those itself.

  Raises:
    errors.InputError: one of these stages has not been run to its end.
  """
  made_from = stages.GRAPH[stage].made_from
  return {n: output(workdir, n) for n in made_from if n in stages.NAMES}


def output(workdir: epath.PathLike, stage: str) -> str:
  """The fingerprint of what a finished stage made, for its children.

  Raises:
    errors.InputError: the stage has not been run to its end.
  """
  path = epath.Path(workdir) / stage / RECORD
  record = files.read_json(path) if path.exists() else {}
  if not record.get("done"):
    raise errors.InputError(
      f"--stages: stage {stage!r} is needed and has not finished in "
      f"{workdir}. Add it to --stages, or leave --stages out to run all."
    )
  return record["output"]
