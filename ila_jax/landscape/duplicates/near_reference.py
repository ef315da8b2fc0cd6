"""Cosines of all examples to the reference set, and to evaluation sets.

Those near the reference set may have false depth.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from jaxtyping import Bool, Float, Int

from ila_jax.embed import rows
from ila_jax.landscape import depth
from ila_jax.landscape.duplicates import false_depth, pairs
from ila_jax.pool import index
from ila_jax.pool.contamination import evaluation
from ila_jax.run import context, draws, progress, tables
from ila_jax.run.disk import files
from ila_jax.score import split

# Placebos, each as large as R.
_PLACEBOS = 3


def run_into(
  run: context.Run,
  cells: dict[str, np.ndarray],
  x: rows.Rows,
) -> dict[str, Any]:
  """Writes cosines to R; checks whether examples near it gain false depth.

  Args:
    run: with cells, scores and embeddings.
    cells: columns `row`, `id` and `domain` of the scored rows.
    x: their embeddings.

  Returns:
    `false_depth`: own (gain of R itself), bands and verdict.
  """
  config, workdir, row = run.config, run.workdir, cells["row"]
  subsets, free = _subsets(run, row)
  in_reference = subsets[0]
  places = [np.flatnonzero(subset) for subset in subsets]
  with progress.counter(
    len(row), desc="near the reference", unit="examples"
  ) as advance:
    nearest, cosine = pairs.closest(
      x,
      [x[own] for own in places],
      rows=len(row),
      mesh=run.mesh,
      on_rows=advance,
    )
  for own, source in zip(places, nearest, strict=True):
    if len(own):
      source[:] = own[source]
  files.write_table(
    tables.NEAR_REFERENCE.path(workdir),
    {
      "row": row,
      "id": cells["id"],
      "reference_row": row[nearest[0]],
      "cosine": cosine[0],
    },
  )
  cosine[subsets] = np.nan  # of an example to itself
  scores = files.read_table(tables.SCORES.path(workdir))
  place = np.searchsorted(scores["row"], row)
  scores = {name: values[place] for name, values in scores.items()}
  n_tokens = scores["n_tokens"]
  one = np.ones_like(n_tokens)  # One label: losses alone are compared.
  losses = scores["nll_base"], scores["nll_sft"]
  gain = depth.ila(*losses, n_tokens, one, cells["domain"])
  pool = free | in_reference
  above = np.full(len(row), np.nan)
  above[pool] = false_depth.above_like(
    *(v[pool] for v in (gain, n_tokens, cells["domain"]))
  )
  bands = false_depth.check(
    above[free],
    false_depth.Nearest(nearest[:1, free], cosine[:1, free]),
    false_depth.Nearest(nearest[1:, free], cosine[1:, free]),
    seed=config.seed,
  )
  verdict = false_depth.verdict(bands)
  progress.say(f"  {verdict}")
  own = false_depth.own_gain(above[pool], in_reference[pool])
  return {"false_depth": {"own": own, "bands": bands, "verdict": verdict}}


def _subsets(
  run: context.Run, row: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """R and the placebos, bool [m, n], and the rows that may be selected [n].

  Placebos are drawn as R was, of examples that no model was tuned on.
  """
  config, workdir = run.config, run.workdir
  in_reference = np.isin(row, split.reference_rows(workdir))
  free = ~index.is_dev(workdir)[row] & ~in_reference
  prompt_ids = index.column(workdir, "prompt_id")[row]
  placebos = [
    draws.draw(
      prompt_ids,
      count=min(int(in_reference.sum()), int(free.sum()) // 2),
      seed=config.seed,
      purpose=f"placebo {placebo}",
      allowed=free,
    )
    for placebo in range(_PLACEBOS)
  ]
  return np.stack([in_reference, *placebos]), free


def write_evaluation(
  workdir: epath.Path,
  records: Sequence[evaluation.Record],
  nearest: Int[np.ndarray, " n"],
  cosine: Float[np.ndarray, " n"],
) -> None:
  """Writes the evaluation prompt that is nearest to every row of the pool.

  Args:
    workdir: of the run.
    records: of the evaluation sets.
    nearest: place among the records; -1: there is none.
    cosine: to its prompt; -1: nothing was compared.
  """
  place = pa.array(nearest, mask=(nearest < 0) | (cosine < -0.5))

  def column(name: str, kind: pa.DataType) -> pa.Array:
    values = pa.array([getattr(one, name) for one in records], kind)
    return values.take(place)

  ids = files.read_table(tables.INDEX.path(workdir), ["id"])["id"]
  files.write_table(
    tables.NEAR_EVALUATION.path(workdir),
    {
      "row": np.arange(len(ids)),
      "id": ids,
      "file": column("file", pa.string()),
      "line": column("line", pa.int64()),
      "cosine": cosine,
    },
  )


def is_near_evaluation(
  run: context.Run, row: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
  """Which rows of the pool are as near to an evaluation set as may not be."""
  limit = run.config.select.exclude_near_evaluation
  if limit is None:
    return np.zeros(len(row), np.bool_)
  path = tables.NEAR_EVALUATION.path(run.workdir)
  cosine = files.read_table(path, ["cosine"])["cosine"]
  return cosine[row] >= np.float32(limit)
