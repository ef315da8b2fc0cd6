"""Feature coverage: the share of features that a selection has on.

Coverage by what a sparse autoencoder sees, which knows nothing of the map and
its cells. It is defined for any subset, whichever method chose it.
"""

from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Int, UInt32

from ila_jax.compute import mesh as mesh_lib
from ila_jax.methods.features import packed
from ila_jax.run import progress

# Rows that the devices hold at once: 64 MB at 131,072 latents.
_BLOCK_ROWS = 4096


def rows_with(
  features: Any, rows: Int[np.ndarray, " m"], *, desc: str = "features"
) -> Int[np.ndarray, " l"]:
  """In how many of some rows each latent is on.

  Rows are read block by block, each on the devices.

  Args:
    features: of `sae_features`; features[rows] is uint8 [m, w].
    rows: of a subset, each once.
    desc: of the work, for the progress.

  Returns:
    A count of each latent, int32 [8 w].

  >>> rows_with(np.array([[1], [3], [4]], np.uint8), np.array([0, 1])).tolist()
  [2, 1, 0, 0, 0, 0, 0, 0]
  """
  latents = 8 * np.asarray(features[np.zeros(0, np.int64)]).shape[1]
  total = np.zeros(latents, np.int32)
  with progress.counter(len(rows), desc=desc, unit="examples") as advance:
    for start in range(0, len(rows), _BLOCK_ROWS):
      part = rows[start : start + _BLOCK_ROWS]
      words = packed.words(features, part)
      whole = NamedSharding(words.sharding.mesh, mesh_lib.REPLICATED)
      count = _count(words, np.int32(len(part)), whole=whole)
      total += mesh_lib.fetch(count)[:latents]
      advance(len(part))
  return total


def _count(
  words: UInt32[Array, "p v"], rows: Int[Array, ""], *, whole: NamedSharding
) -> Int[Array, " l"]:
  """Sums of each bit over the first rows; the others only fill up."""
  bit = jnp.arange(32, dtype=jnp.uint32)[None, None]
  is_row = (jnp.arange(len(words)) < rows)[:, None, None]
  on = (words[:, :, None] >> bit) & is_row.astype(jnp.uint32)
  count = jnp.sum(on.astype(jnp.int32), axis=0).reshape(-1)
  return lax.with_sharding_constraint(count, whole)


_count = jax.jit(_count, static_argnames="whole")


def feature_coverage(
  chosen: Int[np.ndarray, " l"],
  pool: Int[np.ndarray, " l"],
  *,
  times: int = 1,
) -> float:
  """The share of features that are on in a selection.

  |{f: chosen_f >= times}| / |{f: pool_f >= 1}|; 0 where nothing is on in the
  pool.

  Args:
    chosen: in how many chosen examples each latent is on, of `rows_with`.
    pool: in how many candidates.
    times: in how many chosen examples a feature is to be on, at least.

  >>> chosen, pool = np.array([2, 0, 1, 0]), np.array([9, 5, 1, 0])
  >>> round(feature_coverage(chosen, pool), 2)
  0.67
  >>> round(feature_coverage(chosen, pool, times=2), 2)
  0.33
  """
  known = pool > 0
  return float((chosen[known] >= times).sum() / max(known.sum(), 1))


def gained(
  chosen: Int[np.ndarray, " l"], other: Int[np.ndarray, " l"], *, count: int
) -> tuple[int, Int[np.ndarray, " s"]]:
  """The features that one selection has on and another does not.

  Args:
    chosen: in how many of the one's examples each latent is on.
    other: in how many of the other's.
    count: of the latents that are named, at most.

  Returns:
    How many there are, and those that are on in the most examples; of equally
    many the lower number first.

  >>> found = gained(np.array([2, 0, 5, 3]), np.array([0, 1, 0, 9]), count=1)
  >>> found[0], found[1].tolist()
  (2, [2])
  """
  latents = np.flatnonzero((chosen > 0) & (other == 0))
  order = np.argsort(-chosen[latents], kind="stable")
  return len(latents), latents[order[:count]]
