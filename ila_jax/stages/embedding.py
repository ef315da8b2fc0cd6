"""Stage `embed`: a unit-norm embedding of every prompt, shard by shard."""

from collections.abc import Callable, Sequence

import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import artifacts, embed, errors, metrics, shards
from ila_jax import config as config_lib
from ila_jax.models import weights
from ila_jax.stages import base

Embedder = Callable[[Sequence[str], Callable[[int], None]], np.ndarray]


def run(config: config_lib.Config, workdir: epath.Path, mesh: Mesh) -> None:
  """Writes `embed/embeddings-00000.npy` and on: float32 [rows, d].

  Raises:
    errors.InputError: the encoder cannot be loaded.
  """
  stage = artifacts.Stage(
    workdir,
    "embed",
    {
      "config": config.section("encoder")
      | (config.section("model") if config.encoder.path == "base" else {}),
      "pool": artifacts.output(workdir, "pool"),
      "seed": config.seed,
    },
  )
  if stage.open():
    return
  embedder = _embedder(config, workdir, mesh)
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


def load(workdir: epath.Path) -> np.ndarray:
  """All embeddings of the pool, float32 [n, d]."""
  folder = epath.Path(workdir) / "embed"
  parts = [
    artifacts.read_array(path)
    for path in sorted(folder.glob("embeddings-*.npy"))
  ]
  return np.concatenate(parts)


def _embedder(
  config: config_lib.Config, workdir: epath.Path, mesh: Mesh
) -> Embedder:
  if config.encoder.path == "lsa":
    return _lsa(config, workdir)
  from ila_jax import tokens

  if config.encoder.path == "base":
    model = base.load(config, workdir, mesh)
    tokenizer = base.tokenizer(config, workdir)
    pooling = None
  else:
    _, pooling, model = weights.load_encoder(
      config.encoder.path, dtype=config.encoder.dtype
    )
    tokenizer = tokens.load_tokenizer(config.encoder.path)

  def encode(texts, advance):
    ids = tokenizer(
      texts, truncation=True, max_length=config.encoder.max_tokens
    )["input_ids"]
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
  prompts = [
    prompt
    for table in shards.iterate(workdir, ["prompt"])
    for prompt in table.column("prompt").to_pylist()
  ]
  if len(prompts) < 3:
    raise errors.InputError(
      f"config.encoder.path is 'lsa', which needs at least 3 prompts, and the "
      f"pool has {len(prompts)}. Give a larger config.pool.source."
    )
  lsa = embed.fit_lsa(prompts, width=config.encoder.lsa_width, seed=config.seed)

  def apply(texts, advance):
    vectors = embed.apply_lsa(lsa, texts)
    advance(len(texts))
    return vectors

  return apply
