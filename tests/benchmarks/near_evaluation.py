"""Cosines to evaluation sets: which planted leaks they tell, by threshold.

    python -m tests.benchmarks.near_evaluation --data FOLDER --encoder MODEL

Half of a real data set is the evaluation set. Its records, and as many of the
other half, are planted in a real pool: a third in another case and punctuation,
a third in other words (by a table, the last sentence first), a third within a
longer prompt; all but for the answers, which are those of other examples. The
stages `pool` and `embed` of a run read them, and the run compares them with the
set. Recall is the share of the leaks at or above a cosine; what is there of the
other half, or of the pool as it was, is a false alarm.
"""

import argparse
import json
import pathlib
import random
import tempfile
import time
from typing import Any

import jax
import numpy as np
from etils import epath

from ila_jax import pipeline
from ila_jax.landscape.duplicates import near_evaluation
from ila_jax.pool import shards
from ila_jax.pool.contamination import evaluation, screen
from ila_jax.run import tables
from ila_jax.run.disk import files
from tests.benchmarks import decontamination
from tests.support import leaks, tiny

SETS = ("gsm8k_train", "dolly_3k")
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
_KINDS = (leaks.REWORDED, leaks.PARAPHRASED, leaks.EMBEDDED)


def measure(
  rows: list[tuple[str, str]],
  pool: list[dict[str, Any]],
  *,
  encoder: str,
  leaked: int,
  seed: int,
) -> dict[str, Any]:
  """Plants one data set in a pool, and asks a run how near all of it is.

  Args:
    rows: questions and answers of the data set.
    pool: records with instruction and output.
    encoder: as config.encoder.path.
    leaked: how many of its records are planted, and as many that are none.
    seed: of all draws.

  Returns:
    Examples by kind: how many there are, how many share words with the set by
    the rules of `pool.decontaminate`, and how many reach each threshold.
  """
  draw = random.Random(seed)
  inside, outside = leaks.split(rows, draw)
  planted = leaks.plant(
    pool, inside[:leaked], outside[:leaked], draw, kinds=_KINDS
  )
  sets = [
    evaluation.Record("set", "set", line, ask, f"{ask}\n\n{answer}", answer)
    for line, (ask, answer) in enumerate(inside)
  ]
  by_words = screen.Screen(sets, width=13)
  with tempfile.TemporaryDirectory() as folder:
    cosine, seconds = _cosines(
      pathlib.Path(folder), planted, inside, encoder=encoder
    )
  counts: dict[str, dict[str, int]] = {}
  for number, near in cosine.items():
    one = planted[number]
    record = one.record
    turns = decontamination.turns(record["instruction"], record["output"])
    side = "leak" if one.is_leak else "other"
    found = counts.setdefault(f"{one.kind or 'pool'} {side}", {})
    reached = {str(t): near >= t for t in THRESHOLDS}
    told = {"all": True, "by words": by_words.match(turns) is not None}
    for name, holds in (told | reached).items():
      found[name] = found.get(name, 0) + int(holds)
  return {"counts": dict(sorted(counts.items())), "seconds": seconds}


def _cosines(
  folder: pathlib.Path,
  planted: list[leaks.Planted],
  inside: list[tuple[str, str]],
  *,
  encoder: str,
) -> tuple[dict[int, float], float]:
  """The cosine of each example that a run reads, and seconds of comparing."""
  source = tiny.write(
    folder / "pool.jsonl",
    [one.record | {"number": n} for n, one in enumerate(planted)],
  )
  asked = [{"question": ask, "answer": answer} for ask, answer in inside]
  config = tiny.config(
    source,
    pool__limit=None,
    tokens__max_tokens=8192,
    pool__shard_examples=8192,
    pool__decontaminate=str(tiny.write(folder / "set.jsonl", asked)),
    pool__contaminated="report",
    encoder__path=encoder,
    encoder__lsa_width=256,
    select__exclude_near_evaluation=THRESHOLDS[0],
  )
  run = tiny.run(config, epath.Path(folder / "work"))
  pipeline.run(config, run.workdir, stages=("pool", "embed"))
  begin = time.monotonic()
  with jax.set_mesh(run.mesh):
    near_evaluation.run(run)
  seconds = time.monotonic() - begin
  table = files.read_table(
    tables.NEAR_EVALUATION.path(run.workdir), ["row", "cosine"]
  )
  texts = shards.gather(run.workdir, table["row"], ["record"])["record"]
  numbers = [json.loads(text)["number"] for text in texts.to_pylist()]
  return dict(zip(numbers, np.asarray(table["cosine"]), strict=True)), seconds


def main() -> None:
  """Plants each data set, and prints what was found by threshold."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data", type=pathlib.Path, help="folder of real pools")
  parser.add_argument("--encoder", default="lsa", help="'lsa', or a folder")
  parser.add_argument(
    "--examples", type=int, default=10_000, help="of the pool"
  )
  parser.add_argument("--leaked", type=int, default=999)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags = parser.parse_args()
  if flags.tiny:
    pool = [
      r | {"instruction": f"{r['instruction']} {r['input']}"}
      for r in tiny.records(90)
    ]
    names = ("Ann", "Bob", "Carl", "Dora", "Eva", "Fred")
    data = {
      "tiny": [
        (
          f"If {names[n % 6]} has {n} red apples, how many does {names[n % 5]} "
          f"find in {2 * n} green boxes?",
          "None.",
        )
        for n in range(90)
      ]
    }
    flags.leaked = 30
  else:
    pool = decontamination.pool_of(flags.data, flags.examples)
    data = decontamination.data_of(flags.data, SETS)
  quality = {}
  for name, rows in data.items():
    quality[name] = measure(
      rows, pool, encoder=flags.encoder, leaked=flags.leaked, seed=flags.seed
    )
    print(f"{name}: compared in {quality[name]['seconds']:.1f} s")
    head = ["all", "by words", *map(str, THRESHOLDS)]
    print(" " * 18 + "".join(f"{h:>10}" for h in head))
    for kind, found in quality[name]["counts"].items():
      print(f"  {kind:16}" + "".join(f"{found[h]:>10,}" for h in head))
  work = {"pool": len(pool), "leaked": flags.leaked, "seed": flags.seed}
  print(
    json.dumps(
      {
        "benchmark": "near_evaluation",
        "ours": max(one["seconds"] for one in quality.values()),
        "rivals": {},
        "quality": quality,
        "work": work | {"encoder": pathlib.Path(flags.encoder).name},
      }
    )
  )


if __name__ == "__main__":
  main()
