"""Relative depth of a pool too large for one sort: sorts, and sketches."""

from collections.abc import Iterator

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from ila_jax.landscape import depth as depth_lib
from ila_jax.landscape import quantiles


def relative_depth(
  depth: Float[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
  *,
  exact_rows: int,
  part_rows: int,
  tolerance: float = 1e-3,
  mesh: Mesh | None = None,
) -> tuple[Float[np.ndarray, " n"], float]:
  """RID of a large pool, and by how much it may be wrong.

  Args:
    depth: float32 [n].
    domain: domain of each depth, from 0 [n].
    exact_rows: that are sorted at once. Domains of no more are exact, as
      `depth.relative_depth`; the others are counted, and there are few of them.
    part_rows: that are counted at once.
    tolerance: the error of a quantile that is wanted of those.
    mesh: devices to count on; None: one.

  Returns:
    float32 [n] in (0, 1), and the bound of the error.

  Raises:
    ValueError: a depth that is NaN.

  >>> depth, domain = np.array([-1.0, 3.0, 3.0, 9.0]), np.array([0, 0, 0, 1])
  >>> relative_depth(depth, domain, exact_rows=3, part_rows=2)[1]
  0.0
  """
  found = np.zeros(len(depth), np.float32)
  size = np.bincount(domain)
  large = size > exact_rows
  by_domain = np.argsort(
    np.where(large[domain], len(size), domain), kind="stable"
  )
  ends = np.concatenate([[0], np.cumsum(np.where(large, 0, size))])
  for begin, end in _together(ends, exact_rows):
    mine = by_domain[begin:end]
    found[mine] = depth_lib.relative_depth(depth[mine], domain[mine])
  if not large.any():
    return found, 0.0
  number = np.where(large, np.cumsum(large) - 1, -1).astype(np.int32)

  def parts() -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    for start in range(0, len(depth), part_rows):
      part = slice(start, start + part_rows)
      yield part, depth[part], number[domain[part]]

  sketch = quantiles.fit(
    lambda: (counted for _, *counted in parts()),
    num_domains=int(large.sum()),
    shard_rows=part_rows,
    tolerance=tolerance,
    mesh=mesh,
  )
  ranks = quantiles.ranks(sketch)
  for part, part_depth, of in parts():
    mine = of >= 0
    found[part][mine] = quantiles.mid_rank(ranks, part_depth[mine], of[mine])
  return found, quantiles.error_bound(sketch)


def _together(ends: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
  """Whole domains, as many as have at most so many rows; `ends` begins at 0."""
  begin = 0
  while begin < ends[-1]:
    place = np.searchsorted(ends, begin + most, side="right") - 1
    yield begin, int(ends[place])
    begin = int(ends[place])
