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
from jaxtyping import Bool, Float, Int, PyTree

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.forecast import costs, work
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import (
  collate,
  example_loss,
  forward,
  token_set,
  windows,
)
from ila_jax.pool import base_tokenizer, index
from ila_jax.run import account as account_lib
from ila_jax.run import context
from ila_jax.score.signals import example_signal
from ila_jax.training import base


def alone(
  data: token_set.TokenSet,
  *,
  before: Int[np.ndarray, " b"],
  max_tokens: int,
) -> windows.Parts:
  """Every answer as a part of its own: `before`, then its tokens.

  Args:
    data: prompts and responses.
    before: as in `answers`.
    max_tokens: of a part; a longer answer is read in windows.

  >>> mask = np.array([False, True, True, False, True])
  >>> data = token_set.TokenSet([np.arange(5, dtype=np.int32)], [mask])
  >>> parts = alone(data, before=np.array([9], np.int32), max_tokens=8)
  >>> [ids.tolist() for ids in parts.data.tokens], parts.example.tolist()
  ([[9, 1, 2], [9, 4]], [0, 0])
  """
  each = answers(data, before=before)
  parts = windows.split(each.data, max_tokens=max_tokens)
  return windows.Parts(parts.data, each.example[parts.example], len(data))


def answers(
  data: token_set.TokenSet, *, before: Int[np.ndarray, " b"]
) -> windows.Parts:
  """Every answer, whole, behind the same few tokens.

  Args:
    data: prompts and responses.
    before: int32 tokens that stand before each answer; where there are none,
      nothing predicts its first token.
  """
  tokens, is_response, example = [], [], []
  for number, (ids, mask) in enumerate(
    zip(data.tokens, data.is_response, strict=True)
  ):
    for begin, end in runs(mask):
      tokens.append(np.r_[before, ids[begin:end]].astype(np.int32))
      is_response.append(np.arange(len(tokens[-1])) >= max(len(before), 1))
      example.append(number)
  each = token_set.TokenSet(tokens, is_response)
  return windows.Parts(each, np.array(example, np.int64), len(data))


def runs(mask: Bool[np.ndarray, " t"]) -> Int[np.ndarray, "answers 2"]:
  """Where each answer begins, and where it has ended.

  >>> runs(np.array([False, True, True, False, True])).tolist()
  [[1, 3], [4, 5]]
  """
  return np.flatnonzero(np.diff(np.r_[False, mask, False])).reshape(-1, 2)


def start_token(
  config: config_lib.Config, tokenizer: Any
) -> Int[np.ndarray, " 1"]:
  """The token that stands before a response without its prompt, int32 [1].

  Raises:
    errors.InputError: the tokenizer has none that begins or ends a text.
  """
  for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
    if token is not None:
      return np.array([token], np.int32)
  raise errors.InputError(
    f"config.model.path is {config.model.path}: its tokenizer names no token "
    "that begins or ends a text, and one must stand before a response without "
    "its prompt. Set bos_token in its tokenizer_config.json, or choose methods "
    "that do not need nll_without_prompt."
  )


def made_from(run: context.Run) -> dict[str, Any]:
  """What a loss under the base follows from, beside the pool."""
  config = run.config
  is_trained = config.model.path == config_lib.SCRATCH  # By this run.
  return {
    "config": base.made_from(config),
    "seed": config.seed if is_trained else None,
    "model": base.signature(run),
  }


Nll = Callable[[windows.Parts], Float[np.ndarray, " p"]]


def scorer(
  run: context.Run,
  account: account_lib.Account,
  decoder: decoder_lib.Decoder,
  *,
  lengths: Int[np.ndarray, " n"],
  adapters: PyTree | None = None,
  advance: example_signal.Advance = lambda examples: None,
) -> Nll:
  """A function from parts of a shard to their losses under one model.

  Args:
    run: its mesh and settings.
    account: of the stage.
    decoder: the model.
    lengths: tokens of what is scored of each example of the pool, at most.
    adapters: one low-rank model (`models.lora.stack`), or None.
    advance: called with the examples whose first part is scored.
  """
  read = windows.lengths(
    lengths.astype(np.int32), max_tokens=run.config.tokens.max_tokens
  )
  layout = forward.layout(decoder.config, read, run.config.score)

  def nll(parts: windows.Parts) -> Float[np.ndarray, " p"]:
    def count(batch: collate.Batch) -> None:
      account.add(cells=batch.cells)
      advance(parts.begun(batch.examples))

    found = example_loss.example_nll(
      decoder,
      parts.data.tokens,
      parts.data.is_response,
      layout=layout,
      mesh=run.mesh,
      adapters=adapters,
      on_batch=count,
    )[:, 0]
    lengths = parts.data.lengths
    flops = forward.flops(
      decoder.config, lengths, response_tokens=parts.data.response_tokens
    )
    account.add(flops=flops, tokens=int(lengths.sum()))
    return found

  return nll


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, " n"]]:
  config, workdir = run.config, run.workdir
  before = start_token(config, base_tokenizer.tokenizer(config, workdir))
  responses = index.column(workdir, "n_response_tokens")
  decoder = base.load(run, account)
  nll = scorer(
    run, account, decoder, lengths=responses + len(before), advance=advance
  )

  def of_shard(table: pa.Table) -> np.ndarray:
    data = token_set.tokens_of(table)
    longest = config.tokens.max_tokens
    parts = alone(data, before=before, max_tokens=longest)
    return parts.total(nll(parts))

  return of_shard


def cost_alone(
  run: work.PlannedRun, before: Int[np.ndarray, " b"]
) -> costs.Cost:
  """Cost of a pass of a model over the answers alone."""
  data, longest = run.sample.data, run.config.tokens.max_tokens
  parts = alone(data, before=before, max_tokens=longest).data
  count = round(run.sample.examples * len(parts) / len(data))
  return run.scoring(parts, examples=count)


SIGNAL = example_signal.Signal(
  name="nll_without_prompt",
  made_from=made_from,
  compute=_compute,
  cost=lambda run: cost_alone(
    run, start_token(run.config, run.sample.tokenizer)
  ),
)
