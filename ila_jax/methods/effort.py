"""What a method takes to rank a pool: products, bytes read, host work."""

from typing import NamedTuple


class Size(NamedTuple):
  """What the effort of a method depends on.

  Attributes:
    candidates: n, that are ranked.
    wanted: k, that the budget may buy at most.
    targets: m, examples of the target set; 0 without one.
    embedding: numbers of an embedding.
    hidden: numbers of a hidden state of the base.
    feature_bytes: of the features of an example.
  """

  candidates: int
  wanted: int
  targets: int
  embedding: int
  hidden: int
  feature_bytes: int


class Effort(NamedTuple):
  """What a method takes beside a sort of the pool.

  Attributes:
    flops: of products of float32, on all devices.
    read: bytes that all devices read of their memory, where little is
      multiplied with each.
    core_seconds: of one core of the host.
  """

  flops: float = 0.0
  read: float = 0.0
  core_seconds: float = 0.0


def against(
  rows: float | int, others: float | int, width: float | int
) -> Effort:
  """The effort of all products of rows with others, of a width.

  >>> against(1e6, 100, 384).flops
  76800000000.0
  """
  return Effort(flops=2.0 * rows * others * width)
