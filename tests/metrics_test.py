"""What a run says: nothing of the quick, a line now and then of the slow."""

import time

from ila_jax import metrics


def test_quick_work_is_silent(capsys):
  assert list(metrics.progress(range(3), desc="count", unit="steps")) == [
    0,
    1,
    2,
  ]
  assert capsys.readouterr().err == ""


def test_slow_work_speaks(capsys, monkeypatch):
  clock = iter([0.0, 1.0, 3.0, 4.0, 20.0, 21.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  with metrics.counter(40, desc="score", unit="examples") as advance:
    for _ in range(4):
      advance(10)
  lines = capsys.readouterr().err.splitlines()
  assert lines == [
    "  score: 20/40 examples in 3 s, about 3 s left",
    "  score: 40/40 examples in 20 s",
  ]


def test_what_was_not_said_is_said_at_the_end(capsys, monkeypatch):
  clock = iter([0.0, 3.0, 4.0, 5.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  with metrics.counter(None, desc="train", unit="steps") as advance:
    advance(1, total=2)
    advance(1, total=2)
  assert capsys.readouterr().err.splitlines() == [
    "  train: 1/2 steps in 3 s, about 3 s left",
    "  train: 2 steps in 5 s",
  ]


def test_account_adds_up():
  account = metrics.Account()
  account.add(flops=2, tokens=3)
  account.add(flops=0.5, tokens=4)
  totals = account.totals()
  assert (totals["flops"], totals["tokens"]) == (2.5, 7)
  assert totals["seconds"] >= 0
