"""Passes over examples under the base and the tuned models.

Adapters are scored with the base in one pass, whole models one after the other.
"""

from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float, Int

from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora
from ila_jax.passes import (
  collate,
  example_loss,
  forward,
  layouts,
  token_set,
  windows,
)
from ila_jax.pool import index
from ila_jax.run import context, progress
from ila_jax.training import trial

# Names of the shards: of the base, and of all models in one pass.
BASE, TOGETHER = "base", "base-and-sft"
# Examples whose tokens are held at once, where some are scored again.
_PART_ROWS = 2**14


def of_seed(seed: int) -> str:
  """Name of the shards of one tuned model.

  >>> of_seed(3)
  'sft-3'
  """
  return f"sft-{seed}"


def again(
  run: context.Run,
  rows: Int[np.ndarray, " k"],
  decoder: decoder_lib.Decoder,
  tuned: Iterable[trial.Tuned],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "s k"]]:
  """Losses of some rows of a pool, computed once more; nothing is written.

  Batches are laid out as those of the whole pool were.

  Args:
    run: its folder holds the tokens.
    rows: of the pool, ascending.
    decoder: the base.
    tuned: as `of_models` takes them.

  Returns:
    Sums over each response, in nats, float32.
  """
  parts = [rows[k : k + _PART_ROWS] for k in range(0, len(rows), _PART_ROWS)]

  def one_pass(
    name: str,
    decoder: decoder_lib.Decoder,
    adapters: lora.Adapter | None = None,
  ) -> np.ndarray:
    batches = layout(run, decoder, adapters)
    found = [np.zeros((0, example_loss.count_models(adapters)), np.float32)]
    desc = f"{name} again"
    with progress.counter(len(rows), desc=desc, unit="examples") as advance:
      for part in parts:
        data = split(run, token_set.of_rows(run.workdir, part))
        of_part = nll(
          run,
          decoder,
          data,
          batches,
          adapters=adapters,
          on_batch=lambda b, data=data: advance(data.begun(b.examples)),
        )
        found.append(of_part)
    return np.concatenate(found)

  return of_models(run, decoder, tuned, one_pass)


def of_models(
  run: context.Run,
  decoder: decoder_lib.Decoder,
  tuned: Iterable[trial.Tuned],
  one_pass: Callable[..., np.ndarray],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "s n"]]:
  """Losses under the base and each tuned model, by as many passes as it takes.

  Args:
    run: its config tells whether adapters are scored in one pass.
    decoder: the base.
    tuned: a model for each of config.score.reference_seeds, in their order;
      each is made or loaded when its turn has come.
    one_pass: from the name of its shards, a decoder and, where there are some,
      stacked adapters to losses [n, m].
  """
  if trial.lora(run.config) is None:
    base_nll = one_pass(BASE, decoder)
    # No name holds a tuned model while the next one is made.
    models = iter(tuned)
    tuned_nll = [
      one_pass(of_seed(seed), next(models).decoder)
      for seed in run.config.score.reference_seeds
    ]
    return base_nll[:, 0], np.concatenate(tuned_nll, axis=1).T
  tuned = list(tuned)
  adapters = lora.stack(
    tuned[0].lora,
    [lora.zero(tuned[0].adapter), *(one.adapter for one in tuned)],
  )
  together = one_pass(TOGETHER, decoder, adapters)
  return together[:, 0], together[:, 1:].T


def layout(
  run: context.Run,
  decoder: decoder_lib.Decoder,
  adapters: lora.Adapter | None,
) -> layouts.Layout:
  """How the whole pool is laid out under a model, or several in one pass."""
  lengths = index.lengths(run.workdir)
  return forward.layout(
    decoder.config,
    windows.lengths(lengths, max_tokens=run.config.tokens.max_tokens),
    run.config.score,
    models=example_loss.count_models(adapters),
  )


def split(run: context.Run, data: token_set.TokenSet) -> windows.Parts:
  """Splits what is longer than config.tokens.max_tokens into windows."""
  return windows.split(data, max_tokens=run.config.tokens.max_tokens)


def nll(
  run: context.Run,
  decoder: decoder_lib.Decoder,
  parts: windows.Parts,
  layout: layouts.Layout,
  *,
  adapters: lora.Adapter | None,
  on_batch: Callable[[collate.Batch], None],
) -> Float[np.ndarray, "n m"]:
  """Losses of examples that were split into windows."""
  return parts.total(
    example_loss.example_nll(
      decoder,
      parts.data.tokens,
      parts.data.is_response,
      layout=layout,
      mesh=run.mesh,
      adapters=adapters,
      on_batch=on_batch,
    )
  )
