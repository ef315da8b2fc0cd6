"""Stage `finetune`: the base tuned on the selection and on its rivals."""

import dataclasses

import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  hardware,
  metrics,
  provenance,
  selection,
  shards,
  trainset,
)
from ila_jax import config as config_lib
from ila_jax import mesh as mesh_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.stages import base, training
from ila_jax.stages import selection as selection_stage

EVALUATIONS = "evaluations.jsonl"
# The model tuned on the selection, as a Hugging Face folder.
MODEL = "model"


@dataclasses.dataclass(frozen=True)
class Arm:
  """One subset to tune on: the selection, or a rival at an equal budget."""

  name: str
  strategy: str
  equal: str  # "selection", "examples" or "tokens"
  rows: np.ndarray


def run(config: config_lib.Config, workdir: epath.Path, mesh: Mesh) -> None:
  """Writes `finetune/evaluations.jsonl`, `metrics.jsonl` and `model/`.

  Every rival is tuned twice: on as many examples as the selection has, and on
  as many response tokens; micro and macro dev loss of each (Section 2.8).

  Raises:
    errors.InputError: a loss that is not finite, or a full disk.
  """
  stage = provenance.Stage(
    workdir,
    "finetune",
    {
      "config": config.section("model", "finetune", "train"),
      "model": base.signature(config, workdir),
      "select": provenance.output(workdir, "select"),
      "seed": config.seed,
    },
  )
  if stage.open():
    return
  decoder = base.load(config, workdir, mesh, stage.account)
  dev = dev_set(workdir)
  done = artifacts.read_jsonl(stage.folder / EVALUATIONS)
  mesh_lib.barrier("evaluations read")
  names = {evaluation["name"] for evaluation in done}
  if "base" not in names:
    untuned = training.Tuned(decoder)
    _evaluate(config, mesh, stage, untuned, dev, {"name": "base"})
  arms = _arms(config, workdir)
  for arm in arms:
    model = MODEL if arm.equal == "selection" else ""
    made = training.is_made(stage.folder, arm.name, model)
    if arm.name not in names or not made:
      _tune(config, workdir, mesh, stage, decoder, dev, arm)
    training.drop_checkpoints(stage.folder, arm.name)
  mesh_lib.barrier("arms tuned")
  _merge(stage.folder, [arm.name for arm in arms])
  stage.finish(matrix_rate=hardware.matrix_rate(mesh, config.model.dtype))


def dev_set(workdir: epath.Path) -> trainset.TokenSet:
  """The held-out examples, but for those that have no finite loss."""
  workdir = epath.Path(workdir)
  index = artifacts.read_table(workdir / "pool/index.parquet", ["row", "split"])
  scored = artifacts.read_table(workdir / "score/scores.parquet", ["row"])[
    "row"
  ]
  rows = np.intersect1d(index["row"][index["split"] == "dev"], scored)
  return shards.tokens_of(
    shards.gather(workdir, rows, ["tokens", "is_response"])
  )


def _arms(config: config_lib.Config, workdir: epath.Path) -> list[Arm]:
  pool = selection_stage.load(config, workdir)
  strategy = config.select.strategy
  chosen = selection_stage.rank(config, pool, strategy)
  k = selection_stage.cut(config, pool, chosen)
  arms = [Arm(strategy, strategy, "selection", pool.row[chosen.order[:k]])]
  n_tokens = pool.candidates.n_tokens
  tokens = int(n_tokens[chosen.order[:k]].sum(dtype=np.int64))
  for rival in config.finetune.compare:
    order = selection_stage.rank(config, pool, rival).order
    fitting = selection.budget_prefix(
      order, n_tokens, budget=tokens, unit="tokens"
    )
    for equal, size in (("examples", k), ("tokens", fitting)):
      name = f"{rival}-equal-{equal}"
      if not size:
        metrics.say(f"  {name}: left out, its first example costs more")
        continue
      arms.append(Arm(name, rival, equal, pool.row[order[:size]]))
  return arms


def _tune(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  stage: provenance.Stage,
  decoder: decoder_lib.Decoder,
  dev: trainset.TokenSet,
  arm: Arm,
) -> None:
  table = shards.gather(workdir, arm.rows, ["tokens", "is_response"])
  data = shards.tokens_of(table)
  tuned = training.fit(
    decoder,
    data,
    config=config,
    name=arm.name,
    epochs=config.finetune.epochs,
    learning_rate=config.finetune.learning_rate,
    seed=config.seed,
    mesh=mesh,
    stage=stage,
    recipe=training.lora(config),
  )
  if arm.equal == "selection":
    tokenizer = base.tokenizer(config, workdir)
    name = base.name(config, workdir)
    training.save(stage.folder / MODEL, tuned, tokenizer, name)
  _evaluate(
    config,
    mesh,
    stage,
    tuned,
    dev,
    {
      "name": arm.name,
      "strategy": arm.strategy,
      "equal": arm.equal,
      "train_examples": len(data),
      "train_tokens": data.response_tokens,
    },
  )


def _evaluate(
  config: config_lib.Config,
  mesh: Mesh,
  stage: provenance.Stage,
  tuned: training.Tuned,
  dev: trainset.TokenSet,
  labels: dict,
) -> None:
  with metrics.counter(len(dev), desc="dev loss", unit="examples") as advance:
    found = training.dev_loss(
      tuned,
      dev,
      config=config,
      mesh=mesh,
      account=stage.account,
      advance=advance,
    )
  artifacts.append_jsonl(stage.folder / EVALUATIONS, labels | found)
  stage.keep()
  metrics.say(
    f"  {labels['name']}: dev loss {found['micro']:.4f} nats a token, "
    f"{found['macro']:.4f} by example"
  )


def _merge(folder: epath.Path, names: list[str]) -> None:
  """Puts lines in the order of the arms; an arm tuned anew has its last one."""
  last = {
    line["name"]: line for line in artifacts.read_jsonl(folder / EVALUATIONS)
  }
  ordered = [last[name] for name in ("base", *names)]
  artifacts.write_jsonl(folder / EVALUATIONS, ordered)
  lines = [
    {"name": name} | step
    for name in names
    for step in artifacts.read_jsonl(folder / f"metrics-{name}.jsonl")
  ]
  artifacts.write_jsonl(folder / "metrics.jsonl", lines)
