"""Projected gradients of a run's examples: cosines kept, and the time it takes.

    python -m tests.benchmarks.projection DIR

DIR is a run that has selected by `less`. Of 64 examples the whole gradients by
the adapter are computed one by one; the cosine of each two is compared with
that of their projections: ours, and by a dense matrix of random signs, drawn
in blocks as TRAK does. Seconds are of projecting, drawing the signs included.
"""

import argparse
import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx

from ila_jax import config_parsing
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import lora, losses
from ila_jax.passes import collate, projection, token_set
from ila_jax.pool import index, shards
from ila_jax.run import context, tables
from ila_jax.run.disk import files
from ila_jax.score.gradients import warmup
from ila_jax.training import base, trial

_EXAMPLES, _BLOCK = 64, 1024


def _gradients(run: context.Run) -> np.ndarray:
  """Whole plain gradients at the last epoch, a layer after the other."""
  count = len(index.lengths(run.workdir))
  rows = np.linspace(0, count - 1, _EXAMPLES).astype(np.int64)
  table = shards.gather(run.workdir, rows, ["tokens", "is_response"])
  data = token_set.tokens_of(table)
  adapter = [*warmup.states(run)][-1][0]
  how = trial.adapter(run.config)
  graphdef, params = nnx.split(base.as_made(run))

  @jax.jit
  def gradient(batch):
    def mean(adapter):
      decoder = nnx.merge(graphdef, params)
      hidden = decoder.hidden(
        *(batch[name] for name in ("tokens", "positions", "segment_ids")),
        adapters=lora.stack(how, [adapter]),
      )
      nll = losses.token_nll(
        hidden, decoder.head_weights(), batch["tokens"], batch["targets"]
      )
      return nll.sum() / batch["targets"].sum()

    return jax.grad(mean)(adapter)

  width, found = int(data.lengths.max()), []
  for row in range(len(data)):
    batch = collate.Batch([[row]], width, 1)
    tree = gradient(collate.collate(data.tokens, data.is_response, batch))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    layers = range(len(leaves[0]))
    found.append(
      [np.concatenate([x[n].ravel() for x in leaves]) for n in layers]
    )
  return np.array(found)


@functools.partial(jax.jit, static_argnums=2)
def _ours(x, key, width):
  keys = jax.random.split(key, x.shape[1])
  each = [
    projection.project(x[:, n], keys[n], width=width) for n in range(x.shape[1])
  ]
  return sum(each)


@functools.partial(jax.jit, static_argnums=2)
def _dense(x, key, width):
  flat = x.reshape(len(x), -1)
  blocks = -(-flat.shape[1] // _BLOCK)
  flat = jnp.pad(flat, ((0, 0), (0, blocks * _BLOCK - flat.shape[1])))

  def add(i, total):
    signs = jax.random.rademacher(
      jax.random.fold_in(key, i), (_BLOCK, width), jnp.float32
    )
    part = jax.lax.dynamic_slice_in_dim(flat, i * _BLOCK, _BLOCK, axis=1)
    return total + part @ signs

  start = jnp.zeros((len(x), width))
  return jax.lax.fori_loop(0, blocks, add, start) / width**0.5


def _cosines(x: np.ndarray) -> np.ndarray:
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  return (unit @ unit.T)[np.triu_indices(len(x), 1)]


def _seconds(function, x: jax.Array, width: int) -> float:
  times = []
  for seed in range(4):  # The first compiles.
    begin = time.monotonic()
    function(x, jax.random.key(seed), width).block_until_ready()
    times.append(time.monotonic() - begin)
  return float(np.median(times[1:]))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("run", help="folder of a run by `less`")
  workdir = epath.Path(parser.parse_args().run)
  plain = files.read_json(tables.MANIFEST.path(workdir))["config"]
  run = context.Run(config_parsing.build(plain), workdir, mesh_lib.make())
  whole = _gradients(run)
  exact = _cosines(whole.reshape(len(whole), -1).astype(np.float64))
  x, quality, seconds = jnp.asarray(whole), {}, {}
  print(
    f"{len(whole)} gradients of {whole[0].size:,} numbers; cosines from "
    f"{exact.min():.3f} to {exact.max():.3f}"
  )
  for width in (1024, 8192):
    for name, function in (("ours", _ours), ("dense", _dense)):
      error = _cosines(np.asarray(function(x, jax.random.key(9), width)))
      error = float(np.sqrt(np.mean((error - exact) ** 2)))
      taken = _seconds(function, x, width)
      quality[f"{name} {width}"], seconds[f"{name} {width}"] = error, taken
      print(
        f"{name:6} {width:5}: cosines off by {error:.5f} (root mean "
        f"square), {taken:.3f} s"
      )
  found = {
    "benchmark": "projection",
    "ours": seconds.pop("ours 8192"),
    "rivals": seconds,
    "quality": quality,
    "work": {"gradients": len(whole), "numbers": whole[0].size},
  }
  print(json.dumps(found))


if __name__ == "__main__":
  main()
