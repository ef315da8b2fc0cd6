"""What ends a run is told with its exit status and what to do."""

import errno
import os
import signal

import jax
import pytest

from ila_jax import errors
from ila_jax.command_line import endings
from ila_jax.run import interrupts


@pytest.mark.parametrize(
  ("error", "status", "said"),
  [
    (errors.InputError("config.x is 1."), 2, "config.x is 1."),
    *(
      (OSError(number, os.strerror(number), "the_file"), 2, "mend it and run")
      for number in (
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES),
        errno.EMFILE,
      )
    ),
    *(
      (OSError(number, os.strerror(number), "the_file"), 75, "run the same")
      for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
    ),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset"), 75, "network"),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2, "batch_tokens"),
    (KeyboardInterrupt(), 130, "stopped by SIGINT"),
    (interrupts.Stopped(signal.SIGTERM, "saved"), 143, "SIGTERM; saved"),
    (OSError(errno.ENOENT, "No such file"), 1, None),
    (RuntimeError("UNAVAILABLE"), 1, None),  # There is no other host.
    (ZeroDivisionError(), 1, None),
  ],
)
def test_the_status_tells_what_to_do(error, status, said):
  """As the guide has it: 2 to mend, 75 and 143 to start again, 1 a bug."""
  found, message = endings.explain(error, "ila")
  assert found == status
  assert (message is None) == (said is None)
  assert said is None or said in message


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_host_that_is_gone_is_told_by_errors_of_two_kinds(monkeypatch, kind):
  error = kind("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
  assert endings.explain(error, "ila") == (1, None)
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  status, message = endings.explain(error, "ila")
  assert status == errors.LOST
  assert "the other hosts do not answer" in message
  assert endings.explain(kind("shapes do not match"), "ila") == (1, None)
