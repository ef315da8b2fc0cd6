"""Endings: the exit status of what ends a run, and what the user can do."""

import errno

from ila_jax import errors

# What the system says of a disk, a folder or a limit (ulimit) that is the
# user's to mend.
_MENDABLE = frozenset(
  (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
  )
)
# What it says of a disk or a network that may be there again in a minute.
_PASSING = frozenset(
  (
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.EIO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ESTALE,
    errno.ETIMEDOUT,
  )
)


def explain(error: BaseException, command: str) -> tuple[int, str | None]:
  """The exit status, and what the user can do; None of a bug.

  Args:
    error: that ends the run.
    command: that goes on, as it is typed.

  >>> explain(errors.InputError("config.x is 1; allowed: 2."), "ila")
  (2, 'config.x is 1; allowed: 2.')
  """
  if isinstance(error, errors.InputError):
    return errors.BAD_INPUT, str(error)
  if isinstance(error, KeyboardInterrupt):
    said = getattr(error, "kept", "") or "what was whole is kept"
    status = getattr(error, "status", 130)
    name = "SIGINT" if status == 130 else "SIGTERM"
    return status, f"stopped by {name}; {said}. Go on with: {command}"
  of_bucket = _of_bucket(error)
  if of_bucket is not None:
    return of_bucket
  if isinstance(error, OSError) and error.errno in _MENDABLE:
    return errors.BAD_INPUT, (
      f"{error.strerror}: {error.filename or 'the disk'}. Nothing that was "
      "whole is lost: mend it and run the same command again, which goes on "
      "from here."
    )
  if isinstance(error, OSError) and error.errno in _PASSING:
    return errors.LOST, (
      f"{error.strerror}: {error.filename or 'the disk or the network'}. What "
      "was whole is kept: run the same command again, which goes on from here."
    )
  if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
    return errors.BAD_INPUT, (
      f"the device's memory is full ({str(error).splitlines()[0][:200]}). "
      "Lower --config.score.batch_tokens or --config.encoder.batch_tokens, set "
      "--config.train.micro_batch_tokens to a part of a step or "
      "--config.train.remat=True, or shard the weights with "
      "--config.mesh.fsdp: the run goes on from here. A lower "
      "--config.train.batch_tokens makes other models, and asks for --redo."
    )
  if _is_of_hosts(error):
    return errors.LOST, (
      f"the other hosts do not answer ({str(error).splitlines()[0][:200]}). "
      "What was whole is kept: start all hosts again."
    )
  return 1, None


def _of_bucket(error: BaseException) -> tuple[int, str] | None:
  from ila_jax.run.disk import buckets

  return buckets.explain(error)


def _is_of_hosts(error: BaseException) -> bool:
  from ila_jax.run import hosts

  return hosts.is_lost(error)
