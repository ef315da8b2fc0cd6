"""What DSIR's and ZIP-FIT's own packages say of a few texts.

    python -m venv /tmp/witness
    /tmp/witness/bin/pip install data-selection==1.0.3 zip-fit==1.0.9 \
        zstandard brotli
    /tmp/witness/bin/python -m tests.support.text_witness

prints `WEIGHTS` and `SCORES` below; the tests import these, and not the
packages. DSIR keeps texts of any length here.
"""

import json
import pathlib
import tempfile

POOL = (
  "Add 3 and 4.\n3 + 4 = 7, so the answer is 7.",
  "Tom has 12 eggs and eats 5. How many are left?\n12 - 5 = 7 eggs are left.",
  "Name a river in France.\nThe Seine, which flows through Paris.",
  "Write a poem.\nThe sea is wide, the sea is blue, the sea is you.",
  "Où est l'école ?\nÀ côté du café.",
  "",
)
TARGET = (
  "Anna has 3 eggs and buys 9. How many has she?\n3 + 9 = 12 eggs.",
  "Add 20 and 22.\n20 + 22 = 42, so the answer is 42.",
  "Share 12 apples among 4.\n12 / 4 = 3 apples each.",
)
# The logarithm of each text's importance, by data-selection 1.0.3.
WEIGHTS = (
  *(-142.61305453288395, -359.311423984547, -297.72972454212925),
  *(-354.7868757715161, -253.57232487822296, 0.0),
)
# 1 - the mean NCD to the target, by zip-fit 1.0.9 with gzip at level 9.
SCORES = (
  *(0.4854946506050072, 0.3950617283950617, 0.3539094650205762),
  *(0.33806739069896974, 0.2990949596212754, 0.30465051517683106),
)


def _weights() -> list[float]:
  import data_selection

  with tempfile.TemporaryDirectory() as folder:
    paths = []
    for name, texts in (("pool", POOL), ("target", TARGET)):
      paths.append(pathlib.Path(folder) / f"{name}.jsonl")
      lines = (json.dumps({"text": text}) + "\n" for text in texts)
      paths[-1].write_text("".join(lines))
    dsir = data_selection.HashedNgramDSIR(
      [str(paths[0])],
      [str(paths[1])],
      cache_dir=f"{folder}/cache",
      num_proc=1,
      min_example_length=0,
    )
    dsir.fit_importance_estimator(num_tokens_to_fit="all")
    weigh = dsir.importance_estimator
    return [float(weigh(dsir.featurizer(text))) for text in POOL]


def _scores() -> list[float]:
  from zip_fit import ZIPFIT

  with tempfile.TemporaryDirectory() as folder:
    one = ZIPFIT(
      source_dataset=f"{folder}/pool.jsonl",
      target_dataset=f"{folder}/target.jsonl",
      k=len(POOL),
      output_file=f"{folder}/out.jsonl",
      compression_algorithm="gzip",
      compress_level=9,
    )
    alone = [[one.compress(text) for text in own] for own in (POOL, TARGET)]
    found = []
    for text, size in zip(POOL, alone[0], strict=True):
      distances = [
        one.normalized_compression_distance(
          size, other, one.compress(text + target)
        )
        for target, other in zip(TARGET, alone[1], strict=True)
      ]
      found.append(1 - sum(distances) / len(distances))
    return found


if __name__ == "__main__":
  print("WEIGHTS =", _weights())
  print("SCORES =", _scores())
