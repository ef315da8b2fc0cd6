"""What runs ahead comes in order, fails where it is read, and stops."""

import threading
import time

import pytest

from ila_jax.compute import prefetch


def test_order_and_depth():
  made = []

  def items():
    for i in range(10):
      made.append(i)
      yield i

  running = prefetch.ahead(items(), depth=2)
  assert next(running) == 0
  time.sleep(0.5)
  # One given, two waiting, one in the making.
  assert made == [0, 1, 2, 3]
  assert list(running) == list(range(1, 10))
  assert list(prefetch.ahead([])) == []


def test_it_runs_while_the_reader_works():
  def slow():
    for i in range(5):
      time.sleep(0.1)
      yield i

  begin = time.monotonic()
  for _ in prefetch.ahead(slow()):
    time.sleep(0.1)
  assert time.monotonic() - begin < 0.95


def test_an_error_comes_after_the_items_before_it():
  def items():
    yield 1
    raise KeyError("two")

  running = prefetch.ahead(items())
  assert next(running) == 1
  with pytest.raises(KeyError, match="two"):
    next(running)


def test_a_reader_that_stops_leaves_no_thread():
  before = threading.active_count()
  running = prefetch.ahead(iter(int, 1))
  next(running)
  running.close()
  assert threading.active_count() == before
