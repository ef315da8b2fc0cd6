"""Decontamination: which planted leaks are found, and what else is.

    python -m tests.benchmarks.decontamination --data FOLDER

Half of a real data set is the evaluation set. Its records, and as many of the
other half, are planted in a real pool: a third as they are, a third in another
case and punctuation, a third within a longer prompt; the last two with answers
of other examples. Recall is the share of the leaks that is found; what is found
of the other half, or of the pool as it was, is a false alarm.
"""

import argparse
import json
import pathlib
import random
import time
from typing import Any

from ila_jax.pool import examples, records
from ila_jax.pool.contamination import evaluation, screen
from tests.support import leaks

SETS = ("gsm8k_train", "math_train_prompts", "dolly_3k")
POOL = "alpaca_52k"


def _examples(path: pathlib.Path, limit: int | None) -> list[examples.Example]:
  return list(
    examples.read([str(path)], rejects=lambda rejected: None, limit=limit)
  )


def turns(question: str, answer: str) -> tuple[records.Turn, ...]:
  return records.Turn("user", question), records.Turn("assistant", answer)


def pool_of(folder: pathlib.Path, limit: int | None) -> list[dict[str, Any]]:
  """Instruction and output of the first examples of a real pool."""
  return [
    {"instruction": e.turns[0].text, "output": e.turns[-1].text}
    for e in _examples(folder / f"{POOL}.jsonl.gz", limit)
  ]


def data_of(
  folder: pathlib.Path, names: tuple[str, ...]
) -> dict[str, list[tuple[str, str]]]:
  """Questions and answers of real data sets, by their names."""
  return {
    name: [
      (e.turns[0].text, e.turns[-1].text)
      for e in _examples(folder / f"{name}.jsonl.gz", None)
    ]
    for name in names
  }


def measure(
  rows: list[tuple[str, str]],
  pool: list[dict[str, Any]],
  *,
  leaked: int,
  seed: int,
) -> dict[str, Any]:
  """Plants one data set in a pool and screens it.

  Args:
    rows: questions and answers of the data set.
    pool: records with instruction and output.
    leaked: how many of its records are planted, and as many that are none.
    seed: of all draws.

  Returns:
    Found and planted by kind, of leaks and others; n-grams and examples a
    second.
  """
  draw = random.Random(seed)
  inside, outside = leaks.split(rows, draw)
  planted = leaks.plant(pool, inside[:leaked], outside[:leaked], draw)
  sets = [
    evaluation.Record("set", "set", line, ask, f"{ask}\n\n{answer}", answer)
    for line, (ask, answer) in enumerate(inside)
  ]
  begin = time.process_time()
  looking = screen.Screen(sets, width=13)
  build = time.process_time() - begin
  counts: dict[str, list[int]] = {}
  begin = time.process_time()
  for one in planted:
    record = one.record
    match = looking.match(turns(record["instruction"], record["output"]))
    side = "leak" if one.is_leak else "other"
    found = counts.setdefault(f"{one.kind or 'pool'} {side}", [0, 0])
    found[0] += match is not None
    found[1] += 1
  seconds = time.process_time() - begin
  return {
    "counts": dict(sorted(counts.items())),
    "records": len(sets),
    "ngrams": looking.size,
    "build_seconds": build,
    "examples_per_second": len(planted) / seconds,
  }


def main() -> None:
  """Plants each data set, and prints what was found."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data", type=pathlib.Path, help="folder of real pools")
  parser.add_argument("--leaked", type=int, default=999)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags = parser.parse_args()
  if flags.tiny:
    pool = [{"instruction": f"Name {n}.", "output": "-"} for n in range(90)]
    asks = [
      f"What are {n} and {n + 1} and {n + 2} in words?" for n in range(90)
    ]
    data = {"tiny": [(ask, "Numbers.") for ask in asks]}
    flags.leaked = 30
  else:
    pool = pool_of(flags.data, None)
    data = data_of(flags.data, SETS)
  quality = {}
  for name, rows in data.items():
    quality[name] = measure(rows, pool, leaked=flags.leaked, seed=flags.seed)
    print(name, {k: v for k, v in quality[name].items() if k != "counts"})
    for kind, (found, total) in quality[name]["counts"].items():
      print(f"  {kind:16} {found:6,} of {total:6,} found")
  rate = min(one["examples_per_second"] for one in quality.values())
  print(
    json.dumps(
      {
        "benchmark": "decontamination",
        "ours": rate,
        "rivals": {},
        "quality": quality,
        "work": {"pool": len(pool), "leaked": flags.leaked, "seed": flags.seed},
      }
    )
  )


if __name__ == "__main__":
  main()
