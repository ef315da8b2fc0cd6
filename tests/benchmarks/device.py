"""What the benchmarks of an accelerator share: models, packs, one JSON line.

There is no rival: what is asked is how much of the chip is used, and whether
its numbers are right. `launch/device_check.sh` runs them all.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, attention, decoder
from ila_jax.passes import collate, layouts

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


def flags(doc: str | None) -> argparse.ArgumentParser:
  """The flag that all have: `--tiny` tries the program, and measures nothing.

  >>> flags("").parse_args(["--tiny"]).tiny
  True
  """
  found = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  found.add_argument("--tiny", action="store_true", help="a trial on a CPU")
  return found


def model(
  name: str, *, dtype: str, attention_kernel: str = "auto", **more: Any
) -> architecture.DecoderConfig:
  """The sizes of a published model, with the kernel that the device takes."""
  sizes = MODELS[name]
  kernel = attention.choose(
    attention_kernel, dtype=dtype, head_dim=sizes["head_dim"]
  )
  return architecture.DecoderConfig(
    **sizes, dtype=dtype, attention=kernel, **more
  )


def random_params(
  config: architecture.DecoderConfig, mesh: jax.sharding.Mesh
) -> tuple[nnx.GraphDef, Any]:
  """Weights drawn where they lie: no host ever holds them."""
  graphdef, shapes = nnx.split(decoder.abstract(config))
  places = decoder.shardings(shapes, mesh)

  def draw():
    keys = iter(jax.random.split(jax.random.key(0), 64))

    def one(path, leaf):
      value = jax.random.normal(next(keys), leaf.shape, leaf.dtype)
      # A norm near 0 would make all logits alike, and every kernel right.
      is_norm = "norm" in jax.tree_util.keystr(path)
      return 1 + 0.1 * value if is_norm else 0.02 * value

    return jax.tree_util.tree_map_with_path(one, shapes)

  return graphdef, jax.jit(draw, out_shardings=places)()


def packs(
  vocab: int, *, tokens: int, width: int, count: int, mesh: jax.sharding.Mesh
) -> Iterator[tuple[collate.Batch, Any, np.ndarray, int]]:
  """Some of the batches of a pool: lognormal lengths, 60 % of them response.

  Yields:
    The batch, its arrays on the mesh, the lengths of its examples, and the
    number of tokens that are to be predicted.
  """
  rng = np.random.default_rng(0)
  lengths = np.exp(rng.normal(np.log(116), 0.8, 20_000)).astype(np.int32)
  lengths = np.clip(lengths, 8, min(1024, width))
  layout = layouts.Layout((width,), tokens, packed=True, segments=64)
  ids = [rng.integers(0, vocab, n).astype(np.int32) for n in lengths]
  response = [np.arange(n) >= 0.4 * n for n in lengths]
  plan = layouts.plan(lengths, layout, multiple=mesh_lib.batch_multiple(mesh))
  for batch in plan[:: max(len(plan) // count, 1)][:count]:
    arrays = mesh_lib.put(collate.collate(ids, response, batch), mesh)
    predicted = int(sum(response[i][1:].sum() for i in batch.examples))
    yield batch, arrays, lengths[batch.examples], predicted


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
  """How long some work takes, and its answer, ready on the device.

  >>> seconds(lambda: 3)[1]
  3
  """
  begin = time.perf_counter()
  found = jax.block_until_ready(work())
  return time.perf_counter() - begin, found


def peak_bytes() -> int | None:
  """Bytes that the first device held at most; None where it does not say."""
  memory = jax.local_devices()[0].memory_stats() or {}
  return memory.get("peak_bytes_in_use")


def report(
  name: str, ours: float, quality: dict[str, Any], work: dict[str, Any]
) -> None:
  """Prints what was found, a line each, and as the last line one of JSON."""
  devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
  print(f"{name} on {devices}")
  for key, value in quality.items():
    print(f"  {key:<44} {value}")
  work = work | {"device": devices, "jax": jax.__version__}
  line = {"benchmark": name, "ours": ours, "rivals": {}}
  print(json.dumps(line | {"quality": quality, "work": work}))
