"""All methods: the modules of this folder, and of those in it, with a METHOD.

A new method is a new file; nothing else names it. Every method returns one
order of the candidates. Unless `is_nested` says otherwise, any prefix is its
answer for a smaller budget, in the same cells.

>>> import numpy as np
>>> from ila_jax.methods import candidates
>>> five = np.arange(5)
>>> pool = candidates.candidates(
...   np.array([5, 4, 3, 2, 1], np.uint64), cell=np.array([0, 0, 0, 1, 1]),
...   depth=np.array([4.0, 3.0, 2.0, 1.0, 0.0]), relative_depth=five / 5,
...   n_tokens=five + 1, domain=0 * five, candidate=five >= 0, seed=0)
>>> for name in ("ila", "coverage_only", "longest"):
...   print(name, METHODS[name](pool).order)
ila [0 3 1 4 2]
coverage_only [1 3 4 2 0]
longest [4 3 2 1 0]
>>> METHODS["trim"](pool, quantile=0.9).order
array([3, 0, 1, 4, 2], dtype=int32)
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from ila_jax import methods
from ila_jax.methods import method
from ila_jax.methods import options as options_lib


def _fail(name: str) -> None:
  """Says which folder is broken, which `pkgutil` would pass over."""
  raise ImportError(f"{name} cannot be imported")


def _found() -> Iterator[method.Method]:
  prefix = f"{methods.__name__}."
  for module in pkgutil.walk_packages(methods.__path__, prefix, _fail):
    own = getattr(importlib.import_module(module.name), "METHOD", None)
    if isinstance(own, method.Method):
      yield own


def _by_name() -> dict[str, method.Method]:
  by_name: dict[str, method.Method] = {}
  for own in _found():
    if own.name in by_name:
      raise ValueError(f"two methods are called {own.name!r}")
    by_name[own.name] = own
  return dict(sorted(by_name.items()))


METHODS = _by_name()


def options(name: str, values: Mapping[str, Any]) -> options_lib.Options:
  """The options of a method, from config.select.options.

  Args:
    name: of the method.
    values: by method, and by field.

  Raises:
    errors.InputError: an unknown field, or a value that is not allowed.

  >>> options("trim", {"trim": {"quantile": 0.25}}).quantile
  0.25
  """
  place = f"config.select.options.{name}"
  return options_lib.build(METHODS[name].options, values.get(name, {}), place)


def needed(name: str, values: Mapping[str, Any]) -> tuple[str, ...]:
  """What a method needs with its options from config.select.options.

  Raises:
    errors.InputError: as `options`.

  >>> needed("ifd", {"ifd": {"variant": "superfiltering"}})
  ('n_tokens', 'nll_base', 'answers_alone')
  """
  return METHODS[name].needed(options(name, values))


def scores(name: str, values: Mapping[str, Any]) -> dict[str, str]:
  """The scores of others that a method reads, by the field that names each.

  Raises:
    errors.InputError: as `options`.

  >>> scores("deita", {"deita": {"complexity": ""}})
  {'config.select.options.deita.quality': 'quality'}
  """
  asked = METHODS[name].scores(options(name, values))
  place = f"config.select.options.{name}"
  return {f"{place}.{option}": score for option, score in asked.items()}
