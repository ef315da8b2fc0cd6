"""The selection beside its rivals: differences of dev loss with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from ila_jax.finetune import paired_bootstrap
from ila_jax.methods import table

# What a method needs that puts the pool in an order by chance alone.
_CHANCE = ("uniform",)
# Decimals that are kept: the last bits are the machine's.
_DIGITS = 9


def compare(
  evaluations: Sequence[Mapping[str, Any]],
  nll: Mapping[str, Float[np.ndarray, " n"]],
  n_tokens: Int[np.ndarray, " n"],
  *,
  groups: Shaped[np.ndarray, " n"],
  seed: int,
) -> dict[str, Any]:
  """Compares the selection with each rival, at each equal budget.

  Args:
    evaluations: as `finetune/evaluations.jsonl` has them: the base first, then
      the selection, then the rivals.
    nll: by the names of the evaluations, the loss of each dev example.
    n_tokens: response tokens of each dev example.
    groups: dev examples that are drawn together.
    seed: of the resamples.

  Returns:
    JSON: strategy, chance (the rival that is the measure), examples, tokens,
    groups, resamples; gain (nats a token by which tuning on that rival lowers
    the dev loss); rivals, a list with name, strategy, equal, train_examples,
    train_tokens, micro and macro, each with value, low and high: loss of the
    selection less that of the rival.
  """
  base, ours, *rivals = evaluations
  found = []
  if rivals:
    found = paired_bootstrap.differences(
      nll[ours["name"]],
      np.stack([nll[rival["name"]] for rival in rivals]),
      n_tokens,
      groups=groups,
      seed=seed,
    )
  kept = ("name", "strategy", "equal", "train_examples", "train_tokens")
  chance = _chance(rivals)
  return {
    "strategy": ours["strategy"],
    "train_examples": ours["train_examples"],
    "train_tokens": ours["train_tokens"],
    "chance": chance and chance["strategy"],
    "gain": chance and round(base["micro"] - chance["micro"], _DIGITS),
    "examples": len(n_tokens),
    "tokens": int(n_tokens.sum(dtype=np.int64)),
    "groups": len(np.unique(groups)),
    "resamples": paired_bootstrap.RESAMPLES,
    "rivals": [
      {key: rival[key] for key in kept}
      | {"micro": _plain(gap.micro), "macro": _plain(gap.macro)}
      for rival, gap in zip(rivals, found, strict=True)
    ],
  }


def by_chance(strategy: str) -> bool:
  """Whether a method puts the pool in an order by chance alone.

  >>> by_chance("random"), by_chance("longest")
  (True, False)
  """
  method = table.METHODS.get(strategy)
  return method is not None and method.needs == _CHANCE


def _chance(rivals: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
  """The rival that is the measure: one chosen by chance, else the first.

  At equal tokens, where that was tuned.
  """

  def order(rival: Mapping[str, Any]) -> tuple[bool, bool]:
    return not by_chance(rival["strategy"]), rival["equal"] != "tokens"

  return min(rivals, key=order, default=None)


def _plain(estimate: paired_bootstrap.Estimate) -> dict[str, float]:
  return {
    name: round(value, _DIGITS) for name, value in estimate._asdict().items()
  }
