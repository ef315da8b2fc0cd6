"""The mean of the clipped gains of a response's tokens, in nats.

The gain of a token is its loss under the base less that under the base tuned on
the reference set of the first of config.score.reference_seeds, and counts
config.signals.token_clip nats at most, up or down. The first token of each
answer and the last, which ends the turn, do not count. NaN where none is left.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

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
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.score.signals.tuned import first_seed, jsd_sft


def inner(data: token_set.TokenSet) -> token_set.TokenSet:
  """The examples without the first and the last token of each answer.

  >>> mask = np.array([False, True, True, True, False, True])
  >>> data = token_set.TokenSet([np.arange(6, dtype=np.int32)], [mask])
  >>> np.flatnonzero(inner(data).is_response[0]).tolist()
  [2]
  """
  masks = []
  for mask in data.is_response:
    kept = mask.copy()
    begin, end = nll_without_prompt.runs(mask).T
    kept[begin] = kept[end - 1] = False
    masks.append(kept)
  return token_set.TokenSet(data.tokens, masks)


def _made_from(run: context.Run) -> dict[str, Any]:
  return {
    "token_clip": run.config.signals.token_clip,
    "score": stage_record.output(run.workdir, "score"),
  }


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
    data = inner(token_set.tokens_of(table))
    parts = windows.split(data, max_tokens=longest)
    gain = example_divergence.example_gain(
      base,
      tuned.decoder,
      parts.data,
      clip=run.config.signals.token_clip,
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
    counted = np.array([mask[1:].sum() for mask in data.is_response])
    with np.errstate(invalid="ignore"):
      return parts.total(gain) / np.where(counted > 0, counted, np.nan)

  return of_shard


# Both models pass once, as for their divergence.
SIGNAL = example_signal.Signal(
  name="token_gain",
  made_from=_made_from,
  compute=_compute,
  cost=jsd_sft.SIGNAL.cost,
)
