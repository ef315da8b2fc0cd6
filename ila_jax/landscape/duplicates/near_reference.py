"""Cosines of all examples to the reference set, and their false depth."""

from typing import Any

import numpy as np

from ila_jax.embed import rows
from ila_jax.landscape import depth
from ila_jax.landscape.duplicates import false_depth, pairs
from ila_jax.pool import index
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
