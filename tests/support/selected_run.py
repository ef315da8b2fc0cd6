"""A run that has selected, written by hand: no stage is run."""

import json
import pathlib

import numpy as np
import pyarrow as pa
from etils import epath

from ila_jax.export import example
from ila_jax.pool import records, shards
from ila_jax.run import stage_record, tables
from ila_jax.run.disk import files

_CALL = '[{"id": "c1", "name": "add", "arguments": {"x": 1, "y": "é"}}]'
_TOOLS = (
  '[{"name": "add", "description": "Adds.", "parameters": {"type": "object", '
  '"properties": {"x": {"type": "integer"}}}}]'
)
# A conversation of every kind that trainers tell apart.
KINDS = {
  "plain": [
    records.Turn("user", "1 + 1?"),
    records.Turn("assistant", "2 \u2028 ü"),
  ],
  "system": [
    records.Turn("system", "Be brief."),
    records.Turn("user", "Hi"),
    records.Turn("assistant", "Hello"),
    records.Turn("user", "And?"),
    records.Turn("assistant", "Nothing."),
  ],
  "thought": [
    records.Turn("user", "2 + 2?"),
    records.Turn("assistant", "4", thought="easy"),
  ],
  "tools": [
    records.Turn("tools", _TOOLS),
    records.Turn("user", "Add 1."),
    records.Turn("assistant", "", calls=_CALL),
    records.Turn("tool", "3", call_id="c1"),
    records.Turn("assistant", "It is 3."),
  ],
  "no_ids": [
    records.Turn("user", "Move."),
    records.Turn(
      "assistant",
      "",
      calls='[{"function": {"name": "go", "arguments": "{\\"to\\": [1]}"}}]',
    ),
    records.Turn("tool", "ok"),
    records.Turn("assistant", "Done."),
  ],
  "masked": [
    records.Turn("user", "Bad?"),
    records.Turn("assistant", "Not to be learnt", is_learnt=False),
    records.Turn("user", "Good?"),
    records.Turn("assistant", "To be learnt"),
  ],
}


def examples() -> list[example.Example]:
  """One example of each kind, in the order of `KINDS`."""
  return [
    example.Example(
      id=f"{records.example_id(tuple(turns)):016x}",
      source=kind,
      rank=place,
      depth=1.0 / place,
      cell=place % 3,
      nll_base=2.0 + place,
      nll_sft=1.0 + place,
      n_tokens=10 * place,
      turns=turns,
      record=json.dumps({"kind": kind, "of": [place, 0.10, None]}),
    )
    for place, (kind, turns) in enumerate(KINDS.items(), 1)
  ]


def write(workdir: pathlib.Path, *, shard: int = 4, spare: int = 5) -> None:
  """Writes a run that has chosen `examples()`.

  Args:
    workdir: of the run.
    shard: examples of a shard of the pool.
    spare: examples that are ranked and not chosen.
  """
  workdir = epath.Path(workdir)
  chosen = examples()
  for name in ("pool", "embed", "score", "landscape", "select"):
    stage = stage_record.Stage(workdir, name, {"name": name})
    stage.begin()
    stage.finish(selected=len(chosen), read=20, used=11, rejected=9, distinct=1)
  count = len(chosen) + spare
  # The chosen stand in the pool in another order than that of their ranks.
  row_of = np.random.default_rng(0).permutation(count)
  others = [
    chosen[0]._replace(source="other", turns=[*chosen[0].turns])
  ] * spare
  by_row = sorted(zip(row_of.tolist(), chosen + others, strict=True))
  pool = [one for _, one in by_row]
  ids = np.arange(count).astype(np.uint64)
  for number in range(-(-count // shard)):
    part = slice(number * shard, (number + 1) * shard)
    shards.write_records(
      workdir,
      number,
      pa.table(
        {
          "row": np.arange(count)[part],
          "id": ids[part],
          "record": [one.record for one in pool[part]],
          "turns": [one.turns for one in pool[part]],
          "tokens": [[1]] * len(pool[part]),
          "is_response": [[True]] * len(pool[part]),
        },
        schema=shards.SCHEMA,
      ),
    )
  rows = np.arange(count)
  files.write_table(
    tables.INDEX.path(workdir),
    {
      "row": rows,
      "source": [one.source for one in pool],
      "n_prompt_tokens": np.full(count, 7, np.int32),
      "n_response_tokens": np.array([one.n_tokens for one in pool], np.int32),
      "truncated": np.array([one.source == "masked" for one in pool]),
    },
  )
  files.write_table(
    tables.SCORES.path(workdir),
    {
      "row": rows,
      "nll_base": np.array([one.nll_base for one in pool], np.float32),
      "nll_sft": np.array([one.nll_sft for one in pool], np.float32),
      "n_tokens": np.array([one.n_tokens for one in pool], np.int32),
    },
  )
  ranked = chosen + others
  files.write_table(
    tables.RANKING.path(workdir),
    {
      "row": row_of,
      "id": [one.id for one in ranked],
      "rank": np.arange(1, count + 1),
      "cell": np.array([one.cell for one in ranked], np.int32),
      "depth": np.array([one.depth for one in ranked], np.float32),
    },
  )
  files.write_lines(
    tables.SELECTED.path(workdir), (one.record + "\n" for one in chosen)
  )
  table = {"strategy": "ila", "n_examples": 6, "n_tokens": 210}
  files.write_json(
    tables.COVERAGE.path(workdir), {"table": [table | {"pool_cells": 0.5}]}
  )
  files.write_json(
    tables.MANIFEST.path(workdir),
    {
      tables.OURS: "0.1.0",
      "commit": "abc",
      "config": {
        "pool": {"source": ["/home/me/a.jsonl", "hf:ORG/b/train"]},
        "select": {"budget": 6.0, "unit": "examples"},
      },
    },
  )
