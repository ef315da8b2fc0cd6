"""Padding of a real pool in each layout, on one device and on eight.

    python -m tests.benchmarks.padding --pool alpaca_52k.jsonl.gz

Prompt and response of each record are counted by MiniLM's tokenizer and planned
in shards of 8,192, as the stages do; nothing is computed on a device.
"""

import argparse
import json
import time

import numpy as np

from ila_jax.passes import layouts
from ila_jax.pool import examples
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from tests.benchmarks import embed

_SHARD = 8192
# What one more shape costs, for ten million weights (`forward.program_tokens`).
_PROGRAM_TOKENS = 230
# (layout, tokens of a batch on each device, devices)
_CASES = (
  *(("buckets", 2048, 1), ("buckets", 2048, 8)),
  *(("pack", 32768, 1), ("pack", 32768, 8)),
)


def main() -> None:
  """Counts, plans, and prints the shares."""
  flags = argparse.ArgumentParser(description=__doc__)
  flags.add_argument("--pool", required=True, help="file of records")
  options = flags.parse_args()
  tokenizer = tokenizer_lib.load_tokenizer(embed.find_model())
  texts = [
    "\n".join(turn.text for turn in example.turns)
    for example in examples.read([options.pool], rejects=lambda rejected: None)
  ]
  ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
  lengths = np.array([len(i) for i in ids], np.int32)
  shards = [lengths[i : i + _SHARD] for i in range(0, len(lengths), _SHARD)]
  print(f"{len(lengths):,} records of {lengths.mean():.1f} tokens on average")
  quality = {}
  begin = time.perf_counter()
  for kind, batch_tokens, devices in _CASES:
    layout = layouts.choose(
      lengths,
      batch_tokens=batch_tokens,
      kind=kind,
      program_tokens=_PROGRAM_TOKENS,
    )
    cells = sum(
      batch.cells
      for shard in shards
      for batch in layouts.plan(shard, layout, multiple=devices)
    )
    name = f"{kind}, {devices} × {batch_tokens:,} tokens"
    quality[name] = 1 - int(lengths.sum()) / cells
    print(f"  {name:28}{quality[name]:.2%}  ({len(layout.widths)} widths)")
  found = {
    "benchmark": "padding",
    "ours": time.perf_counter() - begin,
    "rivals": {},
    "quality": quality,
    "work": vars(options) | {"tokens": int(lengths.sum())},
  }
  print(json.dumps(found))


if __name__ == "__main__":
  main()
