"""The model that embeds: an encoder's folder, or the base."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from ila_jax import config as config_lib
from ila_jax.embed import inputs
from ila_jax.models import architecture
from ila_jax.models.folders import encoder_families, hub, weights
from ila_jax.pool import base_tokenizer, revisions
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files
from ila_jax.training import base


class Reader(NamedTuple):
  """A model that embeds, and how it reads."""

  model: nnx.Module
  pooling: str
  # token ids of prompts, and what they say of them
  read: Callable[[list[str]], tuple[list[np.ndarray], inputs.Read]]
  max_tokens: int
  remedy: str  # where it does not tell the prompts apart


def signature(run: context.Run) -> dict[str, Any] | str | None:
  """Tells whether the model that embeds is the same; None of 'lsa'."""
  config, workdir = run.config, run.workdir
  if config.encoder.path == "lsa":
    return None
  if config.encoder.path == "base":
    return base.signature(run)
  return revisions.of_model(config.encoder.path, workdir=workdir)


def width(
  config: config_lib.Config, decoder: architecture.DecoderConfig
) -> int:
  """Columns of the embeddings, by the sizes of the model that embeds."""
  if config.encoder.path == "lsa":
    return config.encoder.lsa_width
  if config.encoder.path == "base":
    return decoder.width
  with files.local(config.encoder.path) as here:
    folder = hub.find(here, with_weights=False)
    return encoder_families.encoder_config(
      folder, dtype=config.encoder.dtype
    ).width


def check(config: config_lib.Config, stages: Sequence[str]) -> None:
  """Looks at the models of a config before a pool is read for them.

  Raises:
    errors.InputError: one is not there, or of a kind that is not implemented.
  """
  if "pool" in stages or stages_lib.use_base(stages):
    base.sizes(config)
  if "embed" in stages and config.encoder.path not in ("lsa", "base"):
    with files.local(config.encoder.path) as here:
      folder = hub.find(here, with_weights=False)
      encoder_families.encoder_config(folder, dtype=config.encoder.dtype)
      encoder_families.pooling(folder)


def load(run: context.Run, account: account_lib.Account) -> Reader:
  """Loads the model that embeds, and says how it reads.

  Raises:
    errors.InputError: it cannot be loaded.
  """
  config = run.config
  longest, lower = config.encoder.max_tokens, False
  if config.encoder.path == "base":
    model = base.load(run, account)
    tokenizer, pooling = base_tokenizer.tokenizer(config, run.workdir), "mean"
    limit = None
  else:
    with files.local(config.encoder.path) as here:
      _, pooling, model = weights.load_encoder(
        here,
        dtype=config.encoder.dtype,
        attention=config.encoder.attention,
        mesh=run.mesh,
      )
      tuned_for, lower = encoder_families.reading(
        hub.find(here, with_weights=False)
      )
      tokenizer = tokenizer_lib.load_tokenizer(here)
    positions = model.config.max_positions
    limit = min(tuned_for or positions, positions)
    longest = min(longest, limit)
    progress.say(
      f"  the encoder pools by {pooling}; prompts are cut at {longest} tokens"
    )
  read = functools.partial(
    inputs.tokenize,
    tokenizer,
    prefix=config.encoder.prefix,
    lower=lower,
    max_tokens=longest,
  )
  return Reader(model, pooling, read, longest, _remedy(longest, limit))


def _remedy(longest: int, limit: int | None) -> str:
  """What to do where a model does not tell the prompts apart."""
  more = "" if longest == limit else "Raise config.encoder.max_tokens. "
  return (
    f"It reads the first {longest} tokens, the last user turn first. {more}Or "
    "give an encoder that reads more tokens or this language, or 'lsa', which "
    "reads every word; with --redo=embed."
  )
