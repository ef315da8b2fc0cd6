"""How much two models differ in dev loss, and how sure that is.

All models are evaluated on the same dev examples, so that differences are taken
example by example: what makes an example hard for both cancels out. An interval
tells how far another draw of dev examples could move the difference. It knows
one training of each model: another seed of the training, or another random
rival, may move it further.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

RESAMPLES = 10_000
LEVEL = 0.95
# Numbers of a block of resamples that are held at once.
_BLOCK = 2**22


class Estimate(NamedTuple):
  """A difference of two mean losses, in nats a token.

  Attributes:
    value: of all examples.
    low: lower end of its 95 % interval.
    high: upper end.
  """

  value: float
  low: float
  high: float


class Difference(NamedTuple):
  """By how much the loss of a model is above that of a rival.

  Attributes:
    micro: every token counts alike.
    macro: every example counts alike.
  """

  micro: Estimate
  macro: Estimate


def differences(
  nll: Float[np.ndarray, " n"],
  rivals: Float[np.ndarray, "r n"],
  n_tokens: Int[np.ndarray, " n"],
  *,
  groups: Shaped[np.ndarray, " n"],
  seed: int,
  resamples: int = RESAMPLES,
) -> list[Difference]:
  """Loss of a model less that of each rival, with 95 % intervals.

  Percentile bootstrap (Efron 1979) over the groups: those are drawn with
  replacement, as many as there are, and both means are taken anew, the micro
  loss as a ratio of sums. All rivals are compared on the same draws.

  Args:
    nll: loss of each example under the model, a sum over its tokens.
    rivals: the same under r other models.
    n_tokens: tokens of each example, one or more.
    groups: examples of a group are drawn together: those that share a prompt
      are alike. All different: every example on its own.
    seed: of the draws.
    resamples: number of draws.

  >>> nll, n_tokens = np.array([9.0, 4.0, 6.0]), np.array([3, 2, 3])
  >>> (one,) = differences(nll, nll[None] + n_tokens, n_tokens,
  ...                      groups=np.arange(3), seed=0)
  >>> one.micro, one.macro  # A token less costs one nat more, everywhere.
  (Estimate(value=-1.0, low=-1.0, high=-1.0), \
Estimate(value=-1.0, low=-1.0, high=-1.0))
  """
  gap = nll[None].astype(np.float64) - rivals
  columns = np.stack([n_tokens, np.ones(len(nll)), *gap, *(gap / n_tokens)])
  _, group = np.unique(groups, return_inverse=True)
  sums = np.stack([np.bincount(group, column) for column in columns], axis=1)
  # Keyed by purpose: no other draw of the run is the same.
  rng = np.random.default_rng([seed, *b"paired bootstrap"])
  drawn = np.concatenate(list(_resampled(sums, rng, resamples)))
  tail = (1 - LEVEL) / 2
  ends = np.quantile(_means(drawn), [tail, 1 - tail], axis=0)
  found = zip(_means(sums.sum(axis=0, keepdims=True))[0], *ends, strict=True)
  estimates = [Estimate(*map(float, numbers)) for numbers in found]
  micro, macro = estimates[: len(gap)], estimates[len(gap) :]
  return [Difference(*pair) for pair in zip(micro, macro, strict=True)]


def _means(sums: Float[np.ndarray, "b c"]) -> Float[np.ndarray, "b d"]:
  """Micro losses of all rivals, then macro losses, from sums of columns."""
  count = (sums.shape[1] - 2) // 2
  return sums[:, 2:] / np.repeat(sums[:, :2], count, axis=1)


def _resampled(
  sums: Float[np.ndarray, "g c"], rng: np.random.Generator, resamples: int
) -> Iterator[Float[np.ndarray, "_ c"]]:
  """Yields the sums of draws of the groups, a block of draws at a time."""
  size = len(sums)
  step = max(_BLOCK // size, 1)
  for start in range(0, resamples, step):
    rows = min(step, resamples - start)
    drawn = rng.integers(0, size, (rows, size), dtype=np.int32)
    drawn += size * np.arange(rows, dtype=np.int32)[:, None]
    times = np.bincount(drawn.ravel(), minlength=rows * size)
    yield times.reshape(rows, size).astype(np.float64) @ sums
