"""Stage `score`: response losses under the base and the tuned models."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import hardware, prefetch
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora
from ila_jax.passes import collate, example_loss, forward, token_set, windows
from ila_jax.pool import base_tokenizer, shards
from ila_jax.pool import index as index_lib
from ila_jax.run import (
  context,
  draws,
  interrupts,
  progress,
  stage_record,
  tables,
)
from ila_jax.run.disk import files
from ila_jax.score import losses
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
  references = _references(
    config, index["prompt_id"], index_lib.is_dev(workdir)
  )
  for drawn in references.values():
    warning = draws.overshoot(drawn, count=config.score.reference_examples)
    if warning:
      progress.say(f"  warning: config.score.reference_examples: {warning}")
  _write_references(workdir, index, references)
  decoder = base.load(run, stage.account)
  _say_cost(config, index, decoder)
  nll_base, nll_sft = _losses(run, stage, decoder, references)
  lost = _write_scores(run, index, nll_base, nll_sft)
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype),
    not_finite=lost,
    reference_examples={
      str(seed): int(rows.sum()) for seed, rows in references.items()
    },
  )


def _references(
  config: config_lib.Config, prompts: np.ndarray, is_dev: np.ndarray
) -> dict[int, np.ndarray]:
  """The rows of R for each seed: whole prompts, never of the dev split."""
  return {
    seed: draws.draw(
      prompts,
      count=config.score.reference_examples,
      seed=seed,
      purpose="reference",
      allowed=~is_dev,
    )
    for seed in config.score.reference_seeds
  }


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


def _losses(
  run: context.Run,
  stage: stage_record.Stage,
  decoder: decoder_lib.Decoder,
  references: dict[int, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
  """Losses under the base [n] and under each tuned model [seed, n].

  Adapters are scored with the base in one pass, which reads its weights once;
  whole models one after the other, so that the base and one more are held.
  """
  if trial.lora(run.config) is None:
    base_nll = _score(run, stage, losses.BASE, decoder)
    tuned_nll = [
      _score(
        run,
        stage,
        losses.of_seed(seed),
        _tuned(run, stage, decoder, seed, drawn).decoder,
      )
      for seed, drawn in references.items()
    ]
    return base_nll[:, 0], np.concatenate(tuned_nll, axis=1).T
  tuned = [
    _tuned(run, stage, decoder, seed, drawn)
    for seed, drawn in references.items()
  ]
  adapters = lora.stack(
    tuned[0].lora,
    [lora.zero(tuned[0].adapter), *(one.adapter for one in tuned)],
  )
  nll = _score(run, stage, losses.TOGETHER, decoder, adapters)
  return nll[:, 0], nll[:, 1:].T


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
  table = shards.gather(
    workdir, np.flatnonzero(reference), ["tokens", "is_response"]
  )
  with trial.recording(run, "score", name) as recorder:
    tuned = trial.fit(
      decoder,
      token_set.tokens_of(table),
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


def _score(
  run: context.Run,
  stage: stage_record.Stage,
  name: str,
  decoder: decoder_lib.Decoder,
  adapters: lora.Adapter | None = None,
) -> np.ndarray:
  """Losses [n, m] of all examples, shard by shard; a shard on disk is kept."""
  config, workdir = run.config, run.workdir
  lengths, longest = index_lib.lengths(workdir), config.tokens.max_tokens
  models = example_loss.count_models(adapters)
  layout = forward.layout(
    decoder.config,
    windows.lengths(lengths, max_tokens=longest),
    config.score,
    models=models,
  )
  todo = _todo(workdir, name)
  shards_nll = []
  with progress.counter(len(lengths), desc=name, unit="examples") as advance:
    for target, row, data in prefetch.ahead(todo, depth=1):
      if data is None:
        shards_nll.append(losses.read_shard(target, models))
        advance(len(row))
        continue
      parts = windows.split(data, max_tokens=longest)

      def count(batch: collate.Batch, parts: windows.Parts = parts) -> None:
        advance(parts.begun(batch.examples))
        stage.account.add(cells=models * batch.cells)

      nll = parts.total(
        example_loss.example_nll(
          decoder,
          parts.data.tokens,
          parts.data.is_response,
          layout=layout,
          mesh=run.mesh,
          adapters=adapters,
          on_batch=count,
        )
      )
      columns = {losses.column(m): nll[:, m] for m in range(models)}
      files.write_table(target, {"row": row} | columns)
      read = parts.data.lengths
      cost = forward.flops(
        decoder.config, read, response_tokens=data.response_tokens
      )
      stage.account.add(flops=models * cost, tokens=models * int(read.sum()))
      stage.save_progress()
      interrupts.point()
      shards_nll.append(nll)
  mesh_lib.barrier(f"{name} scored")
  return np.concatenate(shards_nll)


def _todo(
  workdir: epath.Path, name: str
) -> Iterator[tuple[epath.Path, np.ndarray, token_set.TokenSet | None]]:
  """Each shard's file, rows and tokens; no tokens where the file is there."""
  count = shards.count(workdir)
  targets = [
    tables.LOSSES.path(workdir, losses=name, shard=shard)
    for shard in range(count)
  ]
  done = shards.done(targets)

  def read(shard: int) -> tuple[np.ndarray, token_set.TokenSet | None]:
    columns = ["row"] if done[shard] else ["row", "tokens", "is_response"]
    table = shards.read_records(workdir, shard, columns)
    row = table.column("row").to_numpy()
    return row, None if done[shard] else token_set.tokens_of(table)

  return ((target, *read(shard)) for shard, target in enumerate(targets))


def _write_scores(
  run: context.Run,
  index: dict[str, np.ndarray],
  nll_base: np.ndarray,
  nll_sft: np.ndarray,
) -> int:
  """Sets aside what has no finite loss, by name, and writes the others."""
  config, workdir = run.config, run.workdir
  finite = np.isfinite(nll_base) & np.isfinite(nll_sft).all(axis=0)
  lost = int((~finite).sum())
  if lost > config.pool.max_reject_fraction * len(finite):
    raise errors.InputError(
      f"{lost:,} of {len(finite):,} examples have a loss that is not finite "
      f"(base {int((~np.isfinite(nll_base)).sum()):,}); allowed by "
      f"config.pool.max_reject_fraction: {config.pool.max_reject_fraction:g}. "
      "If the base's are, config.model.path or config.model.dtype is wrong; "
      "else lower config.score.learning_rate."
    )
  files.write_jsonl(
    tables.NOT_FINITE.path(workdir),
    (
      {
        "row": int(row),
        "id": f"{index['id'][row]:016x}",
        "reason": "loss is not finite",
        "detail": f"base {nll_base[row]}, tuned {nll_sft[:, row].tolist()}",
      }
      for row in np.flatnonzero(~finite)
    ),
  )
  if len(nll_sft) > 1:
    std = nll_sft[:, finite].std(axis=0, ddof=1)
  else:
    std = pa.nulls(int(finite.sum()), pa.float32())
  files.write_table(
    tables.SCORES.path(workdir),
    {
      "row": index["row"][finite],
      "id": index["id"][finite],
      "nll_base": nll_base[finite],
      "nll_sft": nll_sft[:, finite].mean(axis=0),
      "nll_sft_std": std,
      "n_tokens": index["n_response_tokens"][finite],
    },
  )
  return lost
