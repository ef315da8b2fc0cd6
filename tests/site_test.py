"""The site is built, whole and without the network."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import house_test

pytest.importorskip("mkdocs", reason="the site needs pip install '.[docs]'")

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
_IN_ENGLISH = {"NO_MKDOCS_2_WARNING": "1", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """The folder of the site; what is wrong in a page fails its making."""
  folder = tmp_path_factory.mktemp("site")
  done = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
    cwd=CHECKOUT,
    env=os.environ | _IN_ENGLISH,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return folder


def _pages(site: pathlib.Path) -> dict[str, str]:
  return {
    path.relative_to(site).as_posix(): path.read_text()
    for path in site.rglob("*.html")
  }


def test_every_document_is_a_page(site):
  pages = _pages(site)
  documents = (CHECKOUT / "docs").rglob("*.md")
  for path in documents:
    name = path.relative_to(CHECKOUT / "docs").with_suffix(".html")
    assert name.as_posix() in pages
  assert {"changelog.html", "contributing.html", "404.html"} < set(pages)


def test_every_public_module_is_in_the_api(site):
  titles = re.findall(
    r'<h2 id="(ila_jax\.[\w.]+)"',
    "".join(
      text for name, text in _pages(site).items() if name.startswith("api/")
    ),
  )
  wanted = [
    f"ila_jax.{name}"
    for name in map(house_test._name, house_test.MODULES)
    if not name.rpartition(".")[2].startswith("_")
  ]
  assert sorted(titles) == sorted(wanted)


def test_what_is_called_first_stands_first_with_its_types(site):
  text = (site / "api/index.html").read_text()
  assert 'id="ila_jax.api.select"' in text
  shown = re.sub(r"<[^>]+>", "", text)
  assert "budget: float | int | None = None" in shown
  assert "a float up to 1 is a fraction of the candidates" in shown


def test_examples_are_code(site):
  examples = 0
  for name, text in _pages(site).items():
    examples += text.count('<span class="gp">&gt;&gt;&gt; </span>')
    quoted = re.findall(r"<blockquote>.*?</blockquote>", text, re.S)
    assert not [one for one in quoted if "&gt;" in one], name
  assert examples > 300


def test_lists_are_lists(site):
  """A list without a blank line before it is one only on GitHub."""
  for name, text in _pages(site).items():
    for found in re.findall(r"<p>(.*?)</p>", text, re.S):
      assert not re.search(r"^[*-] +\w", found, re.M), (name, found)


def test_blocks_of_code_name_their_language():
  for path in (CHECKOUT / "docs").rglob("*.md"):
    fences = re.findall(r"^ *```(.*)$", path.read_text(), re.M)
    assert all(fences[::2]) and not any(fences[1::2]), path


def test_a_page_fetches_nothing(site):
  for name, text in _pages(site).items():
    fetched = re.findall(r'<(?:link|script|img)\b[^>]*"(?:https?:)?//', text)
    assert not fetched, name
  style = (site / "site.css").read_text()
  assert "url(" not in style and "@import" not in style


def test_the_script_keeps_what_is_not_the_site(tmp_path):
  (tmp_path / "thesis.tex").write_text("Years.")
  done = subprocess.run(
    ["bash", str(CHECKOUT / "launch/docs.sh"), "--build", "."],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert f"{tmp_path} holds something else" in done.stderr
  assert (tmp_path / "thesis.tex").read_text() == "Years."
