"""The loss of all answers of a conversation but the last, under the base.

The base's loss of a whole conversation less this is that of its last answer,
with all that stands before it as context. It is 0 where there is one answer, of
which no model is asked.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from ila_jax.forecast import costs, work
from ila_jax.passes import token_set, windows
from ila_jax.pool import index
from ila_jax.run import account as account_lib
from ila_jax.run import context
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.training import base


def earlier(
  data: token_set.TokenSet,
) -> tuple[token_set.TokenSet, Int[np.ndarray, " k"]]:
  """Conversations up to their answer before the last, and whose they are.

  >>> mask = np.array([False, True, False, True])
  >>> data = token_set.TokenSet([np.arange(4, dtype=np.int32)] * 2,
  ...   [mask, np.arange(4) > 2])
  >>> cut, example = earlier(data)
  >>> [ids.tolist() for ids in cut.tokens], example.tolist()
  ([[0, 1]], [0])
  """
  tokens, is_response, example = [], [], []
  for number, (ids, mask) in enumerate(
    zip(data.tokens, data.is_response, strict=True)
  ):
    ends = nll_without_prompt.runs(mask)[:-1, 1]
    if len(ends):
      tokens.append(ids[: ends[-1]])
      is_response.append(mask[: ends[-1]])
      example.append(number)
  cut = token_set.TokenSet(tokens, is_response)
  return cut, np.array(example, np.int64)


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, " n"]]:
  decoder = base.load(run, account)
  nll = nll_without_prompt.scorer(
    run,
    account,
    decoder,
    lengths=index.lengths(run.workdir),
    advance=advance,
  )

  def of_shard(table: pa.Table) -> np.ndarray:
    cut, example = earlier(token_set.tokens_of(table))
    losses = np.zeros(len(table), np.float32)
    if len(cut):
      parts = windows.split(cut, max_tokens=run.config.tokens.max_tokens)
      losses[example] = parts.total(nll(parts))
    return losses

  return of_shard


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a pass over the conversations alone; nothing where none is one."""
  cut, _ = earlier(run.sample.data)
  if not len(cut):
    return costs.Cost(0.0)
  count = round(run.sample.examples * len(cut) / len(run.sample.data))
  return run.scoring(cut, examples=count)


SIGNAL = example_signal.Signal(
  name="nll_of_earlier",
  made_from=nll_without_prompt.made_from,
  compute=_compute,
  cost=_cost,
)
