"""Early stop: training ends when held-out examples are no longer learned.

Held out is a part of the training examples, drawn for this alone. The dev split
is left out of it: it judges what was trained, so it must choose nothing.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ila_jax import errors
from ila_jax.passes import token_set, windows
from ila_jax.sections import training

# Beside `params` and `optimizer` in what is saved of a run.
_BEST = "best"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStop:
  """When a run ends before its last step.

  Attributes:
    share: of the examples, held out and never trained on.
    steps: between two evaluations; the last step has one, too.
    patience: evaluations in a row without a lower loss, after which it ends.
  """

  share: float
  steps: int
  patience: int


def of(settings: training.Finetune) -> EarlyStop | None:
  """When tuning on subsets ends early, by config.finetune; None: never.

  >>> of(training.Finetune(stop_patience=3)).patience
  3
  """
  if settings.stop_patience is None:
    return None
  return EarlyStop(
    share=settings.stop_share,
    steps=settings.stop_steps,
    patience=settings.stop_patience,
  )


def split(
  data: token_set.TokenSet, stop: EarlyStop | None, *, seed: int, width: int
) -> tuple[token_set.TokenSet, token_set.TokenSet | None]:
  """What is trained on, and what is held out, both in windows.

  The windows of one example are all on one side.

  Args:
    data: n examples; with a stop two or more.
    stop: its share of n is held out, rounded, and one at least; None: nothing.
    seed: of the draw.
    width: tokens of a window.

  Raises:
    errors.InputError: there are fewer than two examples.

  >>> text = token_set.TokenSet.of_text([np.arange(3, dtype=np.int32)] * 10)
  >>> stop = EarlyStop(share=0.2, steps=1, patience=1)
  >>> [len(part) for part in split(text, stop, seed=0, width=3)]
  [8, 2]
  """
  if stop is None:
    return windows.split(data, max_tokens=width).data, None
  n = len(data)
  if n < 2:
    raise errors.InputError(
      f"config.finetune.stop_patience is set, and a training has {n} examples; "
      "allowed: two or more, of which one is held out. Raise the budget, or "
      "set --config.finetune.stop_patience=None."
    )
  count = min(max(round(stop.share * n), 1), n - 1)
  # A stream apart from those of the epochs, which have (seed, epoch).
  order = np.random.default_rng((seed, 0, 1)).permutation(n)
  trained, held_out = (
    windows.split(data.subset(np.sort(part)), max_tokens=width).data
    for part in (order[count:], order[:count])
  )
  return trained, held_out


def told(history: Sequence[Mapping[str, Any]]) -> str:
  """Says where a run has ended, and which weights it keeps.

  Args:
    history: metrics of all steps, as `loop.train` returns them.

  >>> told([{"step": 1, "total_steps": 9, "held_out_loss": 2.0}])
  'ended at step 1 of 9, with the weights of step 1 (held-out loss 2.0000)'
  """
  looked = [step for step in history if "held_out_loss" in step]
  best = min(looked, key=lambda step: step["held_out_loss"])
  return (
    f"ended at step {history[-1]['step']} of {history[-1]['total_steps']}, "
    f"with the weights of step {best['step']} (held-out loss "
    f"{best['held_out_loss']:.4f})"
  )


class Watch:
  """Looks at the held-out loss while a run goes on, and keeps the best weights.

  Attributes:
    is_over: the run is to end.
  """

  def __init__(
    self, stop: EarlyStop | None, loss: Callable[[PyTree], float], *, total: int
  ):
    """Watches nothing where `stop` is None.

    Args:
      stop: when the run ends.
      loss: of the held-out examples, under some weights.
      total: steps of the run if it is not ended.
    """
    self._stop, self._loss, self._total = stop, loss, total
    self._best: PyTree | None = None
    self._lowest: float | None = None
    self._waited = 0
    self.is_over = False

  def after(self, step: int, params: PyTree) -> dict[str, Any]:
    """Evaluates, where that is due; returns what is told of the step.

    Args:
      step: from 1.
      params: the weights after it; copied where they are the best.
    """
    stop = self._stop
    if stop is None or (step % stop.steps and step != self._total):
      return {}
    loss = self._loss(params)
    self._waited += 1
    if self._lowest is None or loss < self._lowest:
      self._lowest, self._waited = loss, 0
      self._best = jax.tree.map(jnp.copy, params)
    self.is_over = self._waited >= stop.patience
    return {"held_out_loss": np.float64(loss)}

  def chosen(self, params: PyTree) -> PyTree:
    """The weights of the lowest held-out loss; the last ones if none is known.

    Args:
      params: the last weights.
    """
    return params if self._best is None else self._best

  def kept(self, state: PyTree) -> PyTree:
    """What is saved: the state of the run, and the best weights beside it."""
    if self._stop is None:
      return state
    return state | {_BEST: self.chosen(state["params"])}

  def record(self) -> dict[str, Any]:
    """What is saved beside that, as a JSON value."""
    if self._stop is None:
      return {}
    known = {"lowest": self._lowest, "waited": self._waited}
    return {"early_stop": known | {"is_over": self.is_over}}

  def resume(self, state: PyTree, record: dict[str, Any]) -> PyTree:
    """Goes on from what was saved; returns the state of the run alone."""
    if self._stop is None:
      return state
    known = record["early_stop"]
    self._lowest, self._waited = known["lowest"], known["waited"]
    self.is_over = known["is_over"]
    if self._lowest is not None:
      self._best = state[_BEST]
    return {name: part for name, part in state.items() if name != _BEST}
