"""A training run's state on disk, by Orbax: whole or absent, and named.

One folder belongs to one run. Every checkpoint in it carries the fingerprint
of that run (data, model, hyper-parameters), and a run never reads or writes
the folder of another one.
"""

from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import PyTree

from ila_jax import errors


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
    self, folder: epath.PathLike, *, fingerprint: str, keep: int = 2
  ):
    """Opens or creates the folder.

    Args:
      folder: local or remote (gs://) folder.
      fingerprint: what this run is made of, as one string.
      keep: how many checkpoints to keep.

    Raises:
      errors.InputError: the folder cannot be written, or its newest
        checkpoint is damaged or of another run; nothing is changed.
    """
    self.folder = epath.Path(folder).absolute()
    self._fingerprint = fingerprint
    self._record = None
    try:
      self._manager = ocp.CheckpointManager(
        self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=keep)
      )
    except OSError as error:
      raise self._unwritable(error) from error
    if self.latest() is not None:
      self._record = self._read_record()

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
    run = {"fingerprint": self._fingerprint, "record": record}
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

  def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Reads the newest checkpoint.

    Args:
      like: arrays (or `jax.ShapeDtypeStruct`) of the wanted shape, dtype and
        sharding.

    Returns:
      The state, placed as `like`, and the record, as they were saved.

    Raises:
      errors.InputError: the arrays are damaged or of another shape.
    """
    like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
      restored = self._manager.restore(
        self.latest(),
        args=ocp.args.Composite(state=ocp.args.StandardRestore(like)),
      )
    # Orbax raises a plain Exception where TensorStore cannot read.
    except Exception as error:
      raise self._damaged(error) from error
    return restored.state, self._record

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

  def _read_record(self) -> dict[str, Any]:
    try:
      run = self._manager.restore(
        self.latest(), args=ocp.args.Composite(run=ocp.args.JsonRestore())
      ).run
      fingerprint, record = run["fingerprint"], run["record"]
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise self._damaged(error) from error
    if fingerprint != self._fingerprint:
      raise errors.InputError(
        f"{self.folder} holds checkpoints of another run: its fingerprint is "
        f"{fingerprint}, this run's is {self._fingerprint} (other data, model "
        "or training fields). Use another --workdir, or remove the folder; "
        "nothing was changed."
      )
    return record

  def _damaged(self, error: Exception) -> errors.InputError:
    return errors.InputError(
      f"{self.folder / str(self.latest())} is not a whole checkpoint of "
      f"ila_jax ({_short(error)}). Remove that folder to go on from the "
      "one before it, or use another --workdir; nothing was changed."
    )

  def _unwritable(self, error: Exception) -> errors.InputError:
    return errors.InputError(
      f"{self.folder} cannot be written ({_short(error)}). Free space "
      "there, or choose another --workdir; whole checkpoints were kept."
    )


def _short(error: Exception) -> str:
  """The first line; what went wrong stands at the ends of a long one."""
  line = str(error).strip().split("\n")[0]
  return line if len(line) < 200 else f"{line[:80]} ... {line[-100:]}"
