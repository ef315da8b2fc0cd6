"""A graph of labels: how much of what one is given flows to those like it.

W_ij is the cosine of labels i and j, 1 for i = j, 0 below a threshold; entries
off the diagonal are multiplied with the weight of propagation ρ. The
propagation matrix P is W with each column divided by its sum (MIG, Chen et al.,
arXiv 2504.13835): of what label i is given, j gets the share P_ij.

W is sparse: 12 bytes an entry. Pairs are decided by products in float64, so the
graph is the same on any number of devices.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.landscape.duplicates import pairs
from ila_jax.run import progress


@dataclasses.dataclass(frozen=True)
class Graph:
  """W by rows, each label first among its own neighbours.

  Attributes:
    start: where the entries of each label begin, and end [t + 1].
    other: the labels of the entries [e].
    weight: W of the entries, float64 [e].
    total: sums of the columns of W, which is symmetric [t].
  """

  start: Int[np.ndarray, " t1"]
  other: Int[np.ndarray, " e"]
  weight: Float[np.ndarray, " e"]
  total: Float[np.ndarray, " t"]

  def __len__(self) -> int:
    return len(self.total)

  @property
  def degrees(self) -> Int[np.ndarray, " t"]:
    """Entries of each label, its own among them."""
    return np.diff(self.start)

  def entries(self, labels: Int[np.ndarray, " k"]) -> Int[np.ndarray, " f"]:
    """Places of the entries of some labels, one label after the other."""
    many = self.degrees[labels]
    begin = np.repeat(self.start[labels] - (np.cumsum(many) - many), many)
    return begin + np.arange(len(begin))

  def around(self, labels: Int[np.ndarray, " k"]) -> Int[np.ndarray, " f"]:
    """These labels and their neighbours, each once."""
    return np.unique(self.other[self.entries(labels)])

  def forth(
    self, labels: Int[np.ndarray, " k"], given: Float[np.ndarray, " k"]
  ) -> tuple[Int[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Where it goes what some labels are given: the parts of v P.

    Returns:
      Labels, some of them several times, and what each gets.
    """
    entries = self.entries(labels)
    reached = self.other[entries]
    amount = np.repeat(given, self.degrees[labels]) * self.weight[entries]
    return reached, amount / self.total[reached]

  def back(
    self, labels: Int[np.ndarray, " k"], values: Float[np.ndarray, " t"]
  ) -> Float[np.ndarray, " k"]:
    """What a unit that each of these labels is given earns: P · values.

    The sum of a label is rounded in the same way whichever others are asked.
    """
    if not len(labels):
      return np.zeros(0)
    entries = self.entries(labels)
    reached = self.other[entries]
    parts = self.weight[entries] * (values[reached] / self.total[reached])
    many = self.degrees[labels]
    return np.add.reduceat(parts, np.cumsum(many) - many)


def apart(count: int) -> Graph:
  """The graph of labels that are like no other: P is the identity.

  >>> apart(3).back(np.array([2, 0]), np.array([5.0, 6.0, 7.0])).tolist()
  [7.0, 5.0]
  """
  each = np.arange(count + 1)
  return Graph(each, each[:-1], np.ones(count), np.ones(count))


def alike(
  x: Float[np.ndarray, "t d"], *, threshold: float, propagation: float
) -> Graph:
  """The graph of labels by their embeddings.

  Args:
    x: float32 of unit norm; a row of zeros is like no other.
    threshold: cosine of two that have an edge, at least; above 0.
    propagation: ρ, the weight of edges.

  Raises:
    errors.InputError: more than 50 million pairs are alike.

  >>> x = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
  >>> graph = alike(x, threshold=0.7, propagation=1.0)
  >>> graph.degrees.tolist(), graph.total.round(2).tolist()
  ([1, 2, 2], [1.0, 1.8, 1.8])
  """
  if not len(x):
    return apart(0)
  mesh = mesh_lib.current()
  with progress.counter(len(x), desc="labels", unit="labels") as advance:
    near = pairs.pairs(
      x,
      cell=np.zeros(len(x), np.int64),
      near=np.zeros((0, 2), np.int64),
      threshold=threshold,
      mesh=mesh,
      on_rows=advance,
      of="labels",
      remedy="raise config.select.options.mig.threshold",
    )
  own = np.arange(len(x))
  one = np.concatenate([own, near.a, near.b])
  other = np.concatenate([own, near.b, near.a])
  edge = propagation * near.cosine.astype(np.float64)
  weight = np.concatenate([np.ones(len(x)), edge, edge])
  # Stable: a label comes before its neighbours.
  order = np.argsort(one, kind="stable")
  many = np.bincount(one, minlength=len(x))
  start = np.concatenate([[0], np.cumsum(many)])
  total = np.bincount(one, weights=weight, minlength=len(x))
  return Graph(start, other[order].astype(np.int32), weight[order], total)
