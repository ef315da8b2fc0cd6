"""Stage `score`: response losses under the base and the tuned models."""

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax.compute import hardware
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import forward, token_set, windows
from ila_jax.pool import base_tokenizer
from ila_jax.pool import index as index_lib
from ila_jax.run import (
  context,
  draws,
  progress,
  stage_record,
  tables,
)
from ila_jax.run.disk import files
from ila_jax.score import losses, split
from ila_jax.training import base, trial

_INDEX_COLUMNS = [
  *("row", "id", "prompt_id"),
  *("n_prompt_tokens", "n_response_tokens"),
]


def run(run: context.Run) -> None:
  """Writes `score/scores.parquet`, `reference.parquet` and the tuned models.

  θ1 (docs/method.md 2.2) is the base tuned on a random reference subset R, once
  for each of config.score.reference_seeds; `nll_sft` is the mean over them and
  `nll_sft_std` their sample deviation, null where there is one seed.

  Raises:
    errors.InputError: R is larger than the pool, or no base can be loaded.
  """
  config, workdir = run.config, run.workdir
  stage = stage_record.Stage(
    workdir,
    "score",
    {
      "config": config.section("model", "score", "train"),
      "model": base.signature(run),
      **stage_record.parents(workdir, "score"),
      "seed": config.seed,
    },
  )
  if stage.begin():
    return
  index = files.read_table(tables.INDEX.path(workdir), _INDEX_COLUMNS)
  references = split.references(
    config, index["prompt_id"], index_lib.is_dev(workdir)
  )
  for drawn in references.values():
    warning = draws.overshoot(drawn, count=config.score.reference_examples)
    if warning:
      progress.say(f"  warning: config.score.reference_examples: {warning}")
  _write_references(workdir, index, references)
  decoder = base.load(run, stage.account)
  _say_cost(config, index, decoder)
  nll_base, nll_sft = losses.score(
    run,
    stage,
    decoder,
    (_tuned(run, stage, decoder, seed, r) for seed, r in references.items()),
  )
  lost = losses.write(run, index, nll_base, nll_sft)
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype),
    not_finite=lost,
    reference_examples={
      str(seed): int(rows.sum()) for seed, rows in references.items()
    },
  )


def _write_references(
  workdir: epath.Path,
  index: dict[str, np.ndarray],
  references: dict[int, np.ndarray],
) -> None:
  seeds, rows = [], []
  for seed, drawn in references.items():
    places = np.flatnonzero(drawn)
    rows.append(places)
    seeds.append(np.full(len(places), seed))
  row = np.concatenate(rows)
  files.write_table(
    tables.REFERENCE.path(workdir),
    {"seed": np.concatenate(seeds), "row": row, "id": index["id"][row]},
  )


def _say_cost(
  config: config_lib.Config,
  index: dict[str, np.ndarray],
  decoder: decoder_lib.Decoder,
) -> None:
  response = index["n_response_tokens"]
  lengths = index["n_prompt_tokens"] + response
  cost = forward.flops(
    decoder.config,
    windows.lengths(lengths, max_tokens=config.tokens.max_tokens),
    response_tokens=int(response.sum()),
  )
  passes = 1 + len(config.score.reference_seeds)
  progress.say(
    f"  {len(lengths):,} examples, {lengths.sum():,} tokens, "
    f"{decoder_lib.count_parameters(decoder.config):,} weights: {passes} "
    f"passes of {cost:.2e} FLOPs"
  )


def _tuned(
  run: context.Run,
  stage: stage_record.Stage,
  decoder: decoder_lib.Decoder,
  seed: int,
  reference: np.ndarray,
) -> trial.Tuned:
  """The base tuned on R, or an adapter: read back where it was made before."""
  config, workdir, mesh = run.config, run.workdir, run.mesh
  folder = tables.TUNED.path(workdir, seed=seed)
  name = folder.name
  if trial.is_made(stage.folder, name):
    trial.drop_checkpoints(stage.folder, name)
    return trial.load(folder, config=config, mesh=mesh, base=decoder)
  with trial.recording(run, "score", name) as recorder:
    tuned = trial.fit(
      decoder,
      token_set.of_rows(workdir, np.flatnonzero(reference)),
      trial.reference(config, seed=seed),
      run=run,
      stage=stage,
      name=name,
      record=recorder.step,
    )
  tokenizer = base_tokenizer.tokenizer(config, workdir)
  trial.save(folder, tuned, tokenizer, base.name(run))
  trial.drop_checkpoints(stage.folder, name)
  return tuned
