"""A realistic synthetic run for the figures and the page."""

import numpy as np

from ila_jax.finetune import verdict
from ila_jax.landscape.duplicates import false_depth
from ila_jax.pool import records
from ila_jax.report import page
from ila_jax.scaling import law
from ila_jax.selection.measures import overlap

SCRIPT = "<script>alert('pool')</script>"


def _tuned(name):
  """What a tuned model was tuned on."""
  strategy, _, equal = name.partition("-equal-")
  return {
    "strategy": strategy,
    "equal": equal or "selection",
    "train_examples": 500,
    "train_tokens": 41500,
  }


def _comparison():
  rival = _tuned("random-equal-examples")
  gap = {"value": 0.021, "low": -0.004, "high": 0.045}
  better = {"value": -0.031, "low": -0.049, "high": -0.012}
  return {
    "strategy": "ila",
    "train_examples": 500,
    "train_tokens": 41500,
    "chance": "random",
    "gain": 0.299,
    "examples": 400,
    "tokens": 31022,
    "groups": 398,
    "resamples": 10_000,
    "rivals": [
      rival | {"name": "random-equal-examples", "micro": gap, "macro": better},
      rival
      | {"name": "random-equal-tokens", "equal": "tokens"}
      | {"micro": better, "macro": better},
    ],
  }


def report_data(n=5000, *, seed=0, **changes):
  """A mixture of blobs whose short answers are deep, as in real pools."""
  rng = np.random.default_rng(seed)
  blobs = max(n // 150, 3)
  centres = rng.normal(0, 32, (blobs, 2))
  blob = rng.choice(blobs, n, p=rng.dirichlet(np.full(blobs, 0.8)))
  spread = rng.uniform(2, 9, blobs)[blob][:, None]
  xy = (centres[blob] + rng.normal(0, 1, (n, 2)) * spread).astype(np.float32)
  n_tokens = np.clip(rng.lognormal(4.2, 0.9, n), 2, 1500).astype(np.int32)
  depth = rng.normal(0.05, 0.08, blobs)[blob] + 0.35 / np.sqrt(n_tokens)
  depth = (depth + rng.normal(0, 0.06, n)).astype(np.float32)
  g = int(np.clip(np.sqrt(n) / 2.2, 4, 60))
  edges = [np.linspace(v.min(), v.max(), g + 1)[1:-1] for v in xy.T]
  ix, iy = (np.digitize(v, e) for v, e in zip(xy.T, edges, strict=True))
  cell = (ix * g + iy).astype(np.int32)
  reference = rng.choice(n, n // 20, replace=False)
  order = {
    "ila": _ila(cell, depth, np.isin(np.arange(n), reference)),
    "random": rng.permutation(n),
    "longest": np.argsort(-n_tokens),
    "depth_only": np.argsort(-depth),
    "coverage_only": _ila(cell, rng.random(n), np.zeros(n, bool)),
  }
  budgets = np.unique(np.linspace(1, n // 2, 40).astype(int))
  occupied = np.unique(cell).size
  curves = {
    name: (budgets, np.array([_cells(cell, rows[:k]) for k in budgets]))
    for name, rows in order.items()
  }
  fields = {
    "title": "quickstart",
    "config": {"seed": 0, "select": {"strategy": "ila", "budget": 0.1}},
    "answer": [
      verdict.answer(_comparison()),
      *verdict.cautions(_comparison()),
      verdict.SCOPE,
    ],
    "comparison": _comparison(),
    "read": [f"Of {n + 639:,} records, {n:,} are usable and 639 are not."],
    "chosen": [
      "They occupy 92 % of the pool's cells; a random subset, 61 %.",
    ],
    "xy": xy,
    "cell": cell,
    "grid": {"cells": f"grid {g}×{g}", "occupied": occupied},
    "depth": depth,
    "n_tokens": n_tokens,
    "selected": order["ila"][: n // 10],
    "reference": reference,
    "duplicates": _duplicates(n),
    "coverage_curves": curves,
    "coverage_table": [
      {
        "strategy": name,
        "pool_cells": _cells(cell, rows[: n // 10]),
        "all_cells": _cells(cell, rows[: n // 10]) * occupied / g**2,
        "effective_cells": 212.3,
        "mean_distance": 0.31,
        "p95_distance": 0.52,
        "novelsum": 0.456,
        "n_examples": n // 10,
        "n_tokens": int(n_tokens[rows[: n // 10]].sum()),
        **_prefers(n_tokens[rows[: n // 10]], depth[rows[: n // 10]]),
      }
      for name, rows in order.items()
    ],
    "all_candidates": _prefers(n_tokens, depth),
    "overlap": {
      "strategies": list(order),
      "jaccard": overlap.jaccard({k: v[: n // 10] for k, v in order.items()}),
      "by_chance": 0.05,
    },
    "features": {
      "rival": "random",
      "gained": {"features": 31, "shown": [_feature(7), _feature(9)]},
      "lost": {"features": 0, "shown": []},
    },
    "disagreement": {
      "missed": [_differing(1, ["random", "longest"])],
      "alone": [_differing(2, ["ila"])],
      "counts": {"missed": 3, "alone": 1},
    },
    "training": {
      name: _history(rng, start, end, steps)
      for name, start, end, steps in (
        ("base from scratch", 7.6, 3.4, 700),
        ("reference, seed 0", 3.5, 3.1, 60),
        ("tuned on ila", 3.5, 2.9, 140),
        ("tuned on random", 3.5, 2.95, 140),
      )
    },
    "evaluations": [
      {
        "name": name,
        "micro": micro,
        "macro": macro,
        "n_examples": 400,
        "n_tokens": 31022,
        **({} if name == "base" else _tuned(name)),
      }
      for name, micro, macro in (
        ("base", 3.412, 3.655),
        ("ila", 3.082, 3.260),
        ("random-equal-examples", 3.061, 3.301),
        ("random-equal-tokens", 3.113, 3.310),
      )
    ],
    "runs": _runs(rng),
    "fits": law.fit_law(_runs(rng)),
    "rejects": {"empty response": 28, "duplicate of an earlier record": 611},
    "costs": [
      dict.fromkeys(page.COSTS)
      | {"stage": s, "seconds": t, "flops": f, "bytes": b, "tokens": k}
      | (
        {
          "tokens_per_second": k / t,
          "padding": 0.041,
          "utilisation": f / t / 2.1e11,
          "matrix_rate": 2.1e11,
        }
        if k
        else {}
      )
      for s, t, f, b, k in (
        ("pool", 12.3, None, 4.1e6, None),
        ("embed", 3.9, None, 5.1e6, None),
        ("score", 171.2, 3.4e13, 2.2e5, 612_311),
        ("landscape", 41.0, None, 3.0e5, None),
        ("select", 0.4, None, 9.1e5, None),
        ("finetune", 88.7, 1.9e13, 3.1e7, 240_112),
        ("scaling", 122.5, 2.9e13, 1.1e4, 510_031),
      )
    ],
    "warnings": ["no label field: K = 1 for every example"],
    "examples": [_example(i) for i in range(4)],
    "inputs": "distinct inputs 2,990 of 3,000; no prompt was cut",
  }
  return page.ReportData(**(fields | changes))


def _example(i):
  """One question and its answer; the last calls a tool before it answers."""
  ask = records.Turn("user", f"Write the docstring of f{i}. {SCRIPT}")
  answer = records.Turn(
    "assistant", "Returns a < b && c > d.\n\n    indented line\n" * (i + 1)
  )
  turns = [ask, answer]
  if i == 3:
    call = records.Turn("assistant", "", False, "Which f?", '[{"name": "see"}]')
    tools = records.Turn("tools", '[{"name": "see"}]')
    turns = [tools, ask, call, records.Turn("tool", "def f3():"), answer]
  return {
    "rank": i + 1,
    "id": f"{i:016x}",
    "depth": 0.41 - i / 50,
    "turns": turns,
    "place": len(turns) - 1,
  }


def _prefers(n_tokens, depth):
  """What chosen examples are like, as the table of methods has it."""
  return {
    "median_tokens": float(np.median(n_tokens)),
    "mean_depth": float(depth.mean()),
    "domains": 3,
    "effective_domains": 2.5,
    "features": float(n_tokens.mean() / 1500),
    "features_often": 0.1,
    "tag_diversity": float(n_tokens.mean() / 3000),
    "tag_complexity": float(n_tokens.mean() / 50),
    "seconds": float(n_tokens.mean() / 100),
    "shared": 0.1,
  }


def _feature(latent):
  """A feature that one selection alone has, as `beside.features` has it."""
  prompts = [f"Has most of {latent}. <i>", "Has less of it."]
  return {"latent": latent, "chosen": 4, "pool": 19, "prompts": prompts}


def _differing(row, chosen_by):
  """An example on which methods disagree, as `beside.disagreement` has it."""
  return {
    "row": row,
    "id": f"{row:016x}",
    "depth": 0.2,
    "n_tokens": 41,
    "chosen_by": chosen_by,
    "prompt": f"Differ {row}.",
    "response": f"It differs {row}.",
  }


def _duplicates(n):
  band = {"low": 0.9, "high": 1.0, "near": 160, "peers": 476}
  bands = [
    band | {"gain": 0.031, "interval": [0.011, 0.052]},
    band | {"low": 0.95, "gain": None, "interval": None},
  ]
  return {
    "threshold": 0.95,
    "search": "cells",
    "examples": n,
    "prompts": n - 2,
    "pairs": 41,
    "near_another": 60,
    "groups": 25,
    "removable": 35,
    "largest": [{"row": 7, "examples": 6}],
    "recall": {
      "prompts": 4096,
      "pairs": 40,
      "in_cells": 36,
      "interval": [0.77, 0.96],
    },
    "shown": [{"rows": [7, 9], "cosine": 0.991}],
    "prompt_of": {7: f"Name a river. {SCRIPT}", 9: "Name one river."},
    "false_depth": {
      "own": {"examples": 300, "gain": 0.04, "interval": [0.03, 0.05]},
      "bands": bands,
      "verdict": false_depth.verdict(bands),
    },
  }


def _cells(cell, rows):
  return np.unique(cell[rows]).size / np.unique(cell).size


def _ila(cell, depth, excluded):
  order = np.lexsort((-depth, cell))
  counts = np.bincount(cell)
  starts = (np.cumsum(counts) - counts)[cell[order]]
  turn = np.empty(len(cell), int)
  turn[order] = np.arange(len(cell)) - starts
  order = np.lexsort((-depth, turn))
  return order[~excluded[order]]


def _history(rng, start, end, steps):
  fall = end + (start - end) * np.exp(-np.arange(steps) / (steps / 5))
  noisy = fall + rng.normal(0, 0.05, steps)
  return [{"step": i, "loss": float(v)} for i, v in enumerate(noisy)]


def _runs(rng):
  return [
    {
      "name": f"designed_{i:02d}" if i < 18 else f"random_{i - 18:02d}",
      "loss": float(3.2 * c**-0.06 * d**-0.03 * np.exp(rng.normal(0, 0.006))),
      "coverage": c,
      "depth": d,
      "tokens": int(rng.integers(15_000, 60_000)),
      "n": 500,
      "in_design": i < 18,
    }
    for i, (c, d) in enumerate(rng.uniform(0.2, 0.9, (22, 2)).tolist())
  ]
