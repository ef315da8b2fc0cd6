"""What a rival of the fine-tune check is asked for."""

import numpy as np
import pytest

from ila_jax.finetune import stage
from ila_jax.methods import candidates
from ila_jax.selection import scored_pool


@pytest.mark.parametrize(
  ("tokens", "wanted", "told"), [(6, 3, 6), (3, 2, 3), (0, 2, None)]
)
def test_a_rival_is_told_how_many_tokens_it_is_to_match(tokens, wanted, told):
  """Of answers of 1 to 6 tokens; two examples at least."""
  rows = np.arange(6)
  c = candidates.candidates(
    rows.astype(np.uint64),
    cell=0 * rows,
    depth=1.0 * rows,
    relative_depth=1.0 * rows,
    n_tokens=rows + 1,
    domain=0 * rows,
    candidate=rows >= 0,
    seed=0,
  )
  pool = scored_pool.ScoredPool(rows, c, 6)
  asked = stage._wanting(pool, 2, tokens).candidates
  assert (asked.wanted, asked.wanted_tokens) == (wanted, told)
