"""Runs `ila sweep`: a run for each point of a sweep, one after the other."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from etils import epath

from ila_jax import errors, presets
from ila_jax.export import command as export
from ila_jax.run import stage_record, tables
from ila_jax.run.disk import files, paths
from ila_jax.sweep import answers, runs
from ila_jax.sweep import points as points_lib

USAGE = "ila sweep --config CONFIG --sweep NAME --workdir DIR [flags of ila]"
HELP = f"""Runs a config once for each point of a sweep, one after the other.

  {USAGE}

--config     a preset or a config file; alone: lists its sweeps
--sweep      NAME of a function sweep_NAME() of the config, which yields the
             points: dicts such as {{"landscape.depth": "ila_length"}}
--workdir    DIR gets a folder for each point, a workdir with a report of its
             own, and sweep-NAME.jsonl with the answer of each
--dry-run    prints the command of each point and what it costs; runs nothing
All other flags are those of `ila`, and go to each point.

A stage that another point in DIR has made of the same is copied. The same
command again skips the points that are done, and goes on with the others. A
point that fails does not end the sweep.
Exit status: 0 all points are done; 2 some failed by what you can mend; 1 some
failed by a bug; 75, 130 and 143 as of `ila`: the sweep ends there, and the same
command goes on.
"""

_DONE, _FAILED, _WAITING = "done", "failed", "not begun"


def run(words: Sequence[str]) -> int:
  """Runs the sweep that a command line names; returns the exit status.

  Args:
    words: of the command line, after `ila sweep`.

  Raises:
    errors.InputError: a word is wrong, there is no such sweep, or DIR is
      something else's.
  """
  flags, rest = _parse(words)
  if flags.sweep is None:
    print(_listed(flags.config), flush=True)
    return 0
  points = points_lib.of_sweep(flags.config, flags.sweep)
  _check_rest(rest, points)
  folder = epath.Path(
    paths.of_folder(flags.workdir, name="--workdir", schemes=("gs",))
  )
  sweep = _Sweep(flags, rest, points, folder)
  if flags.dry_run:
    return sweep.plan()
  return sweep.run()


def _parse(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  parser = export.Parser("ila sweep", USAGE)
  parser.add_argument("--config")
  parser.add_argument("--sweep")
  parser.add_argument("--workdir")
  parser.add_argument("--dry-run", "--dry_run", action="store_true")
  flags, rest = parser.parse_known_args(list(words))
  for name in ("config", "workdir"):
    if flags.sweep is not None and not getattr(flags, name):
      raise errors.InputError(
        f"ila sweep: --{name} is not set. It is: {USAGE}. `ila sweep` alone "
        "lists the sweeps of all presets."
      )
  return flags, rest


def _listed(config: str | None) -> str:
  """The sweeps of a config, or of all presets, and their points."""
  lines = []
  for one in presets.names() if config is None else (config,):
    for sweep in presets.sweeps(one):
      lines.append(f"--config {one} --sweep {sweep}")
      lines += [f"  {p.name}" for p in points_lib.of_sweep(one, sweep)]
  if not lines:
    raise errors.InputError(
      f"--config is {config}, which has no sweep. A sweep is a function "
      "sweep_NAME() that yields dicts of fields and values, such as "
      "{'landscape.depth': 'ila_length'}."
    )
  return "\n".join(lines)


def _check_rest(
  rest: Sequence[str], points: Sequence[points_lib.Point]
) -> None:
  """Refuses flags that would break a sweep, or that it sets itself."""
  names = [word.partition("=")[0] for word in rest]
  if "--redo" in names:
    raise errors.InputError(
      "--redo does not go with `ila sweep`: it would be done at every start. "
      "Give it to `ila` with the --workdir of one point."
    )
  swept = {f"--config.{name}" for point in points for name in point.overrides}
  for name in names:
    if name in swept:
      raise errors.InputError(
        f"{name} is set by the sweep. Leave it out, or take another sweep."
      )


class _Sweep:
  """A sweep in its folder."""

  def __init__(
    self,
    flags: argparse.Namespace,
    rest: list[str],
    points: Sequence[points_lib.Point],
    folder: epath.Path,
  ):
    self._flags, self._rest, self._points = flags, rest, points
    self._folder = folder
    self._path = folder / f"sweep-{flags.sweep}.jsonl"

  def plan(self) -> int:
    """Prints the command of each point, and what it costs by a dry run."""
    stopper, status = runs.Stopper(), 0
    with stopper.listening():
      for point in self._points:
        command = self._command(point)
        print(f"\n{point.name}: {_shown(command)}", file=sys.stderr, flush=True)
        ended = stopper.run([*command, "--dry-run"])
        if ended.ends_sweep:
          return ended.status
        status = status or ended.status
    print(
      f"\n{len(self._points)} points. Each is told as if it were alone: what "
      "they have in common is made once, and copied.",
      file=sys.stderr,
    )
    return status

  def run(self) -> int:
    """Runs the points that are not done; returns the exit status."""
    if tables.MANIFEST.path(self._folder).exists():
      raise errors.InputError(
        f"--workdir is {self._folder}, the folder of one run; a sweep wants a "
        "folder of its own, in which each point gets one."
      )
    lines = self._lines()
    # Looked at once: the hosts of a pod must agree on what is to do.
    todo = [p for p in self._points if lines[p.name]["state"] != _DONE]
    for point in self._points:
      if point not in todo:
        _say(f"[{point.name}] skipped: it is done")
    stopper, last = runs.Stopper(), 0
    with stopper.listening():
      for at, point in enumerate(todo, start=1):
        _say(f"[{point.name}] point {at} of {len(todo)}")
        ended = stopper.run([*self._command(point), *self._reuse(point)])
        lines[point.name] = self._line(point, ended)
        self._write(lines)
        if ended.ends_sweep:
          last = ended.status
          break
    ordered = [lines[point.name] for point in self._points]
    done = sum(line["state"] == _DONE for line in ordered)
    _say("\n" + answers.told(ordered))
    _say(f"{done} of {len(ordered)} points are done: {self._path}")
    statuses = {line["status"] for line in ordered if line["state"] == _FAILED}
    if last or not statuses:
      return last
    return 2 if statuses == {errors.BAD_INPUT} else 1

  def _command(self, point: points_lib.Point) -> list[str]:
    return [
      *(sys.executable, "-m", "ila_jax", f"--config={self._flags.config}"),
      f"--workdir={self._folder / point.name}",
      *self._rest,
      *point.flags,
    ]

  def _reuse(self, point: points_lib.Point) -> list[str]:
    """The other runs in the folder, from which stages may be copied."""
    others = [
      path
      for path in sorted(
        self._folder.iterdir() if self._folder.exists() else ()
      )
      if path.name != point.name and tables.MANIFEST.path(path).exists()
    ]
    return [f"--reuse={path}" for path in others]

  def _lines(self) -> dict[str, dict[str, Any]]:
    """The line of each point; as noted, where it was of this very command."""
    noted: dict[str, dict[str, Any]] = {}
    if self._path.exists():
      text = self._path.read_text()
      noted = {one["point"]: one for one in map(json.loads, text.splitlines())}
    lines = {}
    for point in self._points:
      line = self._line(point, None)
      before = noted.get(point.name, {})
      same = all(before.get(n) == line[n] for n in ("command", "versions"))
      # Of one that is done the folder may have been removed.
      run = tables.MANIFEST.path(self._folder / point.name)
      lost = before.get("state") == _DONE and not run.exists()
      lines[point.name] = before if same and not lost else line
    return lines

  def _line(
    self, point: points_lib.Point, ended: runs.Ended | None
  ) -> dict[str, Any]:
    """What is noted of a point, as a JSON value."""
    workdir, found = self._folder / point.name, None
    state = _WAITING
    if ended is not None and ended.status not in runs.STOPPED:
      state = _FAILED if ended.status else _DONE
    status, message = (ended.status, ended.message) if ended else (None, "")
    if state == _DONE:
      try:
        found = answers.of_run(workdir)
      except errors.InputError as error:
        state, status, message = _FAILED, errors.BAD_INPUT, str(error)
    return {
      "point": point.name,
      "state": state,
      "status": status,
      "message": message,
      "seconds": None if ended is None else round(ended.seconds, 1),
      "overrides": json.loads(json.dumps(point.overrides)),
      "answer": found,
      "command": self._command(point)[1:],
      "versions": stage_record.VERSIONS,
    }

  def _write(self, lines: dict[str, dict[str, Any]]) -> None:
    text = "".join(files.json_line(lines[p.name]) for p in self._points)
    with files.atomic(self._path) as file:
      file.write(text.encode())


def _shown(command: Sequence[str]) -> str:
  return shlex.join(["ila", *command[3:]])


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
