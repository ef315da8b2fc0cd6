"""Reads real pools and prints what became of their records.

python -m tests.support.real_pools FOLDER
"""

import collections
import gzip
import hashlib
import json
import pathlib
import sys
import time

from ila_jax.pool import examples as examples_lib
from ila_jax.pool import rejects
from ila_jax.pool.sources import formats

# Labels and domains are never guessed.
OVERRIDES = {
  "math_train_prompts": {"domain": "type"},
  "dolly*": {"labels": "category", "domain": "category"},
}


def main(folder: pathlib.Path) -> None:
  """Prints a table, and as the last line the counts as JSON."""
  rejected = collections.defaultdict(collections.Counter)

  def reject(item: rejects.Rejected) -> None:
    rejected[item.source][item.reason] += 1

  start = time.process_time()
  examples = list(
    examples_lib.read(
      [str(folder / "*.jsonl.gz")],
      rejects=reject,
      rules=examples_lib.Rules(overrides=OVERRIDES),
    )
  )
  seconds = time.process_time() - start
  used = collections.Counter(example.source for example in examples)
  n_read = used.total() + sum(c.total() for c in rejected.values())
  for source in sorted(used.keys() | rejected.keys()):
    print(f"{source:24} used {used[source]:6} rejected {rejected[source]}")
  print(f"{n_read} records, {n_read / seconds:.0f} a second of one core")
  texts: dict[str, list[bytes]] = {}
  for path in sorted(folder.glob("*.jsonl.gz")):
    with gzip.open(path) as stream:
      texts[str(path)] = stream.readlines()
  ids = sorted(
    f"{example.id:016x}"
    for example in examples
    if not example.source.startswith("glaive")
  )
  counted = {
    "ids": hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16],
    "lines": {formats.source_name(p): len(t) for p, t in texts.items()},
    "used": used,
    "rejected": {source: count for source, count in rejected.items() if count},
    "unequal": sum(
      texts[example.file][example.line - 1].strip()
      != example.record_json.encode()
      for example in examples
    ),
  }
  print(json.dumps(counted))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
