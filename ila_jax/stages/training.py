"""One training run as the stages use it: progress, files, account."""

from typing import Any

from etils import epath
from jax.sharding import Mesh

from ila_jax import artifacts, forward, metrics, tokens, train, trainset
from ila_jax import config as config_lib
from ila_jax import mesh as mesh_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import weights


def fit(
  decoder: decoder_lib.Decoder,
  data: trainset.TokenSet,
  *,
  config: config_lib.Config,
  name: str,
  epochs: float,
  learning_rate: float,
  seed: int,
  mesh: Mesh,
  folder: epath.Path | None,
  account: metrics.Account,
) -> decoder_lib.Decoder:
  """Trains with the settings of config.train; resumes what was killed.

  Checkpoints go to `FOLDER/checkpoints-NAME`, the history of all steps to
  `FOLDER/metrics-NAME.jsonl`; neither is kept where `folder` is None. Call
  `drop_checkpoints` when the result is safe.

  Raises:
    errors.InputError: as `train.train`.
  """
  width = config.tokens.max_tokens
  with metrics.counter(None, desc=f"train {name}", unit="steps") as advance:
    decoder, history = train.train(
      decoder,
      data,
      epochs=epochs,
      learning_rate=learning_rate,
      batch_tokens=config.train.batch_tokens,
      width=width,
      seed=seed,
      mesh=mesh,
      warmup_fraction=config.train.warmup_fraction,
      weight_decay=config.train.weight_decay,
      clip_norm=config.train.clip_norm,
      checkpoint_dir=folder and folder / f"checkpoints-{name}",
      checkpoint_steps=config.train.checkpoint_steps,
      on_step=lambda step: advance(1, total=step["total_steps"]),
    )
  if folder is not None:
    artifacts.write_jsonl(folder / f"metrics-{name}.jsonl", history)
  # A backward pass costs twice a forward pass.
  cost = forward.flops(
    decoder.config, data.lengths, response_tokens=data.response_tokens
  )
  account.add(
    flops=3 * epochs * cost,
    tokens=int(epochs * data.lengths.sum()),
    cells=len(history) * max(config.train.batch_tokens // width, 1) * width,
  )
  return decoder


def drop_checkpoints(folder: epath.Path, name: str) -> None:
  """Removes the checkpoints of a run whose result is kept elsewhere."""
  mesh_lib.barrier(f"{name} kept")
  path = folder / f"checkpoints-{name}"
  if mesh_lib.is_writer() and path.exists():
    path.rmtree()


def load(
  folder: epath.Path, *, config: config_lib.Config, mesh: Mesh
) -> decoder_lib.Decoder:
  """Reads back what `save` wrote, local or gs://, onto the mesh."""
  with artifacts.local(folder) as here:
    return weights.load_decoder(here, dtype=config.model.dtype, mesh=mesh)[1]


def save(
  folder: epath.Path, decoder: decoder_lib.Decoder, tokenizer: Any
) -> None:
  """Writes a Hugging Face folder that transformers loads, tokenizer and all.

  The weights come last: a folder that has them is whole.
  """
  tokens.save(tokenizer, folder)
  weights.save_decoder(
    folder,
    decoder.config,
    decoder,
    bos_token_id=tokenizer.bos_token_id,
    eos_token_id=tokenizer.eos_token_id,
  )
  mesh_lib.barrier(f"{folder} saved")
