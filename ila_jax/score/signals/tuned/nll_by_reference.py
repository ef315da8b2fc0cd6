"""The loss of each response under each of the reference-tuned models.

Stage `score` has computed them, and keeps their mean beside the base's loss.
A method that asks how far reference sets agree wants them one by one, in the
order of config.score.reference_seeds. Nothing is passed through a model again.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ila_jax.forecast import costs
from ila_jax.pool import index
from ila_jax.run import account as account_lib
from ila_jax.run import context, stage_record
from ila_jax.score import losses
from ila_jax.score.signals import example_signal


def _made_from(run: context.Run) -> dict[str, Any]:
  return {"score": stage_record.output(run.workdir, "score")}


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n ..."]]:
  del account, advance  # No model is asked.
  total = len(index.column(run.workdir, "id"))
  by_seed = losses.read(run, np.arange(total))[1]
  every = np.stack([*by_seed.values()], axis=1)
  if len(by_seed) == 1:
    every = every[:, 0]

  def of_shard(table: pa.Table) -> np.ndarray:
    return every[table.column("row").to_numpy()]

  return of_shard


SIGNAL = example_signal.Signal(
  name="nll_by_reference",
  made_from=_made_from,
  compute=_compute,
  cost=lambda _: costs.Cost(0.0),  # Numbers are copied.
  reads=("row",),
  width=lambda config: len(config.score.reference_seeds),
)
