"""The version of this package and the commit that it was built from.

`setup.py` runs this file too, so it needs nothing but Python.
"""

import functools
import os
import pathlib
import subprocess

# Beside this file: the commit, in what `setup.py` built and in archives of git.
COMMIT_FILE = "commit.txt"
UNKNOWN = "unknown"
_FOLDER = pathlib.Path(__file__).resolve().parent


@functools.cache
def commit(folder: pathlib.Path = _FOLDER) -> str:
  """Returns the commit of the code: 40 hex digits, and `-dirty` if changed.

  Built packages and archives carry it in a file; a checkout asks git.

  Args:
    folder: of the package.

  Returns:
    The commit; `UNKNOWN` where no file and no git tells it.

  >>> commit(pathlib.Path("/no/such/folder"))
  'unknown'
  """
  file = folder / COMMIT_FILE
  written = file.read_text().strip() if file.exists() else ""
  if written and not written.startswith("$Format"):
    return written
  return _of_checkout(folder.parent)


def _of_checkout(root: pathlib.Path) -> str:
  # Not of a repository in whose environment the package is installed.
  if not (root / ".git").exists():
    return UNKNOWN
  command = ["git", "--no-optional-locks", "-C", str(root), "describe"]
  command += ["--always", "--dirty", "--abbrev=40", "--exclude=*"]
  # In a hook of git these variables name another repository.
  environment = {k: v for k, v in os.environ.items() if k[:4] != "GIT_"}
  try:
    done = subprocess.run(
      command, capture_output=True, text=True, check=False, env=environment
    )
  except OSError:
    return UNKNOWN
  return done.stdout.strip() if done.returncode == 0 else UNKNOWN


def describe() -> str:
  """Returns what `ila --version` prints.

  >>> describe().startswith("ila_jax 0.")
  True
  """
  import ila_jax

  said = commit()
  if said == UNKNOWN:
    said += ": neither the package nor git tells it"
  return f"ila_jax {ila_jax.__version__} (commit {said})"
