"""The process that holds the lock of a run's folder, and whether it lives."""

import datetime
import json
import os
import shlex
import socket
import sys
import time
from typing import Any

from etils import epath

# How often a holder renews its lock.
BEAT_SECONDS = 10.0
# Who was silent for so long is no longer taken to be alive.
_SILENT_SECONDS = 60.0
_BOOT = epath.Path("/proc/sys/kernel/random/boot_id")
# Containers of one machine number their processes each for itself.
_NUMBERED_IN = "/proc/self/ns/pid"


def note() -> dict[str, Any]:
  """What this process writes into the lock.

  >>> note()["process"] == os.getpid()
  True
  """
  now = datetime.datetime.now(datetime.UTC)
  return {
    "host": socket.gethostname(),
    "boot": _BOOT.read_text().strip() if _BOOT.exists() else "",
    "numbered_in": _numbered_in(),
    "process": os.getpid(),
    "started": now.isoformat(timespec="microseconds"),
    # One line, for it stands in a message.
    "command": " ".join(shlex.join(sys.argv).split())[:500],
  }


def _numbered_in() -> str:
  return os.readlink(_NUMBERED_IN) if os.path.exists(_NUMBERED_IN) else ""


def read(path: epath.PathLike) -> dict[str, Any] | None:
  """The note of a lock; None where there is none, or none that is whole.

  >>> read("/no/such/lock")
  """
  try:
    content = json.loads(epath.Path(path).read_text())
  except (FileNotFoundError, ValueError):
    return None
  return content if isinstance(content, dict) else None


def machine(holder: dict[str, Any]) -> tuple[Any, Any]:
  """What tells two machines apart, of one name too."""
  return holder.get("host"), holder.get("boot")


def told(holder: dict[str, Any]) -> str:
  """Names a holder by its note.

  >>> told({"process": 7, "host": "node1", "started": "2026-01-02"})
  "process 7 on host 'node1' (since 2026-01-02)"
  """
  return (
    f"process {holder.get('process')} on host {holder.get('host')!r} (since "
    f"{holder.get('started')})"
  )


def life(path: epath.PathLike, holder: dict[str, Any]) -> str:
  """Whether the holder of a lock lives: "alive", "dead", or "silent".

  A process of this machine is looked for by its number. For one of another
  machine the sign of life tells, which is the age of the lock: a silent holder
  may be dead, or out of reach of the disk.

  Args:
    path: of the lock, local or gs://.
    holder: its note.

  >>> import tempfile
  >>> with tempfile.NamedTemporaryFile() as lock:
  ...   life(lock.name, note())
  'alive'
  """
  here = note()
  is_here = machine(holder) == machine(here) and (
    holder.get("numbered_in") == here["numbered_in"]
  )
  if is_here and not _runs(holder.get("process")):
    return "dead"
  return "silent" if age(path) > _SILENT_SECONDS else "alive"


def _runs(process: Any) -> bool:
  if not isinstance(process, int) or process < 1:
    return False
  try:
    os.kill(process, 0)
  except PermissionError:
    return True  # Another user's.
  except (ProcessLookupError, OverflowError):
    return False
  return True


def age(path: epath.PathLike) -> float:
  """Seconds since a file was written or renewed; inf where there is none.

  >>> age("/no/such/file")
  inf
  """
  try:
    return max(time.time() - epath.Path(path).stat().mtime, 0.0)
  except FileNotFoundError:
    return float("inf")
