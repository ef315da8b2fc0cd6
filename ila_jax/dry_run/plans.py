"""The plans of all that will run: what to ask, and in which order."""

import importlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ila_jax import config as config_lib
from ila_jax.forecast import base_plan, costs, pool_plan, sizes, work
from ila_jax.run import stages as stages_lib
from ila_jax.selection import needs

# Their folders stand before `forecast`, so that their plans lie in it.
_OWN = {"pool": pool_plan, stages_lib.BASE: base_plan}


@runtime_checkable
class Plan(Protocol):
  """The `plan.py` of a stage, a signal, or the module of a set."""

  def cost(self, run: work.PlannedRun) -> costs.Cost:
    """Time, FLOPs and memory."""

  def need(self, known: sizes.Sizes) -> costs.Need:
    """Bytes on the disk."""


def in_order(
  config: config_lib.Config, stages: Sequence[str]
) -> dict[str, Plan]:
  """The plans of some stages, and of what is made for them.

  Args:
    config: of the run.
    stages: names of the stages that will run, in any order.

  Returns:
    By its folder in the workdir, in the order of the run: a base from scratch
    signals and sets beside the pool among them.
  """
  names = list(stages_lib.in_order(stages))
  if _trains_base(config, names):
    names.insert(int("pool" in names), stages_lib.BASE)
  plans: dict[str, Plan] = {}
  early = needs.early(config)
  for name in names:
    also = early if name in stages_lib.NAMES[1:] else []
    for needed in (*also, *needs.before(config, name)):
      plans.setdefault(needs.folder(needed), needs.plan(needed))
    plans[name] = _plan(name)
  return plans


def _plan(name: str) -> Plan:
  if name in _OWN:
    return _OWN[name]
  return importlib.import_module(f"ila_jax.{stages_lib.GRAPH[name].code}.plan")


def _trains_base(config: config_lib.Config, stages: Sequence[str]) -> bool:
  by_base = "embed" in stages and config.encoder.path == "base"
  is_used = by_base or stages_lib.use_base(stages)
  return is_used and config.model.path == config_lib.SCRATCH
