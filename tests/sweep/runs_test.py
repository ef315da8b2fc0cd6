"""A run in a process of its own: what it says, how it ends and is stopped."""

import os
import signal
import sys
import threading
import time

import pytest

from ila_jax.sweep import runs

_STOPS = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


def _run(program):
  stopper = runs.Stopper()
  with stopper.listening():
    return stopper.run([sys.executable, "-c", program])


def test_a_run_that_is_done_says_what_it_says(capsys):
  ended = _run("import sys; print('read', file=sys.stderr)")
  assert (ended.status, ended.message, ended.ends_sweep) == (0, "", False)
  assert capsys.readouterr().err == "read\n"


@pytest.mark.parametrize(
  ("program", "status", "message", "ends"),
  [
    (
      "import sys; sys.stderr.write('ila_jax: bad\\n'); sys.exit(2)",
      2,
      "bad",
      0,
    ),
    ("raise ValueError('a bug')", 1, "ValueError: a bug", False),
    ("import os; os.kill(os.getpid(), 9)", 137, "", False),
    ("import sys; sys.exit(75)", 75, "", True),
  ],
)
def test_a_run_that_fails_tells_why(program, status, message, ends):
  ended = _run(program)
  assert (ended.status, ended.message) == (status, message)
  assert ended.ends_sweep == bool(ends)


def test_a_signal_is_passed_on_once(monkeypatch):
  ready = threading.Event()
  said = sys.stderr

  class Watched:
    def write(self, line):
      if "ready" in line:
        ready.set()

    def flush(self):
      pass

  monkeypatch.setattr(sys, "stderr", Watched())

  def stop():
    ready.wait(30)
    os.kill(os.getpid(), signal.SIGINT)

  thread = threading.Thread(target=stop)
  thread.start()
  begin = time.monotonic()
  ended = _run(_STOPS)
  thread.join()
  monkeypatch.setattr(sys, "stderr", said)
  assert (ended.status, ended.ends_sweep) == (130, True)
  assert time.monotonic() - begin < 50
