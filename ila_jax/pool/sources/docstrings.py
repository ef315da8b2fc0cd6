"""The built-in pool `docstrings:`: instruction-response pairs without download.

The response is the docstring of a public function, class or method, the
instruction a request with its signature, the labels are the docstring's
sections, the domain is package and subpackage. The source files are parsed and
never imported: no side effects, and the same records on every machine that has
the same version of the package.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import platform
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ila_jax import errors
from ila_jax.pool import records

_Def = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# Code that a package carries without meaning it for its users.
_SKIPPED_FOLDERS = {
  "tests",
  "test",
  "testing",
  "benchmarks",
  "externals",
  "extern",
  "vendored",
  "_vendor",
  "site-packages",
}
_SKIPPED_FILES = re.compile(r"(test_.*|.*_test|conftest|setup)\.py")
_MIN_CHARACTERS = 40
# Placeholders that a decorator fills at import; unfilled they are no text.
_TEMPLATE = re.compile(r"%\(\w+\)s|^[ \t]*\{\w+\}[ \t]*$", re.MULTILINE)
_UNDERLINED = re.compile(r"^ *([A-Z][\w /]*)\n *-{3,} *$", re.MULTILINE)
_GOOGLE = re.compile(
  r"^(Args|Arguments|Attributes|Examples?|Notes?|Raises|References|Returns|"
  r"See [Aa]lso|Usage|Warnings?|Yields):$",
  re.MULTILINE,
)
_REQUESTS = {
  "function": (
    "Write the documentation of the function `{}`.",
    "What does `{}` do, and what does it return?",
    "Explain the function `{}` and each of its parameters.",
    "I want to call `{}` in my program. What must I know about it?",
    "Describe the Python function `{}` for a reference manual.",
    "How is `{}` used?",
  ),
  "method": (
    "Write the documentation of the method `{}`.",
    "What does the method `{}` do?",
    "Explain the method `{}` and each of its parameters.",
    "I have such an object and want to call `{}`. What will happen?",
    "Describe the method `{}` for a reference manual.",
    "How is `{}` used?",
  ),
  "property": (
    "Write the documentation of the property `{}`.",
    "What does the property `{}` hold?",
    "Explain the property `{}`.",
    "Describe the property `{}` for a reference manual.",
  ),
  "class": (
    "Write the documentation of the class `{}`.",
    "What is `{}` for?",
    "Explain the class `{}` and the arguments that it takes.",
    "I want to make a `{}`. What must I know about it?",
    "Describe the Python class `{}` for a reference manual.",
    "When should one use `{}`?",
  ),
}


def _package_files(package: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
  """The folder that holds the package, and its source files in order."""
  spec = None
  if package.isidentifier():
    spec = importlib.util.find_spec(package)
  if spec is None:
    raise errors.InputError(
      f"config.pool.source is 'docstrings:{package}'; no package of that name "
      "is installed. Allowed: names of installed packages or standard modules, "
      "with commas between, such as docstrings:numpy,json."
    )
  if spec.submodule_search_locations:
    root = pathlib.Path(next(iter(spec.submodule_search_locations)))
    files = sorted(
      pathlib.Path(folder) / name
      for folder, _, names in os.walk(root)
      for name in names
      if name.endswith(".py")
    )
  elif spec.origin and spec.origin.endswith(".py"):
    root = pathlib.Path(spec.origin)
    files = [root]
  else:
    files = []
  if not files:
    raise errors.InputError(
      f"config.pool.source is 'docstrings:{package}'; that module has no "
      "Python source. Allowed: packages with source files, such as numpy."
    )
  return root.parent, files


def _is_public_file(path: pathlib.Path) -> bool:
  folders = set(path.parts[:-1])
  return not (folders & _SKIPPED_FOLDERS or _SKIPPED_FILES.match(path.name))


def _module(file: str) -> str:
  """Import path without its inner parts: scipy.stats, not ._stats_py."""
  parts = pathlib.PurePath(file).with_suffix("").parts
  return ".".join(p for p in parts if not p.startswith("_") and p != "core")


def _kind(node: _Def) -> str:
  """What a member of a class is."""
  if isinstance(node, ast.ClassDef):
    return "class"
  decorators = [ast.unparse(d) for d in node.decorator_list]
  is_property = any(
    d.endswith(("property", "cache_readonly")) for d in decorators
  )
  return "property" if is_property else "method"


def _definitions(tree: ast.Module) -> Iterator[tuple[str, str, _Def]]:
  """Public functions, classes and methods: kind, name, node."""
  for node in tree.body:
    if not isinstance(node, _Def) or node.name.startswith("_"):
      continue
    is_class = isinstance(node, ast.ClassDef)
    yield "class" if is_class else "function", node.name, node
    if is_class:
      for member in node.body:
        if isinstance(member, _Def) and not member.name.startswith("_"):
          yield _kind(member), f"{node.name}.{member.name}", member


def _arguments(kind: str, node: _Def) -> str:
  """Parameters in brackets, without self and annotations, where it has any."""
  if isinstance(node, ast.ClassDef):
    members = (m for m in node.body if isinstance(m, ast.FunctionDef))
    node = next((m for m in members if m.name == "__init__"), None)
  if node is None or kind == "property":
    return ""
  arguments = node.args
  named = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
  for argument in [*named, arguments.vararg, arguments.kwarg]:
    if argument is not None:
      argument.annotation = None
  text = ast.unparse(arguments)
  return "(" + re.sub(r"^(self|cls)(, /)?(, |$)", "", text) + ")"


def sections(docstring: str) -> list[str]:
  r"""Names of a docstring's sections (numpydoc or Google), in order.

  >>> sections("Sum.\n\nParameters\n----------\na : int\n")
  ['Parameters']
  >>> sections("Sum.\n\nArgs:\n  a: a number.\n\nReturns:\n  It.\n")
  ['Args', 'Returns']
  >>> sections("Sum.")
  ['summary']
  """
  titles = [title.rstrip() for title in _UNDERLINED.findall(docstring)]
  titles += _GOOGLE.findall(docstring)
  return list(dict.fromkeys(titles)) or ["summary"]


def _request(kind: str, name: str, signature: str) -> str:
  """One of the kind's phrasings, chosen by the name alone."""
  phrasings = _REQUESTS[kind]
  key = hashlib.blake2b(name.encode(), digest_size=4).digest()
  return phrasings[int.from_bytes(key) % len(phrasings)].format(signature)


def _file_records(
  module: str, tree: ast.Module
) -> Iterator[tuple[int, dict[str, Any]]]:
  for kind, name, node in _definitions(tree):
    text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
    if len(text) < _MIN_CHARACTERS or _TEMPLATE.search(text):
      continue
    qualified = f"{module}.{name}"
    yield (
      node.lineno,
      {
        "instruction": _request(
          kind, qualified, qualified + _arguments(kind, node)
        ),
        "output": text,
        "labels": sections(text),
        "domain": ".".join(module.split(".")[:2]),
        "name": qualified,
      },
    )


def walk(package: str) -> Iterator[records.RawRecord]:
  """Records of one package, by file and line; each docstring only once.

  Fields: instruction, output, labels (sections of the docstring), domain
  (package and subpackage), name. A file that cannot be parsed is one record
  with a reason.

  Raises:
    InputError: the package is not installed, or has no Python source.

  >>> next(walk("json")).record["name"]
  'json.dump'
  """
  seen = set()
  for file, path in source_files(package).items():
    try:
      with warnings.catch_warnings():
        # Invalid escapes in the packages' own code are not our business.
        warnings.simplefilter("ignore")
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError) as error:
      yield records.RawRecord(
        file, 1, package, reason="not Python source", detail=str(error)
      )
      continue
    for line, record in _file_records(_module(file), tree):
      # Packages repeat a docstring from class to class; one is enough.
      if record["output"] not in seen:
        seen.add(record["output"])
        text = json.dumps(record, ensure_ascii=False)
        yield records.RawRecord(file, line, package, record, text)


def read(packages: Sequence[str]) -> Iterator[records.RawRecord]:
  """Records of several packages, mixed by a hash of their names.

  So the first so many are a fair sample of all.

  Raises:
    InputError: see `walk`.

  >>> len(list(read(["json"]))) == len(list(walk("json")))
  True
  """
  raws = [record for package in packages for record in walk(package)]

  def key(raw: records.RawRecord) -> bytes:
    name = raw.record["name"] if raw.record else raw.file
    return hashlib.blake2b(f"{name}:{raw.line}".encode()).digest()

  yield from sorted(raws, key=key)


def source_files(package: str) -> dict[str, pathlib.Path]:
  """The files that `walk` reads: name below the package's folder to path.

  Raises:
    InputError: the package is not installed, or has no Python source.

  >>> list(source_files("json"))[0]
  'json/__init__.py'
  """
  base, files = _package_files(package)
  named = ((path.relative_to(base), path) for path in files)
  return {n.as_posix(): path for n, path in named if _is_public_file(n)}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
  """Which distribution a package is of; to find out takes half a second."""
  return importlib.metadata.packages_distributions()


def versions(packages: Sequence[str]) -> dict[str, str]:
  """The version of each package; Python's own for the standard library's.

  >>> versions(["json"]) == {"json": platform.python_version()}
  True
  """
  distributions = _distributions()
  return {
    name: importlib.metadata.version(distributions[name][0])
    if name in distributions
    else platform.python_version()
    for name in packages
  }
