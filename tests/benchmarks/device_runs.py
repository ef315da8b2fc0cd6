"""Whole runs on the devices here: from the pool to the selection, twice.

    python -m tests.benchmarks.device_runs [--signals]

Two processes run the quickstart's pipeline, small, on the docstrings of the
installed packages, enough of them for a t-SNE by a grid. Both must choose the
same records in the same order, and hold the same losses and the same map to the
bit. Each compiles for itself, for a GPU chooses among its kernels by trying.
`ila verify` then computes a part of the second's losses and embeddings again.

With `--signals` the selection is compared with methods that need passes of
their own: the features of a sparse autoencoder, gradients of low-rank adapters,
hidden states, losses under noise, divergences. What they read is compared, too.
"""

import hashlib
import pathlib
import subprocess
import sys
import tempfile
import time

from tests.benchmarks import device

_STAGES = "pool,embed,score,landscape,select"
_SETTINGS = {
  "pool.source": "docstrings:numpy,scipy,jax",
  "pool.limit": 1800,
  "pool.max_reject_fraction": 0.9,
  "model.scratch.source": "docstrings:json,argparse,asyncio,email",
  "model.scratch.epochs": 1.0,
  "score.epochs": 1.0,
  "landscape.iterations": 300,
}
_TINY = {
  "pool.limit": 240,
  "pool.dev_examples": 20,
  "score.reference_examples": 30,
  "landscape.iterations": 100,
}
_SIGNALS = {
  "select.target": "docstrings:statistics,fractions,decimal",
  "select.compare": (
    *("sae_greedy", "less", "rds_plus", "tshirt", "paser"),
    *("kcenter", "facility_location", "semdedup"),
  ),
  "sae.latents": 512,
  "pool.limit": 600,
  "pool.dev_examples": 60,
  "score.reference_examples": 60,
}
_COMPARED = (
  *("score/scores.parquet", "landscape/cells.parquet"),
  *("select/ranking.parquet", "select/selected.jsonl"),
)


def _made(workdir: pathlib.Path) -> list[str]:
  """The files that are compared: also the signals and sets, where they are."""
  made = [
    path.relative_to(workdir).as_posix()
    for folder in ("signals", "beside")
    for path in sorted((workdir / folder).rglob("values*.npy"))
  ]
  return [*_COMPARED, *made]


def _digest(file: pathlib.Path) -> str:
  return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def main() -> None:
  """Runs both, and exits with 1 where a file of one differs."""
  parser = device.flags(__doc__)
  parser.add_argument("--signals", action="store_true", help="of more methods")
  options = parser.parse_args()
  settings = _SETTINGS | (_SIGNALS if options.signals else {})
  settings |= _TINY if options.tiny else {}
  flags = [f"--config.{name}={value}" for name, value in settings.items()]
  seconds, digests = [], []
  with tempfile.TemporaryDirectory() as folder:
    for name in ("first", "second"):
      workdir = pathlib.Path(folder) / name
      command = [sys.executable, "-m", "ila_jax", "--stages", _STAGES]
      command += ["--config", "configs/quickstart.py", "--workdir", workdir]
      begin = time.perf_counter()
      subprocess.run([*command, *flags], check=True)
      seconds.append(time.perf_counter() - begin)
      digests.append({f: _digest(workdir / f) for f in _made(workdir)})
    verify = [sys.executable, "-m", "ila_jax", "verify", workdir]
    subprocess.run(verify, check=True)
  first, second = digests
  files = {*first, *second}
  differ = sorted(f for f in files if first.get(f) != second.get(f))
  quality = {
    "files": len(files),
    "files_that_differ": differ,
    "seconds": seconds,
  }
  device.report("device_runs", seconds[-1], quality, vars(options))
  if differ:
    raise SystemExit(f"device_runs: two runs differ in {', '.join(differ)}")


if __name__ == "__main__":
  main()
