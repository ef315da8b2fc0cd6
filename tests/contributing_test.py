"""What the documents say of methods is true, and the example works."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

from ila_jax.methods import table

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent


def _example() -> tuple[str, str]:
  """The method of CONTRIBUTING.md: where it goes, and its text."""
  text = (CHECKOUT / "CONTRIBUTING.md").read_text()
  (found,) = re.findall(r"```python\n# (ila_jax/\S+)\n(.*?)```", text, re.S)
  return found


def test_the_example_is_short():
  assert len(_example()[1].strip().splitlines()) < 40


def test_the_example_works_where_it_is_put(tmp_path):
  """In a copy of the code: every check of a method, and the config."""
  for name in ("ila_jax", "configs", "tests"):
    shutil.copytree(
      CHECKOUT / name,
      tmp_path / name,
      ignore=shutil.ignore_patterns("__pycache__"),
    )
  shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
  path, text = _example()
  (tmp_path / path).write_text(text)
  name = pathlib.Path(path).stem

  def run(*arguments):
    done = subprocess.run(
      [sys.executable, *arguments],
      cwd=tmp_path,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

  checks = "tests/methods/every_method_test.py"
  said = run("-m", "pytest", "-q", checks, "-k", name, "-p", "no:cacheprovider")
  assert said.startswith("." * 8), said  # One a check.
  said = run(
    "-c",
    "from tests.support import tiny\n"
    "import ila_jax\n"
    f"config = tiny.config('x', select__strategy='{name}',\n"
    f"                     select__options__{name}__power=0.5)\n"
    f"print(ila_jax.__file__, config.select.options['{name}'])",
  )
  assert said.startswith(str(tmp_path)) and said.endswith("{'power': 0.5}\n")


def test_the_guide_has_every_method_and_every_option():
  text = (CHECKOUT / "docs/guide.md").read_text()
  section = text.partition("\n## Methods\n")[2].partition("\n## ")[0]
  rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", section, re.M))
  assert set(rows) == set(table.METHODS)
  for name, method in table.METHODS.items():
    options = {field.name for field in dataclasses.fields(method.options)}
    last = rows[name].rstrip("| ").rpartition(" | ")[2] if options else ""
    assert options <= set(re.findall(r"`(\w+)`", last)), name
