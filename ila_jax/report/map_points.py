"""What the examples of a run say: for the map to explore and the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath

from ila_jax.pool import records, shards
from ila_jax.pool.conversations import conversation
from ila_jax.report import map_page
from ila_jax.run import stage_record, tables, units
from ila_jax.run.disk import columns as columns_lib
from ila_jax.run.disk import files
from ila_jax.score import split
from ila_jax.score.signals import scores

# Chosen examples that the report shows, the first and the last in rank.
_SHOWN = 12
# Rows of the index that are held at once.
_PART_ROWS = 65_536
# Of a conversation: turns before the response on the map to explore, and
# characters of the question and of each other turn.
_TURNS, _QUESTION_CHARACTERS, _TURN_CHARACTERS = 4, 120, 40
# Characters of a prompt that stands in a table, and of a prompt or response
# among others.
_PROMPT_CHARACTERS, _TEXT_CHARACTERS = 300, 600


def points(
  workdir: epath.Path, *, selected: bool, limit: int = map_page.MAX_POINTS
) -> map_page.Points:
  """What the map to explore shows; a draw of the pool where it is large.

  Args:
    workdir: folder of the run.
    selected: whether the stage `select` has run.
    limit: examples that the page shows, at most.
  """
  cells = files.read_table(
    tables.CELLS.path(workdir),
    ["row", "id", "x", "y", "cell", "depth", "relative_depth"],
  )
  row, count = cells["row"], len(cells["row"])
  reference = np.isin(row, split.reference_rows(workdir))
  rank, rounds = np.zeros((2, count), np.int32)
  chosen = np.zeros(count, bool)
  if selected:
    path = tables.RANKING.path(workdir)
    ranking = files.read_table(path, ["row", "rank", "round"])
    record = stage_record.read_record(workdir / "select")
    place = np.searchsorted(row, ranking["row"])
    rank[place], rounds[place] = ranking["rank"], ranking["round"]
    chosen[place[: record["selected"]]] = True
  first = chosen | reference
  keep = map_page.choose(cells["id"], first, limit=limit)
  row = row[keep]
  names = [one["name"] for one in scores.noted(workdir)]
  index = _index(workdir, row, ["source", "domain", "n_response_tokens"])
  return map_page.Points(
    id=units.id_text(cells["id"][keep]).astype(np.str_),
    **_texts(workdir, row),
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
    scores=scores.read(workdir, names, row),
    pool_size=count,
    selected_size=int(chosen.sum()),
    kept_size=int(first.sum()),
  )


def _index(
  workdir: epath.Path, row: np.ndarray, columns: list[str]
) -> dict[str, np.ndarray]:
  """Columns of ascending rows of the pool, a part of it at a time."""
  parts, start = [], 0
  index = tables.INDEX.path(workdir)
  for part in files.read_parts(index, columns, rows=_PART_ROWS):
    begin, end = np.searchsorted(row, [start, start + part.num_rows])
    parts.append(part.take(row[begin:end] - start))
    start += part.num_rows
  return columns_lib.to_numpy(pa.Table.from_batches(parts))


def _texts(workdir: epath.Path, row: np.ndarray) -> dict[str, list[str]]:
  """What ascending rows say, cut as it is read: one shard is held."""
  said: dict[str, list[str]] = {"instruction": [], "response": [], "roles": []}
  for table in shards.iterate(workdir, ["row", "turns"]):
    wanted = np.isin(table.column("row").to_numpy(), row)
    for turns in shards.turns_of(table.filter(wanted)):
      response = conversation.said(conversation.response(turns))
      said["instruction"].append(_prompt(turns))
      said["response"].append(map_page.brief(response))
      said["roles"].append(map_page.brief(conversation.roles(turns)))
  return said


def _prompt(turns: Sequence[records.Turn]) -> str:
  """What precedes the response: a question, or a line for each of some turns.

  Of many turns the last ones are shown; where they do not end in the question,
  as where tools were called, it stands above them.
  """
  question = conversation.question(turns)
  before = turns[: conversation.response_place(turns)]
  if len(before) < 2:
    return map_page.brief(conversation.said(question))
  shown = [*before[-_TURNS:]]
  if question not in shown:
    shown[0] = question
  return "\n".join(
    map_page.brief(
      f"{turn.role}: {conversation.said(turn)}",
      most=_QUESTION_CHARACTERS if turn is question else _TURN_CHARACTERS,
    )
    for turn in shown
  )


def examples(
  workdir: epath.Path, ranking: dict[str, np.ndarray], k: int
) -> list[dict[str, Any]]:
  """What the report shows of the first and the last of the k chosen.

  Args:
    workdir: folder of the run.
    ranking: columns row, rank, id and depth, in the order of the ranks.
    k: how many were chosen.
  """
  shown = np.unique(np.r_[: min(_SHOWN, k), max(k - _SHOWN, 0) : k])
  table = shards.gather(workdir, ranking["row"][shown], ["turns"])
  return [
    {
      "rank": int(ranking["rank"][place]),
      "id": str(ranking["id"][place]),
      "depth": float(ranking["depth"][place]),
      "turns": turns,
      "place": conversation.response_place(turns),
    }
    for place, turns in zip(shown, shards.turns_of(table), strict=True)
  ]


def prompts(workdir: epath.Path, rows: np.ndarray) -> dict[int, str]:
  """How the prompts of some rows begin, as they are embedded."""
  table = shards.gather(workdir, rows, ["turns"])
  return {
    int(row): map_page.brief(
      conversation.request(turns), most=_PROMPT_CHARACTERS
    )
    for row, turns in zip(rows, shards.turns_of(table), strict=True)
  }


def said(workdir: epath.Path, rows: np.ndarray) -> dict[int, dict[str, str]]:
  """How prompt and response of some rows begin."""
  table = shards.gather(workdir, rows, ["turns"])
  most = _TEXT_CHARACTERS
  return {
    int(row): {
      "prompt": map_page.brief(conversation.request(turns), most=most),
      "response": map_page.brief(
        conversation.said(conversation.response(turns)), most=most
      ),
    }
    for row, turns in zip(rows, shards.turns_of(table), strict=True)
  }
