"""Budgets: in examples, in response tokens, or a share of the candidates."""

import math

import numpy as np
from jaxtyping import Int

from ila_jax import errors
from ila_jax.methods import table
from ila_jax.sections import selection

UNITS = ("examples", "tokens", "fraction")


def budget_prefix(
  order: Int[np.ndarray, " m"],
  n_tokens: Int[np.ndarray, " n"],
  *,
  budget: float | int,
  unit: str,
) -> int:
  """The number of rows at the head of a ranking that a budget buys.

  Args:
    order: rows of the pool, best first [m].
    n_tokens: response tokens of each row of the pool [n].
    budget: in `unit`, from 0 to the whole of the candidates.
    unit: "examples"; "tokens", the longest prefix whose response tokens do
      not exceed the budget; or "fraction" of the candidates, rounded to the
      nearest example.

  Raises:
    errors.InputError: an unknown unit; a budget that is negative, above the
      pool, or no whole number of examples.

  >>> order, n_tokens = np.array([2, 0, 1]), np.array([10, 10, 5])
  >>> budget_prefix(order, n_tokens, budget=2, unit="examples")
  2
  >>> budget_prefix(order, n_tokens, budget=24, unit="tokens")
  2
  """
  spent = np.cumsum(n_tokens[order], dtype=np.int64)
  total = int(spent[-1]) if len(order) else 0
  wholes = {"examples": len(order), "tokens": total, "fraction": 1}
  if unit not in wholes:
    raise errors.InputError(
      f"config.select.unit is {unit!r}; allowed: {', '.join(UNITS)}."
    )
  if not 0 <= budget <= wholes[unit]:
    raise errors.InputError(
      f"config.select.budget is {budget} {unit}; allowed: 0 to "
      f"{wholes[unit]}, all {len(order)} candidates of the pool. Lower it, or "
      "say what it counts with --config.select.unit=examples, tokens or "
      "fraction."
    )
  if unit == "tokens":
    return int(np.searchsorted(spent, budget, side="right"))
  if unit == "fraction":
    return round(budget * len(order))
  if budget != int(budget):
    raise errors.InputError(
      f"config.select.budget is {budget} examples; allowed: a whole number. "
      "For a share of the pool set --config.select.unit=fraction."
    )
  return int(budget)


def most_rows(
  n_tokens: Int[np.ndarray, " m"], *, budget: float | int, unit: str
) -> int:
  """The most rows that a budget can reach, whatever their order.

  A budget in tokens may end within the last of them: who orders fewer does not
  tell where it ends.

  Args:
    n_tokens: response tokens of the candidates [m].
    budget: in `unit`; above the pool it buys all.
    unit: "examples" or "tokens".

  >>> most_rows(np.array([10, 10, 5]), budget=15, unit="tokens")
  2
  >>> most_rows(np.array([10, 10, 5]), budget=16, unit="tokens")
  3
  """
  if unit == "examples":
    return int(min(budget, len(n_tokens)))
  spent = np.cumsum(np.sort(n_tokens), dtype=np.int64)
  return min(int(np.searchsorted(spent, budget)) + 1, len(n_tokens))


def check_shares(select: selection.Select, candidates: int) -> list[str]:
  """Checks the budget by the share of the candidates that methods order.

  Args:
    select: what chooses.
    candidates: how many may be selected, at most.

  Returns:
    What is to be told of each rival that orders less than the budget buys; it
    gives what it has.

  Raises:
    errors.InputError: the budget is more than config.select.strategy orders.
  """
  if select.unit == "tokens":  # How long those are is not known yet.
    return []
  found = []
  asked = select.examples(candidates=candidates, response=1.0)
  for name in dict.fromkeys((select.strategy, *select.compare)):
    options = table.options(name, select.options)
    share = table.METHODS[name].share(options)
    most = math.ceil(share * candidates)
    if asked <= most:
      continue
    said = (
      f"config.select.budget is {select.budget:,.12g} {select.unit}, and "
      f"{name} chooses from at most {most:,} of {candidates:,} candidates "
      f"(config.select.options.{name}.share is {share:g})"
    )
    if name == select.strategy:
      raise errors.InputError(
        f"{said}. Lower the budget, or raise "
        f"--config.select.options.{name}.share."
      )
    found.append(
      f"{said}: it is compared with fewer examples than the budget buys"
    )
  return found
