"""Embeddings of whole examples by the base, as RDS+ makes them.

The last hidden states of prompt and response together, after the final norm:
their mean, in which token t, from 0, counts t + 1 times, at unit norm (Ivison
et al., "Large-Scale Data Selection for Instruction Tuning", arXiv 2503.01807;
the mean is that of SGPT, Muennighoff, arXiv 2202.08904). The tokens are those
of the run, with its chat template. As there, what is longer than
config.tokens.max_tokens is cut: of it the first tokens are read. They are kept
in float16, 2 d bytes an example, which moves a cosine by about 1e-5.
"""

import functools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ila_jax.embed import encode
from ila_jax.embed import work as embed_work
from ila_jax.forecast import costs, work
from ila_jax.passes import collate, forward, token_set
from ila_jax.pool import index
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress
from ila_jax.score import target
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.training import base


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
  *,
  of: str,
) -> Callable[[pa.Table], Float[np.ndarray, "n d"]]:
  signal, longest = _OF[of], run.config.tokens.max_tokens
  decoder = base.load(run, account)
  lengths = index.lengths(signal.source(run.workdir))
  cut = int((lengths > longest).sum())
  if cut:
    progress.say(
      f"  of {cut:,} of {len(lengths):,} examples the first {longest:,} tokens "
      "are read (config.tokens.max_tokens)"
    )
  layout = forward.layout(
    decoder.config, np.minimum(lengths, longest), run.config.score
  )

  def count(batch: collate.Batch) -> None:
    account.add(cells=batch.cells)
    advance(len(batch.examples))

  def of_shard(table: pa.Table) -> np.ndarray:
    tokens = [ids[:longest] for ids in token_set.tokens_of(table).tokens]
    vectors = encode.encode(
      decoder,
      tokens,
      pooling="weightedmean",
      layout=layout,
      mesh=run.mesh,
      on_batch=count,
    )
    lengths = np.array([len(ids) for ids in tokens], np.int32)
    flops = forward.flops(decoder.config, lengths)
    account.add(flops=flops, tokens=int(lengths.sum()))
    return vectors

  return of_shard


def _cost(run: work.PlannedRun, *, of: str) -> costs.Cost:
  """Cost of a pass of the base, without its head."""
  longest = run.config.tokens.max_tokens
  tokens = [ids[:longest] for ids in run.sample.data.tokens]
  is_target = of == example_signal.TARGET
  count = target.count(run.config) if is_target else run.sample.examples
  return embed_work.of_base(run, tokens, examples=count)


def _signal(of: str, name: str) -> example_signal.Signal:
  return example_signal.Signal(
    name=name,
    made_from=nll_without_prompt.SIGNAL.made_from,
    compute=functools.partial(_compute, of=of),
    cost=functools.partial(_cost, of=of),
    reads=("tokens", "is_response"),
    width=lambda config: base.sizes(config).width,
    dtype="float16",
    is_wide=True,
    of=of,
  )


SIGNAL = _signal(example_signal.POOL, "rds_embedding")
TARGET = _signal(example_signal.TARGET, "target_rds_embedding")
_OF = {signal.of: signal for signal in (SIGNAL, TARGET)}
