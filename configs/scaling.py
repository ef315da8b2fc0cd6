"""The scaling law: 36 subsets and what is fitted on them.

The paper's claim is that coverage and depth explain over 70 % of the dev loss;
this trains the subsets on which that can be checked, and prints R² only beside
its leave-one-out version, its intervals and its rivals.

Command: ila --config scaling --workdir DIR \
  --config.pool.source=POOL --config.model.path=MODEL \
  --config.encoder.path=ENCODER
With each depth formula: ila sweep --config scaling --sweep depth, and the same
flags. Hardware, time, expected numbers: not measured.
"""

from collections.abc import Iterator

import ml_collections

from ila_jax.configs import common


def get_config() -> ml_collections.ConfigDict:
  """All 36 + 9 subsets, depth averaged over three reference seeds."""
  config = common.get_config()
  config.score.reference_seeds = (0, 1, 2)
  config.scaling.subsets = 36
  config.scaling.held_out = 9
  config.lock()
  return config


def sweep_depth() -> Iterator[dict[str, str | float]]:
  """The law under each depth formula, with and without the length in it."""
  for depth in ("ila", "ila_length"):
    yield {"landscape.depth": depth}


def sweep_map() -> Iterator[dict[str, str | float]]:
  """Grid or clusters, t-SNE or a linear map: what coverage depends on."""
  for projection in ("tsne", "pca", "random"):
    yield {"landscape.projection": projection, "landscape.cells": "grid"}
  yield {"landscape.cells": "kmeans"}
