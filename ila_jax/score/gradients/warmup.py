"""The warm-up of LESS: an adapter tuned on a small share of the pool.

`DIR/beside/less_warmup` keeps what the adapter is at the end of each epoch, and
Adam's moments there, which the direction of an example's gradient is made of.

The run's own reference tuning cannot serve. By default it makes whole models;
`score` keeps neither moments nor the epochs before the last; and what it was
tuned on may not be selected, whereas LESS chooses from all of the pool.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
import safetensors.numpy
from etils import epath
from jaxtyping import PyTree

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, sizes, work
from ila_jax.models import architecture
from ila_jax.models import lora as lora_lib
from ila_jax.passes import example_gradients, token_set, windows
from ila_jax.pool import index
from ila_jax.run import context, draws, progress, stage_record, tables
from ila_jax.run.disk import files, folders
from ila_jax.score.signals import nll_without_prompt
from ila_jax.sections import checked, ranges
from ila_jax.training import base, batches, trial
from ila_jax.training import recipe as recipe_lib

NAME = "less_warmup"
_FIELD = "config.select.options.less"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(checked.Checked):
  """The options of the method `less`, as published; of config.train the rest.

  Raises:
    errors.InputError: a width that is no power of two.
  """

  share: float = checked.field(
    0.05, "share of the pool that warms the adapter up", **ranges.PART
  )
  epochs: int = checked.field(
    4, "passes over it; gradients are taken at the end of each", low=1, high=100
  )
  learning_rate: float = checked.field(
    2e-5, "highest learning rate of the warm-up", **ranges.LEARNING_RATE
  )
  width: int = checked.field(
    8192,
    "numbers that a gradient is projected to, a power of two",
    low=2**4,
    high=2**16,
  )

  def __post_init__(self) -> None:
    """Checks the fields."""
    super().__post_init__()
    if self.width & (self.width - 1):
      near = 2 ** (self.width.bit_length() - 1)
      raise errors.InputError(
        f"width is {self.width}; allowed: a power of two, such as {near}."
      )


def settings(config: config_lib.Config) -> Settings:
  """The options of the method, from config.select.options.

  Raises:
    errors.InputError: an unknown field, or a value that is not allowed.
  """
  return checked.build(Settings, config.select.options.get("less", {}), _FIELD)


def recipe(config: config_lib.Config) -> recipe_lib.Recipe:
  """How the adapter is trained."""
  own = settings(config)
  return trial.recipe(
    config,
    epochs=own.epochs,
    learning_rate=own.learning_rate,
    seed=config.seed,
    lora=trial.adapter(config),
  )


def made_from(run: context.Run) -> dict[str, Any]:
  """What the warm-up follows from, beside the pool."""
  config = run.config
  own = dataclasses.asdict(settings(config))
  del own["width"]
  train = config.section("train")["train"].items()
  train = {k: v for k, v in train if k != "method" and k[:5] != "lora_"}
  train["lora"] = dataclasses.asdict(trial.adapter(config))
  return {
    "base": nll_without_prompt.SIGNAL.made_from(run),
    "config": {"less": own, "train": train},
    "max_tokens": config.tokens.max_tokens,
    "seed": config.seed,
  }


def run(run: context.Run) -> None:
  """Trains the adapter, and keeps it at the end of each epoch.

  Raises:
    errors.InputError: the share is too small for a step an epoch, or the folder
      was made from other inputs.
  """
  workdir = run.workdir
  inputs = {
    "made_from": made_from(run),
    "pool": stage_record.output(workdir, "pool"),
  }
  stage = stage_record.Stage(workdir / folders.BESIDE, NAME, inputs)
  if stage.begin():
    return
  data = _drawn(run)
  how = recipe(run.config)
  ends = _epoch_ends(data, how)
  if not trial.is_made(stage.folder, NAME, ""):
    progress.say(
      f"  an adapter is warmed up on {len(data):,} examples, in {ends[-1]:,} "
      f"steps of {how.epochs} epochs"
    )
    with trial.recording(run, folders.BESIDE, NAME) as recorder:
      trial.fit(
        base.load(run, stage.account),
        data,
        how,
        run=run,
        stage=stage,
        name=NAME,
        keep=_keeper(workdir, ends),
        record=recorder.step,
      )
  trial.drop_checkpoints(stage.folder, NAME)
  history = files.read_jsonl(stage.folder / tables.HISTORY.file(name=NAME))
  rates = np.array([step["learning_rate"] for step in history])
  means = np.array([part.mean() for part in np.split(rates, ends[:-1])])
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, run.config.model.dtype),
    examples=len(data),
    steps=ends[-1],
    weights=(means / means.sum()).tolist(),
  )


def _drawn(run: context.Run) -> token_set.TokenSet:
  """A random share of the pool, whole prompts, none of them held out."""
  config, workdir = run.config, run.workdir
  prompts = index.column(workdir, "prompt_id")
  drawn = draws.draw(
    prompts,
    count=max(round(settings(config).share * len(prompts)), 1),
    seed=config.seed,
    purpose="warm-up",
    allowed=~index.is_dev(workdir),
  )
  return token_set.of_rows(workdir, np.flatnonzero(drawn))


def _epoch_ends(data: token_set.TokenSet, how: recipe_lib.Recipe) -> list[int]:
  """The last step of each epoch, from 1; of equal length but for rounding.

  Raises:
    errors.InputError: there are fewer steps than epochs.
  """
  parts = windows.split(data, max_tokens=how.width).data
  steps = len(
    batches.plan(
      parts.lengths,
      width=how.width,
      rows=how.rows,
      seed=how.seed,
      epochs=how.epochs,
    )
  )
  epochs = int(how.epochs)
  if steps < epochs:
    raise errors.InputError(
      f"{_FIELD}.share: the warm-up on {len(data):,} examples has {steps} "
      f"steps of config.train.batch_tokens={how.batch_tokens}, and {epochs} "
      "epochs; allowed: a step an epoch or more. Raise the share, or lower the "
      "tokens of a batch."
    )
  return [round(steps * (e + 1) / epochs) for e in range(epochs)]


def _keeper(
  workdir: epath.Path, ends: list[int]
) -> Callable[[int, PyTree], None]:
  """Writes what is trained, and its moments, after the last step of an epoch.

  That comes before any checkpoint of that step: a run that goes on from one
  has written the epochs before it.
  """

  def at(step: int, state: PyTree) -> None:
    if step not in ends:
      return
    parts = mesh_lib.fetch(
      {
        "params": state["params"],
        "first": optax.tree.get(state["optimizer"], "mu"),
        "second": optax.tree.get(state["optimizer"], "nu"),
      }
    )
    flat = {
      jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
      for path, leaf in jax.tree_util.tree_leaves_with_path(parts)
    }
    path = tables.WARMED_UP.path(workdir, epoch=ends.index(step) + 1)
    if mesh_lib.is_writer():
      files.write_bytes(path, safetensors.numpy.save(flat))

  return at


def states(
  run: context.Run,
) -> Iterator[tuple[lora_lib.Adapter, example_gradients.Moments]]:
  """The adapter at the end of each epoch, and Adam's moments, on the host.

  Raises:
    errors.InputError: the warm-up has not been run to its end.
  """
  stage_record.output(run.workdir / folders.BESIDE, NAME)
  for epoch in range(1, settings(run.config).epochs + 1):
    path = tables.WARMED_UP.path(run.workdir, epoch=epoch)
    trees: dict[str, Any] = {}
    for name, leaf in safetensors.numpy.load(files.read_bytes(path)).items():
      part, target, factor = name.split("/")
      trees.setdefault(part, {}).setdefault(target, {})[factor] = leaf
    moments = example_gradients.Moments(trees["first"], trees["second"])
    yield trees["params"], moments


def weights(workdir: epath.Path) -> np.ndarray:
  """What each epoch counts: its mean learning rate, of a sum of 1.

  Raises:
    errors.InputError: the warm-up has not been run to its end.
  """
  stage_record.output(workdir / folders.BESIDE, NAME)
  record = stage_record.read_record(workdir / folders.BESIDE / NAME)
  return np.array(record["weights"])


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of the training."""
  share = settings(run.config).share
  return run.training(
    run.sample.data,
    recipe(run.config),
    examples=share * run.sample.examples,
  )


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of an adapter and two moments an epoch, and of checkpoints."""
  each = 12 * adapter_size(known.config, known.decoder)
  kept = settings(known.config).epochs * (each + costs.TABLE)
  return costs.Need(kept, sizes.CHECKPOINTS * each)


def adapter_size(
  config: config_lib.Config, decoder: architecture.DecoderConfig
) -> int:
  """Numbers of an adapter."""
  made = lora_lib.shapes(decoder, trial.adapter(config))
  leaves = jax.tree.leaves(made, is_leaf=lambda x: isinstance(x, tuple))
  return sum(int(np.prod(shape)) for shape in leaves)
