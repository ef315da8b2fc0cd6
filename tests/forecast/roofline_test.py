"""Rooflines, by hand."""

import numpy as np
import pytest

from ila_jax.compute import chips
from ila_jax.forecast import roofline, shapes
from ila_jax.models import architecture

_CHIP = chips.Chip("tpu", 1e12, 1e11, 10**9, 1e9, 1e8, "https://")
# A block: 2·8·(8 + 4) + 3·8·16 = 576 weights; the head: 256.
_CONFIG = architecture.DecoderConfig(
  vocab=32, layers=2, width=8, heads=2, kv_heads=1, head_dim=4, mlp_width=16
)
_SHAPES = shapes.of(_CONFIG)


def test_a_pass_by_hand():
  load = roofline.forward(_SHAPES, shapes.Axes(1, 1, 1), tokens=10)
  # Into and out of products: 8 → 16, 8 → 8, 8 → 2·16, 16 → 8.
  assert _SHAPES.product_numbers == (
    (8 + 8 + 4 + 4) + (8 + 4 + 4 + 8) + (8 + 8) + (8 + 16 + 16) + (16 + 8)
  )
  weights, stream = 4 * (2 * 576 + 256), 4 * 10 * 2 * _SHAPES.product_numbers
  assert load == (0.0, weights + stream, 0.0, 0.0)
  split = roofline.forward(_SHAPES, shapes.Axes(2, 4, 1), tokens=10)
  # Gathered weights are written and read; three quarters come from others.
  assert split.hbm == 2 * weights + stream
  assert (split.network, split.sums) == (0.75 * weights, 0.0)
  layer = roofline.forward(_SHAPES, shapes.Axes(1, 1, 2), tokens=10)
  assert layer.hbm == (weights + stream) / 2
  # Two sums a layer of 10 × 8 numbers; each is sent around once.
  assert (layer.network, layer.sums) == (0.0, 2 * 2 * 4 * 80 * 2 * 0.5)


def test_a_step_of_training_by_hand():
  axes, blocks, head = shapes.Axes(2, 4, 1), 4 * 2 * 576, 4 * 256
  step = roofline.training(_SHAPES, axes, tokens=10, adapter=False)
  gathered = 2 * (blocks + head) * 3 / 4
  summed = (blocks + 2 * head) * 3 / 4 + 2 * (blocks + head) / 4 / 2
  assert step.network == gathered + summed
  adapter = roofline.training(_SHAPES, axes, tokens=10, adapter=True)
  assert adapter.network == gathered
  state = 28 * _SHAPES.total / 4
  assert step.hbm - adapter.hbm == pytest.approx(state)


def test_time_is_that_of_the_slowest_and_of_the_sums():
  load = roofline.Load(compute=1.0, hbm=2.1e9, network=1e8, sums=2e7)
  found = roofline.limits(load, _CHIP)
  # 2.1 GB at 0.7 of 1 GB/s; 100 MB and 20 MB at a half of 100 MB/s.
  np.testing.assert_allclose(found, (1.0, 3.0, 2.0, 0.4))
  assert found.slowest == "memory"
  assert found.seconds == pytest.approx(3.4)
  twice = roofline.limits(load.times(2), _CHIP)
  assert twice.seconds == pytest.approx(2 * found.seconds)
