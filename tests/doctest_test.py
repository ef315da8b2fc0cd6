"""The examples in docstrings are run, and public functions have one."""

import doctest
import importlib

import pytest

from tests import house_test

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# The example of `api` is a whole run: packaging_test has it, from a wheel.
_SHELL = ("main", "__main__", "api")


@pytest.mark.parametrize(
  "name",
  [n for n in map(house_test._name, house_test.MODULES) if n not in _SHELL],
)
def test_examples_of(name):
  module = importlib.import_module(f"ila_jax.{name}")
  found = doctest.testmod(module, optionflags=_OPTIONS)
  assert found.failed == 0
