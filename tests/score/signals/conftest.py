"""One run for the tests of all signals."""

import pytest

from tests.support import conversations


@pytest.fixture(scope="package")
def run(tmp_path_factory):
  """As `conversations.run` has it."""
  return conversations.run(tmp_path_factory.mktemp("run"))
