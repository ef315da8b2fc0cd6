"""Which cells of a map touch, whatever kind of cells they are."""

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh, neighbours


def grid_neighbours(
  cell: Int[np.ndarray, " n"], *, grid: int, dimensions: int = 2
) -> Int[np.ndarray, "m 2"]:
  """Occupied cells of a grid that touch, by a side or a corner.

  Args:
    cell: cell of every row, numbered axis after axis, the last fastest.
    grid: cells per axis.
    dimensions: axes; a cell has up to 3^dimensions - 1 neighbours.

  Returns:
    Pairs of cells, each once, the lower number first.

  >>> grid_neighbours(np.array([0, 4, 2]), grid=3).tolist()
  [[0, 4], [2, 4]]
  """
  from scipy import spatial

  occupied = np.unique(cell)
  place = np.stack(np.unravel_index(occupied, (grid,) * dimensions), axis=1)
  # Whole numbers that differ by less than 1.5 on every axis touch.
  tree = spatial.cKDTree(place)
  return occupied[tree.query_pairs(1.5, p=np.inf, output_type="ndarray")]


def center_neighbours(
  centers: Float[Array | np.ndarray, "c d"], *, k: int = 8
) -> Int[np.ndarray, "m 2"]:
  """Pairs of cells where one's centre is among the k nearest to the other's.

  >>> center_neighbours(np.array([[0.0], [1.0], [9.0]]), k=1).tolist()
  [[0, 1], [1, 2]]
  """
  k = min(k, len(centers) - 1)
  index = neighbours.nearest(centers, centers, k=k, same=True).index
  nearest = mesh.fetch(index).reshape(-1)
  cells = np.repeat(np.arange(len(centers)), k)
  both = np.sort(np.stack([cells, nearest], axis=1), axis=1)
  return np.unique(both, axis=0)


class Adjacency:
  """The rows of every cell, and which cells are the same or neighbours."""

  def __init__(
    self, cell: Int[np.ndarray, " n"], near: Int[np.ndarray, "m 2"]
  ) -> None:
    from scipy import sparse

    self.rows = np.argsort(cell, kind="stable")  # sorted by cell
    cells, self.number = np.unique(cell, return_inverse=True)
    self.starts = np.searchsorted(cell[self.rows], cells)
    self.ends = np.append(self.starts[1:], len(cell))
    one, two = np.searchsorted(cells, near).T
    own = np.arange(len(cells))
    ends = np.r_[one, two, own], np.r_[two, one, own]
    self._matrix = sparse.csr_array(
      (np.ones(len(ends[0]), np.bool_), ends), shape=(len(cells),) * 2
    )
    self._keys = np.unique(ends[0] * np.int64(len(cells)) + ends[1])

  def around(self, numbers: slice) -> Int[np.ndarray, " k"]:
    """Some consecutive cells, and their neighbours."""
    return np.unique(self._matrix[numbers].indices)

  def __call__(
    self, a: Int[np.ndarray, " p"], b: Int[np.ndarray, " p"]
  ) -> Bool[np.ndarray, " p"]:
    """Whether the rows of each pair are in one cell or in neighbours."""
    keys = self.number[a] * np.int64(len(self.starts)) + self.number[b]
    place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
    return self._keys[place] == keys
