"""What of a run the interactive map shows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from ila_jax import artifacts, explore, provenance, shards
from ila_jax.stages import scoring as scoring_stage


def points(
  workdir: epath.Path, *, selected: bool, limit: int = explore.MAX_POINTS
) -> explore.Points:
  """What the map to explore shows; a draw of the pool where it is large.

  Args:
    workdir: folder of the run.
    selected: whether the stage `select` has run.
    limit: examples that the page shows, at most.
  """
  cells = artifacts.read_table(
    workdir / "landscape/cells.parquet",
    ["row", "id", "x", "y", "cell", "depth", "relative_depth"],
  )
  row, count = cells["row"], len(cells["row"])
  reference = np.isin(row, scoring_stage.reference_rows(workdir))
  rank, rounds = np.zeros((2, count), np.int32)
  chosen = np.zeros(count, bool)
  if selected:
    ranking = artifacts.read_table(workdir / "select/ranking.parquet")
    record = provenance.read_record(workdir / "select")
    place = np.searchsorted(row, ranking["row"])
    rank[place], rounds[place] = ranking["rank"], ranking["round"]
    chosen[place[: record["selected"]]] = True
  first = chosen | reference
  keep = explore.choose(cells["id"], first, limit=limit)
  row = row[keep]
  index = _index(workdir, row, ["source", "domain", "n_response_tokens"])
  return explore.Points(
    id=cells["id"][keep],
    instruction=_instructions(workdir, row),
    xy=np.stack([cells["x"], cells["y"]], axis=1)[keep],
    depth=cells["depth"][keep],
    relative_depth=cells["relative_depth"][keep],
    cell=cells["cell"][keep],
    n_tokens=index["n_response_tokens"],
    source=index["source"],
    domain=index["domain"],
    rank=rank[keep],
    round=rounds[keep],
    selected=chosen[keep],
    reference=reference[keep],
    pool_size=count,
    selected_size=int(chosen.sum()),
    kept_size=int(first.sum()),
  )


def _index(
  workdir: epath.Path, row: np.ndarray, columns: list[str]
) -> dict[str, np.ndarray]:
  """Columns of ascending rows of the pool, a part of it at a time."""
  found, start = [], 0
  with artifacts.reading(workdir / "pool/index.parquet") as file:
    for part in pq.ParquetFile(file).iter_batches(columns=columns):
      begin, end = np.searchsorted(row, [start, start + part.num_rows])
      found.append(part.take(row[begin:end] - start))
      start += part.num_rows
  return artifacts.to_numpy(pa.Table.from_batches(found))


def _instructions(workdir: epath.Path, row: np.ndarray) -> list[str]:
  """The prompts of ascending rows, cut as they are read: a shard is held."""
  texts = []
  for table in shards.iterate(workdir, ["row", "prompt"]):
    wanted = np.isin(table.column("row").to_numpy(), row)
    found = table.column("prompt").filter(wanted)
    texts += [explore.brief(text.as_py()) for text in found]
  return texts
