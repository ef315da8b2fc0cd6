"""The loss of each answer with nothing before it, under the base model.

Nothing predicts the first token of such an answer: it does not count. That is
how GPT-2 reads a text, and how Superfiltering, T-SHIRT and Data-Juicer take the
loss without the prompt (docs/method.md 9).
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ila_jax.passes import token_set, windows
from ila_jax.pool import index
from ila_jax.run import account as account_lib
from ila_jax.run import context
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.training import base

_NOTHING = np.zeros(0, np.int32)


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n 4"]]:
  """Loss and predicted tokens of all answers, then of the last one alone."""
  responses = index.column(run.workdir, "n_response_tokens")
  decoder = base.load(run, account)
  nll = nll_without_prompt.scorer(
    run, account, decoder, lengths=responses, advance=advance
  )

  def of_shard(table: pa.Table) -> np.ndarray:
    data = token_set.tokens_of(table)
    each = nll_without_prompt.answers(data, before=_NOTHING)
    parts = windows.split(each.data, max_tokens=run.config.tokens.max_tokens)
    predicted = [mask.sum() for mask in each.data.is_response]
    of_answer = np.stack(
      [parts.total(nll(parts)), np.array(predicted, np.float32)], axis=1
    )
    is_last = np.diff(each.example, append=len(data)) > 0
    of_last = np.where(is_last[:, None], of_answer, 0)
    return np.concatenate([each.total(of_answer), each.total(of_last)], axis=1)

  return of_shard


SIGNAL = example_signal.Signal(
  name="answers_alone",
  made_from=nll_without_prompt.made_from,
  compute=_compute,
  cost=lambda run: nll_without_prompt.cost_alone(run, _NOTHING),
  width=4,
)
