"""Several small trainings side by side, against one after the other.

Both are ours, on the same examples, in one process, in turn: the ratio of a
round is of neighbours in time. Each run has batches of 16 rows of 128 tokens.
"""

import json
import statistics
import time

import numpy as np

from tests.benchmarks import harness

_VOCAB = 4096


def _data(runs, width, seed):
  from ila_jax.passes import token_set

  rng = np.random.default_rng(seed)
  lengths = [rng.integers(width // 2, width + 1, 200) for _ in range(runs)]
  return [
    token_set.TokenSet(
      [rng.integers(0, _VOCAB, n).astype(np.int32) for n in own],
      [np.arange(n) >= n // 3 for n in own],
    )
    for own in lengths
  ]


def main() -> None:
  flags = harness.parser("together", rounds=5)
  flags.add_argument("--runs", type=int, default=4, help="side by side")
  flags.add_argument("--steps", type=int, default=4, help="of each run")
  flags.add_argument("--hidden", type=int, default=192)
  flags.add_argument("--layers", type=int, default=4)
  options = harness.parse(flags)
  rows, width = 16, 128
  if options.tiny:
    options.hidden, options.layers, options.rounds = 64, 1, 1
    rows, width = 2, 16
  from flax import nnx

  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.models import architecture
  from ila_jax.models import decoder as decoder_lib
  from ila_jax.training import loop, together
  from ila_jax.training import recipe as recipe_lib

  heads = options.hidden // 32
  config = architecture.DecoderConfig(
    **{"vocab": _VOCAB, "layers": options.layers, "width": options.hidden},
    **{"heads": heads, "kv_heads": max(heads // 2, 1), "head_dim": 32},
    mlp_width=3 * options.hidden,
    dtype=options.dtype,
    max_positions=width,
  )
  mesh = mesh_lib.make()
  base = decoder_lib.Decoder(config, rngs=nnx.Rngs(options.seed))
  data = _data(options.runs, width, options.seed)
  recipes = [
    recipe_lib.Recipe(
      learning_rate=1e-3,
      batch_tokens=rows * width,
      width=width,
      seed=i,
      total_steps=options.steps,
    )
    for i in range(options.runs)
  ]

  def side_by_side():
    return together.train(base, data, recipes, mesh=mesh)

  def one_by_one():
    return [
      loop.train(base, own, recipe, mesh=mesh)
      for own, recipe in zip(data, recipes, strict=True)
    ]

  ways = {"ours": side_by_side, "one after the other": one_by_one}
  last = {name: [h[-1]["loss"] for _, h in way()] for name, way in ways.items()}
  seconds = {name: [] for name in ways}
  for _ in range(options.rounds):
    for name, way in ways.items():
      begin = time.monotonic()
      way()
      seconds[name].append(time.monotonic() - begin)
  pairs = zip(
    *(seconds[n] for n in ("one after the other", "ours")), strict=True
  )
  ratio = statistics.median(a / b for a, b in pairs)
  medians = {name: statistics.median(s) for name, s in seconds.items()}
  weights = decoder_lib.count_parameters(config)
  for name, value in medians.items():
    print(f"{name:20} {value:8.3f} s")
  print(
    f"{options.runs} runs of {weights:,} weights: side by side {ratio:.2f} "
    "times as fast (median over rounds)"
  )
  quality = {
    "ratio": ratio,
    "largest_difference": float(np.ptp(list(last.values()), axis=0).max()),
  }
  work = {**vars(options), "weights": weights, "skipped": []}
  found = {"benchmark": "together", "ours": medians.pop("ours")}
  found |= {"rivals": medians, "quality": quality, "work": work}
  print(json.dumps(found))


if __name__ == "__main__":
  main()
