"""Stage `embed`: a unit-norm embedding of every prompt, shard by shard."""

import copy
import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from etils import epath
from flax import nnx
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  batching,
  checksums,
  embed,
  errors,
  forward,
  hardware,
  hub,
  interrupts,
  layouts,
  metrics,
  prefetch,
  provenance,
  shards,
  tokens,
)
from ila_jax import config as config_lib
from ila_jax.models import foreign, weights
from ila_jax.stages import base

Tokenize = Callable[[list[str]], list[np.ndarray]]

# The widths of batches are chosen by so many shards, so many prompts of each.
_SAMPLE_SHARDS = 16
_SAMPLE_PROMPTS = 512
# Of a packed row: an encoder's tokens are met by all of their row, and its
# widths are small, so that longer rows would be dear.
PACK_TOKENS = 512
# A process may have 1,024 files open, as a rule.
_MAPPED_SHARDS = 512


def run(config: config_lib.Config, workdir: epath.Path, mesh: Mesh) -> None:
  """Writes `embed/embeddings-00000.npy` and on: float32 [rows, d].

  Raises:
    errors.InputError: the encoder cannot be loaded.
  """
  stage = provenance.Stage(
    workdir,
    "embed",
    {
      "config": config.section("encoder")
      | (base.made_from(config) if config.encoder.path == "base" else {}),
      "encoder": _signature(config),
      "pool": provenance.output(workdir, "pool"),
      "seed": config.seed,
    },
  )
  if stage.open():
    return
  if config.encoder.path == "lsa":
    _run_lsa(config, workdir, stage)
    stage.finish()
  else:
    _run_model(config, workdir, mesh, stage)
    by_base = config.encoder.path == "base"
    dtype = config.model.dtype if by_base else config.encoder.dtype
    stage.finish(matrix_rate=hardware.matrix_rate(mesh, dtype))


def load(workdir: epath.Path, rows: np.ndarray) -> np.ndarray:
  """Embeddings of these rows of the pool, float32 [n, d]."""
  return Rows(workdir, rows)[np.arange(len(rows))]


class Rows:
  """Embeddings of some rows of the pool, read from the shards when asked."""

  def __init__(self, workdir: epath.Path, rows: np.ndarray) -> None:
    """Finds the shards; rows are those that places 0, 1, ... stand for."""
    self._shard = _shards_of(paths(workdir))
    self._rows = rows
    # All shards have as many rows as the first, but for the last.
    self._shard_rows, self.width = self._shard(0).shape

  def __getitem__(self, places: np.ndarray) -> np.ndarray:
    """float32 [k, d] of k places."""
    shard, row = np.divmod(self._rows[places], self._shard_rows)
    found = np.empty((len(places), self.width), np.float32)
    for one in np.unique(shard).tolist():
      here = shard == one
      found[here] = self._shard(one)[row[here]]
    return found

  def of(self, places: np.ndarray) -> "Rows":
    """The embeddings of some places, of the same shards."""
    other = copy.copy(self)
    other._rows = self._rows[places]
    return other


def paths(workdir: epath.PathLike) -> list[epath.Path]:
  """The file of each shard that was written, in their order."""
  folder = epath.Path(workdir) / "embed"
  # One that is missing stands in the ledger.
  names = checksums.read(folder) or [path.name for path in folder.iterdir()]
  return [folder / name for name in sorted(names) if name.endswith(".npy")]


def _shards_of(files: list[epath.Path]) -> Callable[[int], np.ndarray]:
  """Gives a shard by its number, mapped into memory.

  Rows are asked for in any order, again and again. So a shard of gs:// is
  copied to the local disk (TMPDIR) when it is first asked for; the copies go
  when nobody can ask any more.
  """
  copies = None
  if "://" in os.fspath(files[0]):
    copies = epath.Path(tempfile.mkdtemp(prefix="ila_jax_embed_"))

  @functools.lru_cache(_MAPPED_SHARDS)
  def shard(number: int) -> np.ndarray:
    path = files[number]
    checksums.check(path)
    if copies is not None:
      path = copies / path.name
      if not path.exists():
        files[number].copy(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)

  if copies is not None:
    weakref.finalize(shard, shutil.rmtree, copies)
  return shard


def _signature(config: config_lib.Config) -> dict[str, Any] | str | None:
  if config.encoder.path == "lsa":
    return None
  if config.encoder.path == "base":
    return base.signature(config)
  return provenance.model_signature(config.encoder.path)


def _run_model(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  stage: provenance.Stage,
) -> None:
  """Embeds by an encoder, or by the base; a thread tokenizes ahead."""
  model, pooling, tokenize, longest = _load(
    config, workdir, mesh, stage.account
  )
  layout = layouts.choose(
    _sample_lengths(workdir, tokenize, longest),
    batch_tokens=config.encoder.batch_tokens,
    kind=config.encoder.layout,
    pack_tokens=PACK_TOKENS,
    program_tokens=forward.program_tokens(model.config),
  )
  todo = (
    (target, rows, texts and tokenize(texts))
    for target, rows, texts in _todo(workdir)
  )
  total = len(shards.lengths(workdir))
  with metrics.counter(total, desc="embed", unit="prompts") as advance:

    def count(batch: batching.Batch) -> None:
      advance(len(batch.examples))
      stage.account.add(cells=batch.cells)

    for target, rows, ids in prefetch.ahead(todo, depth=1):
      if ids is None:
        advance(rows)
        continue
      vectors = embed.encode(
        model, ids, pooling=pooling, layout=layout, mesh=mesh, on_batch=count
      )
      _check_finite(vectors, target)
      artifacts.write_array(target, vectors)
      lengths = np.array([len(i) for i in ids], np.int32)
      stage.account.add(
        flops=forward.flops(model.config, lengths), tokens=int(lengths.sum())
      )
      stage.keep()
      interrupts.point()


def _check_finite(vectors: np.ndarray, target: epath.Path) -> None:
  bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
  if len(bad):
    raise errors.InputError(
      f"config.encoder.path: {len(bad):,} embeddings of {target.name} are not "
      f"finite, the first is its row {bad[0]}; allowed: finite numbers. The "
      "encoder's weights or config.encoder.dtype may be wrong."
    )


def _todo(
  workdir: epath.Path,
) -> Iterator[tuple[epath.Path, int, list[str] | None]]:
  """Each shard's file, rows and prompts; no prompts where the file is there."""
  targets = [
    shards.path(workdir, "embed", "embeddings", shard, "npy")
    for shard in range(shards.count(workdir))
  ]
  done = shards.done(targets)

  def read(shard: int) -> tuple[int, list[str] | None]:
    name = "row" if done[shard] else "prompt"
    column = shards.read_records(workdir, shard, [name])[name]
    return len(column), None if done[shard] else column.to_pylist()

  return ((target, *read(shard)) for shard, target in enumerate(targets))


def _load(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  account: metrics.Account,
) -> tuple[nnx.Module, str, Tokenize, int]:
  """(model, pooling, tokenization, tokens that a prompt may have)."""
  longest, lower = config.encoder.max_tokens, False
  if config.encoder.path == "base":
    model = base.load(config, workdir, mesh, account)
    tokenizer, pooling = base.tokenizer(config, workdir), "mean"
  else:
    with artifacts.local(config.encoder.path) as here:
      _, pooling, model = weights.load_encoder(
        here,
        dtype=config.encoder.dtype,
        attention=config.encoder.attention,
        mesh=mesh,
      )
      tuned_for, lower = foreign.reading(hub.find(here, with_weights=False))
      tokenizer = tokens.load_tokenizer(here)
    made_for = min(tuned_for or longest, model.config.max_positions)
    longest = min(longest, made_for)
    metrics.say(
      f"  the encoder pools by {pooling}; prompts are cut at {longest} tokens"
    )

  def tokenize(texts: list[str]) -> list[np.ndarray]:
    texts = [config.encoder.prefix + text for text in texts]
    ids = tokenizer(
      [text.lower() for text in texts] if lower else texts,
      truncation=True,
      max_length=longest,
    )["input_ids"]
    return [np.array(i, np.int32) for i in ids]

  return model, pooling, tokenize, longest


def _sample_lengths(
  workdir: epath.Path,
  tokenize: Tokenize,
  longest: int,
) -> np.ndarray:
  """Lengths of some prompts of every part of the pool, and the longest."""
  total = shards.count(workdir)
  lengths = []
  for shard in np.unique(np.linspace(0, total - 1, _SAMPLE_SHARDS).astype(int)):
    column = shards.read_records(workdir, int(shard), ["prompt"])["prompt"]
    step = -(-len(column) // _SAMPLE_PROMPTS)
    ids = tokenize(column.to_pylist()[::step])
    lengths += [len(i) for i in ids]
  # Each stands for as many of the pool; one that was not seen may be longer.
  share = max(len(shards.lengths(workdir)) // len(lengths), 1)
  return np.append(np.repeat(np.array(lengths, np.int32), share), longest)


def _run_lsa(
  config: config_lib.Config, workdir: epath.Path, stage: provenance.Stage
) -> None:
  """Embeds by TF-IDF and truncated SVD, fitted to prompts of all shards."""
  total = len(shards.lengths(workdir))
  stride = -(-total // embed.LSA_FIT_EXAMPLES)
  sample, seen = [], 0
  for table in shards.iterate(workdir, ["prompt"]):
    column = table.column("prompt")
    chosen = np.arange(-seen % stride, len(column), stride)
    sample += column.take(chosen).to_pylist()
    seen += len(column)
  metrics.say(f"  fitting LSA to {len(sample):,} prompts")
  lsa = embed.fit_lsa(sample, width=config.encoder.lsa_width, seed=config.seed)
  with metrics.counter(total, desc="embed", unit="prompts") as advance:
    for target, rows, texts in _todo(workdir):
      if texts is not None:
        artifacts.write_array(target, embed.apply_lsa(lsa, texts))
      advance(rows)
