"""One training run as the stages use it: progress, files, account."""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Int, PyTree

from ila_jax import config as config_lib
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.models.folders import peft, safetensors_files, weights
from ila_jax.passes import collate, forward, token_set, windows
from ila_jax.passes import dev_loss as dev_loss_lib
from ila_jax.pool import index
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files as files_lib
from ila_jax.run.disk import folders
from ila_jax.training import early_stop, loop, metrics
from ila_jax.training import recipe as recipe_lib

# A folder that has one of these is whole.
_COMPLETE = (safetensors_files.WHOLE, safetensors_files.INDEX, peft.WEIGHTS)


class Tuned(NamedTuple):
  """What training made: a decoder of its own, or an adapter beside the base.

  Attributes:
    decoder: the whole model; the base where there is an adapter.
    lora: of the adapter, or None.
    adapter: or None.
  """

  decoder: decoder_lib.Decoder
  lora: lora_lib.LoraConfig | None = None
  adapter: lora_lib.Adapter | None = None

  @property
  def adapters(self) -> lora_lib.Adapter | None:
    """As `example_loss.example_nll` takes it."""
    return self.adapter and lora_lib.stack(self.lora, [self.adapter])


def lora(config: config_lib.Config) -> lora_lib.LoraConfig | None:
  """The adapter of config.train; None where the whole model is trained."""
  return None if config.train.method == "full" else adapter(config)


def adapter(config: config_lib.Config) -> lora_lib.LoraConfig:
  """What an adapter is like, wherever one is trained."""
  return lora_lib.LoraConfig(
    rank=config.train.lora_rank,
    alpha=config.train.lora_alpha,
    targets=config.train.lora_targets,
  )


def recipe(
  config: config_lib.Config,
  *,
  epochs: float | int,
  learning_rate: float,
  seed: int,
  lora: lora_lib.LoraConfig | None,
) -> recipe_lib.Recipe:
  """A recipe with the settings of config.train and rows of config.tokens."""
  return recipe_lib.Recipe(
    learning_rate=learning_rate,
    batch_tokens=config.train.batch_tokens,
    width=config.tokens.max_tokens,
    seed=seed,
    epochs=epochs,
    schedule=config.train.schedule,
    micro_batch_tokens=config.train.micro_batch_tokens,
    warmup_fraction=config.train.warmup_fraction,
    weight_decay=config.train.weight_decay,
    clip_norm=config.train.clip_norm,
    lora=lora,
  )


def tuning(config: config_lib.Config) -> recipe_lib.Recipe:
  """The recipe by which the base is tuned on subsets of the pool."""
  found = recipe(
    config,
    epochs=config.finetune.epochs,
    learning_rate=config.finetune.learning_rate,
    seed=config.seed,
    lora=lora(config),
  )
  return dataclasses.replace(found, early_stop=early_stop.of(config.finetune))


def reference(config: config_lib.Config, *, seed: int) -> recipe_lib.Recipe:
  """The recipe by which the base is tuned on the reference of a seed."""
  return recipe(
    config,
    epochs=config.score.epochs,
    learning_rate=config.score.learning_rate,
    seed=seed,
    lora=lora(config),
  )


def fit(
  decoder: decoder_lib.Decoder,
  data: token_set.TokenSet,
  recipe: recipe_lib.Recipe,
  *,
  run: context.Run,
  stage: stage_record.Stage,
  name: str,
  keep: bool | Callable[[int, PyTree], None] = True,
  record: Callable[[loop.Metrics], None] = lambda metrics: None,
) -> Tuned:
  """Trains for a stage, which accounts for it; resumes what was killed.

  A long example is trained on in windows. Checkpoints go to `checkpoints-NAME`
  in the stage's folder, the history of all steps to `metrics-NAME.jsonl`;
  neither where not `keep`, which may be an `at` of `loop.Saving`. Call
  `drop_checkpoints` when the result is safe. `record` has each step's metrics.

  Raises:
    errors.InputError: as `loop.train`.
  """
  data, held_out = early_stop.split(
    data, recipe.early_stop, seed=recipe.seed, width=recipe.width
  )
  cost = training_flops(decoder.config, data, recipe.lora)
  epochs = recipe.epochs_over(data.lengths)
  rows = math.prod(recipe.micro_batches(mesh_lib.batch_multiple(run.mesh)))
  saving = loop.Saving(
    stage.folder / tables.CHECKPOINTS.file(name=name),
    steps=run.config.train.checkpoint_steps,
    minutes=run.config.train.checkpoint_minutes,
    before=stage.save_progress,
    **({"at": keep} if callable(keep) else {}),
  )
  with progress.counter(None, desc=f"train {name}", unit="steps") as advance:
    total = None

    def count(step: loop.Metrics) -> None:
      nonlocal total
      record(step)
      total = total or metrics.steps_left(step)
      advance(1, total=total)
      share = epochs / step["total_steps"]
      stage.account.add(
        flops=share * cost,
        tokens=round(share * data.lengths.sum()),
        cells=rows * recipe.width,
      )
      if "held_out_loss" in step:
        looked = training_flops(decoder.config, held_out, None)
        looked //= recipe_lib.passes(None)
        stage.account.add(flops=looked, tokens=int(held_out.lengths.sum()))

    trained, history = loop.train(
      decoder,
      data,
      recipe,
      mesh=run.mesh,
      held_out=held_out,
      saving=saving if keep else None,
      on_step=count,
    )
  if recipe.early_stop is not None:
    progress.say(f"  {name}: {early_stop.told(history)}")
  if keep:
    steps = stage.folder / tables.HISTORY.file(name=name)
    files_lib.write_jsonl(steps, history)
    stage.save_progress()
  if recipe.lora is None:
    return Tuned(trained)
  return Tuned(decoder, recipe.lora, trained)


def recording(
  run: context.Run, stage: str, name: str
) -> contextlib.AbstractContextManager[metrics.Recorder]:
  """Gives the metrics of a training to who is named by config.train.metrics."""
  writers = run.config.train.metrics
  return metrics.recorder(writers, workdir=run.workdir, name=f"{stage}/{name}")


def training_flops(
  config: architecture.DecoderConfig,
  data: token_set.TokenSet,
  lora: lora_lib.LoraConfig | None,
) -> int:
  """FLOPs of one epoch: of the decoder's matrix products.

  Those of an adapter itself, which are few, are not counted.
  """
  cost = forward.flops(
    config, data.lengths, response_tokens=data.response_tokens
  )
  return recipe_lib.passes(lora) * cost


def dev_losses(
  tuned: Tuned,
  dev: token_set.TokenSet,
  *,
  run: context.Run,
  account: account_lib.Account,
  advance: Callable[[int], None] = lambda examples: None,
) -> dev_loss_lib.Losses:
  """The loss of a model on each of the held-out examples."""
  parts = windows.split(dev, max_tokens=run.config.tokens.max_tokens)

  def count(batch: collate.Batch) -> None:
    advance(parts.begun(batch.examples))
    account.add(cells=batch.cells)

  sizes, lengths = tuned.decoder.config, parts.data.lengths
  found = dev_loss_lib.losses(
    tuned.decoder,
    dev,
    layout=forward.layout(sizes, lengths, run.config.score),
    mesh=run.mesh,
    adapters=tuned.adapters,
    parts=parts,
    on_batch=count,
  )
  cost = forward.flops(sizes, lengths, response_tokens=dev.response_tokens)
  account.add(flops=cost, tokens=int(lengths.sum()))
  return found


def drop_checkpoints(folder: epath.Path, name: str) -> None:
  """Removes the checkpoints of a run whose result is kept elsewhere."""
  mesh_lib.barrier(f"{name} kept")
  path = folder / tables.CHECKPOINTS.file(name=name)
  if mesh_lib.is_writer() and path.exists():
    folders.remove(path)


def is_made(folder: epath.Path, name: str, model: str | None = None) -> bool:
  """Whether `fit` has left its history, and `save` a whole model.

  Args:
    folder: of the stage.
    name: of the training.
    model: folder below, where it is not the name; "" where no model is kept.
  """
  is_there = (folder / tables.HISTORY.file(name=name)).exists()
  if model != "":
    own = folder / (model or name)
    is_there = is_there and any((own / file).exists() for file in _COMPLETE)
  return mesh_lib.first_host_says([is_there])[0]


def load(
  folder: epath.Path,
  *,
  config: config_lib.Config,
  mesh: Mesh,
  base: decoder_lib.Decoder | None = None,
) -> Tuned:
  """Reads back what `save` wrote, local or gs://, onto the mesh.

  Args:
    folder: of the model, or of an adapter beside `base`.
    config: the run.
    mesh: the devices.
    base: of the adapter; None where the folder holds a whole model.
  """
  with files_lib.local(folder) as here:
    if base is not None and (folder / peft.WEIGHTS).exists():
      adapter = peft.load(here, base.config, mesh=mesh)
      return Tuned(base, *adapter)
    _, decoder = weights.load_decoder(
      here,
      dtype=config.model.dtype,
      param_dtype=config.model.dtype,
      remat=config.train.remat,
      attention=config.model.attention,
      mesh=mesh,
    )
    return Tuned(decoder)


def save(folder: epath.Path, tuned: Tuned, tokenizer: Any, base: str) -> None:
  """Writes a folder that transformers loads, or peft where it is an adapter.

  The weights come last: a folder that has them is whole.

  Args:
    folder: made if absent.
    tuned: every host gives its part.
    tokenizer: written beside the weights.
    base: folder or name of the model that an adapter belongs to.
  """
  tokenizer_lib.save(tokenizer, folder)
  if tuned.adapter is not None:
    name = base.removeprefix("hf:").partition("@")[0]
    peft.save(folder, tuned.lora, tuned.adapter, base_name=name)
  else:
    weights.save_decoder(
      folder,
      tuned.decoder.config,
      tuned.decoder,
      bos_token_id=tokenizer.bos_token_id,
      eos_token_id=tokenizer.eos_token_id,
    )
  mesh_lib.barrier(f"{folder} saved")


def dev_rows(workdir: epath.Path) -> Int[np.ndarray, " n"]:
  """The held-out rows of the pool, but for those without a finite loss."""
  scored = files_lib.read_table(tables.SCORES.path(workdir), ["row"])["row"]
  return scored[index.is_dev(workdir)[scored]]


def dev_set(workdir: epath.Path) -> token_set.TokenSet:
  """The examples of `dev_rows`, as tokens."""
  return token_set.of_rows(workdir, dev_rows(workdir))
