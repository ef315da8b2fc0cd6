"""A training run's state on disk, by Orbax: whole or absent, and named.

One folder belongs to one run. Every checkpoint in it carries the fingerprint
of that run (data, model, hyper-parameters), and a run never reads or writes
the folder of another one; and a checksum of what it holds.
"""

import contextlib
import functools
import gc
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, PyTree, Shaped, UInt32

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run import progress, stage_record

# Checkpoints of a run that are kept, but while the next one is written.
KEPT = 2


class _Broken(Exception):
  """A checkpoint that cannot be read, or is not what was saved."""


class Due:
  """Tells after which steps a checkpoint is due, on all hosts alike.

  >>> due = Due(steps=3, minutes=10)
  >>> [step for step in range(1, 8) if due.after(step)]
  [3, 6]
  """

  def __init__(self, *, steps: int, minutes: float | int):
    """Begins to count.

    Args:
      steps: between two checkpoints.
      minutes: after which one is due sooner; the clock of the first host
        counts, which the others ask now and then.
    """
    self._steps, self._seconds = steps, 60.0 * minutes
    self._saved = self._looked = time.monotonic()
    self._unseen, self._wait = 0, 1

  def after(self, step: int) -> bool:
    """Whether to save after this step; every host asks at every step."""
    self._unseen += 1
    is_due = step % self._steps == 0
    if self._unseen >= self._wait:
      now = time.monotonic()
      left = self._saved + self._seconds - now
      pace = max((now - self._looked) / self._unseen, 1e-6)
      # To look costs the hosts a meeting: half of the time passes before.
      wait = min(max(left / 2 / pace, 1.0), 1e6)
      self._looked, self._unseen = now, 0
      is_over, self._wait = mesh.share([int(left <= 0), int(wait)])
      is_due = is_due or bool(is_over)
    if is_due:
      self._saved = time.monotonic()
    return is_due


class Checkpoints:
  """The checkpoints of one run, the newest `keep` of them.

  Writing goes on in the background while the next steps run, under a
  temporary name; a kill leaves the checkpoints that were whole. Use it as a
  context manager: leaving the block waits for the last one.

  >>> import tempfile, jax.numpy as jnp
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   with Checkpoints(folder, fingerprint="mine") as checkpoints:
  ...     checkpoints.save(7, {"w": jnp.arange(3)}, {"note": "hello"})
  ...   with Checkpoints(folder, fingerprint="mine") as checkpoints:
  ...     state, record = checkpoints.restore({"w": jnp.zeros(3, int)})
  ...     print(checkpoints.latest(), state["w"], record)
  7 [0 1 2] {'note': 'hello'}
  """

  def __init__(
    self, folder: epath.PathLike, *, fingerprint: str, keep: int = KEPT
  ):
    """Opens or creates the folder.

    Args:
      folder: local or remote (gs://) folder.
      fingerprint: what this run is made of, as one string.
      keep: how many checkpoints to keep.

    Raises:
      errors.InputError: the folder cannot be written, or is another run's, or
        has no checkpoint that tells whose it is; nothing is changed.
    """
    self.folder = epath.Path(folder).absolute()
    self._fingerprint = fingerprint
    try:
      self._manager = ocp.CheckpointManager(
        self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=keep)
      )
    except OSError as error:
      raise self._unwritable(error) from error
    self._find()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def latest(self) -> int | None:
    """The step of the newest checkpoint, None if there is none."""
    return self._manager.latest_step()

  def save(self, step: int, state: PyTree, record: dict[str, Any]) -> None:
    """Writes arrays and a JSON record; the arrays may be donated at once.

    Raises:
      errors.InputError: the disk is full or the folder cannot be written.
    """
    run = {
      "fingerprint": self._fingerprint,
      "checksum": _checksum(state, record),
      "record": record,
    }
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state), run=ocp.args.JsonSave(run)
        ),
      )
      if jax.default_backend() == "cpu":
        # A host copy of a CPU array may be the array itself, and the caller
        # donates it to the next step: only on disk is it safe.
        self._manager.wait_until_finished()
    # TensorStore tells of a full disk by ValueError.
    except (OSError, ValueError) as error:
      raise self._unwritable(error) from error

  def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
    """Reads the newest checkpoint that is whole.

    One that is damaged is told of and removed, and the one before it is read.

    Args:
      like: arrays (or `jax.ShapeDtypeStruct`) of the wanted shape, dtype and
        sharding.

    Returns:
      The state, placed as `like`, and the record, as they were saved; None if
      no checkpoint is whole.
    """
    like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    while (step := self.latest()) is not None:
      reason = "another host cannot read it"
      with _without_what_was_begun():
        try:
          content = self._read(step, like)
        except _Broken as error:
          content, reason = None, str(error)
      # A host may have read its own part well; the checksum is of all parts.
      if mesh.everywhere(content is not None):
        state, run = content
        if _checksum(state, run["record"]) == run["checksum"]:
          return state, run["record"]
        reason = "what was read is not what was saved"
      self._let_go(step, reason)
    return None

  def close(self) -> None:
    """Waits until the last checkpoint is whole.

    Raises:
      errors.InputError: the disk is full or the folder cannot be written.
    """
    try:
      self._manager.wait_until_finished()
    except (OSError, ValueError) as error:
      raise self._unwritable(error) from error
    finally:
      self._manager.close()

  def _find(self) -> None:
    """Makes sure that the folder is this run's; lets go of broken records."""
    broken: dict[int, Exception] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        run = self._read_run(step)
      except _Broken as error:
        broken[step] = error
        continue
      if run["fingerprint"] != self._fingerprint:
        raise errors.InputError(
          f"{self.folder} holds checkpoints of another run: its fingerprint is "
          f"{run['fingerprint']}, this run's is {self._fingerprint} (other "
          "data, model or training fields). Use another --workdir, or remove "
          "the folder; nothing was changed."
        )
      for newer, error in broken.items():
        self._let_go(newer, str(error))
      return
    for step, error in broken.items():
      raise errors.InputError(
        f"{self.folder / str(step)} is not a whole checkpoint of ila_jax "
        f"({error}), and there is no other. Remove {self.folder}: training "
        "then starts at its first step; nothing was changed."
      )

  def _read_run(self, step: int) -> dict[str, Any]:
    """The JSON beside the arrays: fingerprint, checksum, record."""
    with _breaks():
      run = self._manager.restore(
        step, args=ocp.args.Composite(run=ocp.args.JsonRestore())
      ).run
      if run.keys() != {"fingerprint", "checksum", "record"}:
        raise ValueError(f"its record has {sorted(run)}")
    return run

  def _read(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """The arrays of a step, and the JSON beside them."""
    run = self._read_run(step)
    with _breaks():
      state = self._manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
      ).state
    return state, run

  def _let_go(self, step: int, reason: str) -> None:
    """Removes a broken checkpoint, so that its step can be saved anew.

    Raises:
      errors.InputError: there are several hosts, which may have failed at
        different places and would wait for each other.
    """
    if jax.process_count() > 1:
      raise errors.InputError(
        f"{self.folder / str(step)} is damaged ({reason}). Remove that folder "
        "and start all hosts again: training goes on from the checkpoint "
        "before it."
      )
    self._manager.delete(step)
    before = self.latest()
    goes_on = "starts anew" if before is None else f"goes on from step {before}"
    progress.say(
      f"  checkpoint {self.folder / str(step)} is damaged ({reason}): training "
      f"{goes_on}"
    )

  def _unwritable(self, error: Exception) -> errors.InputError:
    return errors.InputError(
      f"{self.folder} cannot be written ({_short(error)}). Free space "
      "there, or choose another --workdir; whole checkpoints were kept."
    )


@contextlib.contextmanager
def _breaks() -> Iterator[None]:
  """Takes errors of reading for damage, but for those that are not."""
  try:
    yield
  # What cannot be found may have been removed; what may not be read, or finds
  # no memory, is whole all the same.
  except (FileNotFoundError, NotADirectoryError) as error:
    raise _Broken(_short(error)) from error
  except (OSError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  # Orbax raises a plain Exception where TensorStore cannot read.
  except Exception as error:
    sys.unraisablehook = functools.partial(_hush, sys.unraisablehook)
    raise _Broken(_short(error)) from error


@contextlib.contextmanager
def _without_what_was_begun() -> Iterator[None]:
  """Drops without a warning the reads that Orbax began and never awaited."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    yield
    gc.collect()


def _hush(hook: Callable[[Any], Any], unraisable: Any) -> None:
  """Hides the noise of reads that Orbax gave up when one of them failed."""
  said = f"{unraisable.exc_value} {unraisable.object!r}"
  if "Event loop is closed" not in said and "_read_array_index" not in said:
    hook(unraisable)


def _checksum(state: PyTree, record: dict[str, Any]) -> str:
  """Checksum of all bits of the arrays, however sharded, and of the record."""
  sums = mesh.fetch([_sum(leaf) for leaf in jax.tree.leaves(state)])
  content = np.array(sums, np.uint32).tobytes()
  return f"{zlib.crc32(content):08x}-{stage_record.fingerprint(record)}"


@jax.jit
def _sum(array: Shaped[Array, "..."]) -> UInt32[Array, ""]:
  """sum_i bits_i (2 i + 1) mod 2^32: one flipped bit changes it.

  A sum of integers has one value in every order: the mesh does not count.
  """
  if array.dtype == jnp.bool_:
    array = array.astype(jnp.uint8)
  unsigned = f"uint{8 * array.dtype.itemsize}"
  bits = lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)
  place = jnp.zeros(array.shape, jnp.uint32)
  for axis, size in enumerate(array.shape):
    along = lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    place = place * jnp.uint32(size) + along
  return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)


def _short(error: Exception) -> str:
  """The first line; what went wrong stands at the ends of a long one."""
  line = str(error).strip().split("\n")[0]
  return line if len(line) < 200 else f"{line[:80]} ... {line[-100:]}"
