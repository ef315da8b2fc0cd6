"""Compiled programs that a run keeps: each is what was written, or goes.

JAX keeps them in a folder, and reads them without a checksum: a flipped bit
may end the process (a segmentation fault) or compute something else, and what
JAX cannot read it compiles again in every run, for it replaces no file. So the
folder has a ledger of its own, and what does not agree with it is removed.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath

from ila_jax import errors
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.run import progress
from ila_jax.run.disk import buckets, checksums, files
from ila_jax.run.reuse import finished

# What JAX tells when a program was compiled, and kept if it is worth that.
_COMPILED = "/jax/core/compile/backend_compile_duration"
# How the names of programs end.
_SUFFIX = "-cache"


@contextlib.contextmanager
def kept(folder: epath.PathLike) -> Iterator[None]:
  """Keeps compiled programs as `hardware.keep_compiled`, and whole ones only.

  Those that are damaged, or were half written when their process was killed,
  go first, and are compiled anew. The first host keeps programs, and notes
  them; all hosts wait until it has looked.

  Args:
    folder: local or gs://.

  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as folder, kept(folder):
  ...   pass
  """
  folder = epath.Path(folder)
  is_ours = jax.config.jax_compilation_cache_dir is None
  notes = is_ours and mesh_lib.is_writer()
  if notes:
    finished.take_programs(folder)
    _look(folder)
  mesh_lib.barrier("compiled programs looked at")

  mine: set[str] = set()

  def compiled(event: str, seconds: float | int, **_: Any) -> None:
    # A kill leaves no program unknown; a listing of a bucket takes too long.
    if event == _COMPILED and not buckets.is_remote(folder):
      _note(folder, mine)

  with contextlib.ExitStack() as stack:
    if notes:
      jax.monitoring.register_event_duration_secs_listener(compiled)
      stack.callback(_note, folder, mine)
      stack.callback(
        jax.monitoring.unregister_event_duration_listener, compiled
      )
    stack.enter_context(hardware.keep_compiled(folder))
    yield


def _programs(folder: epath.Path) -> list[epath.Path]:
  if not folder.exists():
    return []
  # JAX keeps folders of XLA's own caches there on some devices.
  return [
    path
    for path in folder.iterdir()
    if path.name.endswith(_SUFFIX) and not path.is_dir()
  ]


def _look(folder: epath.Path) -> None:
  """Removes what is not as the ledger has it."""
  try:
    ledger = checksums.read(folder)
  except errors.InputError:
    ledger = {}  # Damaged: it tells of none.
  if ledger is None:
    # Before there were ledgers there were programs, which are taken as whole.
    return _write(folder, _programs(folder), {})
  gone = []
  for path in _programs(folder):
    reason = checksums.damage(path, ledger.get(path.name, []))
    if reason:
      gone.append(path)
      path.unlink()
  if gone:
    progress.say(
      f"  {len(gone)} of the compiled programs in {folder} damaged or not "
      f"whole, such as {gone[0].name[:40]}: compiled anew"
    )
  there = {path.name for path in _programs(folder)}
  _write(folder, [], {name: ledger[name] for name in there})


def _note(folder: epath.Path, mine: set[str]) -> None:
  """Takes the checksums of programs that are new.

  Args:
    folder: of the programs.
    mine: names that this process has noted. Another thread may have been
      writing one at that moment: it has another size by now.
  """
  ledger = checksums.read(folder) or {}
  fresh = [
    path
    for path in _programs(folder)
    if path.name not in ledger
    or (path.name in mine and path.stat().length != ledger[path.name][0][0])
  ]
  if fresh:
    mine |= {path.name for path in fresh}
    _write(folder, fresh, ledger)


def _write(
  folder: epath.Path, fresh: list[epath.Path], ledger: checksums.Ledger
) -> None:
  for path in fresh:
    ledger[path.name] = [checksums.entry(path)]
  files.write_ledger(folder, ledger)
