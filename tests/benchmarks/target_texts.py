"""How fast texts are weighed by DSIR and ZIP-FIT, beside their own packages.

    python -m tests.benchmarks.target_texts --data FOLDER --rivals PYTHON

FOLDER holds alpaca_52k.jsonl.gz and gsm8k_train.jsonl.gz. PYTHON is that of an
environment with the packages, made as `tests.support.text_witness` says. It
counts seconds of the processor, on one core, so that other work matters little.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import time

# What the packages do with each text, in an environment that has them.
_RIVALS = """
import json, sys, time
from data_selection.hashed_ngram_dsir import get_ngram_counts
from zip_fit import ZIPFIT
pool, target = json.load(sys.stdin)
begin = time.process_time()
for text in pool:
  get_ngram_counts(text)
print("data-selection", len(pool) / (time.process_time() - begin))
one = ZIPFIT("", "", 1, compression_algorithm="gzip", compress_level=9)
begin = time.process_time()
for text in pool[:100]:
  for other in target:
    one.compress(text + other)
print("zip-fit", 100 * len(target) / (time.process_time() - begin))
"""


def _texts(path: pathlib.Path, fields: tuple[str, ...]) -> list[str]:
  with gzip.open(path, "rt") as lines:
    rows = [json.loads(line) for line in lines]
  return ["\n".join(row[field] for field in fields) for row in rows]


def main() -> None:
  """Prints n-gram texts a second, and compressions a second."""
  import numpy as np

  from ila_jax.methods.target import ngrams, texts, zip_fit

  flags = argparse.ArgumentParser()
  flags.add_argument("--data", type=pathlib.Path, required=True)
  flags.add_argument("--rivals", help="python of an environment of theirs")
  given = flags.parse_args()
  fields = ("instruction", "input", "output")
  pool = _texts(given.data / "alpaca_52k.jsonl.gz", fields)
  target = _texts(given.data / "gsm8k_train.jsonl.gz", ("question", "answer"))
  target = target[:100]
  buckets = ngrams.Buckets(10_000)
  begin = time.process_time()
  for start in range(0, len(pool), texts.BLOCK):
    buckets(pool[start : start + texts.BLOCK])
  spent = time.process_time() - begin
  print(f"dsir: {len(pool)} texts, {len(pool) / spent:.0f} a second")
  coded = [text.encode() for text in target]
  alone = np.array([zip_fit.size(text, 9) for text in coded])
  begin = time.process_time()
  for text in pool[:100]:
    zip_fit.alignment(text.encode(), coded, alone, 9)
  spent = time.process_time() - begin
  print(f"zip_fit: {100 * len(coded) / spent:.0f} compressions a second")
  if given.rivals:
    subprocess.run(
      [given.rivals, "-c", _RIVALS],
      input=json.dumps([pool[:2000], target]),
      text=True,
      check=True,
    )


if __name__ == "__main__":
  main()
