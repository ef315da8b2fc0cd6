"""Seconds that every method takes to rank a made-up pool, beside the forecast.

    python -m tests.benchmarks.every_method --examples 20000 --budget 2000

Inputs have the sizes of a run: embeddings of 384 numbers in 200 topics, hidden
states of 576, 8,192 latents, 4 × 8,192 gradients, answers of a hundred words,
100 target examples. What signals take is not in it. The second of two rankings
counts, for the first compiles. `forecast` is what a dry run would say.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ila_jax.compute import mesh
from ila_jax.forecast import here
from ila_jax.methods import candidates, table
from ila_jax.methods import effort as effort_lib
from ila_jax.pool import records
from ila_jax.score.signals import noisy_ifd

_TARGETS, _EMBEDDING, _HIDDEN, _LATENTS = 100, 384, 576, 8192
_GRADIENTS, _WORDS = 4 * 8192, 100


class _Gradients:
  """Rows that are drawn when they are asked for: all take 64 KiB each."""

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(int(rows[0]))
    shape = len(rows), _GRADIENTS
    return rng.standard_normal(shape, np.float32).astype(np.float16)


def _unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
  topics = rng.standard_normal((200, width), np.float32)
  x = topics[rng.integers(0, 200, count)]
  x += rng.standard_normal((count, width), np.float32)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _turns(rng: np.random.Generator, count: int) -> np.ndarray:
  words = [f"word{number}" for number in range(5000)]
  found = np.empty(count, object)
  for place in range(count):
    drawn = rng.zipf(1.3, _WORDS) % len(words)
    text = " ".join(words[number] for number in drawn)
    turn = records.Turn
    found[place] = [turn("user", text[:80]), turn("assistant", text)]
  return found


def _inputs(rng: np.random.Generator, n: int) -> dict[str, Any]:
  bits = rng.random((n, _LATENTS), np.float32) < 0.008
  kind = [("quality", np.float32), ("complexity", np.float32)]
  scores = rng.integers(1, 6, (n, 2)).astype(np.float32).view(kind)[:, 0]
  thresholds = len(noisy_ifd.THRESHOLDS)
  noisy = rng.random((n, thresholds, noisy_ifd.COLUMNS), np.float32) / 2
  noisy[:, :, 2] = np.linspace(200, 0, thresholds).round()[None]
  return {
    "embeddings": _unit(rng, n, _EMBEDDING),
    "target_embeddings": _unit(rng, _TARGETS, _EMBEDDING),
    "rds_embedding": _unit(rng, n, _HIDDEN),
    "target_rds_embedding": _unit(rng, _TARGETS, _HIDDEN),
    "target_id": rng.permutation(_TARGETS).astype(np.uint64),
    "target_domain": np.array(["sums"] * _TARGETS, object),
    "target_gradients": _Gradients()[np.arange(_TARGETS)].astype(np.float32),
    "gradients": _Gradients(),
    "sae_features": np.packbits(bits, axis=1, bitorder="little"),
    "turns": _turns(rng, n),
    "target_turns": _turns(rng, _TARGETS),
    "scores": scores,
    "noisy_ifd": noisy.reshape(n, -1),
    "tags": rng.integers(-1, 500, (n, 8)).astype(np.float32),
    "tag_embeddings": _unit(rng, 500, _EMBEDDING),
    "prompt_id": rng.integers(0, n, n).astype(np.uint64),
    "n_labels": rng.integers(1, 9, n).astype(np.int32),
    **{
      name: rng.gamma(9, 10, n).astype(np.float32)
      for name in ("nll_base", "nll_sft", "nll_without_prompt")
    },
  }


def _pool(n: int, budget: int) -> candidates.Candidates:
  rng = np.random.default_rng(0)
  depth = rng.standard_normal(n)
  c = candidates.candidates(
    rng.permutation(n).astype(np.uint64),
    cell=rng.integers(0, budget, n),
    depth=depth,
    relative_depth=depth.argsort().argsort() / n,
    n_tokens=rng.integers(1, 400, n),
    domain=rng.integers(0, 10, n),
    candidate=np.ones(n, np.bool_),
    seed=0,
  )
  return candidates.with_inputs(c, _inputs(rng, n), wanted=budget)


def _seconds(name: str, c: candidates.Candidates) -> float:
  for _ in range(2):
    begin = time.perf_counter()
    table.METHODS[name](c)
    taken = time.perf_counter() - begin
  return taken


def _forecast(name: str, size: effort_lib.Size, machine: here.Here) -> float:
  method = table.METHODS[name]
  effort = method.effort(size, method.options())
  cost = machine.products(effort.flops, "float32")
  cost = cost.and_also(machine.reading(effort.read))
  return cost.seconds + effort.core_seconds / (os.cpu_count() or 1)


def main(words: Sequence[str] | None = None) -> None:
  """Ranks by each method, and prints a row as it is done."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument("--examples", type=int, default=20_000)
  flags.add_argument("--budget", type=int, default=2_000)
  flags.add_argument("--methods", nargs="*", default=list(table.METHODS))
  asked = flags.parse_args(words)
  c = _pool(asked.examples, asked.budget)
  machine = here.Here(mesh.make())
  size = effort_lib.Size(
    candidates=asked.examples,
    wanted=asked.budget,
    targets=_TARGETS,
    embedding=_EMBEDDING,
    hidden=_HIDDEN,
    feature_bytes=_LATENTS // 8,
  )
  print(f"{'method':20}{'seconds':>10}{'forecast':>10}")
  found = {}
  for name in asked.methods:
    seconds, forecast = _seconds(name, c), _forecast(name, size, machine)
    found[name] = round(seconds, 3)
    print(f"{name:20}{seconds:>10.2f}{forecast:>10.2f}", flush=True)
  print(json.dumps({"examples": asked.examples, "seconds": found}))


if __name__ == "__main__":
  main()
