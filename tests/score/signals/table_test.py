"""Signals, one as the other."""

import pytest

from ila_jax.pool import shards
from ila_jax.run import account
from ila_jax.score.signals import table
from tests.support import tiny

# Those that read tokens, and need nothing beside the reference models.
_OF_MODELS = (
  *("answers_alone", "jsd_sft", "nll_of_earlier", "nll_warmed_up"),
  *("nll_without_prompt", "rds_embedding", "swapped_prompt", "token_gain"),
)


@pytest.mark.parametrize("name", _OF_MODELS)
def test_it_tells_how_far_it_is_by_batches(run, name):
  _, config, workdir = run
  signal, told = table.SIGNALS[name], []
  of_shard = signal.compute(
    tiny.run(config, workdir), account.Account(), told.append
  )
  rows = shards.read_records(workdir, 0, list(signal.reads))
  of_shard(rows)
  assert 0 < sum(told) <= len(rows) or name == "answers_alone"
