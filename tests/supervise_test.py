"""The supervisor starts a run again while that is of use, and no longer."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
_SCRIPT = "launch/supervise.sh"
# Notes each start, and ends with the next of the statuses that it is given.
_COMMAND = """
import pathlib, sys
file = pathlib.Path(sys.argv[1])
starts = int(file.read_text()) if file.exists() else 0
file.write_text(str(starts + 1))
sys.exit(int(sys.argv[2:][min(starts, len(sys.argv) - 3)]))
"""


def _supervise(*command, **environment):
  return subprocess.run(
    ["bash", _SCRIPT, *command],
    cwd=CHECKOUT,
    env={"PATH": "/usr/bin:/bin", "WAIT_SECONDS": "0"} | environment,
    capture_output=True,
    text=True,
    check=False,
    timeout=100,
  )


def _starts(tmp_path, *statuses, **environment):
  """Status of the supervisor, how often it started, and what it said."""
  file = tmp_path / "starts"
  command = (sys.executable, "-c", _COMMAND, str(file), *map(str, statuses))
  done = _supervise(*command, **environment)
  return done.returncode, int(file.read_text()), done.stderr.splitlines()


@pytest.mark.parametrize("status", [0, 1, 2])
def test_what_is_over_is_not_started_again(tmp_path, status):
  assert _starts(tmp_path, status) == (status, 1, [])


@pytest.mark.parametrize("status", [75, 130, 134, 137, 139, 143])
def test_what_may_go_well_is_started_again(tmp_path, status):
  ended, starts, said = _starts(tmp_path, status, status, 0)
  assert (ended, starts) == (0, 3)
  assert [line.split(":")[1] for line in said] == [
    f" status {status}, failure {failure} of 8" for failure in (1, 2)
  ]


def test_bad_input_after_a_failure_ends_it(tmp_path):
  assert _starts(tmp_path, 75, 2)[:2] == (2, 2)


def test_it_gives_up(tmp_path):
  ended, starts, said = _starts(tmp_path, 75, TRIES="3")
  assert (ended, starts) == (75, 3)
  assert "failure 3 of 3: it gives up" in said[-1]


def test_pauses_grow_to_a_bound(tmp_path):
  bounds = {"WAIT_SECONDS": "1", "MOST_SECONDS": "2", "TRIES": "4"}
  begin = time.monotonic()
  _, _, said = _starts(tmp_path, 137, **bounds)
  assert [line.rpartition(" in ")[2] for line in said[:-1]] == [
    *("1 s", "2 s", "2 s"),
  ]
  assert time.monotonic() - begin >= 5


def test_a_long_run_begins_a_new_row(tmp_path):
  program = f"import time; time.sleep(1.5)\n{_COMMAND}"
  file = tmp_path / "starts"
  command = (sys.executable, "-c", program, str(file), "75", "75", "75", "0")
  done = _supervise(*command, TRIES="2", MOST_SECONDS="0")
  assert done.returncode == 0, done.stderr
  assert file.read_text() == "4"


_WAITS = """
import signal, sys, time
def end(number, frame):
  time.sleep(0.5)  # As one that saves a checkpoint.
  print("saved", flush=True)
  sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_waited_for(number):
  with subprocess.Popen(
    ["bash", _SCRIPT, sys.executable, "-c", _WAITS],
    cwd=CHECKOUT,
    stdout=subprocess.PIPE,
    text=True,
  ) as run:
    assert run.stdout.readline() == "ready\n"
    run.send_signal(number)
    assert run.stdout.read() == "saved\n"
  assert run.returncode == 128 + number


def test_a_signal_in_a_pause_ends_it():
  with subprocess.Popen(
    ["bash", _SCRIPT, "bash", "-c", "exit 75"],
    cwd=CHECKOUT,
    stderr=subprocess.PIPE,
    text=True,
  ) as run:
    assert "starts again in 10 s" in run.stderr.readline()
    begin = time.monotonic()
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) == 128 + signal.SIGTERM
  assert time.monotonic() - begin < 9


@pytest.mark.parametrize(
  ("command", "environment", "said"),
  [
    ((), {}, "bash launch/supervise.sh"),
    (("true", "--redo=score"), {}, "--redo would be done at every start"),
    (("true", "--redo", "score"), {}, "--redo would be done at every start"),
    (("true",), {"TRIES": "many"}, "TRIES, WAIT_SECONDS or MOST_SECONDS is"),
  ],
)
def test_what_it_refuses(command, environment, said):
  done = _supervise(*command, **environment)
  assert done.returncode == 2
  assert said in done.stderr


def test_a_command_that_is_not_there_is_told_once():
  done = _supervise("/no/such/command")
  assert done.returncode == 127
