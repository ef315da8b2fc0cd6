"""What the last part of the reference set has taught: losses of a sample.

A model is tuned as that of the reference set of the first of
config.score.reference_seeds, but on a share of it (config.signals.early_share).
A sample of the candidates (config.signals.early_examples) is scored under it;
their losses under the model of the whole set are known. The model is not kept.
"""

from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float, Int

from ila_jax import config as config_lib
from ila_jax.compute import hardware
from ila_jax.forecast import costs, sizes, work
from ila_jax.passes import token_set, windows
from ila_jax.pool import index
from ila_jax.run import context, draws, progress, stage_record, tables
from ila_jax.run.disk import files, folders
from ila_jax.score import losses, split
from ila_jax.score.signals import nll_without_prompt
from ila_jax.training import base, trial

NAME = "early_losses"
# Bytes of an example in the table.
_EACH = 24


def run(run: context.Run) -> None:
  """Tunes the model, scores the sample, and writes its losses.

  Raises:
    errors.InputError: the folder was made from other inputs.
  """
  config, workdir = run.config, run.workdir
  stage = stage_record.Stage(workdir / folders.BESIDE, NAME, _made_from(run))
  if stage.begin():
    return
  reference = np.flatnonzero(_part(config, workdir))
  sample = _sample(run)
  progress.say(
    f"  a model is tuned on {len(reference):,} examples of the reference set, "
    f"and scores {len(sample):,} others"
  )
  seed = config.score.reference_seeds[0]
  with trial.recording(run, folders.BESIDE, NAME) as recorder:
    tuned = trial.fit(
      base.load(run, stage.account),
      token_set.of_rows(workdir, reference),
      trial.reference(config, seed=seed),
      run=run,
      stage=stage,
      name=NAME,
      record=recorder.step,
    )
  data = token_set.of_rows(workdir, sample)
  parts = windows.split(data, max_tokens=config.tokens.max_tokens)
  with progress.counter(len(sample), desc=NAME, unit="examples") as advance:
    nll = nll_without_prompt.scorer(
      run,
      stage.account,
      tuned.decoder,
      lengths=index.lengths(workdir),
      adapters=tuned.adapters,
      advance=advance,
    )
    early = parts.total(nll(parts))
  files.write_table(
    tables.EARLY_LOSSES.path(workdir),
    {
      "row": sample,
      "id": index.column(workdir, "id")[sample],
      "nll_early": early,
      "nll_tuned": losses.read(run, sample)[1][seed],
    },
  )
  trial.drop_checkpoints(stage.folder, NAME)
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype),
    reference_examples=len(reference),
    examples=len(sample),
  )


def _made_from(run: context.Run) -> dict[str, Any]:
  config = run.config
  return {
    "early_share": config.signals.early_share,
    "early_examples": config.signals.early_examples,
    "seed": config.seed,
    "score": stage_record.output(run.workdir, "score"),
  }


def _part(config: config_lib.Config, workdir: epath.Path) -> np.ndarray:
  """A share of the reference set of the first seed, whole prompts, bool [n]."""
  prompts = index.column(workdir, "prompt_id")
  of_seeds = split.references(config, prompts, index.is_dev(workdir))
  seed = config.score.reference_seeds[0]
  whole = of_seeds[seed]
  return draws.draw(
    prompts,
    count=max(round(config.signals.early_share * whole.sum()), 1),
    seed=seed,
    purpose="early reference",
    allowed=whole,
  )


def _sample(run: context.Run) -> Int[np.ndarray, " k"]:
  """Rows of the sample, ascending: none held out, none that a model has seen.

  All have a finite loss under the models of stage `score`.
  """
  workdir = run.workdir
  scored = files.read_table(tables.SCORES.path(workdir), ["row", "id"])
  is_free = ~index.is_dev(workdir)
  is_free[split.reference_rows(workdir)] = False
  free = is_free[scored["row"]]
  drawn = draws.choose(
    scored["id"][free],
    count=run.config.signals.early_examples,
    seed=run.config.seed,
    purpose="early sample",
  )
  return np.sort(scored["row"][free][drawn])


def gain(
  workdir: epath.Path, rows: Int[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
  """What the last part of the reference set took from the loss of some rows.

  Returns:
    nll(earlier model) - nll(tuned model), in nats over the response; NaN for
    rows that are not in the sample.

  Raises:
    errors.InputError: the losses have not been made.
  """
  stage_record.output(workdir / folders.BESIDE, NAME)
  held = files.read_table(tables.EARLY_LOSSES.path(workdir))
  found = np.full(len(index.is_dev(workdir)), np.nan, np.float32)
  found[held["row"]] = held["nll_early"] - held["nll_tuned"]
  return found[rows]


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of tuning on a part of the reference, and of scoring the sample."""
  settings, sample = run.config.signals, run.sample
  tuned = run.training(
    sample.data,
    trial.reference(run.config, seed=run.config.score.reference_seeds[0]),
    examples=settings.early_share * run.config.score.reference_examples,
  )
  count = min(settings.early_examples, sample.examples)
  return run.scoring(sample.data, examples=count).and_also(tuned)


def need(known: sizes.Sizes) -> costs.Need:
  """Bytes of the losses, and of the checkpoints of the training."""
  count = min(known.config.signals.early_examples, known.examples)
  return costs.Need(_EACH * count + costs.TABLE, known.checkpoints)
