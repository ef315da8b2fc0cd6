"""Stage `embed`: a unit-norm embedding of every prompt, shard by shard."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  embed,
  forward,
  metrics,
  provenance,
  shards,
  tokens,
)
from ila_jax import config as config_lib
from ila_jax.models import weights
from ila_jax.stages import base

Embedder = Callable[[Sequence[str], Callable[[int], None]], np.ndarray]


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
      | (
        config.section("model", "tokens", "train")
        if config.encoder.path == "base"
        else {}
      ),
      "encoder": _signature(config),
      "pool": provenance.output(workdir, "pool"),
      "seed": config.seed,
    },
  )
  if stage.open():
    return
  embedder = _embedder(config, workdir, mesh, stage.account)
  total = len(
    artifacts.read_table(workdir / "pool/index.parquet", ["row"])["row"]
  )
  with metrics.counter(total, desc="embed", unit="prompts") as advance:
    for shard in range(shards.count(workdir)):
      target = stage.folder / f"embeddings-{shard:05d}.npy"
      table = shards.read_records(workdir, shard, ["prompt"])
      if target.exists():
        advance(table.num_rows)
        continue
      vectors = embedder(table.column("prompt").to_pylist(), advance)
      artifacts.write_array(target, vectors)
  stage.finish()


def load(workdir: epath.Path, rows: np.ndarray) -> np.ndarray:
  """Embeddings of these rows of the pool, ascending, float32 [n, d]."""
  found, start = None, 0
  for path in sorted((epath.Path(workdir) / "embed").glob("*.npy")):
    part = artifacts.read_array(path)
    if found is None:
      found = np.empty((len(rows), part.shape[1]), np.float32)
    begin, end = np.searchsorted(rows, [start, start + len(part)])
    found[begin:end] = part[rows[begin:end] - start]
    start += len(part)
  return found


def _signature(config: config_lib.Config) -> dict[str, Any] | None:
  if config.encoder.path == "lsa":
    return None
  if config.encoder.path == "base":
    return base.signature(config)
  return provenance.signature(config.encoder.path)


def _embedder(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  account: metrics.Account,
) -> Embedder:
  if config.encoder.path == "lsa":
    return _lsa(config, workdir)
  if config.encoder.path == "base":
    model = base.load(config, workdir, mesh, account)
    tokenizer = base.tokenizer(config, workdir)
    pooling = None
  else:
    with artifacts.local(config.encoder.path) as here:
      _, pooling, model = weights.load_encoder(
        here, dtype=config.encoder.dtype, mesh=mesh
      )
      tokenizer = tokens.load_tokenizer(here)
    metrics.say(f"  the encoder pools by {pooling}")

  def encode(texts, advance):
    ids = tokenizer(
      texts, truncation=True, max_length=config.encoder.max_tokens
    )["input_ids"]
    lengths = np.array([len(i) for i in ids], np.int32)
    account.add(
      flops=forward.flops(model.config, lengths), tokens=int(lengths.sum())
    )
    return embed.encode(
      model,
      [np.array(i, np.int32) for i in ids],
      pooling=pooling,
      batch_tokens=config.encoder.batch_tokens,
      mesh=mesh,
      on_batch=advance,
    )

  return encode


def _lsa(config: config_lib.Config, workdir: epath.Path) -> Embedder:
  total = artifacts.read_json(workdir / "pool" / provenance.RECORD)["used"]
  stride = -(-total // embed.LSA_FIT_EXAMPLES)
  sample, seen = [], 0
  for table in shards.iterate(workdir, ["prompt"]):
    column = table.column("prompt")
    chosen = np.arange(-seen % stride, len(column), stride)
    sample += column.take(chosen).to_pylist()
    seen += len(column)
  metrics.say(f"  fitting LSA to {len(sample):,} prompts")
  lsa = embed.fit_lsa(sample, width=config.encoder.lsa_width, seed=config.seed)

  def apply(texts, advance):
    vectors = embed.apply_lsa(lsa, texts)
    advance(len(texts))
    return vectors

  return apply
