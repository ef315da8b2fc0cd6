"""Whole runs are of one size: what one file compiled serves the next."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
  """Takes the place of the fixture that forgets them after each file.

  To trace and load the programs of a run is most of its time, and they hold
  little memory.
  """
