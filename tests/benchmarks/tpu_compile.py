"""Every jitted program, compiled for TPUs that nobody needs to have.

python -m tests.benchmarks.tpu_compile [--only REGEX] [--on REGEX] [--renew]

For each kind of TPU, of 8 and 16 devices and in several meshes, prints bytes on
a device, the kernels and collectives of a program, and the time it took to
compile. --renew writes the table that tests/compute/topologies_test.py compares
with, for the places that it looks at. Wants
pip install 'ila_jax[tpu-compile]', and Linux on x86.
"""

import argparse
import os
import re

_GIB = 2**30


def main() -> None:
  flags = argparse.ArgumentParser(prog="python -m tests.benchmarks.tpu_compile")
  flags.add_argument(
    "--only", default="", help="a regular expression: programs"
  )
  flags.add_argument("--on", default="", help="a regular expression: places")
  flags.add_argument("--renew", action="store_true", help="write the table")
  options = flags.parse_args()
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  from tests.support import tpu_facts, tpu_programs

  places = tpu_programs.KEPT if options.renew else tpu_programs.SWEEP
  columns = "arguments, GiB", "peak, GiB", "kernels", "collectives", "s"
  print(f"| place | program | {' | '.join(columns)} |")
  print("|---" * (2 + len(columns)) + "|")
  for place, names in places.items():
    if not re.search(options.on, place.name):
      continue
    mesh = place.mesh()
    for name in names:
      if not re.search(options.only, name):
        continue
      lowered = tpu_programs.lower(name, mesh)
      _, facts = tpu_facts.compile_for_tpu(lowered)
      print(
        f"| {place.name} | {name} | {facts.arguments / _GIB:.2f} "
        f"| {facts.peak / _GIB:.2f} | {facts.kernels} "
        f"| {sum(facts.collectives.values())} | {facts.seconds:.0f} |",
        flush=True,
      )
      assert not facts.has_float64, name
      if options.renew:
        text = tpu_facts.text_hash(lowered)
        found = {name: tpu_facts.entry(facts, text)}
        tpu_facts.write_table({place.name: found})


if __name__ == "__main__":
  main()
