"""Pages of the site that no file in docs/ holds, for mkdocs (`hooks`).

The API has a page for each folder of `ila_jax`, in the order of the README's
code tour: what stands there is read from docstrings. The pages of the guide are
those that its contents name. The changelog and what is
asked of a change lie beside docs/, where GitHub looks for them.
"""

import ast
import pathlib
import re
from typing import Any

from mkdocs.config import defaults
from mkdocs.structure import files as files_lib
from mkdocs.structure import pages as pages_lib

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PACKAGE = _ROOT / "ila_jax"
# What is called from outside stands first, on the page of the API itself.
_FRONT = ("api", "errors")
_OUTSIDE = {
  "CHANGELOG.md": "changelog.md",
  "CONTRIBUTING.md": "contributing.md",
}


def _first_line(path: pathlib.Path) -> str:
  said = ast.get_docstring(ast.parse(path.read_text())) or ""
  return said.partition("\n")[0]


def _dotted(path: pathlib.Path) -> str:
  return ".".join(path.relative_to(_ROOT).with_suffix("").parts)


def _modules(folder: pathlib.Path, leave_out: tuple[str, ...] = ()) -> str:
  """What mkdocstrings replaces by the modules of a folder."""
  found = [
    f"::: {_dotted(path)}"
    for path in sorted(folder.glob("*.py"))
    if not path.name.startswith("_") and path.stem not in leave_out
  ]
  return "\n\n".join(found)


def _folders() -> list[pathlib.Path]:
  """Folders of code, as the README's tour orders them, each before its own."""
  rows = re.findall(r"^\| `.*/`.*$", (_ROOT / "README.md").read_text(), re.M)
  named = re.findall(r"`(?:ila_jax/)?(\w+)/`", "".join(rows))
  return [
    path.parent
    for name in named
    if name != "configs"  # Presets: files to copy and edit.
    for path in sorted((_PACKAGE / name).rglob("__init__.py"))
  ]


def _api() -> dict[str, str]:
  """Pages of the API: path below docs/, and Markdown; the contents first."""
  pages = {}
  rows = ["| folder | what it holds |", "|---|---|"]
  for folder in _folders():
    name = _dotted(folder)
    file = f"{name.removeprefix('ila_jax.')}.md"
    said = _first_line(folder / "__init__.py")
    rows.append(f"| [`{name}`]({file}) | {said} |")
    pages[f"api/{file}"] = f"# {name}\n\n{said}\n\n{_modules(folder)}\n"
  said = "All stages in order, from Python and from the shell; configs."
  rows.append(f"| [`ila_jax`](shell.md) | {said} |")
  body = _modules(_PACKAGE, leave_out=_FRONT)
  pages["api/shell.md"] = f"# ila_jax\n\n{said}\n\n{body}\n"
  front = "\n\n".join(f"::: ila_jax.{name}" for name in _FRONT)
  index = (
    "# API\n\n[`ila_jax.select`](#ila_jax.api.select) does all of it in one "
    "call. It returns [`ila_jax.Selection`](#ila_jax.api.Selection), and "
    "raises [`ila_jax.InputError`](#ila_jax.errors.InputError).\n\n"
    "All other modules are for those who build on parts of it:\n\n"
  )
  index += "\n".join(rows) + f"\n\n{front}\n"
  return {"api/index.md": index, **pages}


def _moved(text: str) -> str:
  """The text of a file beside docs/, with links as from inside of docs/."""

  def link(match: re.Match[str]) -> str:
    file, anchor = match.group(1), match.group(2) or ""
    return f"]({_OUTSIDE.get(file, file.removeprefix('docs/'))}{anchor})"

  return re.sub(r"\]\(([^)#:\s]+)(#[\w-]+)?\)", link, text)


def _guide() -> list[str | dict[str, list[str]]]:
  """The guide in the navigation: its contents, and its pages by headline."""
  text = (_ROOT / "docs/guide/index.md").read_text()
  _, *parts = re.split(r"\n\n([^\n]+):\n\n", text)
  groups = {
    title: [f"guide/{name}" for name in re.findall(r"\]\((\w+\.md)\)", listed)]
    for title, listed in zip(parts[::2], parts[1::2], strict=True)
  }
  return [
    "guide/index.md",
    *({t: names} for t, names in groups.items() if names),
  ]


def on_config(config: defaults.MkDocsConfig) -> defaults.MkDocsConfig:
  """Puts the pages of the guide and of the API into the navigation."""
  made = {"guide": _guide, "api": lambda: list(_api())}
  for entry in config.nav or []:
    for title, value in entry.items():
      if isinstance(value, str) and value in made:
        entry[title] = made[value]()
  return config


def on_page_markdown(markdown: str, page: pages_lib.Page, **_: Any) -> str:
  """Gives a page the room of lists that would hold nothing but itself.

  Links of the guide to files beside docs/ lead to their pages.
  """
  hidden = {
    "navigation": page.parent is None,
    "toc": not re.search(r"^(##|:::) ", markdown, re.M),
  }
  page.meta["hide"] = [name for name, hide in hidden.items() if hide]
  for source, target in _OUTSIDE.items():
    markdown = markdown.replace(f"](../../{source}", f"](../{target}")
  return markdown


def on_files(
  files: files_lib.Files, config: defaults.MkDocsConfig
) -> files_lib.Files:
  """Adds the pages that are made."""
  pages = _api()
  for source, target in _OUTSIDE.items():
    pages[target] = _moved((_ROOT / source).read_text())
  for path, text in pages.items():
    files.append(files_lib.File.generated(config, path, content=text))
  return files
