"""A training run's state on disk, by Orbax: whole or absent, and named.

One folder belongs to one run. Every checkpoint in it carries the fingerprint
of that run (data, model, hyper-parameters), and a run never reads or writes
the folder of another one; and a checksum of what it holds.
"""

import logging
import sys
import time
import zlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, PyTree, Shaped, UInt32
from orbax.checkpoint import multihost

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run import hosts, progress, stage_record
from ila_jax.run.disk import buckets
from ila_jax.training import checkpoint_reading as reading

# Checkpoints of a run that are kept, but while the next one is written.
KEPT = 2


def _is_news(record: logging.LogRecord) -> bool:
  """Whether a line of the log tells more than an error that is raised.

  Orbax logs what fails in its threads with a traceback each, hundreds of lines
  of a disk that is full, and then raises it: that is told once.
  """
  return not (record.exc_info and "orbax" in record.pathname)


logging.getLogger("absl").addFilter(_is_news)


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
    self.folder = epath.Path(folder)
    if not buckets.is_remote(folder):
      self.folder = self.folder.absolute()
    self._fingerprint = fingerprint
    try:
      self._manager = ocp.CheckpointManager(
        self.folder,
        options=ocp.CheckpointManagerOptions(
          max_to_keep=keep,
          # Hosts that list a folder may see it a moment apart.
          single_host_load_and_broadcast=True,
          async_options=ocp.AsyncOptions(barrier_sync_fn=_meet),
        ),
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
      if hosts.is_lost(error):
        raise
      raise self._unwritable(error) from error

  def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
    """Reads the newest checkpoint that is whole on every host.

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
      content, fault = self._read(step, like)
      if not fault:
        state, run = content
        is_same = _checksum(state, run["record"]) == run["checksum"]
        # Of what is not sharded each host has its own copy.
        fault = _agreed(
          "" if is_same else "what was read is not what was saved"
        )
      if not fault:
        return state, run["record"]
      self._let_go(step, fault)
    return None

  def close(self) -> None:
    """Waits until the last checkpoint is whole.

    Raises:
      errors.InputError: the disk is full or the folder cannot be written.
    """
    try:
      self._manager.wait_until_finished()
    except (OSError, ValueError) as error:
      if hosts.is_lost(error):
        raise
      raise self._unwritable(error) from error
    finally:
      self._manager.close()

  def _find(self) -> None:
    """Makes sure that the folder is this run's; lets go of broken records."""
    broken: dict[int, str] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      run, fault = self._read(step)
      if fault:
        broken[step] = fault
        continue
      if run["fingerprint"] != self._fingerprint:
        raise errors.InputError(
          f"{self.folder} holds checkpoints of another run: its fingerprint is "
          f"{run['fingerprint']}, this run's is {self._fingerprint} (other "
          "data, model or training fields). Use another --workdir, or remove "
          "the folder; nothing was changed."
        )
      for newer, fault in broken.items():
        self._let_go(newer, fault)
      return
    for step, fault in broken.items():
      raise errors.InputError(
        f"{self.folder / str(step)} is not a whole checkpoint of ila_jax "
        f"({fault}), and there is no other. Remove {self.folder}: training "
        "then starts at its first step; nothing was changed."
      )

  def _read(self, step: int, like: PyTree | None = None) -> tuple[Any, str]:
    """What a step holds, on this host, and what is wrong with it on any."""
    content, fault = reading.read(self.folder / str(step), like)
    return content, _agreed(fault)

  def _let_go(self, step: int, reason: str) -> None:
    """Removes a broken checkpoint, so that its step can be saved anew."""
    self._manager.delete(step)
    before = self.latest()
    goes_on = "starts anew" if before is None else f"goes on from step {before}"
    progress.say(
      f"  checkpoint {self.folder / str(step)} is damaged ({reason}): training "
      f"{goes_on}"
    )

  def _unwritable(self, error: Exception) -> Exception:
    if buckets.is_remote(self.folder):  # Where no disk is full.
      return reading.unreachable(error) or error
    return errors.InputError(
      f"{self.folder} cannot be written ({reading.short(error)}). Free space "
      "there, or choose another --workdir; whole checkpoints were kept."
    )


def _meet(*, key: str, timeout_ms: int) -> None:
  """Waits in a thread for the other hosts, unless this one has failed.

  Orbax lets hosts meet also while one of them is about to raise an error: the
  others, which have not failed, do not come, and it would be told only after
  many minutes.
  """
  if sys.exc_info()[1] is None:
    multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def _agreed(fault: str) -> str:
  """What is wrong on any host, in the same words on all of them; or ""."""
  said = mesh.tell(fault)
  if all(said) or not any(said):
    return said[0]
  return next(
    f"on host {host}: {text}" for host, text in enumerate(said) if text
  )


def _checksum(state: PyTree, record: dict[str, Any]) -> str:
  """Checksum of all bits of the arrays, however sharded, and of the record."""
  # One after the other, once the arrays are there: on a CPU the devices share a
  # few threads, and exchanges of several programs can wait for each other.
  leaves = jax.block_until_ready(jax.tree.leaves(state))
  sums = mesh.fetch([jax.block_until_ready(_sum(leaf)) for leaf in leaves])
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
