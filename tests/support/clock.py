"""A clock that stands still unless it is told that time passes."""

import time

import pytest


class Clock:
  """Takes the place of `time.monotonic` within a test."""

  def __init__(self, monkeypatch: pytest.MonkeyPatch):
    """Stops the time."""
    self.now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: self.now)

  def passes(self, seconds: float) -> None:
    """Lets some seconds pass."""
    self.now += seconds
