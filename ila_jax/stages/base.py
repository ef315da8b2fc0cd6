"""The base model of a run: a folder of the user's, or one made from scratch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath
from flax import nnx
from jax.sharding import Mesh

from ila_jax import artifacts, metrics, pool, tokens, trainset
from ila_jax import config as config_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import weights
from ila_jax.stages import training

SCRATCH = "scratch"
# Where a scratch base is kept: it belongs to the run, and to no stage.
FOLDER = "model"
# Records of the pool that the scratch tokenizer is trained on, at most.
_TOKENIZER_EXAMPLES = 20_000


def tokenizer(config: config_lib.Config, workdir: epath.Path) -> Any:
  """The base's tokenizer; the scratch one is trained on the pool, once.

  Raises:
    errors.InputError: the folder has no tokenizer.
  """
  if config.model.path != SCRATCH:
    return tokens.load_tokenizer(config.model.path)
  folder = epath.Path(workdir) / "pool" / "tokenizer"
  if not (folder / "tokenizer.json").exists():
    vocab = config.model.scratch.vocab
    metrics.say(f"  training a tokenizer of {vocab:,} entries on the pool")
    tokens.train_bpe(_pool_texts(config), vocab_size=vocab, folder=folder)
  return tokens.load_tokenizer(folder)


def _pool_texts(config: config_lib.Config) -> Iterator[str]:
  examples = pool.read(
    config.pool.sources,
    rejects=lambda reject: None,
    fields=config.pool.fields,
    overrides=config.pool.overrides,
    limit=config.pool.limit,
  )
  for _, example in zip(range(_TOKENIZER_EXAMPLES), examples, strict=False):
    yield from (turn.text for turn in example.turns)


def load(
  config: config_lib.Config, workdir: epath.Path, mesh: Mesh
) -> decoder_lib.Decoder:
  """The base on the mesh; a scratch base is trained first, once.

  Raises:
    errors.InputError: no weights there, or weights of another shape.
  """
  path = config.model.path
  if path == SCRATCH:
    path = epath.Path(workdir) / FOLDER
    stage = artifacts.Stage(
      workdir,
      FOLDER,
      {
        "config": config.section("model", "tokens", "train"),
        "pool": artifacts.output(workdir, "pool"),
        "seed": config.seed,
      },
    )
    if not stage.open():
      _train_scratch(config, workdir, mesh, stage)
      stage.finish()
  return weights.load_decoder(path, dtype=config.model.dtype, mesh=mesh)[1]


def _train_scratch(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  stage: artifacts.Stage,
) -> None:
  """Trains a small decoder on text that is not the pool's, and saves it."""
  scratch = config.model.scratch
  tokenize = tokenizer(config, workdir)
  texts = [
    "\n\n".join(turn.text for turn in example.turns) + tokenize.eos_token
    for example in pool.read((scratch.source,), rejects=lambda reject: None)
  ]
  ids = tokenize(texts, truncation=True, max_length=config.tokens.max_tokens)
  data = trainset.TokenSet.of_text(
    [np.array(i, np.int32) for i in ids["input_ids"]]
  )
  sizes = decoder_lib.DecoderConfig(
    vocab=len(tokenize),
    layers=scratch.layers,
    width=scratch.width,
    heads=scratch.heads,
    kv_heads=scratch.kv_heads,
    head_dim=scratch.width // scratch.heads,
    mlp_width=scratch.mlp_width,
    max_positions=config.tokens.max_tokens,
    dtype=config.model.dtype,
  )
  metrics.say(
    f"  the base: {decoder_lib.count_parameters(sizes):,} weights, from "
    f"scratch on {data.lengths.sum():,} tokens of {scratch.source[:40]}..."
  )
  decoder = training.fit(
    decoder_lib.Decoder(sizes, rngs=nnx.Rngs(config.seed)),
    data,
    config=config,
    name="base",
    epochs=scratch.epochs,
    learning_rate=scratch.learning_rate,
    seed=config.seed,
    mesh=mesh,
    folder=stage.folder,
    account=stage.account,
  )
  training.save(stage.folder, decoder, tokenize)
  training.drop_checkpoints(stage.folder, "base")
