"""Stage `finetune`: the base tuned on the selection and on its rivals."""

import dataclasses
import itertools
import json

import numpy as np
from etils import epath

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.finetune import arms as arms_lib
from ila_jax.finetune import comparison
from ila_jax.methods import candidates, table
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import dev_loss, token_set
from ila_jax.pool import base_tokenizer, index
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.selection import budget, filters, needs, scored_pool
from ila_jax.training import base, trial


def run(run: context.Run) -> None:
  """Writes the dev losses of all models, the comparison, and `model/`.

  Every rival is tuned twice: on as many examples as the selection has, and on
  as many response tokens; the dev loss of each is micro and macro, as
  docs/method.md 2.8 has it.

  Raises:
    errors.InputError: a loss that is not finite, or a full disk.
  """
  config, workdir = run.config, run.workdir
  stage = stage_record.Stage(
    workdir,
    "finetune",
    {
      "config": config.section("model", "finetune", "train"),
      "model": base.signature(run),
      **stage_record.parents(workdir, "finetune"),
      "rivals": scored_pool.made_from(run, config.finetune.compare),
      **needs.made_from(run, "finetune"),
      **filters.made_from(workdir, config.select),
      "seed": config.seed,
    },
  )
  if stage.begin():
    return
  decoder = base.load(run, stage.account)
  dev = trial.dev_set(workdir)
  evaluated = sorted(_evaluated(workdir)) if mesh_lib.is_writer() else []
  names = json.loads(mesh_lib.tell(json.dumps(evaluated))[0])
  if "base" not in names:
    untuned = trial.Tuned(decoder)
    with trial.recording(run, "finetune", "base") as recorder:
      evaluation = _evaluate(run, stage, untuned, dev, {"name": "base"})
      recorder.add(evaluation, step=0)
  chosen = _rows(run)
  for arm, rows in chosen.items():
    model = tables.MODEL.file() if arm.equal == "selection" else ""
    made = trial.is_made(stage.folder, arm.name, model)
    if arm.name not in names or not made:
      _tune(run, stage, decoder, dev, arm, rows)
    trial.drop_checkpoints(stage.folder, arm.name)
  mesh_lib.barrier("arms tuned")
  _merge(workdir, [arm.name for arm in chosen])
  _compare(run)
  stage.finish(matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype))


def _rows(run: context.Run) -> dict[arms_lib.Arm, np.ndarray]:
  """The rows of the pool of each arm that its budget buys an example for."""
  config, pool = run.config, scored_pool.weighed(run, scored_pool.load(run))
  strategy = config.select.strategy
  ours = scored_pool.rank(config, pool, strategy)
  k = scored_pool.cut(config, pool, ours, strategy)
  first, *others = arms_lib.arms(strategy, config.finetune.compare)
  chosen = {first: pool.row[ours.order[:k]]}
  n_tokens = pool.candidates.n_tokens
  tokens = int(n_tokens[ours.order[:k]].sum(dtype=np.int64))
  budgets = {"examples": k, "tokens": tokens}
  for rival, equals in itertools.groupby(others, lambda arm: arm.strategy):
    is_nested, ranking = table.METHODS[rival].is_nested, None
    for arm in equals:
      if ranking is None or not is_nested:
        # One order of the most that is asked for, if its heads are the others.
        more = is_nested or arm.equal == "tokens"
        wanting = _wanting(pool, k, tokens if more else 0)
        ranking = scored_pool.rank(config, wanting, rival)
      wants, size = f"config.finetune.compare: {rival!r}", budgets[arm.equal]
      scored_pool.check_held(
        config,
        pool,
        ranking,
        wants=f"{wants} is to match",
        budget=size,
        unit=arm.equal,
      )
      fitting = budget.budget_prefix(
        ranking.order, n_tokens, budget=size, unit=arm.equal
      )
      if not fitting:
        progress.say(
          f"  {arm.name}: left out; its first example exceeds the budget"
        )
        continue
      chosen[arm] = pool.row[ranking.order[:fitting]]
  return chosen


def _wanting(
  pool: scored_pool.ScoredPool, examples: int, tokens: int
) -> scored_pool.ScoredPool:
  """The pool for a rival, which may need more examples for as many tokens."""
  c = pool.candidates
  most = budget.most_rows(c.n_tokens[c.candidate], budget=tokens, unit="tokens")
  wanting = candidates.with_inputs(
    c, c.inputs, wanted=max(examples, most), tokens=tokens or None
  )
  return dataclasses.replace(pool, candidates=wanting)


def _tune(
  run: context.Run,
  stage: stage_record.Stage,
  decoder: decoder_lib.Decoder,
  dev: token_set.TokenSet,
  arm: arms_lib.Arm,
  rows: np.ndarray,
) -> None:
  config, workdir = run.config, run.workdir
  data = token_set.of_rows(workdir, rows)
  with trial.recording(run, "finetune", arm.name) as recorder:
    tuned = trial.fit(
      decoder,
      data,
      trial.tuning(config),
      run=run,
      stage=stage,
      name=arm.name,
      record=recorder.step,
    )
    if arm.equal == "selection":
      tokenizer = base_tokenizer.tokenizer(config, workdir)
      name = base.name(run)
      trial.save(tables.MODEL.path(workdir), tuned, tokenizer, name)
    labels = {
      "name": arm.name,
      "strategy": arm.strategy,
      "equal": arm.equal,
      "train_examples": len(data),
      "train_tokens": data.response_tokens,
    }
    evaluation = _evaluate(run, stage, tuned, dev, labels)
    # Of all its steps, for those before a kill are not told again.
    steps = tables.HISTORY.path(workdir, stage="finetune", name=arm.name)
    recorder.add(evaluation, step=len(files.read_jsonl(steps)))


def _evaluate(
  run: context.Run,
  stage: stage_record.Stage,
  tuned: trial.Tuned,
  dev: token_set.TokenSet,
  labels: dict,
) -> dict[str, float]:
  """Writes the dev loss, and returns it as TensorBoard names it."""
  with progress.counter(len(dev), desc="dev loss", unit="examples") as advance:
    losses = trial.dev_losses(
      tuned,
      dev,
      run=run,
      account=stage.account,
      advance=advance,
    )
  evaluation = dev_loss.summarise(*losses)
  # The line comes last: a model that has one has all its losses.
  _keep_losses(run.workdir, labels["name"], losses)
  files.append_jsonl(tables.EVALUATIONS.path(run.workdir), labels | evaluation)
  stage.save_progress()
  progress.say(
    f"  {labels['name']}: dev loss {evaluation['micro']:.4f} nats a token, "
    f"{evaluation['macro']:.4f} by example"
  )
  return {f"dev_loss/{name}": evaluation[name] for name in ("micro", "macro")}


def _column(name: str) -> str:
  """The column of a model in `finetune/dev_losses.parquet`."""
  return f"nll_{name}"


def _evaluated(workdir: epath.Path) -> set[str]:
  """The models that have a line and the loss of each dev example."""
  path = tables.DEV_LOSSES.path(workdir)
  columns = files.read_table(path) if path.exists() else {}
  lines = files.read_jsonl(tables.EVALUATIONS.path(workdir))
  return {line["name"] for line in lines if _column(line["name"]) in columns}


def _keep_losses(
  workdir: epath.Path, name: str, losses: dev_loss.Losses
) -> None:
  """Adds a column to the table, by writing it anew, on the first host only."""
  if not mesh_lib.is_writer():
    return
  path = tables.DEV_LOSSES.path(workdir)
  if path.exists():
    held = files.read_table(path)
  else:
    rows = trial.dev_rows(workdir)
    ids = index.column(workdir, "id")[rows]
    held = {"row": rows, "id": ids, "n_tokens": losses.n_tokens}
  files.write_table(path, held | {_column(name): losses.nll})


def _compare(run: context.Run) -> None:
  """Writes what the selection is worth beside its rivals, on the first host."""
  if not mesh_lib.is_writer():
    return
  held = files.read_table(tables.DEV_LOSSES.path(run.workdir))
  # The order of reading is to change no draw.
  order = np.argsort(held["id"])
  held = {name: column[order] for name, column in held.items()}
  evaluations = files.read_jsonl(tables.EVALUATIONS.path(run.workdir))
  names = [evaluation["name"] for evaluation in evaluations]
  found = comparison.compare(
    evaluations,
    {name: held[_column(name)] for name in names},
    held["n_tokens"],
    groups=index.column(run.workdir, "prompt_id")[held["row"]],
    seed=run.config.seed,
  )
  files.write_json(tables.COMPARISON.path(run.workdir), found)


def _merge(workdir: epath.Path, names: list[str]) -> None:
  """Puts models in the order of the arms; one tuned anew has its last line."""
  evaluations = tables.EVALUATIONS.path(workdir)
  last = {line["name"]: line for line in files.read_jsonl(evaluations)}
  ordered = [last[name] for name in ("base", *names)]
  files.write_jsonl(evaluations, ordered)
  if mesh_lib.is_writer():
    path = tables.DEV_LOSSES.path(workdir)
    columns = ["row", "id", "n_tokens", *(_column(e["name"]) for e in ordered)]
    files.write_table(path, files.read_table(path, columns))
  lines = [
    {"name": name} | step
    for name in names
    for step in files.read_jsonl(
      tables.HISTORY.path(workdir, stage="finetune", name=name)
    )
  ]
  files.write_jsonl(tables.METRICS.path(workdir), lines)
