"""Batches for the tests of models: examples beside each other in rows."""

import jax.numpy as jnp
import numpy as np


def batch(rows, *, width):
  """Rows of examples, packed; what stands in the padding must not matter."""
  shape = (len(rows), width)
  tokens = np.full(shape, 3, np.int32)
  positions, segments = np.zeros((2, *shape), np.int32)
  wanted = np.zeros(shape, bool)
  for row, examples in enumerate(rows):
    start = 0
    for number, (example, target) in enumerate(examples, start=1):
      end = start + len(example)
      tokens[row, start:end] = example
      positions[row, start:end] = np.arange(len(example))
      segments[row, start:end] = number
      wanted[row, start + 1 : end] = target[1:]
      start = end
  return tuple(map(jnp.asarray, (tokens, positions, segments, wanted)))
