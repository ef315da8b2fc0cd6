"""What the advice is made from, read from the folder of a run."""

import dataclasses
import json
from typing import Any

import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.advice import (
  calibration,
  cost,
  gain,
  line,
  pilot,
  predictor,
  shares,
  told,
  trust,
)
from ila_jax.laboratory import budgets, held_out
from ila_jax.landscape import depth
from ila_jax.methods import table
from ila_jax.passes import forward
from ila_jax.pool import index
from ila_jax.run import context, stage_record, stages, tables
from ila_jax.run.disk import files, folders
from ila_jax.score import early_losses, losses, split
from ila_jax.score.signals.tuned import swapped_prompt
from ila_jax.sections import checked, laboratory
from ila_jax.selection import scored_pool
from ila_jax.training import base, trial
from ila_jax.training import recipe as recipe_lib

# The stages that must be done; none of them tunes on a selection.
NEEDED = stages.leading_to("select")
# What shares the budget among cells by config.select.cell_weight.
_WEIGHT = "cell_weight"


@dataclasses.dataclass(frozen=True)
class _Known:
  """A run, and its pool as selection and as the advice see it."""

  run: context.Run
  pool: scored_pool.ScoredPool
  places: predictor.Places


def check(workdir: epath.Path) -> None:
  """Makes sure that a run has selected.

  Raises:
    errors.InputError: a stage that the advice reads is not done.
  """
  missing = missing_stages(workdir)
  if missing:
    raise errors.InputError(
      f"{workdir}: stage {missing[0]!r} has not finished, and the advice reads "
      f"{', '.join(NEEDED)}. Run the command of this run again with "
      f"--stages={','.join(missing)} at its end."
    )


def missing_stages(workdir: epath.Path) -> list[str]:
  """Stages that the advice reads and that are not done.

  >>> missing_stages(epath.Path("no/such/run"))[-1]
  'select'
  """
  return [
    name
    for name in NEEDED
    if not stage_record.read_record(workdir / name).get("done")
  ]


def made_from(workdir: epath.Path) -> dict[str, Any]:
  """What the advice reads beside the stages, for the inputs of the report."""
  read = (
    f"{folders.BESIDE}/{early_losses.NAME}",
    f"{folders.SIGNALS}/{swapped_prompt.NAME}",
  )
  records = {name: stage_record.read_record(workdir / name) for name in read}
  return {n: r["output"] for n, r in records.items() if r.get("done")}


def advise(run: context.Run) -> told.Advice:
  """Reads a run that has selected; trains nothing and writes nothing.

  Raises:
    errors.InputError: a stage is not done, or a file is damaged.
  """
  workdir = epath.Path(run.workdir)
  check(workdir)
  run = _as_made(run, workdir)
  config, known = run.config, _known(run)
  at = known.places
  of, foretells = at.shares(), _predictor(known)
  signal = _current(workdir, folders.SIGNALS, swapped_prompt.NAME)
  found = (
    foretells.line(),
    shares.target(of.dev, of.pool, at.n_tokens[at.is_dev], **_weights(config)),
    shares.balance(known.pool.candidates.cell, at.candidate),
    _depth(known),
    trust.junk_line(
      signal and signal[swapped_prompt.NAME], rivals=config.select.compare
    ),
    shares.lengths(at.n_tokens, at.candidate, at.chosen),
    shares.starved(of.chosen, of.pool, at.names, examples=len(at.chosen)),
    _cost(known),
    _pilot(known),
  )
  return told.Advice(lines=found, calibration=_calibration(run, foretells))


def _as_made(run: context.Run, workdir: epath.Path) -> context.Run:
  """The run with the settings by which its stages were made."""
  config = run.config
  for name in NEEDED:
    record = stage_record.read_record(workdir / name)
    for section, values in record["inputs"].get("config", {}).items():
      own = getattr(config, section, None)
      if not dataclasses.is_dataclass(own):
        continue  # What a stage notes beside the sections, such as scores.
      known = {field.name for field in dataclasses.fields(own)}
      made = {field: v for field, v in values.items() if field in known}
      merged = checked.build(
        type(own), dataclasses.asdict(own) | made, f"config.{section}"
      )
      config = dataclasses.replace(config, **{section: merged})
  return dataclasses.replace(run, config=config, workdir=workdir)


def _known(run: context.Run) -> _Known:
  workdir = run.workdir
  pool = scored_pool.load(run)
  c = pool.candidates
  names, domain = held_out.domains(workdir, pool.row, np.asarray(c.domain))
  record = stage_record.read_record(workdir / "select")
  ranked = files.read_table(tables.RANKING.path(workdir), ["row"])["row"]
  order = np.searchsorted(pool.row, ranked)
  places = predictor.Places(
    names=names,
    domain=domain,
    n_tokens=c.n_tokens,
    is_dev=index.is_dev(workdir)[pool.row],
    candidate=c.candidate,
    order=order,
    chosen=order[: record["selected"]],
  )
  return _Known(run, pool, places)


def _current(
  workdir: epath.Path, kind: str, name: str
) -> dict[str, Any] | None:
  """The record of a signal or set that was made from the present scores."""
  record = stage_record.read_record(workdir / kind / name)
  inputs = record.get("inputs", {})
  of_scores = inputs.get("made_from", inputs).get("score")
  is_ours = of_scores == stage_record.output(workdir, "score")
  return record if is_ours and record.get("done") else None


def _predictor(known: _Known) -> predictor.Predictor:
  """Reads the losses of the sample, where they were made."""
  run, at = known.run, known.places
  record = _current(run.workdir, folders.BESIDE, early_losses.NAME)
  nll = np.stack([*losses.read(run, known.pool.row[at.is_dev])[1].values()])
  return predictor.Predictor(
    places=at,
    sample=_sample(known) if record else None,
    early_share=record["inputs"]["early_share"] if record else 1.0,
    spread=gain.seed_spread(nll, at.n_tokens[at.is_dev]),
    seed=run.config.seed,
    rivals=run.config.select.compare,
  )


def _sample(known: _Known) -> gain.Sample:
  run, at = known.run, known.places
  held = files.read_table(tables.EARLY_LOSSES.path(run.workdir))
  # One without the score that is depth has no place in the pool that is scored.
  is_placed = np.isin(held["row"], known.pool.row)
  held = {name: values[is_placed] for name, values in held.items()}
  rows = held["row"]
  place = np.searchsorted(known.pool.row, rows)
  tuned = np.stack([*losses.read(run, rows)[1].values()])
  return gain.Sample(
    gain=held["nll_early"][None].astype(np.float64) - tuned,
    n_tokens=at.n_tokens[place],
    domain=at.domain[place],
    prompt=index.column(run.workdir, "prompt_id")[rows],
    ids=held["id"],
  )


def _weights(config: config_lib.Config) -> dict[str, Any]:
  """α of the weights n_c^α of the cells, if heeded; what else they weigh by."""
  select = config.select
  method = table.METHODS[select.strategy]
  options = table.options(select.strategy, select.options)
  weight: Any = select.cell_weight
  is_power = _WEIGHT in method.needed(options) and not isinstance(weight, str)
  power = float(weight) if is_power else None
  return {"power": power, "factor": method.cell_factor}


def _depth(known: _Known) -> line.Line:
  """How far reference seeds agree, over candidates that no model has seen."""
  run, at = known.run, known.places
  name, seeds = run.config.landscape.depth, run.config.score.reference_seeds
  if not depth.is_of_tuned(name):
    return line.unknown(
      "depth",
      f"config.landscape.depth is {name!r}, which no reference set changes: "
      "only who made it can tell how reliable it is.",
      threshold=trust.RANKS,
    )
  seen = np.isin(known.pool.row, split.reference_rows(run.workdir))
  free = np.flatnonzero(at.candidate & ~seen)
  rows = known.pool.row[free]
  nll_base, tuned = losses.read(run, rows)
  labels = index.column(run.workdir, "n_labels")[rows]
  depths = [
    depth.DEPTHS[name](
      nll_base, nll, at.n_tokens[free], labels, at.domain[free]
    )
    for nll in tuned.values()
  ]
  found = trust.reliability(
    np.stack(depths), at.n_tokens[free], at.domain[free]
  )
  return trust.depth_line(found, references=len(seeds))


def _cost(known: _Known) -> line.Line:
  run, at = known.run, known.places
  scan = [
    stage_record.read_record(run.workdir / name) for name in ("embed", "score")
  ]
  epochs = run.config.finetune.epochs
  try:
    sizes = base.sizes(run.config)
  except errors.InputError:
    tuning = None  # The base is not here, which the line tells.
  else:
    rows = known.pool.row[at.chosen]
    once = forward.flops(
      sizes,
      index.lengths(run.workdir)[rows],
      response_tokens=int(at.n_tokens[at.chosen].sum(dtype=np.int64)),
    )
    tuning = float(once * recipe_lib.passes(trial.lora(run.config)) * epochs)
  return cost.compared(
    scan_flops=float(sum(one["flops"] for one in scan)),
    scan_seconds=float(sum(one["seconds"] for one in scan)),
    tuning_flops=tuning,
    epochs=epochs,
  )


def _pilot(known: _Known) -> line.Line:
  select = known.run.config.select
  arm: dict[str, Any] = {"strategy": select.strategy}
  own = select.options.get(select.strategy)
  if own:
    arm["options"] = {select.strategy: own}
  if select.cell_weight != type(select)().cell_weight:
    arm["cell_weight"] = select.cell_weight
  count = known.pool.n_candidates
  mean = float(known.places.n_tokens[known.places.candidate].mean())
  plan = pilot.plan(arm, mean_tokens=mean, candidates=count)
  return pilot.told(plan, candidates=count, strategy=select.strategy)


def _calibration(
  run: context.Run, foretells: predictor.Predictor
) -> line.Line | None:
  """Predictions beside the gaps that the laboratory of the run has measured.

  Where its lines tell the tokens of each domain, of all arms, by what they were
  tuned on; else of those that choose as the run does, by the run's order. Both
  weigh the domains as the examples do that have judged, if it has their names.
  """
  path = tables.CONTRASTS.path(run.workdir)
  record = stage_record.read_record(run.workdir / "laboratory")
  if not record.get("done") or not path.exists() or foretells.why_not():
    return None
  names = foretells.places.names
  held = held_out.load(run, half=record["inputs"].get("dev_half"))
  dev = held.by_domain(names)
  ours = _like_the_run(run, record["scope"].get("arms", {}))
  tuned_on: dict[tuple[str, str, int], list[list[int]]] = {}
  for made in files.read_jsonl(tables.LABORATORY.path(run.workdir)):
    if "tokens_of" in made and "failed" not in made:
      key = made["arm"], made["equal"], made["budget"]
      tokens = [made["tokens_of"].get(name, 0) for name in names]
      tuned_on.setdefault(key, []).append(tokens)
  contrasts = files.read_json(path)["contrasts"]
  foretold = {}
  for one in contrasts:
    key = one["arm"], one["equal"], one["budget"]
    if one["equal"] != budgets.TOKENS:  # What the gain is foretold at.
      continue
    found = None
    if key in tuned_on:
      found = foretells.of_tokens(np.mean(tuned_on[key], axis=0), dev=dev)
    elif one["arm"] in ours:
      found = foretells.of_head(one["budget"], dev=dev)
    foretold |= {key: found} if found else {}
  cases = calibration.cases(contrasts, foretold, rival=laboratory.CHANCE)
  return calibration.told(cases)


def _like_the_run(run: context.Run, arms: dict[str, Any]) -> list[str]:
  """The arms of a laboratory that choose as config.select does."""
  select = run.config.select
  wanted = {
    "strategy": select.strategy,
    "cell_weight": select.cell_weight,
    "made_from": scored_pool.made_from(run, [select.strategy]),
  }
  wanted = json.loads(json.dumps(wanted))
  return [name for name, arm in arms.items() if arm == wanted]
