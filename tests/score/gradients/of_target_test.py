"""Gradients of a target set, as a method reads them."""

import numpy as np
from etils import epath

from ila_jax.run import stage_record, tables
from ila_jax.run.disk import files
from ila_jax.score.gradients import of_target, warmup


def test_an_epoch_counts_by_its_learning_rate(tmp_path):
  """Two epochs of three numbers each, one three times the other."""
  workdir, weights = epath.Path(tmp_path), [0.75, 0.25]
  for name, notes in (
    (warmup.NAME, {"weights": weights}),
    (of_target.NAME, {}),
  ):
    stage = stage_record.Stage(workdir / "beside", name, {})
    stage.begin()
    stage.finish(**notes)
  values = np.arange(24).reshape(4, 6).astype(np.float16)
  files.write_array(tables.TARGET_GRADIENTS.path(workdir), values)
  rows = np.array([2, 0, 3])
  found = of_target.read(workdir, rows)
  assert found.dtype == np.float32
  wanted = [
    [value * weights[place // 3] for place, value in enumerate(values[row])]
    for row in rows
  ]
  np.testing.assert_array_equal(found, wanted)
