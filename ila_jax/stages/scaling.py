"""Stage `scaling`: many small subsets, and the law fitted to them."""

from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  evaluate,
  hardware,
  interrupts,
  metrics,
  provenance,
  scaling,
  shards,
  subsets,
)
from ila_jax import config as config_lib
from ila_jax import mesh as mesh_lib
from ila_jax.stages import base, duplicates, finetuning, training
from ila_jax.stages import selection as selection_stage

RUNS = "runs.jsonl"
FITS = "fits.json"


def run(config: config_lib.Config, workdir: epath.Path, mesh: Mesh) -> None:
  """Writes `scaling/runs.jsonl`, a line a subset, and `fits.json` (2.7).

  A killed run goes on after the last subset that was written.

  Raises:
    errors.InputError: subsets larger than the pool, or a loss that is not
      finite.
  """
  stage = provenance.Stage(
    workdir,
    "scaling",
    {
      "config": config.section("model", "scaling", "train"),
      "finetune": [config.finetune.epochs, config.finetune.learning_rate],
      "model": base.signature(config, workdir),
      "landscape": provenance.output(workdir, "landscape"),
      "exclude_reference": config.score.exclude_reference,
      "near_duplicates": duplicates.settings(config),
      "seed": config.seed,
    },
  )
  if stage.open():
    return
  if config.scaling.subsets + config.scaling.held_out:
    pool = selection_stage.load(config, workdir)
    if max(config.scaling.sizes) <= pool.candidates.candidate.sum():
      _train(config, workdir, mesh, stage, pool)
    else:
      metrics.say(
        f"  config.scaling.sizes is {config.scaling.sizes}, beyond the "
        f"{pool.candidates.candidate.sum():,} candidates: nothing is trained"
      )
  mesh_lib.barrier("subsets trained")
  lines = artifacts.read_jsonl(stage.folder / RUNS)
  fits = scaling.fit_law(
    lines, resamples=config.scaling.resamples, seed=config.seed
  )
  if not config.scaling.subsets + config.scaling.held_out:
    fits["reason"] = "switched off (config.scaling.subsets is 0)"
  artifacts.write_json(stage.folder / FITS, fits)
  _say(fits)
  stage.finish(
    matrix_rate=hardware.matrix_rate(mesh, config.model.dtype),
    subsets=len(lines),
  )


def _train(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  stage: provenance.Stage,
  pool: selection_stage.ScoredPool,
) -> None:
  """Trains and evaluates the subsets that have no line yet."""
  runs = stage.folder / RUNS
  done = {line["name"] for line in artifacts.read_jsonl(runs)}
  todo = [s for s in _design(config, pool) if s.name not in done]
  decoder = base.load(config, workdir, mesh, stage.account)
  dev = finetuning.dev_set(workdir)
  for subset in metrics.progress(todo, desc="scaling", unit="subsets"):
    table = shards.gather(
      workdir, pool.row[subset.rows], ["tokens", "is_response"]
    )
    tuned = training.fit(
      decoder,
      shards.tokens_of(table),
      config=config,
      name=subset.name,
      epochs=config.finetune.epochs,
      learning_rate=config.finetune.learning_rate,
      seed=config.seed,
      mesh=mesh,
      stage=stage,
      keep=False,
      recipe=training.lora(config),
    )
    found = training.dev_loss(
      tuned, dev, config=config, mesh=mesh, account=stage.account
    )
    artifacts.append_jsonl(runs, _line(pool, subset, found))
    stage.keep()
    interrupts.point()


def _design(
  config: config_lib.Config, pool: selection_stage.ScoredPool
) -> list[subsets.Subset]:
  candidates = pool.candidates
  return subsets.design(
    cell=candidates.cell,
    relative_depth=candidates.relative_depth,
    n_tokens=candidates.n_tokens,
    domain=candidates.domain,
    uniform=candidates.uniform,
    candidate=candidates.candidate,
    subsets=config.scaling.subsets,
    held_out=config.scaling.held_out,
    sizes=config.scaling.sizes,
    min_cell_share=config.scaling.min_cell_share,
    depth_band=config.scaling.depth_band,
    seed=config.seed,
  )


def _line(
  pool: selection_stage.ScoredPool,
  subset: subsets.Subset,
  found: evaluate.Evaluation,
) -> dict:
  return {
    "name": subset.name,
    "kind": subset.kind,
    "in_design": subset.in_design,
    "levels": subset.levels,
    "loss": found["micro"],
    "loss_macro": found["macro"],
    **subsets.measure(
      subset.rows,
      cell=pool.candidates.cell,
      relative_depth=pool.candidates.relative_depth,
      n_tokens=pool.candidates.n_tokens,
    ),
  }


def _say(fits: dict) -> None:
  if fits["fitted"]:
    metrics.say(
      f"  log dev loss by log coverage and log depth over {fits['runs']} "
      f"subsets: R² {fits['r2']:.2f}, leave-one-out "
      + (f"{fits['loo_r2']:.2f}" if fits["loo_r2"] is not None else "undefined")
    )
  else:
    metrics.say(f"  the law was not fitted: {fits['reason']}")
