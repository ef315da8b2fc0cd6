"""Stage `finetune`: the base tuned on the selection and on its rivals."""

import dataclasses
import itertools

import numpy as np
from etils import epath

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.finetune import arms as arms_lib
from ila_jax.methods import candidates
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import token_set
from ila_jax.pool import base_tokenizer, shards
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.selection import budget, filters, scored_pool
from ila_jax.training import base, trial


def run(run: context.Run) -> None:
  """Writes `finetune/evaluations.jsonl`, `metrics.jsonl` and `model/`.

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
      **filters.made_from(workdir, config.select),
      "seed": config.seed,
    },
  )
  if stage.begin():
    return
  decoder = base.load(run, stage.account)
  dev = trial.dev_set(workdir)
  done = files.read_jsonl(tables.EVALUATIONS.path(workdir))
  mesh_lib.barrier("evaluations read")
  names = {evaluation["name"] for evaluation in done}
  if "base" not in names:
    untuned = trial.Tuned(decoder)
    with trial.recording(run, "finetune", "base") as recorder:
      evaluation = _evaluate(run, stage, untuned, dev, {"name": "base"})
      recorder.add(evaluation)
  chosen = _rows(run)
  for arm, rows in chosen.items():
    model = tables.MODEL.file() if arm.equal == "selection" else ""
    made = trial.is_made(stage.folder, arm.name, model)
    if arm.name not in names or not made:
      _tune(run, stage, decoder, dev, arm, rows)
    trial.drop_checkpoints(stage.folder, arm.name)
  mesh_lib.barrier("arms tuned")
  _merge(workdir, [arm.name for arm in chosen])
  stage.finish(matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype))


def _rows(run: context.Run) -> dict[arms_lib.Arm, np.ndarray]:
  """The rows of the pool of each arm that its budget buys an example for."""
  config, pool = run.config, scored_pool.load(run)
  strategy = config.select.strategy
  ours = scored_pool.rank(config, pool, strategy)
  k = scored_pool.cut(config, pool, ours, strategy)
  first, *others = arms_lib.arms(strategy, config.finetune.compare)
  chosen = {first: pool.row[ours.order[:k]]}
  n_tokens = pool.candidates.n_tokens
  tokens = int(n_tokens[ours.order[:k]].sum(dtype=np.int64))
  budgets = {"examples": k, "tokens": tokens}
  pool = _wanting(pool, k, tokens)
  for rival, equals in itertools.groupby(others, lambda arm: arm.strategy):
    ranking = scored_pool.rank(config, pool, rival)
    for arm in equals:
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
  """The pool for rivals, which may need more examples for as many tokens."""
  c = pool.candidates
  most = budget.most_rows(c.n_tokens[c.candidate], budget=tokens, unit="tokens")
  wanting = candidates.with_inputs(c, c.inputs, wanted=max(examples, most))
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
  table = shards.gather(workdir, rows, ["tokens", "is_response"])
  data = token_set.tokens_of(table)
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
    recorder.add(_evaluate(run, stage, tuned, dev, labels))


def _evaluate(
  run: context.Run,
  stage: stage_record.Stage,
  tuned: trial.Tuned,
  dev: token_set.TokenSet,
  labels: dict,
) -> dict[str, float]:
  """Writes the dev loss, and returns it as TensorBoard names it."""
  with progress.counter(len(dev), desc="dev loss", unit="examples") as advance:
    evaluation = trial.dev_loss(
      tuned,
      dev,
      run=run,
      account=stage.account,
      advance=advance,
    )
  files.append_jsonl(tables.EVALUATIONS.path(run.workdir), labels | evaluation)
  stage.save_progress()
  progress.say(
    f"  {labels['name']}: dev loss {evaluation['micro']:.4f} nats a token, "
    f"{evaluation['macro']:.4f} by example"
  )
  return {f"dev_loss/{name}": evaluation[name] for name in ("micro", "macro")}


def _merge(workdir: epath.Path, names: list[str]) -> None:
  """Puts lines in the order of the arms; an arm tuned anew has its last one."""
  evaluations = tables.EVALUATIONS.path(workdir)
  last = {line["name"]: line for line in files.read_jsonl(evaluations)}
  ordered = [last[name] for name in ("base", *names)]
  files.write_jsonl(evaluations, ordered)
  lines = [
    {"name": name} | step
    for name in names
    for step in files.read_jsonl(
      tables.HISTORY.path(workdir, stage="finetune", name=name)
    )
  ]
  files.write_jsonl(tables.METRICS.path(workdir), lines)
