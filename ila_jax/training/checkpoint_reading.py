"""One checkpoint, read by this host alone.

Orbax lets hosts wait for each other where a checkpoint has been read: one that
cannot read it never comes, and the others wait for minutes. Here no host waits;
what each has read is for the hosts to compare.
"""

import contextlib
import errno
import functools
import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import PyTree

from ila_jax.run.disk import buckets

_KEYS = {"fingerprint", "checksum", "record"}
# What TensorStore begins with where a bucket refuses, or does not answer.
_STATUS = {
  "PERMISSION_DENIED": errno.EACCES,
  "UNAUTHENTICATED": errno.EACCES,
  "UNAVAILABLE": errno.EIO,
  "DEADLINE_EXCEEDED": errno.EIO,
}


class _Broken(Exception):
  """A checkpoint that cannot be read, or is not what was saved."""


def read(folder: epath.Path, like: PyTree | None = None) -> tuple[Any, str]:
  """Reads the JSON beside the arrays, and the arrays if they are wanted.

  Args:
    folder: of one step.
    like: shapes, dtypes and shardings of the arrays; None reads none. Each host
      reads the parts that its devices hold.

  Returns:
    The JSON (fingerprint, checksum, record), or with `like` the arrays and the
    JSON; and "". Where something is damaged or missing: None, and what it is.

  Raises:
    OSError: the folder may not be read, or the disk does not answer.
  """
  with _without_what_was_begun():
    try:
      return _read(folder, like), ""
    except _Broken as error:
      fault = str(error)
    gc.collect()  # Here, where its warnings are ignored.
  return None, fault


def _read(folder: epath.Path, like: PyTree | None) -> Any:
  with _breaks():
    run = _reader().restore(
      folder, args=ocp.args.Composite(run=ocp.args.JsonRestore())
    )["run"]
    if run.keys() != _KEYS:
      raise ValueError(f"its record has {sorted(run)}")
    if like is None:
      return run
    state = _reader().restore(
      folder, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
    )["state"]
    return state, run


def _reader() -> ocp.Checkpointer:
  own = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=own, active_processes={own}, barrier_sync_key_prefix=str(own)
  )
  handler = ocp.CompositeCheckpointHandler(
    composite_options=ocp.CompositeOptions(multiprocessing_options=alone)
  )
  return ocp.Checkpointer(handler, multiprocessing_options=alone)


@contextlib.contextmanager
def _breaks() -> Iterator[None]:
  """Takes errors of reading for damage, but for those that are not."""
  try:
    yield
  # What cannot be found may have been removed; what may not be read, or finds
  # no memory, is whole all the same.
  except (FileNotFoundError, NotADirectoryError) as error:
    raise _Broken(short(error)) from error
  except (OSError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  # Orbax raises a plain Exception where TensorStore cannot read.
  except Exception as error:
    away = unreachable(error)
    if away is not None:
      raise away from error
    sys.unraisablehook = functools.partial(_hush, sys.unraisablehook)
    raise _Broken(short(error)) from error


def unreachable(error: Exception) -> Exception | None:
  """The error to raise where a bucket is to blame; None where it is not.

  >>> unreachable(ValueError("DATA_LOSS: cut")) is None
  True
  >>> unreachable(ValueError("UNAVAILABLE: no answer"))
  OSError(5, 'UNAVAILABLE: no answer')
  """
  if buckets.explain(error):
    return error
  number = _STATUS.get(str(error).partition(":")[0])
  return None if number is None else OSError(number, short(error))


@contextlib.contextmanager
def _without_what_was_begun() -> Iterator[None]:
  """Drops without a warning the reads that Orbax began and never awaited."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    yield


def _hush(hook: Callable[[Any], Any], unraisable: Any) -> None:
  """Hides the noise of reads that Orbax gave up when one of them failed."""
  said = f"{unraisable.exc_value} {unraisable.object!r}"
  if "Event loop is closed" not in said and "_read_array_index" not in said:
    hook(unraisable)


def short(error: Exception) -> str:
  """The first line; what went wrong stands at the ends of a long one.

  >>> short(ValueError("cut\\nat byte 7"))
  'cut'
  """
  line = str(error).strip().split("\n")[0]
  return line if len(line) < 200 else f"{line[:80]} ... {line[-100:]}"
