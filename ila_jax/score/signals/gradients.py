"""The direction in which Adam would go by each example, projected.

LESS (Xia et al. 2024, arXiv 2402.04333; docs/method.md 16): at the end of
each epoch of a warm-up, the gradient of an example's mean loss by the adapter,
as Adam would step by it, projected to `width` numbers, of norm 1, in float16.

At 4 epochs and a width of 8,192 a record takes 64 KiB: 66 GB for a million. It
is kept, for it depends on no target set: a run with another one computes the
gradients of that alone. Scores alone would be small, and made anew each time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ila_jax.forecast import costs, work
from ila_jax.passes import token_set
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress
from ila_jax.score.gradients import features, warmup
from ila_jax.score.signals import example_signal
from ila_jax.training import base

NAME = "gradients"


def _made_from(run: context.Run) -> dict[str, Any]:
  made = warmup.made_from(run)
  return made | {"width": warmup.settings(run.config).width}


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n w"]]:
  decoder, epochs = base.load(run, account), warmup.settings(run.config).epochs
  told = progress.every(advance, epochs)
  of = features.reader(
    run,
    run,
    decoder,
    account,
    is_adam=True,
    on_batch=lambda batch: told(len(batch.examples)),
  )
  return lambda table: of(token_set.tokens_of(table))


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a forward and a backward pass of each epoch, and of projecting."""
  return features.cost(run)


SIGNAL = example_signal.Signal(
  name=NAME,
  made_from=_made_from,
  compute=_compute,
  cost=_cost,
  width=features.width,
  dtype="float16",
  is_wide=True,
)
