"""Losses with and without the prompt under a model that was warmed up.

That is the base tuned on the reference set of the first of
config.score.reference_seeds: Cherry's "brief experience" (docs/method.md 9).
Its loss with the prompt is known; without it, each answer follows the header
that stands before answers in the Alpaca format.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from ila_jax import config as config_lib
from ila_jax.passes import token_set
from ila_jax.pool import base_tokenizer, index
from ila_jax.run import account as account_lib
from ila_jax.run import context, stage_record
from ila_jax.score import losses
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.score.signals.tuned import first_seed

# As `pool.tokens.chat_template` writes it before an answer.
HEADER = "### Response:\n"


def _before(config: config_lib.Config, tokenizer: Any) -> Int[np.ndarray, " b"]:
  """The token that begins a text, and the header."""
  header = tokenizer.encode(HEADER, add_special_tokens=False)
  start = nll_without_prompt.start_token(config, tokenizer)
  return np.r_[start, np.array(header, np.int32)]


def _made_from(run: context.Run) -> dict[str, Any]:
  return {
    "header": HEADER,
    "score": stage_record.output(run.workdir, "score"),
  }


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n 2"]]:
  """The loss with the prompt, and that without."""
  config, workdir = run.config, run.workdir
  before = _before(config, base_tokenizer.tokenizer(config, workdir))
  responses = index.column(workdir, "n_response_tokens")
  seed = config.score.reference_seeds[0]
  tuned = first_seed.load(run, account).tuned
  nll = nll_without_prompt.scorer(
    run,
    account,
    tuned.decoder,
    lengths=responses + len(before),
    adapters=tuned.adapters,
    advance=advance,
  )
  given = losses.read(run, np.arange(len(responses)))[1][seed]

  def of_shard(table: pa.Table) -> np.ndarray:
    data, longest = token_set.tokens_of(table), config.tokens.max_tokens
    parts = nll_without_prompt.alone(data, before=before, max_tokens=longest)
    own = given[table.column("row").to_numpy()]
    return np.stack([own, parts.total(nll(parts))], axis=1)

  return of_shard


SIGNAL = example_signal.Signal(
  name="nll_warmed_up",
  made_from=_made_from,
  compute=_compute,
  cost=lambda run: nll_without_prompt.cost_alone(
    run, _before(run.config, run.sample.tokenizer)
  ),
  reads=("row", "tokens", "is_response"),
  width=2,
)
