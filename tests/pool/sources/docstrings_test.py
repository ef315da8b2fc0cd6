"""Docstrings as a pool: deterministic, real, never imported."""

import ast
import collections
import importlib
import inspect
import subprocess
import sys
import textwrap

import pytest

from ila_jax import errors
from ila_jax.pool.sources import docstrings

_SOURCE = textwrap.dedent('''
  """A module's own docstring is no answer to a request."""
  raise RuntimeError("this file must never be imported")

  def area(width: float, /, height=1.0, *rest, unit: str = "m", **more):
    """Area of a rectangle, in square units.

    Parameters
    ----------
    width : float

    Returns
    -------
    float
    """

  def short():
    """Too short."""

  def _private():
    """A private function is not part of what users call."""

  def filled():
    """A template whose %(placeholder)s a decorator would fill."""

  class Box(Base):
    """A box that holds things, and nothing else.

    Args:
      size: how much.
    """

    def __init__(self, size, *, lid=None):
      """Constructors are described by their class; no record."""

    def open(self, /, slowly=False):
      """Opens the box, which may take quite a while."""

    @property
    def volume(self):
      """The volume of the box, measured in cubic metres."""

    def again(self):
      """Opens the box, which may take quite a while."""
''')


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A package that fails when imported, with private parts and tests."""
  folder = tmp_path / "toy_documented"
  for inner in ("_inner", "tests", "core"):
    (folder / inner).mkdir(parents=True)
    (folder / inner / "__init__.py").write_text("")
  (folder / "__init__.py").write_text("raise RuntimeError")
  (folder / "_inner" / "_shapes.py").write_text(_SOURCE)
  (folder / "tests" / "more.py").write_text(_SOURCE)
  (folder / "broken.py").write_text("def f(:\n")
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  return "toy_documented"


def test_walk(package):
  found = list(docstrings.walk(package))
  good = {r.record["name"]: r for r in found if r.record}
  assert list(good) == [
    "toy_documented.area",
    "toy_documented.Box",
    "toy_documented.Box.open",
    "toy_documented.Box.volume",
  ]
  area = good["toy_documented.area"]
  signature = (
    "`toy_documented.area(width, /, height=1.0, *rest, unit='m', **more)`"
  )
  assert signature in area.record["instruction"]
  assert area.record["labels"] == ["Parameters", "Returns"]
  assert area.record["domain"] == "toy_documented"
  assert area.file == "toy_documented/_inner/_shapes.py"
  assert _SOURCE.splitlines()[area.line - 1].startswith("def area")
  box = good["toy_documented.Box"].record
  assert "`toy_documented.Box(size, *, lid=None)`" in box["instruction"]
  assert box["labels"] == ["Args"]
  opened = good["toy_documented.Box.open"].record["instruction"]
  assert "`toy_documented.Box.open(slowly=False)`" in opened
  volume = good["toy_documented.Box.volume"].record["instruction"]
  assert "`toy_documented.Box.volume`" in volume
  (bad,) = [r for r in found if r.record is None]
  assert (bad.file, bad.reason) == (
    "toy_documented/broken.py",
    "not Python source",
  )
  assert package not in sys.modules


def test_requests_vary_and_depend_on_the_name_only():
  numpy = {r.record["name"]: r.record for r in docstrings.walk("email")}
  again = {r.record["name"]: r.record for r in docstrings.walk("email")}
  assert numpy == again
  openings = collections.Counter(
    record["instruction"].split("`")[0] for record in numpy.values()
  )
  assert len(openings) > 6


def test_the_answers_are_the_docstrings():
  records = {r.record["name"]: r.record for r in docstrings.walk("textwrap")}
  assert records["textwrap.dedent"]["output"] == inspect.getdoc(textwrap.dedent)
  assert records["textwrap.fill"]["output"] == inspect.getdoc(textwrap.fill)


def test_read_mixes_packages_evenly():
  found = list(docstrings.read(["email", "json", "ast"]))
  alone = [
    r for name in ("email", "json", "ast") for r in docstrings.walk(name)
  ]
  assert sorted(found) == sorted(alone)
  first = collections.Counter(r.source for r in found[: len(found) // 2])
  whole = collections.Counter(r.source for r in found)
  assert abs(first["email"] - whole["email"] / 2) < 0.2 * whole["email"]


def test_order_is_the_same_in_another_process():
  code = (
    "from ila_jax.pool.sources import docstrings\n"
    "print([r.record['name'] for r in docstrings.read(['json', 'email'])])\n"
  )
  printed = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  ).stdout
  here = [r.record["name"] for r in docstrings.read(["json", "email"])]
  assert ast.literal_eval(printed) == here


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("no_such_package", "no package of that name is installed"),
    ("", "no package of that name"),
    ("numpy.linalg", "no package of that name"),
    ("math", "has no Python source"),
  ],
)
def test_what_cannot_be_read(name, message):
  with pytest.raises(errors.InputError, match=message):
    list(docstrings.walk(name))


def test_a_large_package_gives_many_records():
  found = list(docstrings.walk("numpy"))
  assert sum(r.record is not None for r in found) > 800
  domains = {r.record["domain"] for r in found if r.record}
  assert {"numpy.linalg", "numpy.fft", "numpy.polynomial"} <= domains
  sections = {label for r in found if r.record for label in r.record["labels"]}
  assert {"Parameters", "Returns", "Notes", "Examples"} <= sections
