"""Programs that a launcher calls, made up: they note how, and can fail."""

import pathlib
import shutil
import subprocess

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def folder(
  path: pathlib.Path, *names: str, **programs: str
) -> tuple[str, pathlib.Path]:
  """A PATH of some of the system's programs, and of some that are made up.

  Args:
    path: the folder, which is made.
    names: programs of the system that it has.
    programs: the text of each program in bash. It is called with LOG in its
      environment, to which it adds its call.

  Returns:
    PATH, and the file to which the programs add their calls.
  """
  path.mkdir()
  for name in names:
    (path / name).symlink_to(shutil.which(name))
  for name, text in programs.items():
    (path / name).write_text(
      f'#!/bin/bash\necho "${{0##*/}} $*" >> "$LOG"\n{text}\n'
    )
    (path / name).chmod(0o755)
  log = path.parent / "log"
  log.touch()
  return str(path), log


def call(
  *words: str, path: str, log: pathlib.Path, **environment: str
) -> subprocess.CompletedProcess:
  """Runs a program of the checkout where the system has no others."""
  return subprocess.run(
    words,
    cwd=CHECKOUT,
    env={"PATH": path, "LOG": str(log), "HOME": str(log.parent)} | environment,
    capture_output=True,
    text=True,
    check=False,
    timeout=100,
  )
