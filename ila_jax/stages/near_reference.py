"""How near every example is to the reference set, and whether it shows."""

from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import artifacts, draws, false_depth, metrics, near_duplicates
from ila_jax import config as config_lib
from ila_jax.stages import embedding
from ila_jax.stages import scoring as scoring_stage

COSINES = "near_reference.parquet"
# Placebos, each as large as R.
_PLACEBOS = 3


def run_into(
  config: config_lib.Config,
  workdir: epath.Path,
  mesh: Mesh,
  folder: epath.Path,
  cells: dict[str, np.ndarray],
) -> dict[str, Any]:
  """Cosines to R, written; and whether those near it gain false depth."""
  row = cells["row"]
  x = embedding.Rows(workdir, row)
  index = artifacts.read_table(
    workdir / "pool/index.parquet", ["split", "prompt_id"]
  )
  in_reference = np.isin(row, scoring_stage.reference_rows(workdir))
  free = (index["split"][row] == "pool") & ~in_reference
  reference = np.flatnonzero(in_reference)
  nearest, cosine = _closest(x, reference, len(row), mesh)
  artifacts.write_table(
    folder / COSINES,
    {
      "row": row,
      "id": cells["id"],
      "reference_row": row[nearest],
      "cosine": cosine,
    },
  )
  placebos = []
  for placebo in range(_PLACEBOS):
    drawn = draws.draw(
      index["prompt_id"][row],
      count=min(len(reference), int(free.sum()) // 2),
      seed=config.seed,
      purpose=f"placebo {placebo}",
      allowed=free,
    )
    source, near = _closest(x, np.flatnonzero(drawn), len(row), mesh)
    placebos.append((source[free], np.where(drawn, np.nan, near)[free]))
  scores = artifacts.read_table(workdir / "score/scores.parquet")
  depth = (scores["nll_base"] - scores["nll_sft"]) / scores["n_tokens"]
  pool = free | in_reference
  above = np.full(len(row), np.nan)
  above[pool] = false_depth.above_like(
    *(v[pool] for v in (depth, scores["n_tokens"], cells["domain"]))
  )
  bands = false_depth.check(
    above[free],
    false_depth.Nearest(nearest[None, free], cosine[None, free]),
    false_depth.Nearest(*map(np.stack, zip(*placebos, strict=True))),
    seed=config.seed,
  )
  verdict = false_depth.verdict(bands)
  metrics.say(f"  {verdict}")
  own = false_depth.own_gain(above[pool], in_reference[pool])
  return {"false_depth": {"own": own, "bands": bands, "verdict": verdict}}


def _closest(
  x: embedding.Rows, places: np.ndarray, rows: int, mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
  """Place of the nearest of some rows, and the cosine to it; -1 of none."""
  if not len(places):
    return np.full(rows, -1), np.full(rows, -1, np.float32)
  nearest, cosine = near_duplicates.closest(x, x[places], rows=rows, mesh=mesh)
  return places[nearest], cosine
