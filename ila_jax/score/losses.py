"""The losses of each model: in which shards and columns they stand."""

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from etils import epath
from jaxtyping import Float

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import prefetch
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora
from ila_jax.passes import collate, example_loss, forward, token_set, windows
from ila_jax.pool import index, shards
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.score import model_passes
from ila_jax.training import trial


def passes(config: config_lib.Config) -> tuple[list[str], int]:
  """The passes over the pool, and how many models each of them scores.

  Adapters are scored with the base in one pass, which reads its weights once;
  whole models one after the other, so that the base and one more are held.

  Returns:
    Names of the shards of each pass; models a pass.
  """
  seeds = config.score.reference_seeds
  if config.train.method == "full":
    return [model_passes.BASE, *map(model_passes.of_seed, seeds)], 1
  return [model_passes.TOGETHER], 1 + len(seeds)


def column(model: int) -> str:
  """The column of one of the models that were scored in a pass.

  >>> column(0)
  'nll_0'
  """
  return f"nll_{model}"


def read_shard(path: epath.PathLike, models: int) -> np.ndarray:
  """Losses of one shard under all models of its pass, float32 [rows, m]."""
  table = files.read_table(path)
  return np.stack([table[column(model)] for model in range(models)], axis=1)


def score(
  run: context.Run,
  stage: stage_record.Stage,
  decoder: decoder_lib.Decoder,
  tuned: Iterable[trial.Tuned],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "s n"]]:
  """Losses of a pool under the base and under each tuned model.

  Args:
    run: its folder holds the tokens, and gets the losses.
    stage: has the account.
    decoder: the base.
    tuned: as `model_passes.of_models` takes them.

  Returns:
    Sums over each response, in nats, float32.
  """
  return model_passes.of_models(
    run, decoder, tuned, functools.partial(_pass, run, stage)
  )


def _pass(
  run: context.Run,
  stage: stage_record.Stage,
  name: str,
  decoder: decoder_lib.Decoder,
  adapters: lora.Adapter | None = None,
) -> np.ndarray:
  """Losses [n, m] of all examples, shard by shard; a shard on disk is kept."""
  workdir, models = run.workdir, example_loss.count_models(adapters)
  layout = model_passes.layout(run, decoder, adapters)
  todo, total = _todo(workdir, name), len(index.lengths(workdir))
  shards_nll = []
  with progress.counter(total, desc=name, unit="examples") as advance:
    for target, row, data in prefetch.ahead(todo, depth=1):
      if data is None:
        shards_nll.append(read_shard(target, models))
        advance(len(row))
        continue
      parts = model_passes.split(run, data)

      def count(batch: collate.Batch, parts: windows.Parts = parts) -> None:
        advance(parts.begun(batch.examples))
        stage.account.add(cells=models * batch.cells)

      nll = model_passes.nll(
        run, decoder, parts, layout, adapters=adapters, on_batch=count
      )
      columns = {column(m): nll[:, m] for m in range(models)}
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


def write(
  run: context.Run,
  index: dict[str, np.ndarray],
  nll_base: np.ndarray,
  nll_sft: np.ndarray,
) -> int:
  """Sets aside what has no finite loss, by name, and writes the others.

  Args:
    run: in whose folder they are written.
    index: columns `row`, `id` and `n_response_tokens` of the pool.
    nll_base: losses under the base [n].
    nll_sft: losses under each tuned model [seed, n].

  Returns:
    The number of examples that have no finite loss.

  Raises:
    errors.InputError: those are more than config.pool.max_reject_fraction.
  """
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


def read(
  run: context.Run, rows: np.ndarray
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
  """Losses of some rows under the base and, by seed, each tuned model.

  Args:
    run: whose stage `score` is done.
    rows: of the pool [n].
  """
  config, workdir = run.config, run.workdir
  names, models = passes(config)
  base, *tuned = [
    nll for name in names for nll in _columns(workdir, name, range(models))
  ]
  by_seed = zip(config.score.reference_seeds, tuned, strict=True)
  return base[rows], {seed: nll[rows] for seed, nll in by_seed}


def _columns(
  workdir: epath.PathLike, losses: str, models: Sequence[int]
) -> list[np.ndarray]:
  """Columns of a pass over the whole pool."""
  names = [column(model) for model in models]
  parts = [
    files.read_table(
      tables.LOSSES.path(workdir, losses=losses, shard=shard), names
    )
    for shard in range(shards.count(workdir))
  ]
  return [np.concatenate([part[name] for part in parts]) for name in names]
