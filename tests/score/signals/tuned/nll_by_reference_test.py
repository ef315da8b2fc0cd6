"""Losses by reference set are those of the shards, and their mean the score."""

import numpy as np
import pyarrow as pa
import pytest
from etils import epath

from ila_jax import errors
from ila_jax.run import account, tables
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal
from ila_jax.score.signals.tuned import nll_by_reference
from tests.landscape.trust import write_test
from tests.support import planned, tiny


@pytest.mark.parametrize("method", ["full", "lora"])
def test_their_mean_and_deviation_are_the_scores(tmp_path, method):
  """Of whole models, scored in a pass each, and of adapters, in one pass."""
  workdir = epath.Path(tmp_path)
  pool = write_test.write_pool(workdir, adapters=method == "lora")
  config = tiny.config(
    "pool.jsonl", score__reference_seeds=(0, 1), train__method=method
  )
  here = tiny.run(config, workdir)
  of_shard = nll_by_reference.SIGNAL.compute(here, account.Account(), print)
  row = np.random.default_rng(0).permutation(write_test.N)[:50]
  found = of_shard(pa.table({"row": row}))
  np.testing.assert_array_equal(found, pool["sft"][:, row].T)
  scores = files.read_table(tables.SCORES.path(workdir))
  np.testing.assert_allclose(found.mean(axis=1), scores["nll_sft"][row])
  np.testing.assert_allclose(
    found.std(axis=1, ddof=1), scores["nll_sft_std"][row], rtol=1e-3
  )


def test_that_of_one_set_is_one_column(tmp_path):
  workdir = epath.Path(tmp_path)
  pool = write_test.write_pool(workdir)
  config = tiny.config("pool.jsonl", score__reference_seeds=(1,))
  here = tiny.run(config, workdir)
  of_shard = nll_by_reference.SIGNAL.compute(here, account.Account(), print)
  row = np.arange(write_test.N)
  found = of_shard(pa.table({"row": row}))
  np.testing.assert_array_equal(found, pool["sft"][1])


def test_they_come_in_the_order_of_the_seeds(run):
  _, config, workdir = run
  example_signal.run(nll_by_reference.SIGNAL, tiny.run(config, workdir))
  row = np.arange(60)
  found = example_signal.read(workdir, "nll_by_reference", row)
  assert config.score.reference_seeds == (1, 0)
  for place, seed in enumerate(config.score.reference_seeds):
    of_seed = f"score/sft-{seed}-*.parquet"
    held = [files.read_table(p) for p in sorted(workdir.glob(of_seed))]
    own = np.concatenate([table["nll_0"] for table in held])
    np.testing.assert_array_equal(found[:, place], own)


def test_it_asks_no_model():
  assert nll_by_reference.SIGNAL.cost(planned.run()).seconds == 0
  config = tiny.config("pool.jsonl", score__reference_seeds=(3, 1, 4))
  assert nll_by_reference.SIGNAL.width_of(config) == 3


@pytest.mark.parametrize("field", ["select__strategy", "finetune__compare"])
def test_one_reference_set_is_refused_before_the_run(field):
  chosen = "ila_shrunk" if field == "select__strategy" else ("ila_shrunk",)
  more = {field: chosen, "score__reference_seeds": (7,)}
  with pytest.raises(errors.InputError, match=r"is \(7,\), .*two or more.*out"):
    tiny.config("pool.jsonl", **more)
  tiny.config("pool.jsonl", **(more | {"score__reference_seeds": (7, 8)}))
