"""What the check tunes on: the selection, and examples of its rivals."""

import numpy as np
import pytest

from ila_jax.finetune import stage as finetune_stage
from ila_jax.run import context
from ila_jax.run.disk import files
from ila_jax.selection import scored_pool
from ila_jax.selection import stage as selection_stage
from tests.selection import stage_test as selected
from tests.support import reference_selection, tiny

workdir = selected.workdir


@pytest.mark.parametrize(
  "select",
  [
    {},
    {"cell_weight": 1.0},
    {"options": {"ila": {"rank_by": "relative_depth"}}},
    {"budget": 900.0, "unit": "tokens", "cell_weight": 0.5},
  ],
)
def test_the_first_arm_is_the_head_of_the_ranking(workdir, tmp_path, select):
  """Its weights of cells and its options are those of the selection."""
  for stage in ("pool", "embed", "score", "landscape"):
    (tmp_path / stage).symlink_to(workdir / stage)
  settings = {"budget": 60.0, "unit": "examples", "compare": ()} | select
  config = tiny.config(
    "none",
    **{f"select__{name}": value for name, value in settings.items()},
    finetune__compare=("coverage_only",),
  )
  run = tiny.run(config, tmp_path)
  selection_stage.run(context.Run(config, run.workdir, run.mesh))
  head = (tmp_path / "select/selected.jsonl").read_text().count("\n")
  ranking = files.read_table(tmp_path / "select/ranking.parquet")["row"]
  (first, rows), *rivals = finetune_stage._rows(run).items()
  assert (first.name, first.equal) == ("ila", "selection")
  assert rows.tolist() == ranking[:head].tolist()
  assert [arm.equal for arm, _ in rivals] == ["examples", "tokens"]
  assert len(rivals[0][1]) == head and rivals[0][1].tolist() != rows.tolist()


@pytest.mark.parametrize(
  ("tokens", "wanted", "told"), [(6, 3, 6), (3, 2, 3), (0, 2, None)]
)
def test_a_rival_is_told_how_many_tokens_it_is_to_match(tokens, wanted, told):
  """Of answers of 1 to 6 tokens; two examples at least."""
  pool = scored_pool.ScoredPool(np.arange(6), reference_selection.rising(6), 6)
  asked = finetune_stage._wanting(pool, 2, tokens).candidates
  assert (asked.wanted, asked.wanted_tokens) == (wanted, told)
