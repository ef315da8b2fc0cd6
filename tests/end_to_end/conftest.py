"""Whole runs are of one size: what one file compiled serves the next."""

import pytest

from ila_jax.report.figures import look


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
  """Takes the place of the fixture that forgets them before each file.

  To trace and load the programs of a run is most of its time, and they hold
  little memory.
  """


@pytest.fixture(scope="module", autouse=True)
def _no_pixels(request):
  """Figures are made and not painted, but where a test looks at one.

  To paint them is a third of a run whose programs are there.
  """
  with pytest.MonkeyPatch.context() as patch:
    if not request.module.__name__.endswith(".pipeline_test"):
      patch.setattr(look, "png", lambda figure: b"\x89PNG")
    yield
