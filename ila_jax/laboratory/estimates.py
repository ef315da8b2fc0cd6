"""Dev loss of many models on the same examples, and what it may be by chance.

Three means, all in nats a token of the response: micro, in which all tokens of
the dev set count alike; macro, all domains; and pool, in which domains count as
they do in the pool. Two things are drawn by chance: the dev examples, and the
draw of candidates with the training on it. Both are resampled.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt64

from ila_jax.run import draws

MEASURES = ("micro", "macro", "pool")
HALVES = ("first", "second")
# Numbers of a block of resamples that are held at once.
_BLOCK = 2**22


class Dev(NamedTuple):
  """The dev set: what the losses of n examples are of.

  Attributes:
    n_tokens: of each response.
    domain: of each example, from 0 to D - 1.
    group: examples that share a prompt are drawn together.
    share: of each domain in the pool, by response tokens [D].
  """

  n_tokens: Int[np.ndarray, " n"]
  domain: Int[np.ndarray, " n"]
  group: Shaped[np.ndarray, " n"]
  share: Float[np.ndarray, " d"]


def half(
  prompt_id: UInt64[np.ndarray, " n"], *, seed: int, which: str
) -> Bool[np.ndarray, " n"]:
  """Which dev examples are in a half; those of one prompt are in the same.

  Args:
    prompt_id: of each example.
    seed: of the run.
    which: one of `HALVES`.

  >>> ids = np.arange(8, dtype=np.uint64)
  >>> first = half(ids, seed=0, which="first")
  >>> (first ^ half(ids, seed=0, which="second")).all()
  np.True_
  """
  uniform = draws.keyed_uniform(prompt_id, seed=seed, purpose="dev half")
  return (uniform < 0.5) == (which == HALVES[0])


def losses(
  nll: Float[np.ndarray, "r n"], dev: Dev
) -> dict[str, Float[np.ndarray, " r"]]:
  """The means of each model, by `MEASURES`.

  A domain without a dev example is in none of them.

  Args:
    nll: sums of the loss over each response, under r models.
    dev: the examples.

  >>> one = np.array([0, 0, 1])
  >>> dev = Dev(np.array([1, 1, 2]), one, np.arange(3), np.array([0.9, 0.1]))
  >>> found = losses(np.array([[1.0, 3.0, 12.0]]), dev)
  >>> {name: value.round(3).tolist() for name, value in found.items()}
  {'micro': [4.0], 'macro': [4.0], 'pool': [2.4]}
  """
  ones = np.ones((1, len(dev.n_tokens)))
  held = _measured(ones, nll, dev)
  return {name: held[i, 0] for i, name in enumerate(MEASURES)}


def by_domain(
  nll: Float[np.ndarray, "r n"], dev: Dev
) -> Float[np.ndarray, "r d"]:
  """Nats a token of each domain; NaN where it has no dev example."""
  ones = np.ones((1, len(dev.n_tokens)))
  sums, tokens = _sums(ones, nll, dev)
  with np.errstate(invalid="ignore"):
    return (sums / tokens[:, :, None])[0].T


def resampled(
  nll: Float[np.ndarray, "r n"], dev: Dev, *, resamples: int, seed: int
) -> Float[np.ndarray, "3 b r"]:
  """The means of each model, of b draws of the dev examples.

  In each domain as many groups are drawn, with replacement, as it has. All
  models are measured on the same draws.

  Args:
    nll: sums of the loss over each response, under r models.
    dev: the examples.
    resamples: b.
    seed: of the draws.

  Returns:
    float64, in the order of `MEASURES`.
  """
  rng = np.random.default_rng([seed, *b"laboratory dev"])
  parts = [
    _measured(times, nll, dev)
    for times in _times(dev, rng, resamples, runs=len(nll))
  ]
  return np.concatenate(parts, axis=1)


def _times(
  dev: Dev, rng: np.random.Generator, resamples: int, *, runs: int = 1
) -> Iterator[Float[np.ndarray, "b n"]]:
  """Yields how often each example is drawn, a block of draws at a time."""
  n = len(dev.n_tokens)
  # A group that lies in two domains is two groups.
  pairs = np.stack([dev.domain, np.unique(dev.group, return_inverse=True)[1]])
  groups, group = np.unique(pairs, axis=1, return_inverse=True)
  group = group.reshape(-1)
  step = max(_BLOCK // max(n, runs * len(dev.share)), 1)
  for start in range(0, resamples, step):
    rows = min(step, resamples - start)
    times = np.zeros((rows, groups.shape[1]))
    for domain in np.unique(groups[0]):
      inside = np.flatnonzero(groups[0] == domain)
      drawn = rng.multinomial(
        len(inside), np.full(len(inside), 1 / len(inside)), size=rows
      )
      times[:, inside] = drawn
    yield times[:, group]


def _sums(
  times: Float[np.ndarray, "b n"], nll: Float[np.ndarray, "r n"], dev: Dev
) -> tuple[Float[np.ndarray, "b d r"], Float[np.ndarray, "b d"]]:
  """Loss and tokens of each domain, summed over the draws."""
  count = len(dev.share)
  sums = np.zeros((len(times), count, len(nll)))
  tokens = np.zeros((len(times), count))
  for domain in range(count):
    inside = np.flatnonzero(dev.domain == domain)
    sums[:, domain] = times[:, inside] @ nll[:, inside].T.astype(np.float64)
    tokens[:, domain] = times[:, inside] @ dev.n_tokens[inside]
  return sums, tokens


def _measured(
  times: Float[np.ndarray, "b n"], nll: Float[np.ndarray, "r n"], dev: Dev
) -> Float[np.ndarray, "3 b r"]:
  sums, tokens = _sums(times, nll, dev)
  there = tokens.sum(axis=0) > 0
  sums, tokens = sums[:, there], tokens[:, there]
  micro = sums.sum(axis=1) / tokens.sum(axis=1)[:, None]
  of_domain = sums / tokens[:, :, None]
  share = dev.share[there] / dev.share[there].sum()
  pool = np.einsum("bdr,d->br", of_domain, share)
  return np.stack([micro, of_domain.mean(axis=1), pool])
