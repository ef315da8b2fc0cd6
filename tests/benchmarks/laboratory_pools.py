"""Makes the pools of the laboratory's study, and what judges and precedes them.

    python -m tests.benchmarks.laboratory_pools --data FOLDER --out FOLDER

FOLDER of `--data` holds the seven public pools of `SOURCES` as gzip JSON lines:
Alpaca, Dolly, CodeAlpaca, GSM8K, chain-of-thought and commonsense mixes, and
role-play. Each distinct prompt has one role for all pools, by a hash: it stands
in pools, judges, or is text for the base. Written, as JSON lines:

* `base.jsonl`: prompts and answers of the base's role, unpaired, so that a base
  made from them knows the language, and of no prompt its answer.
* `P1.jsonl` ... `P4.jsonl`, and `P4b.jsonl`, a draw of P4 with other junk:
  instruction, input, output, domain, and the numbers swapped, salad and near,
  which are 1 where junk was planted.
* `dev-P1.jsonl` ...: those that judge, as many of each domain, none planted.
* `target.jsonl`: 30 of each domain with their answers, for methods that want a
  target set. They are of the base's role: it has seen their prompts and their
  answers, but never together.
"""

import argparse
import collections
import gzip
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator

import numpy as np

# File, and its fields of prompt, input and response.
SOURCES = {
  "alpaca": (("alpaca_52k", "instruction", "input", "output"),),
  "dolly": (("dolly_3k", "instruction", "input", "output"),),
  "code": (
    ("code_alpaca_2k", "instruction", "input", "output"),
    ("codealpaca_new", "instruction", "input", "response"),
  ),
  "gsm8k": (("gsm8k_train", "question", "", "answer"),),
  "cot": (("cot_mix", "instruction", "input", "output"),),
  "commonsense": (("commonsense_mix", "instruction", "input", "output"),),
  "roleplay": (("gpteacher_roleplay", "instruction", "input", "response"),),
}
ALL = tuple(SOURCES)
# Shares of the domains; None: as many as there are.
_FEW = ("alpaca", "dolly", "code", "gsm8k", "roleplay")
_OTHERS = ("alpaca", "dolly", "cot", "commonsense", "roleplay")
SHARES: dict[str, dict[str, float] | None] = {
  "P1": {"alpaca": 1.0},
  "P2": {"commonsense": 0.4, "cot": 0.4} | dict.fromkeys(_FEW, 0.04),
  "P3": {"gsm8k": 0.3, "code": 0.3} | dict.fromkeys(_OTHERS, 0.08),
  "P4": None,
  "P4b": None,
}
# Planted in these, as shares of the pool.
JUNK = {"swapped": 0.15, "salad": 0.05, "near": 0.15}
JUNKED = ("P4", "P4b")
_TARGETS = 30  # Of each domain.
# Ends of the roles in [0, 1): those that judge, the base's, and the rest.
_ROLES = (("dev", 0.08), ("base", 0.40), ("pool", 1.0))
_PREFIXES = ("Please: ", "Task: ", "Hello! ", "Question. ")

Record = dict[str, str | int]


def main() -> None:
  """Writes all files, and prints what they hold."""
  flags = argparse.ArgumentParser()
  flags.add_argument("--data", type=pathlib.Path, required=True)
  flags.add_argument("--out", type=pathlib.Path, required=True)
  flags.add_argument("--records", type=int, default=12_000)
  flags.add_argument("--dev", type=int, default=300, help="of each domain")
  flags.add_argument("--seed", type=int, default=0)
  given = flags.parse_args()
  given.out.mkdir(parents=True, exist_ok=True)
  by_role = read(given.data)
  _write(given.out / "base.jsonl", unpaired(by_role["base"], seed=given.seed))
  wanted = (rows[:_TARGETS] for rows in by_role["base"].values())
  _write(given.out / "target.jsonl", itertools.chain.from_iterable(wanted))
  for name, shares in SHARES.items():
    rng = np.random.default_rng([given.seed, *name.encode()])
    pool = compose(by_role["pool"], shares, given.records, rng)
    if name in JUNKED:
      pool = plant(pool, rng)
    _write(given.out / f"{name}.jsonl", pool)
    domains = {record["domain"] for record in pool}
    dev = itertools.chain.from_iterable(
      by_role["dev"][domain][: given.dev] for domain in sorted(domains)
    )
    _write(given.out / f"dev-{name}.jsonl", dev)


def read(data: pathlib.Path) -> dict[str, dict[str, list[Record]]]:
  """The records by role and domain, each in the order of its hash."""
  found: dict[str, dict[str, list[tuple[float, Record]]]] = {
    role: {domain: [] for domain in SOURCES} for role, _ in _ROLES
  }
  seen = set()
  for domain, files in SOURCES.items():
    for file, *fields in files:
      for record in _records(data / f"{file}.jsonl.gz", fields):
        key = _normalised(f"{record['instruction']} {record['input']}")
        if key in seen or not record["output"].strip():
          continue
        seen.add(key)
        place = _uniform(key)
        role = next(role for role, end in _ROLES if place < end)
        made = record | {"domain": domain}
        found[role][domain].append((place, made))
  return {
    role: {
      domain: [record for _, record in sorted(rows, key=lambda row: row[0])]
      for domain, rows in by_domain.items()
    }
    for role, by_domain in found.items()
  }


def _records(path: pathlib.Path, fields: list[str]) -> Iterator[dict[str, str]]:
  names = ("instruction", "input", "output")
  with gzip.open(path, "rt") as lines:
    for line in lines:
      row = json.loads(line)
      yield {
        name: str(row.get(field) or "") if field else ""
        for name, field in zip(names, fields, strict=True)
      }


def _normalised(text: str) -> str:
  return re.sub(r"\W+", " ", text.lower()).strip()


def _uniform(key: str) -> float:
  digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "big") / 2**64


def unpaired(
  by_domain: dict[str, list[Record]], *, seed: int
) -> Iterator[Record]:
  """Each prompt with the answer of another record of its domain."""
  rng = np.random.default_rng([seed, *b"base"])
  for rows in by_domain.values():
    for row, other in zip(rows, _derangement(len(rows), rng), strict=True):
      yield {
        "instruction": row["instruction"],
        "input": row["input"],
        "output": rows[other]["output"],
      }


def _derangement(count: int, rng: np.random.Generator) -> np.ndarray:
  """A permutation in which nothing stays: one long ring."""
  order, ring = rng.permutation(count), np.empty(count, np.int64)
  ring[order] = np.roll(order, 1)
  return ring


def compose(
  by_domain: dict[str, list[Record]],
  shares: dict[str, float] | None,
  count: int,
  rng: np.random.Generator,
) -> list[Record]:
  """Draws a pool; where a domain has too few records, all of them."""
  sizes = {domain: len(rows) for domain, rows in by_domain.items()}
  if shares is None:
    total = sum(sizes.values())
    shares = {domain: size / total for domain, size in sizes.items()}
  planted = dict.fromkeys(JUNK, 0)
  pool: list[Record] = []
  for domain, share in shares.items():
    wanted = min(round(share * count), sizes[domain])
    drawn = rng.permutation(sizes[domain])[:wanted]
    pool += [by_domain[domain][i] | planted for i in drawn]
  return [pool[i] for i in rng.permutation(len(pool))]


def plant(pool: list[Record], rng: np.random.Generator) -> list[Record]:
  """Plants junk: swapped answers, word salad, near-duplicates.

  Answers are swapped inside a domain, so that style does not tell them. The
  words of a salad are its own, in another order. A near-duplicate stands in the
  place of another record, so that the pool keeps its size.
  """
  pool = [dict(record) for record in pool]
  order = rng.permutation(len(pool))
  ends = np.cumsum([round(share * len(pool)) for share in JUNK.values()])
  swapped, salad, near = np.split(order[: ends[-1]], ends[:-1])
  whole = order[ends[-1] :]
  by_domain = collections.defaultdict(list)
  for i in swapped:
    by_domain[pool[i]["domain"]].append(i)
  for rows in by_domain.values():
    ring = _derangement(len(rows), rng)
    outputs = [pool[rows[j]]["output"] for j in ring]
    for i, output in zip(rows, outputs, strict=True):
      pool[i] |= {"output": output, "swapped": int(len(rows) > 1)}
  for i in salad:
    words = str(pool[i]["output"]).split()
    pool[i] |= {"output": " ".join(rng.permutation(words)), "salad": 1}
  for i, j in zip(near, rng.choice(whole, len(near)), strict=True):
    prefix = _PREFIXES[rng.integers(len(_PREFIXES))]
    pool[i] = pool[j] | {
      "instruction": f"{prefix}{pool[j]['instruction']}",
      "near": 1,
    }
  return pool


def _write(path: pathlib.Path, records: Iterable[Record]) -> None:
  counts: collections.Counter[str] = collections.Counter()
  with path.open("w") as file:
    for record in records:
      file.write(json.dumps(record, ensure_ascii=False) + "\n")
      counts["records"] += 1
      counts[str(record.get("domain", "unpaired"))] += 1
      counts.update({name: int(record.get(name, 0)) for name in JUNK})
  print(f"{path.name}: {dict(counts)}")


if __name__ == "__main__":
  main()
