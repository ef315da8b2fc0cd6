"""Names of points: different for different points, fit for a folder."""

import pytest

from ila_jax import errors
from ila_jax.sweep import points

_CONFIG = """
from ila_jax.configs import quickstart

get_config = quickstart.get_config


def sweep_good():
  yield {"score.reference_seeds": (0, 1), "pool.source": "a/b c.jsonl"}
  yield {"score.reference_seeds": (0, 1), "pool.source": "a/b-c.jsonl"}


def sweep_plain():
  yield {"seed": 1}
  yield {"seed": 1, "landscape.depth": "ila_length"}


def sweep_twice():
  yield {"seed": 1}
  yield {"seed": 1}


def sweep_empty():
  yield from ()


def sweep_unknown():
  yield {"landscape.dept": "ila"}


def sweep_typed():
  yield {"landscape.depth": 3}


def sweep_list():
  yield ["landscape.depth"]
"""


@pytest.fixture
def config(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(_CONFIG)
  return str(path)


def test_names_are_those_of_folders_and_differ(config):
  first, second = points.of_sweep(config, "good")
  # Of what both have alike, a name says nothing.
  assert first.name.startswith("source=a-b-c.jsonl-")
  assert second.name.startswith("source=a-b-c.jsonl-")
  assert first.name != second.name
  alone, other = points.of_sweep(config, "plain")
  assert (alone.name, other.name) == ("plain", "depth=ila_length")
  assert first.flags[0] == "--config.score.reference_seeds=(0, 1)"


def test_long_names_are_cut_and_differ():
  names = {points.name({"pool.source": "x" * 300 + end}) for end in "ab"}
  assert len(names) == 2
  assert max(map(len, names)) == 100


@pytest.mark.parametrize(
  ("sweep", "message"),
  [
    ("other", r"--sweep is 'other'; allowed, of the config .*: good, plain"),
    ("twice", "has the point seed=1 twice"),
    ("empty", "yields no point"),
    ("unknown", "sets 'landscape.dept' to 'ila': .*did you mean|fields"),
    ("typed", "sets 'landscape.depth' to 3"),
    ("list", r"yields \['landscape.depth'\]; allowed: a dict"),
  ],
)
def test_sweeps_that_are_wrong_are_refused(config, sweep, message):
  with pytest.raises(errors.InputError, match=message):
    points.of_sweep(config, sweep)


def test_a_sweep_that_raises_is_named_with_its_line(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text("def sweep_a():\n  yield 1 / 0\n")
  with pytest.raises(errors.InputError, match=r"mine.py line 2: ZeroDivision"):
    points.of_sweep(str(path), "a")
