"""How far tuning has moved the model on each response, in nats a token.

That is the mean over the response of the Jensen-Shannon divergence between the
next-token distributions of the base and of the model that was tuned on the
reference set of the first of config.score.reference_seeds: 0 where tuning has
changed nothing, ln 2 where the two never name the same token. PASER asks the
same of a model before and after pruning (`methods.paser`).

It takes a pass under either model. Where config.train.method is 'full', both
are in memory at once.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ila_jax.forecast import costs, work
from ila_jax.passes import (
  collate,
  example_divergence,
  forward,
  token_set,
  windows,
)
from ila_jax.pool import index
from ila_jax.run import account as account_lib
from ila_jax.run import context, stage_record
from ila_jax.score.signals import example_signal
from ila_jax.score.signals.tuned import first_seed
from ila_jax.training import trial


def _made_from(run: context.Run) -> dict[str, Any]:
  return {"score": stage_record.output(run.workdir, "score")}


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, " n"]]:
  longest = run.config.tokens.max_tokens
  base, tuned = first_seed.load(run, account)
  read = windows.lengths(index.lengths(run.workdir), max_tokens=longest)
  layout = forward.layout(base.config, read, run.config.score)

  def count(parts: windows.Parts, batch: collate.Batch) -> None:
    account.add(cells=2 * batch.cells)
    advance(parts.begun(batch.examples))

  def of_shard(table: pa.Table) -> np.ndarray:
    data = token_set.tokens_of(table)
    parts = windows.split(data, max_tokens=longest)
    jsd = example_divergence.example_jsd(
      base,
      tuned.decoder,
      parts.data,
      layout=layout,
      mesh=run.mesh,
      adapters=tuned.adapters,
      on_batch=functools.partial(count, parts),
    )
    lengths = parts.data.lengths
    flops = forward.flops(
      base.config, lengths, response_tokens=data.response_tokens
    )
    account.add(flops=2 * flops, tokens=2 * int(lengths.sum()))
    # Nothing predicts the first token of an example.
    predicted = [mask[1:].sum() for mask in data.is_response]
    return parts.total(jsd) / np.maximum(predicted, 1)

  return of_shard


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a pass of the base, twice."""
  one = run.scoring(run.sample.data, examples=run.sample.examples)
  both = one.times(2)
  if trial.lora(run.config) is not None:
    return both
  second = "the memory of a second whole model"
  return dataclasses.replace(both, left_out=(*both.left_out, second))


SIGNAL = example_signal.Signal(
  name="jsd_sft",
  made_from=_made_from,
  compute=_compute,
  cost=_cost,
)
