"""Hosts that end together: what ends one ends all of them, with its message.

A host that fails leaves the others in a collective, where they would wait for
minutes and then be aborted. So each has a thread that listens for a failure
and for signs of life, through JAX's coordination service, and ends its process.
"""

import atexit
import contextlib
import itertools
import json
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

import jax

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run import interrupts, log
from ila_jax.run.disk import differences

_FAILED, _HEARD, _ALIVE = "ila_jax/failed", "ila_jax/heard/", "ila_jax/alive/"
# Where JAX notes that a host was told by SIGTERM that it has to go.
_ASKED = "RECEIVED_PREEMPTION_NOTICE"
_BEAT_SECONDS = 2
# Long calls that hold the interpreter keep a host silent for a while.
_SILENT_SECONDS = 60
# How long a failing host waits for the others to hear of it.
_HEARD_SECONDS = 10
# How long the main thread may take to stop: a call may be deaf to signals.
_STOP_SECONDS = 10
# What JAX says where it cannot reach another host.
_LOST_WORDS = (
  *("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"),
)
_ended = threading.Event()
_told = threading.Event()
_listeners: list[threading.Thread] = []


def watch() -> None:
  """Starts to listen to the other hosts, if there are any."""
  if jax.distributed.is_initialized():
    listener = threading.Thread(target=_watch, args=(_client(),), daemon=True)
    _listeners.append(listener)
    listener.start()


def rest() -> None:
  """Listens no more: the run has ended well."""
  _ended.set()
  # One that still waits for an answer when Python ends would abort it.
  for listener in _listeners:
    listener.join(3 * _BEAT_SECONDS)


def leave(status: int, message: str) -> None:
  """Tells the other hosts, which end too, and ends with this status at exit.

  Args:
    status: that all hosts end with.
    message: what went wrong, for their logs.
  """
  if not jax.distributed.is_initialized():
    return
  client, own = _client(), jax.process_index()
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    # What looks like the network is often another host that has just failed.
    if status == errors.LOST and (first := _failure(client)):
      status = first["status"]
      _tell(first)
  _ended.set()
  line = f"host {own} has ended, and this one with it: {message}".split("\n")[0]
  content = json.dumps({"status": status, "message": line})
  # Where another host failed first, the others have heard of that one.
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    client.key_value_set(_FAILED, content)
  _acknowledge(client)
  # JAX would wait for the others at exit.
  atexit.register(_exit, status)


def is_lost(error: BaseException) -> bool:
  """Whether an error says that JAX could not reach another host of the run.

  Where a program runs for the first time it says so by a ValueError.

  >>> is_lost(RuntimeError("UNAVAILABLE"))  # There is no other host.
  False
  """
  if not isinstance(error, RuntimeError | ValueError):
    return False
  said = str(error)
  return jax.process_count() > 1 and any(word in said for word in _LOST_WORDS)


def check_same(given: dict[str, Any]) -> None:
  """Checks that all hosts have been given the same.

  Args:
    given: JSON values by name.

  Raises:
    errors.InputError: they have not; on every host, in the same words.

  >>> check_same({"--stages": ["pool"]})
  """
  first, *others = map(json.loads, mesh.tell(json.dumps(given)))
  for host, other in enumerate(others, start=1):
    for name, ours, theirs in differences.find(first, other):
      raise errors.InputError(
        f"{name} is {ours!r} on the first host, and {theirs!r} on host {host}; "
        "allowed: the same on all. Start all hosts by the same command, with "
        "the same versions of all packages and the same files."
      )


def _acknowledge(client: Any) -> None:
  """Notes that this host knows; the first, which serves all, ends last."""
  own = jax.process_index()
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    client.key_value_set(f"{_HEARD}{own}", "", allow_overwrite=True)
    if own == 0:
      for host in range(1, jax.process_count()):
        client.blocking_key_value_get(f"{_HEARD}{host}", _HEARD_SECONDS * 1000)
      # JAX aborts those that are not gone before the first.
      time.sleep(_BEAT_SECONDS)


def _watch(client: Any) -> None:
  own, seen, asked_at = jax.process_index(), {}, None
  for beat in itertools.count():
    try:
      client.key_value_set(f"{_ALIVE}{own}", str(beat), allow_overwrite=True)
      for name, value in client.key_value_dir_get(_ALIVE):
        if name not in seen or seen[name][0] != value:
          seen[name] = value, time.monotonic()
      failure = _failure(client)
      if not failure and interrupts.is_alone() and _is_asked(client):
        asked_at = asked_at or time.monotonic()
        failure = _stop(client, asked_at)
    except jax.errors.JaxRuntimeError as error:
      failure = _lost(f"the first host does not answer ({str(error)[:60]})")
    for name, (_, at) in seen.items():
      if time.monotonic() - at > _SILENT_SECONDS:
        host = name.rpartition("/")[2]
        failure = _lost(f"host {host} is silent for {_SILENT_SECONDS} s")
    if _ended.is_set():
      return
    if failure:
      _tell(failure)
      _acknowledge(client)
      _exit(failure["status"])


def _is_asked(client: Any) -> bool:
  """Whether any host was asked to stop."""
  try:
    client.key_value_try_get(_ASKED)
  except jax.errors.JaxRuntimeError as error:
    if "NOT_FOUND" not in str(error):
      raise
    return False
  return True


def _stop(client: Any, asked_at: float) -> dict[str, Any] | None:
  """Ends the work for which the others wait; by force where it is deaf."""
  if time.monotonic() - asked_at < _STOP_SECONDS:
    interrupts.stop_alone()
    return None
  failure = {
    "status": 128 + signal.SIGTERM,
    "message": "stopped by SIGTERM; what was whole is kept: run the same "
    "command again on all hosts, which goes on from here.",
  }
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    client.key_value_set(_FAILED, json.dumps(failure))
  return failure


def _tell(failure: dict[str, Any]) -> None:
  """Prints and logs, once, why another host ends this one."""
  if not _told.is_set():
    _told.set()
    print(f"ila_jax: {failure['message']}", file=sys.stderr)
    log.write(f"ended: {failure['message']}")
    log.save()


def _lost(what: str) -> dict[str, Any]:
  kept = "what was whole is kept: start all hosts again"
  return {"status": errors.LOST, "message": f"{what}; {kept}."}


def _failure(client: Any) -> dict[str, Any] | None:
  """What another host failed of, once it does; None while all is well."""
  try:
    content = client.blocking_key_value_get(_FAILED, _BEAT_SECONDS * 1000)
  except jax.errors.JaxRuntimeError as error:
    if "DEADLINE_EXCEEDED" not in str(error):
      raise
    return None
  return json.loads(content)


def _exit(status: int) -> NoReturn:
  """Ends this process from any thread, wherever the main one waits."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


def _client() -> Any:
  # Orbax, too, reaches the service in this way: there is no public one.
  from jax._src import distributed

  return distributed.global_state.client
