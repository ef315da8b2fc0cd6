"""All signals: the modules of this folder, and of those in it, with a SIGNAL.

One that methods compare with the target set has a TARGET beside it: the same
numbers of the examples of the target set.

>>> [name for name in SIGNALS if name.endswith("rds_embedding")]
['rds_embedding', 'target_rds_embedding']
>>> SIGNALS["nll_without_prompt"].width
1
"""

import importlib
import pkgutil
from collections.abc import Iterable

from etils import epath

from ila_jax.run import stage_record
from ila_jax.run.disk import folders
from ila_jax.score import signals
from ila_jax.score.signals import example_signal


def _fail(name: str) -> None:
  """Says which folder is broken, which `pkgutil` would pass over."""
  raise ImportError(f"{name} cannot be imported")


def _by_name() -> dict[str, example_signal.Signal]:
  by_name: dict[str, example_signal.Signal] = {}
  prefix = f"{signals.__name__}."
  for module in pkgutil.walk_packages(signals.__path__, prefix, _fail):
    for place in ("SIGNAL", "TARGET"):
      own = getattr(importlib.import_module(module.name), place, None)
      if isinstance(own, example_signal.Signal):
        by_name[own.name] = own
  return dict(sorted(by_name.items()))


SIGNALS = _by_name()


def among(needs: Iterable[str]) -> list[str]:
  """Those of the names that are signals.

  >>> among(["depth", "nll_without_prompt"])
  ['nll_without_prompt']
  """
  return [need for need in needs if need in SIGNALS]


def outputs(workdir: epath.Path, needs: Iterable[str]) -> dict[str, str]:
  """What made the signals among these names, for the inputs of a stage.

  Raises:
    errors.InputError: one of them has not been computed.
  """
  folder = epath.Path(workdir) / folders.SIGNALS
  return {name: stage_record.output(folder, name) for name in among(needs)}
