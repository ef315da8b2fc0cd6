"""What a run says: nothing of the quick, a line now and then of the slow."""

import io
import sys
import threading
import time

import jax
import pytest
import tqdm

from ila_jax.run import account as account_lib
from ila_jax.run import log, progress, tables


def test_quick_work_is_silent(capsys):
  assert list(progress.progress(range(3), desc="count", unit="steps")) == [
    0,
    1,
    2,
  ]
  assert capsys.readouterr().err == ""


def test_slow_work_speaks(capsys, monkeypatch):
  clock = iter([0.0, 1.0, 3.0, 4.0, 20.0, 21.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  with progress.counter(40, desc="score", unit="examples") as advance:
    for _ in range(4):
      advance(10)
  lines = capsys.readouterr().err.splitlines()
  assert lines == [
    "  score: 20/40 examples in 3 s, about 3 s left",
    "  score: 40/40 examples in 20 s",
  ]


def test_what_is_slow_is_told_once_and_the_quick_is_not(capsys):
  said = threading.Event()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(progress, "say", lambda message: (print(message), said.set()))
    with progress.if_slow("waiting", seconds=0.0):
      assert said.wait(30)
    with progress.if_slow("not said", seconds=1e6):
      pass
  assert capsys.readouterr().out == "waiting\n"


def test_what_was_not_said_is_said_at_the_end(capsys, monkeypatch):
  clock = iter([0.0, 3.0, 4.0, 5.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  with progress.counter(None, desc="train", unit="steps") as advance:
    advance(1, total=2)
    advance(1, total=2)
  assert capsys.readouterr().err.splitlines() == [
    "  train: 1/2 steps in 3 s, about 3 s left",
    "  train: 2 steps in 5 s",
  ]


class _Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.mark.parametrize("stderr", [io.StringIO, _Terminal])
def test_quiet_shows_warnings_and_answers_and_logs_all(
  tmp_path, monkeypatch, stderr
):
  clock = iter([0.0, 3.0, 4.0, 5.0])
  shown = stderr()
  monkeypatch.setattr(sys, "stderr", shown)
  monkeypatch.setattr(progress, "_Terminal", type("_", (), {"is_quiet": False}))
  log.begin()
  with log.kept(tmp_path):
    progress.say("before")
    progress.be_quiet()
    progress.say("  a detail")
    progress.say("  warning: of something")
    progress.answer("  the report: index.html")
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.counter(None, desc="train", unit="steps") as advance:
      advance(1, total=2)
      advance(1, total=2)
    monkeypatch.undo()
  assert shown.getvalue().splitlines() == [
    *("before", "  warning: of something", "  the report: index.html"),
  ]
  lines = tables.LOG.path(tmp_path).read_text().splitlines()
  assert [line[22:] for line in lines[1:]] == [
    *("before", "  a detail", "  warning: of something"),
    *("  the report: index.html", "  train: 2 steps in 5 s", "ended: done"),
  ]


def test_an_account_is_what_a_hand_makes_it(monkeypatch):
  clock = iter([100.0, 104.0, 108.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  account = account_lib.Account()
  account.add(flops=2e9, tokens=30, cells=50)
  account.add(flops=0.5e9, tokens=10, cells=14)
  assert account.totals(matrix_rate=2.5e9) == {
    "seconds": 4.0,
    "flops": 2.5e9,
    "tokens": 40,
    "cells": 64,
    "tokens_per_second": 10.0,
    "padding": 0.375,
    "matrix_rate": 2.5e9,
    "utilisation": 0.25,
  }
  account.exclude(seconds=3.0)
  totals = account.totals()
  assert (totals["seconds"], totals["tokens_per_second"]) == (5.0, 8.0)
  assert totals["matrix_rate"] is None and totals["utilisation"] is None


def test_an_account_of_nothing_has_no_shares():
  totals = account_lib.Account().totals(matrix_rate=1e9)
  names = ("tokens_per_second", "padding", "utilisation")
  assert [totals[name] for name in names] == [None] * 3


def test_an_account_goes_on_from_an_earlier_attempt(monkeypatch):
  clock = iter([0.0, 6.0, 50.0, 52.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  first = account_lib.Account()
  first.add(flops=3e9, tokens=30, cells=40)
  spent = first.totals(matrix_rate=1e9)
  second = account_lib.Account()
  second.go_on(spent)
  second.add(flops=1e9, tokens=10, cells=10)
  totals = second.totals(matrix_rate=1e9)
  assert (totals["seconds"], totals["flops"]) == (8.0, 4e9)
  assert (totals["tokens"], totals["cells"]) == (40, 50)
  assert (totals["tokens_per_second"], totals["utilisation"]) == (5.0, 0.5)


def _compiled_at(monkeypatch, *spans):
  """Programs that were compiled, by the clock of the test."""
  monkeypatch.setattr(progress, "_spans", list(spans))


def test_a_program_inside_a_program_counts_once(monkeypatch):
  monkeypatch.setattr(progress, "_spans", [])
  for end, seconds in ((2.0, 1.0), (4.0, 1.5), (5.0, 4.5), (9.0, 1.0)):
    monkeypatch.setattr(time, "monotonic", lambda end=end: end)
    progress._note_compilation(f"{progress._COMPILING}some_part", seconds)
    progress._note_compilation("/jax/something/else", 100.0)
  # From 0.5 to 5, and from 8 to 9: the union, by hand.
  assert progress.compile_seconds() == 5.5


def test_what_jax_compiles_is_noticed():
  def slowly(x):
    time.sleep(0.3)  # While it is traced, and never again.
    return x + 1

  before = progress.compile_seconds()
  program = jax.jit(slowly)
  program(1.0)
  first = progress.compile_seconds() - before
  program(1.0)
  assert 0.3 <= first < 10
  assert progress.compile_seconds() - before == first


def test_the_time_left_is_without_the_compilation(capsys, monkeypatch):
  _compiled_at(monkeypatch)
  clock = iter([100.0, 112.0, 123.0, 123.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  with progress.counter(11, desc="train", unit="steps") as advance:
    _compiled_at(monkeypatch, (100.5, 110.5))
    advance(1)  # Took 2 s: ten of them will take 20.
    advance(10)
  assert capsys.readouterr().err.splitlines() == [
    "  train: 1/11 steps in 12 s (10 s compiling), about 20 s left",
    "  train: 11/11 steps in 23 s (10 s compiling)",
  ]


def test_the_bar_of_a_terminal_leaves_the_compilation_out(monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  terminal = Terminal()
  monkeypatch.setattr(sys, "stderr", terminal)
  now = time.time()
  monkeypatch.setattr(tqdm.std, "time", lambda: now)
  _compiled_at(monkeypatch)
  with progress.counter(11, desc="train", unit="steps") as advance:
    now += 16.0
    _compiled_at(monkeypatch, (0.0, 10.0))
    advance(1)
  bar = terminal.getvalue()
  assert "00:06<01:00" in bar and "compiled for 10 s before" in bar
