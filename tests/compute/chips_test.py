"""Chips and their numbers are as the makers say, and names are checked."""

import pytest

from ila_jax import errors
from ila_jax.compute import chips


@pytest.mark.parametrize(
  ("topology", "count"),
  [("v5e:8x8", 64), ("v5p:2x2x1", 4), ("h100:8", 8), ("a100-40:1", 1)],
)
def test_a_topology_names_chips_and_their_number(topology, count):
  chip, found = chips.of(topology)
  assert found == count
  assert chip is (chips.TPUS | chips.GPUS)[topology.partition(":")[0]]


@pytest.mark.parametrize(
  "topology",
  [
    *(
      "v9:4x4",
      "8xH100",
      "h100",
      "h100:9",
      "h100:2x4",
      "v5e:16",
      "v5e:0x4",
      "",
    ),
    *("v5e:4x4x4", "v6e:2x4x", "v5p:2x2"),
  ],
)
def test_another_topology_is_refused_with_those_allowed(topology):
  with pytest.raises(
    errors.InputError, match=r"Allowed: a kind of TPU \(v5e.*as in 'h100:8'"
  ):
    chips.of(topology)


def test_rates_are_of_the_size_that_chips_have():
  for chip in (chips.TPUS | chips.GPUS).values():
    assert chip.source.startswith("https://")
    assert 1e14 < chip.bfloat16 < 1e15 and chip.float32 < chip.bfloat16
    # FLOPs a byte at which products and memory take as long.
    assert 100 < chip.bfloat16 / chip.hbm_rate < 600
    assert chip.link_rate < chip.hbm_rate
  # Of "80 GB", JAX takes three quarters.
  assert chips.GPUS["h100"].hbm_bytes == 60e9
