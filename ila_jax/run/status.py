"""How far a run is, by its folder alone: `ila status`.

Nothing is written there, no lock is taken and no device is asked, so that a run
can be looked at while it works, and from any machine that sees its folder.
"""

import json
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.run import stages as stages_lib
from ila_jax.run import tables, units
from ila_jax.run.disk import artifact, folders
from ila_jax.run.disk.lock import holder

# The shards by which a stage goes on.
_SHARDS = {
  "pool": tables.RECORDS,
  "embed": tables.EMBEDDINGS,
  "score": tables.LOSSES,
  stages_lib.SIGNALS: tables.SIGNAL,
}
# Of stage `scaling`, all of which have a line.
_SUBSETS = ("subsets", "held_out", "mixtures")
# Those that go on by a line a model.
_BY_LINES = ("finetune", "scaling", "laboratory")
_AT_WORK = ("alive", "silent")


def find(workdir: epath.PathLike) -> dict[str, Any]:
  """What the folder of a run tells, as a JSON value.

  Returns:
    `workdir`; `holder` of the lock or None, and its `life`: "alive", "dead" or
    "silent"; `seconds` since the last sign of life, or None; `stages` by name,
    with the signals and sets that were begun, as "signals/NAME" and
    "beside/NAME":
    `state` ("done", "running", "begun", "not begun" or "damaged"), `seconds`,
    `done` and `total` parts and what these `parts` are, None where unknown;
    `now`, the works that the run is at; and the `last` line of its log.

  Raises:
    errors.InputError: it is not the folder of a run.
  """
  workdir = epath.Path(workdir)
  check(workdir)
  lock = workdir / folders.LOCK
  note = holder.read(lock)
  life = note and holder.life(lock, note)
  at_path, log = (a.path(workdir) for a in (tables.PROGRESS, tables.LOG))
  age = min(map(holder.age, (lock, at_path, log)))
  at = _json(at_path) if life in _AT_WORK else None
  at = at if isinstance(at, dict) else {}
  records = {name: _record(workdir / name) for name in _folders(workdir)}
  return {
    "workdir": str(workdir),
    "holder": note,
    "life": life,
    "seconds": None if age == float("inf") else round(age, 1),
    "stages": {
      name: _stage(
        workdir, name, record, records["pool"], at.get("stage") == name
      )
      for name, record in records.items()
    },
    "now": at.get("works") or [],
    "last": _last_line(log),
  }


def _folders(workdir: epath.Path) -> list[str]:
  """Stages, and before the first that may read them signals and sets."""
  names = list(stages_lib.NAMES)
  at = names.index("select")
  return [*names[:at], *folders.on_demand(workdir), *names[at:]]


def check(workdir: epath.Path) -> None:
  """Makes sure that a folder is that of a run, whole or damaged.

  Raises:
    errors.InputError: it is not there, or holds something else.
  """
  folders.check_readable(workdir)
  manifest = _json(tables.MANIFEST.path(workdir))
  if isinstance(manifest, dict) and tables.OURS in manifest:
    return
  records = (tables.RECORD.path(workdir, stage=n) for n in stages_lib.NAMES)
  if any(map(_json, records)):
    return  # The manifest is damaged or lost.
  what = f"no {tables.MANIFEST.file()} of ila_jax" if workdir.exists() else None
  raise errors.InputError(
    f"the folder {workdir} {f'has {what}' if what else 'is not there'}: no run "
    "has worked there. Give the folder of a run; one that was started "
    "a moment ago makes it when it has found its devices."
  )


def _json(path: epath.Path) -> Any:
  """A JSON value; None where there is none, or none that is whole."""
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return None


def _record(folder: epath.Path) -> dict[str, Any] | None:
  """The record of a stage; {} where it has not begun, None of a damaged one."""
  path = folder / tables.RECORD.file()
  if not path.exists():
    return {}
  record = _json(path)
  is_whole = isinstance(record, dict) and isinstance(record.get("inputs"), dict)
  return record if is_whole else None


def _stage(
  workdir: epath.Path,
  name: str,
  record: dict[str, Any] | None,
  pool: dict[str, Any] | None,
  is_running: bool,
) -> dict[str, Any]:
  if record is None:
    state = "damaged"
  elif record.get("done"):
    state = "done"
  elif is_running:
    state = "running"
  else:
    state = "begun" if record else "not begun"
  record = record or {}
  account = record if state == "done" else record.get("spent", {})
  summary = {"state": state, "seconds": account.get("seconds")}
  parts = _parts(workdir, name, record, bool(pool and pool.get("done")))
  return summary | parts


def _parts(
  workdir: epath.Path, name: str, record: dict[str, Any], pool_is_done: bool
) -> dict[str, Any]:
  """How many of its parts a stage has made, and of how many."""
  settings = record.get("inputs", {}).get("config", {})
  folder, own = workdir / name, name
  name = name.partition("/")[0]  # All signals have shards of one name.
  if not record or name not in (*_SHARDS, *_BY_LINES):
    return {"done": None, "total": None, "parts": None}
  if name == "finetune":
    done = _count_lines(folder / tables.EVALUATIONS.file())
    return {"done": done, "total": None, "parts": "models evaluated"}
  if name == "scaling":
    design = settings.get("scaling", {})
    total = sum(design.get(name, 0) for name in _SUBSETS)
    done = _count_lines(folder / tables.RUNS.file())
    return {"done": done, "total": total, "parts": "subsets"}
  if name == "laboratory":
    done = _count_lines(folder / tables.LABORATORY.file())
    total = len(record.get("scope", {}).get("runs", []))
    return {"done": done, "total": total, "parts": "runs"}
  total = None
  if pool_is_done:
    of_target = "target" in record["inputs"]  # A signal of its examples.
    source = workdir / folders.BESIDE / "target" if of_target else workdir
    total = _count_files(source, "pool", _SHARDS["pool"])
  if name == "score" and total is not None:
    # Adapters pass with the base; whole models one after the other.
    one_pass = settings.get("train", {}).get("method") == "lora"
    seeds = settings.get("score", {}).get("reference_seeds", [])
    total *= 1 if one_pass else 1 + len(seeds)
  done = _count_files(workdir, own, _SHARDS[name])
  return {"done": done, "total": total, "parts": "shards"}


def _count_files(
  workdir: epath.Path, folder: str, shards: artifact.Artifact
) -> int:
  names = (f"{folder}/{path.name}" for path in (workdir / folder).iterdir())
  return sum(shards.matches(name) is not None for name in names)


def _count_lines(path: epath.Path) -> int:
  return path.read_bytes().count(b"\n") if path.exists() else 0


def _last_line(path: epath.Path) -> str | None:
  if not path.exists():
    return None
  lines = path.read_bytes().decode(errors="replace").splitlines()
  return lines[-1] if lines else None


def told(state: dict[str, Any]) -> str:
  """Tells people, line by line, the state that `find` returns.

  >>> stages = {
  ...   "pool": {"state": "done", "seconds": 4.0, "done": 3, "total": 3,
  ...            "parts": "shards"},
  ... }
  >>> print(told({"workdir": "run", "holder": None, "life": None,
  ...             "seconds": 90.0, "stages": stages, "now": [],
  ...             "last": None}))
  run: no run is at work there; the last sign of life is 1 min 30 s old
    pool       done           4.0 s  3/3 shards
  """
  lines = [f"{state['workdir']}: {_who(state)}"]
  width = max([11, *(len(name) + 1 for name in state["stages"])])
  for name, stage in state["stages"].items():
    seconds = stage["seconds"]
    spent = "" if seconds is None else units.duration(seconds)
    line = f"  {name:{width}}{stage['state']:10}{spent:>10}"
    if stage["done"] is not None:
      of_total = "" if stage["total"] is None else f"/{stage['total']:,}"
      line += f"  {stage['done']:,}{of_total} {stage['parts']}"
    lines.append(line.rstrip())
  for work in state["now"]:
    of_total = f"/{work['total']:,}" if work["total"] else ""
    line = f"  now: {work['what']}: {work['done']:,}{of_total} {work['unit']}"
    line += f" in {units.duration(work['seconds'])}"
    if work["left"] is not None:
      line += f", about {units.duration(work['left'])} left"
    lines.append(line)
  if state["last"] is not None:
    lines.append(f"  {tables.LOG.file()} ends: {state['last']}")
  return "\n".join(lines)


def _who(state: dict[str, Any]) -> str:
  seconds = state["seconds"]
  sign = ""
  if seconds is not None:
    sign = f"; the last sign of life is {units.duration(seconds)} old"
  if state["holder"] is None:
    return f"no run is at work there{sign}"
  what = {
    "alive": "is at work there",
    "dead": "is dead: run the same command again, which goes on",
    "silent": "is silent: it hangs, is dead, or cannot reach the disk",
  }[state["life"]]
  return f"{holder.told(state['holder'])} {what}{sign}"
