"""Attention on CPU against torch, forward and with gradients, in turn.

`python -m tests.benchmarks.attention`; the rows are those of a scoring batch,
and all of a row is one example (what torch's fast path needs).
"""

import argparse
import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ila_jax.models import attention

SHAPES = ((1, 2048), (8, 256), (16, 128))
TINY_SHAPES = ((2, 24),)
HEADS, KV_HEADS, HEAD_DIM = 8, 2, 64
ROUNDS = 9


def _ours(kernel, arrays, *, gradients):
  *rows, segments = map(jnp.asarray, arrays)

  def run(*rows):
    return attention.attend(*rows, segments, kernel=kernel)

  def total(*rows):
    return (run(*rows) ** 2).sum()

  grad = jax.grad(total, argnums=(0, 1, 2))
  compiled = jax.jit(grad if gradients else run).lower(*rows).compile()
  memory = compiled.memory_analysis().temp_size_in_bytes
  return (lambda: jax.block_until_ready(compiled(*rows))), memory


def _torchs(arrays, *, gradients, masked):
  rows = [torch.from_numpy(x).transpose(1, 2).contiguous() for x in arrays[:3]]
  t = rows[0].shape[2]
  mask = torch.ones(t, t, dtype=torch.bool).tril() if masked else None

  def run():
    seen = torch.nn.functional.scaled_dot_product_attention(
      *rows, attn_mask=mask, is_causal=not masked, enable_gqa=True
    )
    return seen.transpose(1, 2).flatten(2)

  def with_gradients():
    return torch.autograd.grad((run() ** 2).sum(), rows)

  for row in rows:
    row.requires_grad_(gradients)
  return with_gradients if gradients else run


def _measure(arrays, *, gradients, rounds):
  """Seconds and temporary bytes by name, and how far ours is from torch's."""
  build = functools.partial(_ours, arrays=arrays, gradients=gradients)
  (blocked, memory), (plain, plain_memory) = map(build, ("blocked", "plain"))
  runs = {"blocked": blocked, "plain": plain}
  for name, masked in (("torch causal", False), ("torch masked", True)):
    runs[name] = _torchs(arrays, gradients=gradients, masked=masked)
  error = 0.0
  for ours, theirs in zip(
    *(x if gradients else [x] for x in (blocked(), runs["torch causal"]())),
    strict=True,
  ):
    theirs = theirs.transpose(1, 2) if gradients else theirs
    error = max(error, float(np.abs(np.asarray(ours) - theirs.numpy()).max()))
  seconds = {name: [] for name in runs}
  for _ in range(rounds):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      seconds[name].append(time.perf_counter() - start)
  medians = {name: statistics.median(x) for name, x in seconds.items()}
  return medians, {"blocked": memory, "plain": plain_memory}, error


def main():
  """Prints a table, and all numbers as one line of JSON."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  is_tiny = parser.parse_args().tiny
  shapes, rounds = (TINY_SHAPES, 1) if is_tiny else (SHAPES, ROUNDS)
  rng = np.random.default_rng(0)
  total, worst = {}, 0.0
  for b, t in shapes:
    arrays = [
      rng.normal(size=(b, t, heads, HEAD_DIM)).astype(np.float32)
      for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]
    arrays.append(np.ones((b, t), np.int32))
    for gradients in (False, True):
      medians, memory, error = _measure(
        arrays, gradients=gradients, rounds=rounds
      )
      worst = max(worst, error)
      print(f"\n{b} × {t}, {'with gradients' if gradients else 'forward'}")
      for name, seconds in medians.items():
        total[name] = total.get(name, 0.0) + seconds
        ratio = seconds / medians["blocked"]
        held = f"{memory[name] / 2**20:7.1f} MiB" if name in memory else ""
        print(f"  {name:14} {1e3 * seconds:9.2f} ms  × {ratio:5.2f}  {held}")
  ours = total.pop("blocked")
  print(
    json.dumps(
      {
        "benchmark": "attention",
        "ours": ours,
        "rivals": total,
        "quality": {"largest_difference_from_torch": worst},
        "work": {"shapes": shapes, "heads": HEADS, "kv_heads": KV_HEADS},
      }
    )
  )


if __name__ == "__main__":
  main()
