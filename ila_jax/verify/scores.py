"""Some losses and embeddings of a run computed again, by the same models."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ila_jax.embed import rows, texts
from ila_jax.models import decoder as decoder_lib
from ila_jax.models.folders import hub
from ila_jax.pool import index, records, revisions, shards
from ila_jax.run import context, progress, tables
from ila_jax.run.disk import checksums, differences
from ila_jax.score import losses, model_passes
from ila_jax.training import base, trial
from ila_jax.verify import findings, invariants
from ila_jax.verify import records as records_lib

# Prompts that are embedded at once.
_PART_ROWS = 2**12
# Arguments of `invariants.sample`, beside the rows.
Draw = dict[str, Any]


def models(run: context.Run, found: records_lib.Records) -> findings.Check:
  """Compares the files of base and encoder with those that the run had."""
  given = {
    "score": ("model", run.config.model.path, hub.DECODER),
    "embed": ("encoder", run.config.encoder.path, hub.ENCODER),
  }
  differs, looked = [], []
  for stage, (key, path, patterns) in given.items():
    inputs = found.get(stage, {}).get("inputs", {})
    # A base from scratch is a folder of the run, and LSA is fitted to its pool.
    if path in ("scratch", "lsa", "base") or key not in inputs:
      continue
    looked.append(path)
    now = revisions.of_model(path, patterns=patterns)
    changed = list(differences.find(inputs[key], now))
    if changed:
      told = differences.tell(changed)
      differs.append(f"config.{key}.path, {path}: {told}")
  if not looked:
    return findings.left_out("models", "the run has none from elsewhere")
  return findings.made("models", f"files of {', '.join(looked)}", differs)


def _drawn(run: context.Run, draw: Draw) -> Int[np.ndarray, " k"]:
  all_rows = np.arange(len(index.lengths(run.workdir)))
  return invariants.sample(all_rows, **draw)


def contents(run: context.Run, draw: Draw) -> findings.Check:
  """Looks whether some examples still say what their ids were made from."""
  chosen = _drawn(run, draw)
  table = shards.gather(run.workdir, chosen, ["id", "turns", "is_response"])
  turns = shards.turns_of(table)
  ids = np.array([records.example_id(tuple(t)) for t in turns], np.uint64)
  held = table.column("id").to_numpy()
  responses = index.column(run.workdir, "n_response_tokens")[chosen]
  counted = np.array(
    [sum(one) for one in table.column("is_response").to_pylist()], np.int64
  )
  found = [
    *invariants.where(held != ids, chosen, "its text is not that of its id"),
    *invariants.where(
      *(responses != counted, chosen),
      "its response tokens are not as many as the index has",
    ),
  ]
  name = tables.RECORDS.folder
  looked = f"{len(chosen):,} examples hashed and counted again"
  return findings.made("texts", looked, [f"{name}: {one}" for one in found])


def losses_again(run: context.Run, draw: Draw) -> findings.Check:
  """Scores some examples again under the base and each tuned model."""
  config, workdir, chosen = run.config, run.workdir, _drawn(run, draw)
  decoder = base.as_made(run)
  again = model_passes.again(run, chosen, decoder, _tuned(run, decoder))
  held = losses.read(run, chosen)
  tokens = index.column(workdir, "n_response_tokens")[chosen]
  tolerance = invariants.TOLERANCE[config.model.dtype]
  pairs = [("base", held[0], again[0])]
  seeds = config.score.reference_seeds
  pairs += [
    (f"sft-{seed}", held[1][seed], again[1][k]) for k, seed in enumerate(seeds)
  ]
  differs: list[str] = []
  for model, before, now in pairs:
    wrong = invariants.unlike(before, now, tokens, tolerance)
    differs += _by_shard(run, model, chosen, wrong, np.abs(before - now))
  looked = (
    f"{len(chosen):,} examples under {len(pairs)} models, computed again to "
    f"{tolerance:g} of the loss"
  )
  return findings.made("scores", looked, differs)


def _tuned(
  run: context.Run, decoder: decoder_lib.Decoder
) -> Iterator[trial.Tuned]:
  for seed in run.config.score.reference_seeds:
    folder = tables.TUNED.path(run.workdir, seed=seed)
    checksums.check_folder(folder)
    yield trial.load(folder, config=run.config, mesh=run.mesh, base=decoder)


def _by_shard(
  run: context.Run,
  model: str,
  chosen: Int[np.ndarray, " k"],
  wrong: Bool[np.ndarray, " k"],
  gap: np.ndarray,
) -> Iterator[str]:
  names, together = losses.passes(run.config)
  name = model if together == 1 else names[0]
  size = _shard_rows(run)
  for shard in np.unique(chosen[wrong] // size).tolist():
    here = wrong & (chosen // size == shard)
    path = tables.LOSSES.template.format(losses=name, shard=shard)
    known = int((chosen // size == shard).sum())
    yield (
      f"{path}: {here.sum():,} of {known:,} losses under {model} differ from "
      f"those computed again, by up to {gap[here].max():.3g} nats: "
      f"{findings.rows_text(chosen[here])}"
    )


def _shard_rows(run: context.Run) -> int:
  return len(shards.read_records(run.workdir, 0, ["row"]))


def embeddings_again(run: context.Run, draw: Draw) -> findings.Check:
  """Embeds the prompts of some examples again, by the same encoder."""
  chosen, cosine = _drawn(run, draw), []
  embed = texts.again(run)
  with progress.counter(
    len(chosen), desc="embeddings again", unit="prompts"
  ) as advance:
    for start in range(0, len(chosen), _PART_ROWS):
      part = chosen[start : start + _PART_ROWS]
      prompts = texts.prompts(run, shards.gather(run.workdir, part, ["turns"]))
      again, _ = embed(prompts)
      cosine.append(invariants.cosines(rows.load(run.workdir, part), again))
      advance(len(part))
  found = np.concatenate([np.zeros(0), *cosine])
  size, least = _shard_rows(run), invariants.LEAST_COSINE
  wrong, differs = ~(found >= least), []
  for shard in np.unique(chosen[wrong] // size).tolist():
    here = wrong & (chosen // size == shard)
    path = tables.EMBEDDINGS.template.format(shard=shard)
    differs.append(
      f"{path}: a cosine down to {found[here].min():.3f} with the embedding "
      f"computed again: {findings.rows_text(chosen[here])}"
    )
  looked = f"{len(chosen):,} prompts, computed again to a cosine of {least:g}"
  return findings.made("embeddings", looked, differs)
