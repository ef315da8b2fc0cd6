"""The loss of each response without its prompt, under the base model.

Each answer stands alone behind one token that begins a text: the tokenizer's
own for that, or, where it has none (GPT-2, Qwen), that which ends one. So all
tokens of the response are predicted, as with the prompt, and the two sums
compare. Of a conversation the answers are taken one by one, and added.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.forecast import costs, work
from ila_jax.passes import example_loss, forward, token_set, windows
from ila_jax.pool import base_tokenizer
from ila_jax.run import account as account_lib
from ila_jax.run import context, tables
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal
from ila_jax.training import base


def alone(
  data: token_set.TokenSet, *, start: int, max_tokens: int
) -> windows.Parts:
  """Every answer as a part of its own: `start`, then its tokens.

  Args:
    data: prompts and responses.
    start: the token that stands before each answer.
    max_tokens: of a part; a longer answer is read in windows.

  >>> mask = np.array([False, True, True, False, True])
  >>> data = token_set.TokenSet([np.arange(5, dtype=np.int32)], [mask])
  >>> answers = alone(data, start=9, max_tokens=8)
  >>> [ids.tolist() for ids in answers.data.tokens], answers.example.tolist()
  ([[9, 1, 2], [9, 4]], [0, 0])
  """
  tokens, examples = [], []
  for number, (ids, mask) in enumerate(
    zip(data.tokens, data.is_response, strict=True)
  ):
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False]))
    for begin, end in edges.reshape(-1, 2):
      tokens.append(np.r_[np.int32(start), ids[begin:end]].astype(np.int32))
      examples.append(number)
  answers = token_set.TokenSet.of_text(tokens)
  parts = windows.split(answers, max_tokens=max_tokens)
  example = np.array(examples, np.int64)[parts.example]
  return windows.Parts(parts.data, example, len(data))


def _start_token(config: config_lib.Config, tokenizer: Any) -> int:
  for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
    if token is not None:
      return int(token)
  raise errors.InputError(
    f"config.model.path is {config.model.path}: its tokenizer names no token "
    "that begins or ends a text, and one must stand before a response without "
    "its prompt. Set bos_token in its tokenizer_config.json, or choose methods "
    "that do not need nll_without_prompt."
  )


def _made_from(run: context.Run) -> dict[str, Any]:
  config = run.config
  made = {"config": config.section("model"), "seed": None}
  if config.model.path == config_lib.SCRATCH:  # It is trained by this run.
    made = {"config": base.made_from(config), "seed": config.seed}
  return made | {"model": base.signature(run)}


def _compute(
  run: context.Run, account: account_lib.Account
) -> Callable[[pa.Table], Float[np.ndarray, " n"]]:
  config, workdir = run.config, run.workdir
  start = _start_token(config, base_tokenizer.tokenizer(config, workdir))
  decoder = base.load(run, account)
  index = files.read_table(tables.INDEX.path(workdir), ["n_response_tokens"])
  longest = config.tokens.max_tokens
  lengths = windows.lengths(
    index["n_response_tokens"].astype(np.int32) + 1, max_tokens=longest
  )
  layout = forward.layout(decoder.config, lengths, config.score)

  def of_shard(table: pa.Table) -> np.ndarray:
    data = token_set.tokens_of(table)
    answers = alone(data, start=start, max_tokens=longest)
    nll = example_loss.example_nll(
      decoder,
      answers.data.tokens,
      answers.data.is_response,
      layout=layout,
      mesh=run.mesh,
      on_batch=lambda batch: account.add(cells=batch.cells),
    )[:, 0]
    lengths = answers.data.lengths
    flops = forward.flops(
      decoder.config, lengths, response_tokens=answers.data.response_tokens
    )
    account.add(flops=flops, tokens=int(lengths.sum()))
    return answers.total(nll)

  return of_shard


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a pass of the base over the answers alone."""
  data, config = run.sample.data, run.config
  start = _start_token(config, run.sample.tokenizer)
  longest = config.tokens.max_tokens
  answers = alone(data, start=start, max_tokens=longest).data
  count = round(run.sample.examples * len(answers) / len(data))
  return run.scoring(answers, examples=count)


SIGNAL = example_signal.Signal(
  name="nll_without_prompt",
  made_from=_made_from,
  compute=_compute,
  cost=_cost,
)
