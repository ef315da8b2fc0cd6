"""Stage `embed`: a unit-norm embedding of every prompt, shard by shard."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ila_jax.compute import hardware, prefetch
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import encode, encoders, shared_reading
from ila_jax.embed import inputs as inputs_lib
from ila_jax.embed import lsa as lsa_lib
from ila_jax.embed import rows as rows_lib
from ila_jax.embed import texts as texts_lib
from ila_jax.passes import collate, forward
from ila_jax.pool import index, shards
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.training import base

# The widths of batches are chosen by so many shards, so many prompts of each.
_SAMPLE_SHARDS = 16
_SAMPLE_PROMPTS = 512


def run(run: context.Run) -> None:
  """Writes `embed/embeddings-00000.npy` and on: float32 [rows, d].

  Beside them `inputs-00000.parquet` and on: fingerprints of each prompt and of
  what was read of it, the number of tokens read and of those cut off.

  Raises:
    errors.InputError: the encoder cannot be loaded, or reads too little of the
      prompts to tell them apart.
  """
  config, workdir = run.config, run.workdir
  stage = stage_record.Stage(
    workdir,
    "embed",
    {
      "config": config.section("encoder")
      | (base.made_from(config) if config.encoder.path == "base" else {}),
      "encoder": encoders.signature(run),
      **stage_record.parents(workdir, "embed"),
      "seed": config.seed,
    },
  )
  if stage.begin():
    return
  if config.encoder.path == "lsa":
    _run_lsa(run)
    stage.finish(**_counts(run, remedy=_OTHER_THAN_LSA))
  else:
    remedy = _run_model(run, stage)
    by_base = config.encoder.path == "base"
    dtype = config.model.dtype if by_base else config.encoder.dtype
    stage.finish(
      matrix_rate=hardware.matrix_rate(run.mesh, dtype),
      **_counts(run, remedy=remedy),
    )


def _counts(run: context.Run, *, remedy: str) -> dict[str, Any]:
  """Says what was read of the prompts; refuses what no map can be made of."""
  workdir = run.workdir
  mesh_lib.barrier("embedded")
  columns = (rows_lib.inputs(workdir, name) for name in inputs_lib.Read._fields)
  counts = inputs_lib.tally(inputs_lib.Read(*columns))
  progress.say(f"  {inputs_lib.told(counts)}")
  inputs_lib.check_told_apart(counts, remedy=remedy)
  first = shards.gather(workdir, np.zeros(1, np.int64), ["turns"])
  inputs_lib.check_enough(counts, such_as=texts_lib.prompts(run, first)[0][:80])
  return counts


def _run_model(run: context.Run, stage: stage_record.Stage) -> str:
  """Embeds by an encoder, or by the base; threads of all hosts tokenize.

  Returns:
    What to do where the model does not tell the prompts apart.
  """
  config, workdir = run.config, run.workdir
  model, pooling, reader = encoders.load(run, stage.account)
  lengths = _sample_lengths(run, reader)
  layout = encode.layout(model.config, lengths, config.encoder)
  todo = (
    (shard, rows, texts and shared_reading.of_own(reader.read, texts))
    for shard, rows, texts in _todo(run)
  )
  total = len(index.lengths(workdir))
  with progress.counter(total, desc="embed", unit="prompts") as advance:

    def count(batch: collate.Batch) -> None:
      advance(len(batch.examples))
      stage.account.add(cells=batch.cells)

    for shard, rows, tokenized in prefetch.ahead(todo, depth=1):
      if tokenized is None:
        advance(rows)
        continue
      ids, read = shared_reading.whole(tokenized)
      vectors = encode.encode(
        model,
        ids,
        pooling=pooling,
        layout=layout,
        mesh=run.mesh,
        on_batch=count,
      )
      rows_lib.write(workdir, shard, vectors, read)
      stage.account.add(
        flops=forward.flops(model.config, read.tokens),
        tokens=int(read.tokens.sum()),
      )
      stage.save_progress()
      interrupts.point()
  return reader.remedy


def _todo(run: context.Run) -> Iterator[tuple[int, int, list[str] | None]]:
  """Each shard, its rows and prompts; no prompts where it is embedded."""
  workdir = run.workdir
  total = shards.count(workdir)
  targets = [tables.EMBEDDINGS.path(workdir, shard=s) for s in range(total)]
  done = shards.done(targets)

  def read(shard: int) -> tuple[int, list[str] | None]:
    name = "row" if done[shard] else "turns"
    table = shards.read_records(workdir, shard, [name])
    return len(table), None if done[shard] else texts_lib.prompts(run, table)

  return ((shard, *read(shard)) for shard in range(total))


_OTHER_THAN_LSA = (
  "'lsa' knows the words that at least two prompts have, by their letters and "
  "digits. Give an encoder's folder, with --redo=embed."
)


def _sample_lengths(run: context.Run, reader: encoders.Reader) -> np.ndarray:
  """Lengths of some prompts of every part of the pool, and the longest.

  Raises:
    errors.InputError: the model does not tell these prompts apart, which is
      better known before they are all embedded.
  """
  workdir = run.workdir
  total = shards.count(workdir)
  texts = []
  for shard in np.unique(np.linspace(0, total - 1, _SAMPLE_SHARDS).astype(int)):
    table = shards.read_records(workdir, int(shard), ["turns"])
    step = -(-len(table) // _SAMPLE_PROMPTS)
    some = table.take(np.arange(0, len(table), step))
    texts += texts_lib.prompts(run, some)
  _, read = reader.read(texts)
  inputs_lib.check_told_apart(inputs_lib.tally(read), remedy=reader.remedy)
  # Each stands for as many of the pool; one that was not seen may be longer.
  share = max(len(index.lengths(workdir)) // len(texts), 1)
  return np.append(np.repeat(read.tokens, share), np.int32(reader.max_tokens))


def _run_lsa(run: context.Run) -> None:
  """Embeds by TF-IDF and truncated SVD, fitted to prompts of the whole pool."""
  workdir = run.workdir
  lsa = texts_lib.fit_lsa(run)
  total = len(index.lengths(workdir))
  with progress.counter(total, desc="embed", unit="prompts") as advance:
    for shard, rows, texts in _todo(run):
      if texts is not None:
        terms = encode.lsa_terms(lsa, texts)
        read = inputs_lib.of_terms(texts, terms)
        vectors = lsa_lib.apply_lsa(lsa, terms)
        rows_lib.write(workdir, shard, vectors, read)
        interrupts.point()
      advance(rows)
