"""Whether an accelerator's numbers are right, and the same each time.

    python -m tests.benchmarks.device_agree

Against the CPU of the same machine, in float32: the loss in vocabulary blocks
and its gradient, P of t-SNE and the force on a map, distances of k-means.
Against float32 on the device: the losses of a decoder of 100 million weights in
bfloat16, by the fused kernel and by "blocked". Each is computed twice, and the
bits are compared: where they differ, it exits with 1. Five AdamW steps are made
twice, too, with and without the compiler's deterministic operations; what comes
of that is told, and fails nothing.
"""

import argparse
import dataclasses
import functools
import time
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import numpy as jnp

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape import centers
from ila_jax.landscape.maps import affinities, descent, tsne
from ila_jax.models import architecture, attention, decoder, losses
from ila_jax.passes import example_loss
from ila_jax.training import optim, step
from tests.benchmarks import device
from tests.benchmarks import tsne as witness

# Largest relative error against the CPU, and of bfloat16 against float32 the
# largest of the losses of single examples.
_BOUNDS = {"cpu": 1e-4, "bfloat16": 0.02}


def _config(options: argparse.Namespace, **more: Any):
  sizes = {"vocab": 32000, "layers": 12, "width": 768, "heads": 12}
  sizes |= {"kv_heads": 4, "head_dim": 64, "mlp_width": 2048}
  if options.tiny:
    sizes = device.MODELS["tiny"]
  return architecture.DecoderConfig(**sizes, **more)


def _losses(options: argparse.Namespace, config, params) -> np.ndarray:
  mesh = mesh_lib.make()
  graphdef, shapes = nnx.split(decoder.abstract(config))
  params = jax.tree.map(
    lambda value, shape: value.astype(shape.dtype), params, shapes
  )
  width = 256 if options.tiny else 1024
  batches = device.packs(
    config.vocab, tokens=8 * width, width=width, count=1, mesh=mesh
  )
  _, arrays, _, _ = next(iter(batches))
  with jax.set_mesh(mesh):
    found = example_loss.batch_nll(graphdef, 64, params, None, arrays)
  return np.asarray(found)


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
  """The largest difference, as a share of the size of what is expected."""
  size = np.abs(expected).max()
  return float(np.abs(found - expected).max() / size)


def _twice(work) -> tuple[np.ndarray, bool]:
  """An answer, and whether a second one has the same bits."""
  first, second = (jax.tree.map(np.asarray, work()) for _ in range(2))
  same = jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), first, second)
  return first, all(jax.tree.leaves(same))


def bfloat16(options: argparse.Namespace) -> dict[str, Any]:
  """The error of losses in bfloat16, by kernel, against float32."""
  full = _config(options)
  _, params = device.random_params(full, mesh_lib.make())
  expected, same = _twice(lambda: _losses(options, full, params))
  real = expected > 0
  found = {"float32 losses, same bits": same}
  fused = attention.choose("auto", dtype="bfloat16", head_dim=full.head_dim)
  for kernel in dict.fromkeys((fused, "blocked")):
    half = dataclasses.replace(full, dtype="bfloat16", attention=kernel)
    losses_, same = _twice(lambda half=half: _losses(options, half, params))
    error = np.abs(losses_[real] / expected[real] - 1)
    found[f"bfloat16 {kernel}, worst example"] = float(error.max())
    found[f"bfloat16 {kernel}, mean example"] = float(error.mean())
    found[f"bfloat16 {kernel}, same bits"] = same
  return found


def _gradient(key, tokens: int, vocab: int, width: int):
  """Gradient of the loss in vocabulary blocks, with respect to both tables."""
  hidden_key, table_key = jax.random.split(key)
  hidden = jax.random.normal(hidden_key, (4, tokens, width))
  table = 0.1 * jax.random.normal(table_key, (vocab, width))
  ids = jax.random.randint(key, (4, tokens), 0, vocab)
  targets = jnp.arange(tokens)[None] % jnp.arange(2, 6)[:, None] > 0

  def total(hidden, table):
    return losses.token_nll(hidden, table, ids, targets).sum()

  return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(hidden, table)


def _map(x: np.ndarray):
  """P of t-SNE, and its gradient by a grid at the principal components."""
  joint = affinities.joint_probabilities(x, perplexity=30.0)
  xy = np.asarray(x[:, :2] * 100, np.float32)
  gradient = jax.jit(
    functools.partial(tsne.gradient, nodes=64),
    compiler_options=descent.DETERMINISTIC,
  )
  force = gradient(xy, affinities.cut(joint))
  return joint.toarray(), force


def against_cpu(options: argparse.Namespace) -> dict[str, Any]:
  """What the device and the CPU of its host make of the same numbers."""
  points, tokens = (300, 32) if options.tiny else (3000, 256)
  x = witness.embeddings(None, points, seed=0)
  key = jax.random.key(0)
  works = {
    "loss and its gradient": lambda: _gradient(key, tokens, 5000, 64),
    "P and force of t-SNE": lambda: _map(x),
    "distances to centres": lambda: centers.assign(x, x[:20]).squared,
  }
  found = {}
  for name, work in works.items():
    here, same = _twice(work)
    with jax.default_device(jax.devices("cpu")[0]):
      there, _ = _twice(work)
    errors = jax.tree.map(_relative, here, there)
    found[f"{name}, from the CPU's"] = max(jax.tree.leaves(errors))
    found[f"{name}, same bits"] = same
  return found


def training(options: argparse.Namespace) -> dict[str, Any]:
  """Whether AdamW steps have the same bits twice, and what it would cost."""
  full = dataclasses.replace(_config(options), layers=2)
  kernel = attention.choose("auto", dtype="bfloat16", head_dim=full.head_dim)
  half = dataclasses.replace(full, dtype="bfloat16", attention=kernel)
  mesh, optimizer = mesh_lib.make(), optim.adamw()
  width = 256 if options.tiny else 1024
  batches = device.packs(
    half.vocab, tokens=8 * width, width=width, count=1, mesh=mesh
  )
  _, arrays, _, _ = next(iter(batches))
  found = {}
  with jax.set_mesh(mesh):
    graphdef, params = device.random_params(half, mesh)

    def start():
      held = jax.tree.map(jnp.copy, nnx.to_pure_dict(params))
      return {"params": held, "optimizer": optimizer.init(held)}

    lowered = step.train_step.lower(
      *(graphdef, optimizer, mesh, None),
      *(start(), {}, arrays, jnp.float32(1e-4)),
    )
    ordered = {"xla_gpu_deterministic_ops": True}
    for name, more in {"": {}, ", deterministic operations": ordered}.items():
      run = lowered.compile(more)

      def steps(run=run):
        state = start()
        for _ in range(5):
          state, _ = run(state, {}, arrays, jnp.float32(1e-4))
        return jax.block_until_ready(state["params"])

      _, same = _twice(steps)
      found[f"five steps{name}, same bits"] = same
      found[f"five steps{name}, seconds"] = device.seconds(steps)[0]
  return found


def main() -> None:
  """Compares all, and exits with 1 where an error exceeds its bound."""
  flags = device.flags(__doc__)
  options = flags.parse_args()
  begin = time.perf_counter()
  quality: dict[str, Any] = {}
  for group in (against_cpu, bfloat16, training):
    quality |= group(options)
    print(quality, flush=True)  # Of one that is ended, the log tells so much.
  quality["bounds"] = _BOUNDS
  device.report(
    "device_agree", time.perf_counter() - begin, quality, vars(options)
  )
  wrong = [
    name
    for name, value in quality.items()
    # Whether training has equal bits is what is asked, and no fault.
    if (value is False and not name.startswith("five steps"))
    or (name.endswith("the CPU's") and not value <= _BOUNDS["cpu"])
    or (name.endswith("worst example") and not value <= _BOUNDS["bfloat16"])
  ]
  if wrong:
    raise SystemExit(f"device_agree: {'; '.join(wrong)}")


if __name__ == "__main__":
  main()
