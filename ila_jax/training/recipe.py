"""How a model is trained: all that decides the weights but data and start."""

import dataclasses
from typing import Any

import numpy as np
import optax
from jaxtyping import Float, Int

from ila_jax.models import lora as lora_lib
from ila_jax.training import batches, optim
from ila_jax.training import early_stop as early_stop_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """One training run: batches, schedule, AdamW, and what is trained.

  Attributes:
    learning_rate: the highest of the schedule.
    batch_tokens: tokens a step, padding included; at least one row.
    width: tokens a row; no example may be longer.
    seed: of the order of the examples, and of an adapter's first numbers.
    epochs: passes over the data; 0.5 is half of it. Give this or total_steps.
    total_steps: number of steps, over as many epochs as that takes.
    schedule: one of `optim.SCHEDULES`.
    micro_batch_tokens: tokens whose gradient is computed at once, of a step
      that adds up several; None: those of the whole step. It changes rounding
      and memory alone.
    warmup_fraction: share of the steps before the highest learning rate.
    weight_decay: AdamW's; norms and biases have none.
    clip_norm: largest global norm of the gradient.
    lora: adapter to train; None trains the decoder itself.
    early_stop: when to end before the last step; None: never.
  """

  learning_rate: float
  batch_tokens: int
  width: int
  seed: int
  epochs: float | int | None = None
  total_steps: int | None = None
  schedule: str = "cosine"
  micro_batch_tokens: int | None = None
  warmup_fraction: float = 0.03
  weight_decay: float = 0.0
  clip_norm: float = 1.0
  lora: lora_lib.LoraConfig | None = None
  early_stop: early_stop_lib.EarlyStop | None = None

  @property
  def rows(self) -> int:
    """Rows of a batch.

    >>> Recipe(learning_rate=0.1, batch_tokens=70, width=16, seed=0).rows
    4
    """
    return max(self.batch_tokens // self.width, 1)

  def micro_batches(self, multiple: int) -> tuple[int, int]:
    """How many micro-batches a step has, and rows of each.

    Args:
      multiple: of rows, which the mesh divides.

    >>> parts = Recipe(learning_rate=0.1, batch_tokens=160, width=16, seed=0,
    ...                micro_batch_tokens=64)
    >>> parts.micro_batches(1), parts.micro_batches(8)
    ((3, 4), (2, 8))
    """

    def whole(rows: int) -> int:
      return -(-rows // multiple) * multiple

    most = whole(self.rows)
    if self.micro_batch_tokens is not None:
      most = min(most, whole(max(self.micro_batch_tokens // self.width, 1)))
    count = -(-self.rows // most)
    return count, whole(-(-self.rows // count))

  def plan(self, lengths: Int[np.ndarray, " n"]) -> list[list[batches.Row]]:
    """Which examples of these lengths every step trains on, row by row.

    >>> recipe = Recipe(
    ...   learning_rate=0.1, batch_tokens=16, width=16, seed=0, epochs=1.0
    ... )
    >>> len(recipe.plan(np.full(4, 8)))
    2
    """
    return batches.plan(
      lengths,
      width=self.width,
      rows=self.rows,
      seed=self.seed,
      epochs=self.epochs,
      total_steps=self.total_steps,
    )

  def epochs_over(self, lengths: Int[np.ndarray, " n"]) -> float:
    """How often examples of these lengths are passed over.

    >>> recipe = Recipe(learning_rate=0.1, batch_tokens=10, width=10, seed=0,
    ...                 total_steps=3)
    >>> recipe.epochs_over(np.full(4, 5))
    1.5
    """
    if self.epochs is not None:
      return float(self.epochs)
    steps = self.plan(lengths)
    return sum(len(row) for step in steps for row in step) / len(lengths)

  @property
  def optimizer(self) -> optax.GradientTransformationExtraArgs:
    """AdamW with its settings, to which a step gives the rate."""
    return optim.adamw(weight_decay=self.weight_decay, clip_norm=self.clip_norm)

  def rates(self, total_steps: int) -> Float[np.ndarray, " s"]:
    """The schedule as a table on the host, so that no step waits for it."""
    rate = optim.SCHEDULES[self.schedule](
      learning_rate=self.learning_rate,
      warmup_fraction=self.warmup_fraction,
      total_steps=total_steps,
    )
    # A few lengths for all runs: every new one would be compiled again.
    padded = -(-total_steps // 1024) * 1024
    return np.asarray(rate(np.arange(padded)), np.float32)[:total_steps]

  def identity(self) -> list[Any]:
    """What tells whether a checkpoint is of this recipe, as JSON values."""
    return [
      # Without the micro-batches, which change rounding alone.
      *(
        self.schedule,
        self.learning_rate,
        self.warmup_fraction,
        self.weight_decay,
      ),
      *(self.clip_norm, self.epochs, self.total_steps),
      *(self.width, self.rows, self.seed, repr(self.lora)),
      repr(self.early_stop),
    ]


def passes(lora: lora_lib.LoraConfig | None) -> int:
  """Forward passes that a training step costs as much as.

  A backward pass costs a forward pass for the states, and one for the weights
  unless they are frozen.

  >>> passes(None)
  3
  """
  return 3 if lora is None else 2
