"""Stage `scaling`: many small subsets, and the law fitted to them."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape.duplicates import write
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import dev_loss, token_set
from ila_jax.pool import index
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.scaling import (
  design,
  judged,
  landscape_law,
  law,
  mixtures,
)
from ila_jax.score import losses
from ila_jax.selection import filters, needs, scored_pool
from ila_jax.training import base, together, trial


def run(run: context.Run) -> None:
  """Writes `scaling/runs.jsonl`, a line a subset, and `fits.json`.

  docs/method.md 2.7 has the law; `subsets.parquet` the examples of each subset.

  A killed run goes on after the last subset that was written.

  Raises:
    errors.InputError: subsets larger than the pool, or a loss that is not
      finite.
  """
  config, workdir = run.config, run.workdir
  stage = stage_record.Stage(
    workdir,
    "scaling",
    {
      "config": config.section("model", "scaling", "train"),
      "finetune": _tuning(config.section("finetune")["finetune"]),
      "model": base.signature(run),
      **stage_record.parents(workdir, "scaling"),
      "exclude_reference": config.score.exclude_reference,
      "near_duplicates": write.settings(config),
      **needs.made_from(run, "scaling"),
      **filters.made_from(workdir, config.select),
      "seed": config.seed,
    },
  )
  if stage.begin():
    return
  if config.scaling.runs:
    pool = scored_pool.load(run)
    if config.scaling.longest <= pool.candidates.candidate.sum():
      _train(run, stage, pool)
    else:
      progress.say(
        f"  config.scaling.sizes is {config.scaling.sizes}, beyond the "
        f"{pool.candidates.candidate.sum():,} candidates: nothing is trained"
      )
  mesh_lib.barrier("subsets trained")
  lines = files.read_jsonl(tables.RUNS.path(workdir))
  fits = law.fit_law(
    lines, resamples=config.scaling.resamples, seed=config.seed
  )
  if config.scaling.runs:
    fits["landscape"] = judged.fits(
      lines, _domains(run), resamples=config.scaling.resamples, seed=config.seed
    )
  else:
    fits["reason"] = "switched off (config.scaling.subsets is 0)"
  files.write_json(tables.FITS.path(workdir), fits)
  _say(fits)
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype),
    subsets=len(lines),
  )


def _tuning(finetune: dict[str, Any]) -> dict[str, Any]:
  """How the subsets are tuned on; the check alone has rivals."""
  return {name: v for name, v in finetune.items() if name != "compare"}


def _train(
  run: context.Run,
  stage: stage_record.Stage,
  pool: scored_pool.ScoredPool,
) -> None:
  """Trains and evaluates the subsets that have no line yet."""
  config, workdir = run.config, run.workdir
  runs = tables.RUNS.path(workdir)
  # The first host looks: what is to be done, all must do together.
  lines = files.read_jsonl(runs) if mesh_lib.is_writer() else []
  done = set(
    json.loads(mesh_lib.tell(json.dumps([r["name"] for r in lines]))[0])
  )
  subsets = _design(config, pool)
  todo = [subset for subset in subsets if subset.name not in done]
  _write_subsets(workdir, pool, subsets)
  decoder = base.load(run, stage.account)
  dev = trial.dev_set(workdir)
  size = config.train.runs_at_once(run.mesh.size)
  with progress.counter(len(todo), desc="scaling", unit="subsets") as advance:
    for at in range(0, len(todo), size):
      group = todo[at : at + size]
      data = [_data(workdir, pool, subset) for subset in group]
      tuned = _tune(run, stage, decoder, group, data)
      for subset, one, held in zip(group, tuned, data, strict=True):
        line = _line(pool, subset, _evaluated(run, stage, one, dev))
        if subset.name.endswith("_00"):
          line["repeats"] = _again(run, stage, decoder, dev, subset.name, held)
        files.append_jsonl(runs, line)
        stage.save_progress()
        advance(1)
        interrupts.point()


def _evaluated(
  run: context.Run,
  stage: stage_record.Stage,
  tuned: trial.Tuned,
  dev: token_set.TokenSet,
) -> dev_loss.Evaluation:
  found = trial.dev_losses(tuned, dev, run=run, account=stage.account)
  return dev_loss.summarise(*found)


def _again(
  run: context.Run,
  stage: stage_record.Stage,
  decoder: decoder_lib.Decoder,
  dev: token_set.TokenSet,
  name: str,
  data: token_set.TokenSet,
) -> list[float]:
  """Dev losses after tuning on a subset again, with other seeds."""
  recipe, losses = trial.tuning(run.config), []
  for times in range(run.config.scaling.repeats):
    tuned = trial.fit(
      decoder,
      data,
      dataclasses.replace(recipe, seed=recipe.seed + times + 1),
      run=run,
      stage=stage,
      name=name,
      keep=False,
    )
    losses.append(_evaluated(run, stage, tuned, dev)["micro"])
  return losses


def _data(
  workdir: epath.Path, pool: scored_pool.ScoredPool, subset: design.Subset
) -> token_set.TokenSet:
  rows = pool.row[subset.rows]
  return token_set.of_rows(workdir, rows)


def _tune(
  run: context.Run,
  stage: stage_record.Stage,
  decoder: decoder_lib.Decoder,
  group: list[design.Subset],
  data: list[token_set.TokenSet],
) -> Iterable[trial.Tuned]:
  """Trains on each subset of a group, side by side where that is asked for."""
  recipe = trial.tuning(run.config)
  if run.config.train.runs_a_device is None:
    return [
      trial.fit(
        decoder,
        one,
        recipe,
        run=run,
        stage=stage,
        name=subset.name,
        keep=False,
      )
      for subset, one in zip(group, data, strict=True)
    ]
  found = together.tune(
    decoder,
    data,
    [recipe] * len(data),
    mesh=run.mesh,
    account=stage.account,
  )
  return (tuned for tuned, _ in found)


def _write_subsets(
  workdir: epath.Path,
  pool: scored_pool.ScoredPool,
  subsets: list[design.Subset],
) -> None:
  rows = np.concatenate([subset.rows for subset in subsets])
  sizes = [len(subset.rows) for subset in subsets]
  files.write_table(
    tables.SUBSETS.path(workdir),
    {
      "subset": np.repeat([subset.name for subset in subsets], sizes),
      "row": pool.row[rows],
      "id": pool.candidates.ids[rows],
    },
  )


def _design(
  config: config_lib.Config, pool: scored_pool.ScoredPool
) -> list[design.Subset]:
  settings = config.scaling
  made = design.design(
    pool.candidates,
    subsets=config.scaling.subsets,
    held_out=config.scaling.held_out,
    sizes=config.scaling.sizes,
    min_cell_share=config.scaling.min_cell_share,
    depth_band=config.scaling.depth_band,
    seed=config.seed,
  )
  return made + mixtures.mixtures(
    pool.candidates,
    count=settings.mixtures,
    tokens=settings.mixture_tokens,
    seed=config.seed,
  )


def _domains(run: context.Run) -> landscape_law.Domains:
  """What is known of the domains of the map before any subset is tuned on."""
  cells = files.read_table(tables.CELLS.path(run.workdir), ["row", "domain"])
  row, (_, code) = (
    cells["row"],
    np.unique(cells["domain"], return_inverse=True),
  )
  tokens = index.column(run.workdir, "n_response_tokens")[row]
  is_dev = index.is_dev(run.workdir)[row]
  base_nll, tuned_nll = losses.read(run, row)
  tuned = np.mean([*tuned_nll.values()], axis=0, dtype=np.float64)

  def total(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    return np.bincount(code, weights=np.where(among, values, 0))

  there = np.maximum(total(tokens, ~is_dev), 1)
  dev = total(tokens, is_dev)
  return landscape_law.Domains(
    weight=dev / dev.sum(),
    base=total(base_nll, ~is_dev) / there,
    reducible=total(base_nll - tuned, ~is_dev) / there,
  )


def _line(
  pool: scored_pool.ScoredPool,
  subset: design.Subset,
  evaluation: dev_loss.Evaluation,
) -> dict:
  return {
    "name": subset.name,
    "kind": subset.kind,
    "in_design": subset.in_design,
    "levels": subset.levels,
    "loss": evaluation["micro"],
    "loss_macro": evaluation["macro"],
    **design.measure(pool.candidates, subset.rows),
    "domain_tokens": _domain_tokens(pool, subset.rows),
  }


def _domain_tokens(pool: scored_pool.ScoredPool, rows: np.ndarray) -> list[int]:
  """Response tokens of a subset in each domain of the pool."""
  c = pool.candidates
  names, code = np.unique(c.domain, return_inverse=True)
  held = np.bincount(code[rows], c.n_tokens[rows], minlength=len(names))
  return held.astype(np.int64).tolist()


def _say(fits: dict) -> None:
  if fits["fitted"]:
    progress.say(
      f"  log dev loss by log coverage and log depth over {fits['runs']} "
      f"subsets: R² {fits['r2']:.2f}, leave-one-out "
      + (f"{fits['loo_r2']:.2f}" if fits["loo_r2"] is not None else "undefined")
    )
  else:
    progress.say(f"  the law was not fitted: {fits['reason']}")
  landscape = fits.get("landscape", {})
  if landscape.get("fitted"):
    ours = landscape["judged"][0]
    progress.say(
      f"  the landscape law over {landscape['runs']} subsets: R² "
      f"{ours['fitted']:.2f}, leave-one-out {ours['left_out']:.2f}"
    )
