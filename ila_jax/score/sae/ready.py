"""The autoencoder of a run: read, or trained once; and judged."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import forward, layouts, windows
from ila_jax.pool import index, shards
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files, folders
from ila_jax.score.sae import (
  activations,
  autoencoder,
  fit,
  judge,
  published,
  train,
)
from ila_jax.training import checkpoint

# Learning rate of 16,384 latents; of others it goes with 1 / √latents, as Gao
# et al. found. At 131,072 that is the 7e-5 of Yang et al.
_RATE, _RATE_LATENTS = 2e-4, 2**14
# Latents of a token, and numbers of a hidden state for each.
_K, _WIDTH_EACH = 32, 12
_NAME = "sae"


class Ready(NamedTuple):
  """An autoencoder that can read the pool.

  Attributes:
    weights: NumPy arrays, on every host.
    layers: after which it reads hidden states.
    threshold: what a latent must exceed to be on for a record.
    notes: what it is and how good, as a JSON value.
  """

  weights: autoencoder.Weights
  layers: int
  threshold: float
  notes: dict[str, Any]


def layers(config: config_lib.Config, sizes: architecture.DecoderConfig) -> int:
  """After how many layers hidden states are read.

  Raises:
    errors.InputError: more than the model has.
  """
  asked = config.sae.layer
  if asked is not None and asked > sizes.layers:
    raise errors.InputError(
      f"config.sae.layer is {asked}, and config.model.path has {sizes.layers} "
      f"layers; allowed: 1 to {sizes.layers}, or None for all."
    )
  return asked or sizes.layers


def latents_on(sae: Any, width: int) -> int:
  """How many latents are on at a token, in training: config.sae.k.

  The sum of many rows of a narrow dictionary is far longer than a hidden state,
  and a training that begins there does not recover.

  Args:
    sae: config.sae.
    width: of the hidden states.

  >>> import types
  >>> sae = types.SimpleNamespace(k=None, latents=8192)
  >>> latents_on(sae, 576), latents_on(sae, 48)
  (32, 4)
  """
  if sae.k is not None:
    return sae.k
  return min(_K, max(width // _WIDTH_EACH, 1), sae.latents)


def recipe(
  config: config_lib.Config, *, width: int, steps: int
) -> train.Recipe:
  """How config.sae trains an autoencoder of a model's hidden states."""
  sae = config.sae
  rate = sae.learning_rate
  return train.Recipe(
    width=width,
    latents=sae.latents,
    k=latents_on(sae, width),
    k_auxiliary=sae.auxiliary_k,
    learning_rate=rate or _RATE * (_RATE_LATENTS / sae.latents) ** 0.5,
    warmup_fraction=sae.warmup_fraction,
    steps=steps,
    batch_tokens=sae.batch_tokens,
    dead_tokens=sae.dead_tokens,
    seed=config.seed,
  )


def draw(run: context.Run, width: int) -> activations.Draw:
  """The records that it is trained and judged on; none that is held out."""
  config, workdir = run.config, run.workdir
  return activations.draw(
    index.column(workdir, "id"),
    index.lengths(workdir),
    ~index.is_dev(workdir),
    tokens=config.sae.tokens,
    chunk_tokens=chunk_tokens(config, width),
    seed=config.seed,
  )


def chunk_tokens(config: config_lib.Config, width: int) -> int:
  """Tokens whose hidden states are held at once, one batch or more."""
  return max(activations.CHUNK_BYTES // (4 * width), config.sae.batch_tokens)


def layout(
  run: context.Run, sizes: architecture.DecoderConfig
) -> layouts.Layout:
  """How the pool is laid out where its hidden states are read."""
  config = run.config
  lengths = windows.lengths(
    index.lengths(run.workdir), max_tokens=config.tokens.max_tokens
  )
  return forward.layout(sizes, lengths, config.score)


def get(
  run: context.Run,
  account: account_lib.Account,
  decoder: decoder_lib.Decoder,
) -> Ready:
  """The autoencoder, made if it is not there yet; a kill loses little.

  Raises:
    errors.InputError: a published one that cannot be read, a pool too small to
      train one on, or one that explains nothing.
  """
  folder = tables.SAE.path(run.workdir)
  width, depth = decoder.config.width, layers(run.config, decoder.config)
  given = run.config.sae.path
  is_made = (folder / published.NOTES).exists() and mesh_lib.is_writer()
  if not mesh_lib.first_host_says([is_made])[0]:
    drawn = draw(run, width)
    states = _reader(run, account, decoder, depth)
    if given is None:
      notes = _train(run, account, folder, drawn, states, width)
    else:
      found = published.read(given, width=width)
      notes = {"layout": found.layout, "k": found.k, "dead_share": None}
    found = published.read(given or folder, width=width)
    files.write_json(
      folder / published.NOTES,
      notes | _judged(run, found, states(drawn.held), depth),
    )
    mesh_lib.barrier("autoencoder judged")
    _drop_checkpoints(folder.parent)
  notes = files.read_json(folder / published.NOTES)
  found = published.read(given or folder, width=width)
  return Ready(found.weights, depth, notes["threshold"], notes)


def _reader(
  run: context.Run,
  account: account_lib.Account,
  decoder: decoder_lib.Decoder,
  depth: int,
) -> Callable[[np.ndarray], np.ndarray]:
  """From rows of the pool to the hidden states of their tokens [m, d]."""
  config, workdir = run.config, run.workdir
  batches = layout(run, decoder.config)

  def states(rows: np.ndarray) -> np.ndarray:
    table = shards.gather(workdir, rows, ["tokens"])
    tokens = shards.lists(
      table.column("tokens"), lambda held: held.to_numpy(zero_copy_only=False)
    )
    lengths = np.array([len(ids) for ids in tokens])
    account.add(
      flops=flops(decoder.config, lengths, depth), tokens=int(lengths.sum())
    )
    found = activations.states_of(
      decoder,
      tokens,
      layers=depth,
      max_tokens=config.tokens.max_tokens,
      layout=batches,
      mesh=run.mesh,
    )
    desc, total = "hidden states", int((lengths - 1).sum())
    with progress.counter(total, desc=desc, unit="tokens") as advance:

      def counted() -> Any:
        for part, states in found:
          advance(len(states))
          yield part, states

      return activations.gathered(counted())

  return states


def flops(
  sizes: architecture.DecoderConfig, lengths: np.ndarray, depth: int
) -> float:
  """FLOPs of the first layers of a model over texts of these lengths."""
  return forward.flops(sizes, lengths) * depth / sizes.layers


def _train(
  run: context.Run,
  account: account_lib.Account,
  folder: epath.Path,
  drawn: activations.Draw,
  states: Callable[[np.ndarray], np.ndarray],
  width: int,
) -> dict[str, Any]:
  """Trains an autoencoder and writes it; returns what is noted of it."""
  config, sae = run.config, run.config.sae
  total = fit.steps(
    drawn.tokens, batch_tokens=sae.batch_tokens, epochs=sae.epochs
  )
  how = recipe(config, width=width, steps=total)
  made_from = stage_record.read_record(folder.parent)["inputs"]
  progress.say(
    f"  a sparse autoencoder of {sae.latents:,} latents is trained on "
    f"{sum(drawn.tokens):,} tokens, {sae.epochs} times: {total:,} steps of "
    f"{how.flops:.2e} FLOPs"
  )
  with (
    checkpoint.Checkpoints(
      folder.parent / tables.CHECKPOINTS.file(name=_NAME),
      fingerprint=stage_record.fingerprint(
        [made_from, dataclasses.asdict(how)]
      ),
    ) as checkpoints,
    contextlib.ExitStack() as open_,
  ):
    counted: list[Callable[[int], Any]] = []

    def count() -> None:
      if not counted:  # The first chunk is read by now.
        counter = progress.counter(total, desc="train sae", unit="steps")
        counted.append(open_.enter_context(counter))
      counted[0](1)
      account.add(flops=how.flops)

    fitted = fit.fit(
      how,
      lambda chunk: states(drawn.chunks[chunk]),
      len(drawn.chunks),
      epochs=sae.epochs,
      mesh=run.mesh,
      checkpoints=checkpoints,
      due=checkpoint.Due(
        steps=config.train.checkpoint_steps,
        minutes=config.train.checkpoint_minutes,
      ),
      on_step=count,
    )
  published.save(folder, fitted.weights, k=how.k)
  mesh_lib.barrier("autoencoder written")
  files.write_jsonl(
    folder.parent / tables.HISTORY.file(name=_NAME), fitted.history
  )
  return {
    "layout": "trained here",
    "k": how.k,
    "dead_share": fitted.dead_share,
    "train_tokens": sum(drawn.tokens),
    "epochs": sae.epochs,
    "steps": total,
  }


def _judged(
  run: context.Run,
  found: published.Published,
  held: np.ndarray,
  depth: int,
) -> dict[str, Any]:
  """How good it is on held-out tokens, and its threshold.

  Raises:
    errors.InputError: no latent is ever on.
  """
  sae = run.config.sae
  judged = judge.judge(found.weights, held, k=found.k, mesh=run.mesh)
  if not len(judged.values):
    remedy = "Lower --config.sae.learning_rate, or raise config.sae.tokens."
    if sae.path is not None:
      remedy = "Set --config.sae.layer to the layer that it was made for."
    raise errors.InputError(
      f"config.sae: no latent is on at any of {judged.tokens:,} tokens; "
      f"allowed: an autoencoder that has some on. {remedy}"
    )
  threshold = sae.threshold
  if threshold is None:
    threshold = float(np.quantile(judged.values, sae.threshold_quantile))
  return {
    "layers": depth,
    "latents": found.weights.latents,
    "held_out_tokens": judged.tokens,
    "explained_variance": judged.explained_variance,
    "latents_a_token": judged.latents_a_token,
    "silent_share": judged.silent_share,
    "threshold": threshold,
  }


def _drop_checkpoints(folder: epath.Path) -> None:
  """Removes the checkpoints of a training whose result is safe."""
  path = folder / tables.CHECKPOINTS.file(name=_NAME)
  if mesh_lib.is_writer() and path.exists():
    folders.remove(path)
