"""Scoring by a large model of random bfloat16 weights, on the devices here.

    python -m tests.benchmarks.device_score --model qwen2_7b

Rows of 2,048 tokens packed with examples of the lengths that real pools have;
the rate is compared with how fast the same devices multiply matrices. There is
no rival: what is asked is how much of the chip is used. `--tiny` tries the
program on a CPU, and measures nothing.
"""

import argparse
import dataclasses
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ila_jax import batching, forward, hardware, layouts, scoring
from ila_jax import mesh as mesh_lib
from ila_jax.models import architecture, attention
from ila_jax.models import decoder as decoder_lib

_QWEN2 = {"vocab": 151936, "head_dim": 128, "qkv_bias": True}
MODELS = {
  "qwen2_1_5b": _QWEN2
  | {"layers": 28, "width": 1536, "heads": 12, "kv_heads": 2}
  | {"mlp_width": 8960, "tied": True},
  "qwen2_7b": _QWEN2
  | {"layers": 28, "width": 3584, "heads": 28, "kv_heads": 4}
  | {"mlp_width": 18944, "tied": False, "vocab": 152064},
  "tiny": {"vocab": 512, "layers": 2, "width": 64, "heads": 4, "kv_heads": 2}
  | {"head_dim": 16, "mlp_width": 128},
}


def random_params(config: architecture.DecoderConfig, mesh: jax.sharding.Mesh):
  """Weights drawn where they lie: no host ever holds them."""
  graphdef, shapes = nnx.split(decoder_lib.abstract(config))
  places = decoder_lib.shardings(shapes, mesh)

  def draw():
    keys = iter(jax.random.split(jax.random.key(0), 64))
    return jax.tree.map(
      lambda leaf: 0.02 * jax.random.normal(next(keys), leaf.shape, leaf.dtype),
      shapes,
    )

  return graphdef, jax.jit(draw, out_shardings=places)()


def packs(
  vocab: int, *, tokens: int, width: int, count: int, mesh: jax.sharding.Mesh
):
  """Some of the batches of a pool: lognormal lengths, 60 % of them response."""
  rng = np.random.default_rng(0)
  lengths = np.exp(rng.normal(np.log(116), 0.8, 20_000)).astype(np.int32)
  lengths = np.clip(lengths, 8, min(1024, width))
  layout = layouts.Layout((width,), tokens, packed=True, segments=64)
  ids = [rng.integers(0, vocab, n).astype(np.int32) for n in lengths]
  response = [np.arange(n) >= 0.4 * n for n in lengths]
  plan = layouts.plan(lengths, layout, multiple=mesh_lib.batch_multiple(mesh))
  for batch in plan[:: max(len(plan) // count, 1)][:count]:
    yield (
      batch,
      mesh_lib.put(batching.collate(ids, response, batch), mesh),
      (
        lengths[batch.examples],
        int(sum(response[i][1:].sum() for i in batch.examples)),
      ),
    )


def main() -> None:
  """Times the passes, and prints the rate beside that of matrices."""
  flags = argparse.ArgumentParser(description=__doc__)
  flags.add_argument("--model", choices=sorted(MODELS), default="qwen2_7b")
  flags.add_argument("--batch-tokens", type=int, default=32768)
  flags.add_argument("--batches", type=int, default=12)
  flags.add_argument("--attention", default="auto")
  flags.add_argument("--tiny", action="store_true")
  options = flags.parse_args()
  if options.tiny:
    options.model, options.batch_tokens, options.batches = "tiny", 512, 3
  width = 256 if options.tiny else 2048
  dtype = "float32" if options.tiny else "bfloat16"
  config = architecture.DecoderConfig(
    **MODELS[options.model], dtype=dtype, param_dtype=dtype
  )
  kernel = attention.choose(
    options.attention, dtype=dtype, head_dim=config.head_dim
  )
  config = dataclasses.replace(config, attention=kernel)
  mesh = mesh_lib.make()
  graphdef, params = random_params(config, mesh)
  seconds, tokens, flops, cells = [], 0, 0, 0
  batches = packs(
    config.vocab,
    tokens=options.batch_tokens,
    width=width,
    count=options.batches + 1,
    mesh=mesh,
  )
  with jax.set_mesh(mesh):
    for number, (batch, arrays, (lengths, response)) in enumerate(batches):
      begin = time.perf_counter()
      nll = scoring.batch_nll(graphdef, 64, params, None, arrays)
      assert bool(jnp.isfinite(nll).all())
      if number == 0:
        compile_seconds = time.perf_counter() - begin
        continue
      seconds.append(time.perf_counter() - begin)
      tokens += int(lengths.sum())
      cells += batch.cells
      flops += forward.flops(config, lengths, response_tokens=response)
  rate = hardware.matrix_rate(mesh, dtype)
  total = sum(seconds)
  memory = jax.local_devices()[0].memory_stats() or {}
  found = {
    "tokens_per_second": tokens / total,
    "of_the_matrix_rate": flops / total / rate,
    "matrix_rate": rate,
    "padding": 1 - tokens / cells,
    "attention": kernel,
    "compile_seconds": compile_seconds,
    "peak_bytes": memory.get("peak_bytes_in_use"),
  }
  device = f"{mesh.size} × {jax.devices()[0].device_kind}"
  print(f"{options.model} in {dtype}, {width}-token packs, {device}")
  for name, value in found.items():
    print(f"  {name:20}{value}")
  print(
    json.dumps(
      {
        "benchmark": "device_score",
        "ours": statistics.median(seconds),
        "rivals": {},
        "quality": found,
        "work": vars(options) | {"device": device, "tokens": tokens},
      }
    )
  )


if __name__ == "__main__":
  main()
