"""Facility location's greedy choice: exact, lazy, in blocks, on any mesh.

The value of a set is the likeness of every represented example to its nearest
chosen one, summed: F(S) = Σ_i max_{j in S} s_ij. The gain of j is Σ_i max(0,
s_ij - c_i), with c_i the likeness of i to its nearest so far. It never grows as
the set does (F is submodular). An old gain is therefore an upper bound, and
only the examples with the greatest bounds are looked at again (Minoux 1978).

All numbers are whole (`likeness`), so their sums have the same bits in any
order. Likeness counts in steps of about 1.3e-4, so few that the gains of `MOST`
represented examples fit int32.
"""

import collections
import heapq

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.methods.diversity import gains
from ila_jax.run import progress

# Examples that can be represented: their gains add up below 2^31.
MOST = 131_072
# Candidates that are looked at together: at first, and again.
_FIRST, _AGAIN = 512, 64
# Of these, the most that are new at once: few, or all.
_NEW = 8, _AGAIN
# What was computed of the candidates looked at last is kept, on all devices.
_KEPT_BYTES = 2**28


def greedy(
  x: Int[np.ndarray, "m d"],
  represented: Int[np.ndarray, " g"],
  *,
  count: int,
  similarity: str,
  desc: str,
) -> Int[np.ndarray, " k"]:
  """Chooses the row of the greatest gain, of equals the first, and again.

  Args:
    x: of `likeness.rounded`; equal on every host.
    represented: rows whose likeness to the chosen counts, at most `MOST`.
    count: of the rows to choose, at most m.
    similarity: "cosine", or "euclidean": 2 - distance.
    desc: of the work, for the progress.

  Returns:
    Rows in the order of the choice, int32 [count].

  >>> x = np.array([[4000, 0], [3200, 2400], [0, 4000]], np.int16)
  >>> greedy(x, np.arange(3), count=2, similarity="cosine", desc="").tolist()
  [1, 2]
  """
  if not count:
    return np.zeros(0, np.int32)
  if len(represented) > MOST:
    raise ValueError(f"{len(represented):,} are represented; at most {MOST:,}")
  mesh = mesh_lib.current()
  devices = _Devices(x, represented, similarity, mesh)
  chosen: list[int] = []
  if similarity == "cosine":
    # The first has a closed form, which saves a pass over all pairs.
    total = x[represented].sum(axis=0, dtype=np.int64)
    chosen.append(int(np.argmax(x.astype(np.int64) @ total)))
    devices.cover(chosen[0])
  bounds = devices.bounds(desc)
  heap = [
    (-int(gain), row) for row, gain in enumerate(bounds) if row not in chosen
  ]
  heapq.heapify(heap)
  with progress.counter(count, desc=desc, unit="examples") as advance:
    advance(len(chosen))
    while len(chosen) < count:
      found = devices.choose(heap, count - len(chosen))
      chosen += found
      advance(len(found))
  return np.array(chosen, np.int32)


class _Devices:
  """The represented rows on the devices, and what of them is covered."""

  def __init__(
    self,
    x: Int[np.ndarray, "m d"],
    represented: Int[np.ndarray, " g"],
    similarity: str,
    mesh: Mesh,
  ) -> None:
    self._x, self._mesh = x, mesh
    self._likeness = gains.LIKENESS[similarity]
    self._rows = mesh_lib.put_rows(x[represented].astype(np.float32), mesh)
    covered = np.full(len(self._rows), gains.COVERED, np.float32)
    covered[: len(represented)] = gains.NOTHING[similarity]
    self._covered = mesh_lib.put(covered, mesh)
    # By candidate, where its likenesses are kept; the latest used is the last.
    self._slot: collections.OrderedDict[int, int] = collections.OrderedDict()
    fit = _KEPT_BYTES // (2 * len(self._rows))
    self._slots = max(_AGAIN, min(len(x), fit))
    empty = jax.sharding.NamedSharding(mesh, gains.BY_COLUMN)
    self._kept = jnp.zeros(
      (self._slots, len(self._rows)), jnp.int16, device=empty
    )

  def _keep(self, rows: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
    """Where likenesses of some rows are kept; computes what is not yet."""
    slot = self._slot
    for row in filter(slot.__contains__, rows.tolist()):
      slot.move_to_end(row)
    new = [row for row in rows.tolist() if row not in slot]
    for row in new:
      full = len(slot) == self._slots
      slot[row] = slot.popitem(last=False)[1] if full else len(slot)
    if new:
      size = next(size for size in _NEW if size >= len(new))
      places = np.array([slot[row] for row in new], np.int32)
      self._kept = gains.keep(
        self._kept,
        self._rows,
        self._block(np.array(new), size),
        np.pad(places, (0, size - len(new)), mode="edge"),
        self._likeness,
        self._mesh,
      )
    return np.array([slot[row] for row in rows.tolist()], np.int32)

  def _block(self, rows: Int[np.ndarray, " b"], size: int) -> jax.Array:
    """Some rows of x, whole on each device; the last is repeated."""
    filled = np.pad(rows, (0, size - len(rows)), mode="edge")
    block = self._x[filled].astype(np.float32)
    return mesh_lib.put(block, self._mesh, mesh_lib.REPLICATED)

  def cover(self, row: int) -> None:
    """Adds one row to the chosen."""
    block = self._block(np.array([row]), 1)
    self._covered = gains.cover(
      self._rows, self._covered, block, self._likeness, self._mesh
    )

  def bounds(self, desc: str) -> Int[np.ndarray, " m"]:
    """The gain of every row now."""
    parts, desc = [], f"{desc}: likeness"
    with progress.counter(len(self._x), desc=desc, unit="examples") as advance:
      for start in range(0, len(self._x), _FIRST):
        rows = np.arange(start, min(start + _FIRST, len(self._x)))
        block = self._block(rows, _FIRST)
        found = gains.of_block(
          self._rows, self._covered, block, self._likeness, self._mesh
        )
        parts.append(mesh_lib.fetch(found)[: len(rows)])
        advance(len(rows))
    return np.concatenate(parts)

  def choose(self, heap: list[tuple[int, int]], most: int) -> list[int]:
    """Looks again at the rows of the greatest bounds, and chooses of them.

    Args:
      heap: (-bound, row) of all rows that are left; it is renewed.
      most: rows to choose.

    Returns:
      The rows that are chosen next, which may be none: the bounds of others
      were greater than all gains.
    """
    best = [heapq.heappop(heap) for _ in range(min(_AGAIN, len(heap)))]
    rows = np.sort(np.array([row for _, row in best], np.int32))
    # With what is not looked at, an equal gain goes to the lower row.
    bound, other = (-heap[0][0], heap[0][1]) if heap else (-1, len(self._x))
    missing = _AGAIN - len(rows)
    kept_at = np.pad(self._keep(rows), (0, missing))
    self._covered, place, gain = gains.choose(
      self._kept,
      self._covered,
      kept_at,
      np.pad(rows, (0, missing), constant_values=-1),
      np.array([bound, other, most], np.int32),
      self._mesh,
    )
    place, gain = mesh_lib.fetch((place, gain))
    place = place[place >= 0]
    left = np.delete(np.arange(len(rows)), place)
    for member in left.tolist():
      heapq.heappush(heap, (-int(gain[member]), int(rows[member])))
    return rows[place].tolist()
