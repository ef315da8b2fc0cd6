"""Losses by reference set are those of the shards, and their mean the score."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.run import tables
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal
from ila_jax.score.signals.tuned import nll_by_reference
from tests.support import planned, tiny


def test_their_mean_and_deviation_are_the_scores(run):
  _, config, workdir = run
  example_signal.run(nll_by_reference.SIGNAL, tiny.run(config, workdir))
  scores = files.read_table(tables.SCORES.path(workdir))
  found = example_signal.read(workdir, "nll_by_reference", scores["row"])
  seeds = config.score.reference_seeds
  assert found.shape == (len(scores["row"]), len(seeds)) and len(seeds) > 1
  np.testing.assert_array_equal(found.mean(axis=1), scores["nll_sft"])
  np.testing.assert_allclose(
    found.std(axis=1, ddof=1), scores["nll_sft_std"], rtol=1e-4, atol=1e-5
  )
  assert (np.ptp(found, axis=1) > 0).mean() > 0.9


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
