"""The base model of a run: a folder of the user's, or one made from scratch."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath
from flax import nnx

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, attention
from ila_jax.models import decoder as decoder_lib
from ila_jax.models.folders import causal_configs, hub
from ila_jax.models.folders.gguf import container
from ila_jax.passes import token_set
from ila_jax.pool import base_tokenizer, revisions
from ila_jax.pool import examples as examples_lib
from ila_jax.pool.sources import sources
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, stage_record, stages, tables
from ila_jax.run.disk import checksums, files
from ila_jax.training import recipe as recipe_lib
from ila_jax.training import trial


def signature(run: context.Run) -> dict[str, Any] | str | None:
  """Tells whether the base's files, or its revision, are what they were.

  Its tokenizer is the pool's, and counts there. None on all hosts but the
  first, which looks for all.
  """
  config, workdir = run.config, run.workdir
  if config.model.path != config_lib.SCRATCH:
    return revisions.of_model(
      config.model.path, patterns=hub.DECODER, workdir=workdir
    )
  if not mesh_lib.is_writer():
    return None
  with _names_scratch(config.model.scratch.source):
    return sources.signature(config.model.scratch.source, workdir=workdir)


def name(run: context.Run) -> str:
  """The path or Hub name of the base, as an adapter of it records it."""
  config, workdir = run.config, run.workdir
  if config.model.path == config_lib.SCRATCH:
    return os.fspath(tables.BASE.path(workdir))
  return config.model.path


def made_from(config: config_lib.Config) -> dict[str, Any]:
  """The config that a base depends on: a scratch base is never an adapter."""
  if config.model.path != config_lib.SCRATCH:
    return config.section("model")
  sections = config.section("model", "tokens", "train")
  sections["train"] = {
    field: value
    for field, value in sections["train"].items()
    if field != "method" and not field.startswith("lora_")
  }
  return sections


def load(run: context.Run, account: account_lib.Account) -> decoder_lib.Decoder:
  """The base on the mesh; a scratch base is trained first, once.

  Args:
    run: whose base it is.
    account: of the stage that asks; what training a base takes is taken out.

  Raises:
    errors.InputError: no weights there, weights of another shape, or a base
      that cannot read the pool's tokens.
  """
  return _checked(run, _load(run, account))


def as_made(run: context.Run) -> decoder_lib.Decoder:
  """The base of a run that is done: as `load`, but nothing is made or written.

  Raises:
    errors.InputError: it is not there, or cannot read the pool's tokens.
  """
  if run.config.model.path == config_lib.SCRATCH:
    folder = tables.BASE.path(run.workdir)
    for one in (folder, tables.TOKENIZER.path(run.workdir)):
      checksums.check_folder(one)
    decoder = trial.load(folder, config=run.config, mesh=run.mesh).decoder
  else:
    decoder = _load_given(run)
  return _checked(run, decoder)


def _checked(
  run: context.Run, decoder: decoder_lib.Decoder
) -> decoder_lib.Decoder:
  counts = files.read_json(tables.COUNTS.path(run.workdir))
  if counts["largest_token"] >= decoder.config.vocab:
    raise errors.InputError(
      f"config.model.path is {run.config.model.path}: its tokenizer makes "
      f"token {counts['largest_token']}, and its weights know "
      f"{decoder.config.vocab} tokens, from 0. Use the tokenizer that belongs "
      "to the weights."
    )
  return decoder


def _load(
  run: context.Run, account: account_lib.Account
) -> decoder_lib.Decoder:
  config, workdir, mesh = run.config, run.workdir, run.mesh
  if config.model.path != config_lib.SCRATCH:
    return _load_given(run)
  stage = stage_record.Stage(
    workdir,
    stages.BASE,
    {
      "config": made_from(config),
      "pool": stage_record.output(workdir, "pool"),
      "source": signature(run),
      "seed": config.seed,
    },
  )
  # `score` has config.model and config.train in its inputs, and was asked, by
  # the stage itself or by redo.check_kept.
  if not stage.begin(replace="all", quiet=True):
    _train_scratch(run, stage)
    stage.finish(matrix_rate=hardware.matrix_rate(mesh, config.model.dtype))
    account.exclude(seconds=stage.account.totals()["seconds"])
  return trial.load(stage.folder, config=config, mesh=mesh).decoder


def _load_given(run: context.Run) -> decoder_lib.Decoder:
  """The base that the user gave."""
  config = run.config
  with files.local(config.model.path) as folder:
    if container.is_gguf(hub.find(folder, with_weights=False)):
      progress.say(
        "  the base is a GGUF file: its weights are dequantised; what is "
        "tuned is saved as a Hugging Face folder (safetensors)"
      )
    return trial.load(epath.Path(folder), config=config, mesh=run.mesh).decoder


def sizes(config: config_lib.Config) -> architecture.DecoderConfig:
  """Sizes of the base, without its weights.

  Raises:
    errors.InputError: a folder or a family that is not known, or examples
      that may be longer than what the base was made for.
  """
  if config.model.path == config_lib.SCRATCH:
    return _scratch_sizes(config, config.model.scratch.vocab)
  with files.local(config.model.path) as folder:
    decoder = causal_configs.decoder_config(
      hub.find(folder, with_weights=False),
      dtype=config.model.dtype,
      param_dtype=config.model.dtype,
      remat=config.train.remat,
      attention=config.model.attention,
    )
  if config.tokens.max_tokens > decoder.max_positions:
    raise errors.InputError(
      f"config.tokens.max_tokens is {config.tokens.max_tokens}, but the model "
      f"of config.model.path was made for {decoder.max_positions}. Set "
      f"--config.tokens.max_tokens={decoder.max_positions} or less; "
      "config.tokens.overflow tells what becomes of longer examples."
    )
  return decoder


def _scratch_sizes(
  config: config_lib.Config, vocab: int
) -> architecture.DecoderConfig:
  scratch = config.model.scratch
  head_dim = scratch.width // scratch.heads
  return architecture.DecoderConfig(
    vocab=vocab,
    layers=scratch.layers,
    width=scratch.width,
    heads=scratch.heads,
    kv_heads=scratch.kv_heads,
    head_dim=head_dim,
    mlp_width=scratch.mlp_width,
    max_positions=config.tokens.max_tokens,
    dtype=config.model.dtype,
    remat=config.train.remat,
    attention=attention.choose(
      config.model.attention, dtype=config.model.dtype, head_dim=head_dim
    ),
  )


def _prose(source: str) -> Iterator[examples_lib.Example]:
  with _names_scratch(source):
    yield from examples_lib.read((source,), rejects=lambda reject: None)


@contextlib.contextmanager
def _names_scratch(source: str) -> Iterator[None]:
  """Errors about a source name the field that it comes from."""
  try:
    yield
  except errors.InputError as error:
    said = str(error).replace("config.pool.source", "that source")
    raise errors.InputError(
      f"config.model.scratch.source is {source!r}: {said}"
    ) from error


def scratch_data(
  config: config_lib.Config, tokenize: Any
) -> token_set.TokenSet:
  """What a base from scratch is trained on: text that is not the pool's."""
  texts = [
    "\n\n".join(turn.text for turn in example.turns) + tokenize.eos_token
    for example in _prose(config.model.scratch.source)
  ]
  width = config.tokens.max_tokens
  return token_set.TokenSet.of_text(
    [np.array(ids[:width], np.int32) for ids in tokenize(texts)["input_ids"]]
  )


def scratch_recipe(config: config_lib.Config) -> recipe_lib.Recipe:
  """The recipe of a base from scratch, which is never an adapter."""
  return trial.recipe(
    config,
    epochs=config.model.scratch.epochs,
    learning_rate=config.model.scratch.learning_rate,
    seed=config.seed,
    lora=None,
  )


def _train_scratch(run: context.Run, stage: stage_record.Stage) -> None:
  """Trains a small decoder on `scratch_data`, and saves it."""
  config, scratch = run.config, run.config.model.scratch
  tokenize = base_tokenizer.tokenizer(config, run.workdir)
  data = scratch_data(config, tokenize)
  sizes = _scratch_sizes(config, len(tokenize))
  progress.say(
    f"  the base: {decoder_lib.count_parameters(sizes):,} weights, from "
    f"scratch on {data.lengths.sum():,} tokens of {scratch.source[:40]}..."
  )
  with trial.recording(run, stages.BASE, "base") as recorder:
    tuned = trial.fit(
      decoder_lib.Decoder(sizes, rngs=nnx.Rngs(config.seed)),
      data,
      scratch_recipe(config),
      run=run,
      stage=stage,
      name="base",
      record=recorder.step,
    )
  trial.save(stage.folder, tuned, tokenize, config_lib.SCRATCH)
  trial.drop_checkpoints(stage.folder, "base")
