"""The model that embeds: an encoder's folder, or the base."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from ila_jax import config as config_lib
from ila_jax.embed import inputs
from ila_jax.models import architecture, encoder
from ila_jax.models.folders import (
  encoder_families,
  hub,
  safetensors_files,
  weights,
)
from ila_jax.pool import base_tokenizer, revisions
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files
from ila_jax.training import base


class Reader(NamedTuple):
  """How a model that embeds reads prompts.

  Attributes:
    read: makes of prompts their token ids, and what these say of them.
    max_tokens: of a prompt; longer ones are cut.
    remedy: what to do where it does not tell the prompts apart.
  """

  read: Callable[[list[str]], tuple[list[np.ndarray], inputs.Read]]
  max_tokens: int
  remedy: str


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
    return _sizes(config, hub.find(here, with_weights=False)).width


def check(
  config: config_lib.Config, stages: Sequence[str], *, with_weights: bool = True
) -> None:
  """Looks at the models of a config before a pool is read for them.

  Args:
    config: of the run.
    stages: that it is to make.
    with_weights: False: only sizes and tokenizers will be read of the models.

  Raises:
    errors.InputError: one is not there, has no weights, or is of a kind that is
      not implemented.
  """
  encodes = config.encoder.path if "embed" in stages else "lsa"
  uses_base = stages_lib.use_base(stages) or encodes == "base"
  if "pool" in stages or uses_base:
    base.sizes(config)
  if with_weights and uses_base and config.model.path != config_lib.SCRATCH:
    safetensors_files.check(config.model.path)
  if encodes not in ("lsa", "base"):
    with files.local(encodes) as here:
      folder = hub.find(here, with_weights=False)
      _sizes(config, folder)
      encoder_families.pooling(folder)
    if with_weights:
      safetensors_files.check(encodes)


def load(
  run: context.Run, account: account_lib.Account, *, as_made: bool = False
) -> tuple[nnx.Module, str, Reader]:
  """Loads the model that embeds.

  Args:
    run: whose prompts are embedded.
    account: of the stage that asks.
    as_made: of a run that is done: a base from scratch is never made here.

  Returns:
    The model, its pooling, and how it reads.

  Raises:
    errors.InputError: it cannot be loaded.
  """
  config = run.config
  if config.encoder.path == "base":
    model = base.as_made(run) if as_made else base.load(run, account)
    tokenizer = base_tokenizer.tokenizer(config, run.workdir)
    return model, "mean", _base_reader(config, tokenizer)
  with files.local(config.encoder.path) as here:
    _, pooling, model = weights.load_encoder(
      here,
      dtype=config.encoder.dtype,
      attention=config.encoder.attention,
      mesh=run.mesh,
    )
    reader = _folder_reader(config, here, model.config)
  progress.say(
    f"  the encoder pools by {pooling}; prompts are cut at "
    f"{reader.max_tokens} tokens"
  )
  return model, pooling, reader


def planned(
  config: config_lib.Config,
  decoder: architecture.DecoderConfig,
  tokenizer: Any,
) -> tuple[architecture.DecoderConfig | encoder.EncoderConfig, Reader]:
  """Sizes of the model that embeds and how it reads, without its weights.

  Args:
    config: of the run; its encoder is a folder or the base.
    decoder: sizes of the base.
    tokenizer: of the base.
  """
  if config.encoder.path == "base":
    return decoder, _base_reader(config, tokenizer)
  with files.local(config.encoder.path) as here:
    sizes = _sizes(config, hub.find(here, with_weights=False))
    return sizes, _folder_reader(config, here, sizes)


def _sizes(
  config: config_lib.Config, folder: pathlib.Path
) -> encoder.EncoderConfig:
  return encoder_families.encoder_config(
    folder, dtype=config.encoder.dtype, attention=config.encoder.attention
  )


def _base_reader(config: config_lib.Config, tokenizer: Any) -> Reader:
  return _reader(config, tokenizer, lower=False, limit=None)


def _folder_reader(
  config: config_lib.Config, here: str, sizes: encoder.EncoderConfig
) -> Reader:
  """An encoder reads as many tokens as it was tuned for, in its own case."""
  folder = hub.find(here, with_weights=False)
  tuned_for, lower = encoder_families.reading(folder)
  limit = min(tuned_for or sizes.max_positions, sizes.max_positions)
  tokenizer = tokenizer_lib.load_tokenizer(here)
  return _reader(config, tokenizer, lower=lower, limit=limit)


def _reader(
  config: config_lib.Config, tokenizer: Any, *, lower: bool, limit: int | None
) -> Reader:
  longest = config.encoder.max_tokens
  longest = longest if limit is None else min(longest, limit)
  read = functools.partial(
    inputs.tokenize,
    tokenizer,
    prefix=config.encoder.prefix,
    lower=lower,
    max_tokens=longest,
  )
  return Reader(read, longest, _remedy(longest, limit))


def _remedy(longest: int, limit: int | None) -> str:
  """What to do where a model does not tell the prompts apart."""
  more = "" if longest == limit else "Raise config.encoder.max_tokens. "
  return (
    f"It reads the first {longest} tokens, the last user turn first. {more}Or "
    "give an encoder that reads more tokens or this language, or 'lsa', which "
    "reads every word; with --redo=embed."
  )
