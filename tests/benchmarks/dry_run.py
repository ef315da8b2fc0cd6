"""What --dry-run foretells, beside what the run then takes, by stage.

python -m tests.benchmarks.dry_run [--source POOL] [--encoder lsa] [--tiny]

The dry run and the run have a process each, as on the command line, and one
after the other: the machine must be quiet, for both are timed. A factor of 1.5
is what a dry run promises; stages of under five seconds are shown only.
"""

import argparse
import json
import multiprocessing
import pathlib
import tempfile

from ila_jax import config as config_lib
from ila_jax import config_parsing, pipeline
from ila_jax.dry_run import dry_run
from tests.support import tiny

_PROMISED = 1.5
_SHORT_SECONDS = 5.0


def _config(options: argparse.Namespace) -> config_lib.Config:
  from ila_jax.configs import quickstart

  if options.tiny:
    return tiny.config(
      options.source or "docstrings:json,email,logging",
      score__reference_seeds=(0,),
      finetune__compare=(),
      scaling__subsets=2,
      scaling__held_out=0,
    )
  config = quickstart.get_config()
  if options.source:
    config.pool.source = options.source
  config.encoder.path = options.encoder
  return config_parsing.parse(config)


def foretell(options: argparse.Namespace, workdir: str) -> dict[str, float]:
  """Seconds by stage, before the run."""
  found = dry_run.run(_config(options), workdir)
  return {name: cost.seconds for name, cost in found.items()}


def take(options: argparse.Namespace, workdir: str) -> dict[str, float]:
  """Seconds by stage, of the run itself."""
  pipeline.run(_config(options), workdir)
  manifest = json.loads((pathlib.Path(workdir) / "manifest.json").read_text())
  return {name: s["seconds"] for name, s in manifest["stages"].items()}


def main() -> None:
  flags = argparse.ArgumentParser(prog="python -m tests.benchmarks.dry_run")
  flags.add_argument("--tiny", action="store_true", help="a trial")
  flags.add_argument("--source", default="", help="a pool; '': docstrings")
  flags.add_argument("--encoder", default="lsa", help="or an encoder's folder")
  options = flags.parse_args()
  seconds = []
  with tempfile.TemporaryDirectory() as folder:
    for work in (foretell, take):
      # A fork has what is imported here, which is most of a trial's time.
      start = "fork" if options.tiny else "spawn"
      with multiprocessing.get_context(start).Pool(1) as pool:
        seconds.append(pool.apply(work, (options, f"{folder}/run")))
  foretold, taken = seconds
  print("| stage | foretold | taken | factor |")
  print("|---|---|---|---|")
  factors = {}
  for name in foretold:
    here, there = foretold[name], taken[name]
    if max(here, there) >= _SHORT_SECONDS:
      factors[name] = round(max(here / there, there / here), 3)
    print(f"| {name} | {here:.1f} s | {there:.1f} s | {here / there:.2f} |")
  worst = max(factors.values(), default=1.0)
  print(f"\nThe worst factor is {worst}; {_PROMISED} is promised.")
  print(
    json.dumps(
      {
        "benchmark": "dry_run",
        "ours": sum(foretold.values()),
        "rivals": {"the run itself": sum(taken.values())},
        "quality": factors | {"worst": worst, "promised": _PROMISED},
        "work": options.source or "the quickstart's pool",
      }
    )
  )


if __name__ == "__main__":
  main()
