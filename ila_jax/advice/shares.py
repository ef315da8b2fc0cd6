"""How a selection shares its budget: over the target, cells, lengths, domains.

docs/method.md 22.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ila_jax.advice import line
from ila_jax.landscape import coverage

# Dev set and pool are alike where no more than this share of the tokens would
# have to move from one domain to another; or twice what chance alone moves.
UNLIKE = 0.1
BY_CHANCE = 2.0
# Where that is more, the dev set is too small to tell.
TOO_UNSURE = 0.3
# Cells are even from this share of their number on.
EVEN = 0.8
LENGTHS = (0.8, 1.25)
STARVED = 0.5
# A domain is looked at if a random subset would hold so many examples of it.
LEAST_EXAMPLES = 10


def target(
  dev: Float[np.ndarray, " d"],
  pool: Float[np.ndarray, " d"],
  dev_lengths: Int[np.ndarray, " n"],
  *,
  power: float | None,
  factor: str = "",
) -> line.Line:
  """Whether the weights of the cells fit what the dev set asks for.

  The number is half of Σ |w_d - p_d|, with w and p the shares of the tokens of
  dev set and pool: 0 where they are alike, 1 where they share no domain.

  Args:
    dev: response tokens of the dev set by domain [d].
    pool: those of the candidates [d].
    dev_lengths: of each dev response; few and unlike ones tell little.
    power: α of the weights n_c^α of the cells; None: the method has others,
      or knows no cells.
    factor: what else the method has cells share by (`Method.cell_factor`).

  >>> even, all_one = np.array([50.0, 50.0]), np.array([100.0, 0.0])
  >>> found = target(even, all_one, np.ones(100, int), power=0.0)
  >>> found.number, found.detail["advised"]
  (0.5, 'any')
  """
  name = "target"
  if not dev.sum():
    return line.unknown(
      name,
      "no example is held out, so nobody has said what counts. Then half "
      "way is the least risk: `--config.select.cell_weight=0.5`",
      threshold=UNLIKE,
    )
  share, theirs = dev / dev.sum(), pool / pool.sum()
  threshold = max(UNLIKE, BY_CHANCE * _by_chance(theirs, dev_lengths))
  held = share[(share > 0) | (theirs > 0)]
  if threshold > TOO_UNSURE or len(held) < 2:
    return line.unknown(name, _too_few(theirs, threshold), threshold=UNLIKE)
  apart = float(np.abs(share - theirs).sum() / 2)
  is_even = float(np.abs(held - 1 / len(held)).sum() / 2) <= threshold
  advised = "any" if is_even else "1" if apart <= threshold else "0.5"
  is_bad = power == 0 and not is_even
  if power is None:
    then = (
      "config.select.cell_weight changes nothing for this method, or follows "
      "the target set"
    )
  elif is_bad:
    how = factor or "alike"
    then = f"cells share {how} (power 0), and {_ADVISED[advised]}"
  else:
    by_size = f"by their sizes to the power {power:g}" if power else ""
    how = " and ".join(filter(None, (by_size, factor))) or "alike"
    then = f"cells share {how}, which fits"
  return line.Line(
    name=name,
    verdict=line.CAUTION if is_bad else line.OK,
    sentence=(
      f"{100 * apart:.0f} % of the dev tokens would have to lie in other "
      f"domains to be as the pool is (alike up to {100 * threshold:.0f} %): "
      f"{then}."
    ),
    number=apart,
    threshold=threshold,
    detail={"cell_weight": power, "advised": advised},
  )


# What is said where cells share alike and should not, by the power advised.
_ADVISED = {
  "1": "what counts is as the pool is: cells should share by their sizes, "
  "`--config.select.cell_weight=1 --redo=select`",
  "0.5": "what counts is not as the pool is: go half way, "
  "`--config.select.cell_weight=0.5 --redo=select`, or name examples of it in "
  "config.select.target",
}


def _by_chance(
  share: Float[np.ndarray, " d"], lengths: Int[np.ndarray, " n"]
) -> float:
  """What part of a random dev set's tokens lies elsewhere, in the mean."""
  n_effective = float(lengths.sum()) ** 2 / float(
    (lengths.astype(np.float64) ** 2).sum()
  )
  deviation = np.sqrt(share * (1 - share) / n_effective)
  return math.sqrt(2 / math.pi) * float(deviation.sum()) / 2


def _too_few(share: Float[np.ndarray, " d"], threshold: float) -> str:
  count = int((share > 0).sum())
  said = "dev set and pool have one domain, which tells nothing"
  if count > 1:
    said = (
      f"the dev set has too few examples for {count} domains: chance alone may "
      f"move {100 * threshold:.0f} % of its tokens. More tell: "
      "`--config.pool.dev_examples=1000 --redo=pool`"
    )
  return (
    f"{said}. It is a random part of the pool, so that "
    "`--config.select.cell_weight=1` is right if what counts is as the pool "
    "is, and 0.5 if nobody knows."
  )


def balance(
  cell: Int[np.ndarray, " n"], candidate: Bool[np.ndarray, " n"]
) -> line.Line:
  """Whether the candidates lie so evenly that coverage buys nothing.

  The number is exp(H) / occupied cells, with H the entropy of the candidates
  over the cells, in nats: 1 where all cells hold as many.

  Args:
    cell: of each row; below 0: none [n].
    candidate: which rows may be chosen [n].

  >>> balance(np.array([0, 0, 1, 1]), np.ones(4, bool)).verdict
  'caution'
  """
  name = "cells"
  rows = np.flatnonzero(candidate)
  found = coverage.coverage(cell, rows, num_cells=len(np.unique(cell)))
  occupied = int(found["occupied_cells"])
  if occupied < 2:
    return line.unknown(
      name,
      f"the candidates lie in {occupied} cell{'s' if occupied != 1 else ''}. "
      "Set config.landscape.grid or config.landscape.clusters higher, with "
      "--redo=landscape.",
      threshold=EVEN,
    )
  effective = float(found["effective_cells"])
  share = effective / occupied
  is_even = share > EVEN
  said = (
    f"The candidates lie in {occupied:,} cells as in {effective:,.0f} equal "
    f"ones ({share:.2f}; even above {EVEN:g}): "
  )
  said += (
    "a balanced pool, in which coverage buys nothing: random covers it as well"
    if is_even
    else "cells are uneven enough for coverage to matter"
  )
  return line.Line(
    name=name,
    verdict=line.CAUTION if is_even else line.OK,
    sentence=said + ".",
    number=share,
    threshold=EVEN,
    detail={"effective": effective, "occupied": occupied},
  )


def lengths(
  n_tokens: Int[np.ndarray, " n"],
  candidate: Bool[np.ndarray, " n"],
  chosen: Int[np.ndarray, " k"],
) -> line.Line:
  """Whether the chosen responses are as long as those of the candidates.

  The number is mean length of the chosen / mean length of the candidates.

  Args:
    n_tokens: of each response [n].
    candidate: which rows may be chosen [n].
    chosen: rows of the selection.

  >>> lengths(np.array([9, 9, 3]), np.ones(3, bool), np.array([2])).number
  0.428...
  """
  name = "length"
  if not len(chosen):
    return line.unknown(name, "nothing is selected.", threshold=LENGTHS)
  ours = float(n_tokens[chosen].mean())
  theirs = float(n_tokens[candidate].mean())
  ratio, (low, high) = ours / theirs, LENGTHS
  is_alike = low <= ratio <= high
  said = (
    f"Chosen responses have {ours:.0f} tokens in the mean, those of the pool "
    f"{theirs:.0f}: a ratio of {ratio:.2f} (allowed {low:g} to {high:g})"
  )
  if not is_alike:
    more = "fewer" if ratio < 1 else "more"
    said += (
      f". Comparisons at equal examples are invalid: the selection has {more} "
      "tokens of the same number of examples. Compare at equal tokens and at "
      "equal lengths (config.laboratory.equal)"
    )
  return line.Line(
    name=name,
    verdict=line.OK if is_alike else line.CAUTION,
    sentence=said + ".",
    number=ratio,
    threshold=LENGTHS,
  )


def starved(
  chosen: Float[np.ndarray, " d"],
  pool: Float[np.ndarray, " d"],
  names: Sequence[str],
  *,
  examples: int,
) -> line.Line:
  """Names the domains that get less than half of their share of the pool.

  The number is the least share of a domain, as a part of what it has in the
  pool.

  Args:
    chosen: response tokens of the selection by domain [d].
    pool: those of the candidates [d].
    names: of the domains.
    examples: of the selection; domains of which a random one would hold fewer
      than 10 are not looked at, for they may starve by chance.

  >>> starved(np.array([9.0, 1.0]), np.array([50.0, 50.0]), ["a", "b"],
  ...   examples=20).sentence
  'Domains that get less than 0.5 of their share of the pool: b (0.20 of it).'
  """
  name = "starved domains"
  if not chosen.sum():
    return line.unknown(name, "nothing is selected.", threshold=STARVED)
  there = np.flatnonzero(pool > 0)
  if len(there) < 2:
    return line.unknown(
      name,
      "the pool has one domain. Name the field that tells them with "
      "`--config.pool.fields.domain=FIELD --redo=pool`.",
      threshold=STARVED,
    )
  is_small = examples * pool[there] / pool.sum() < LEAST_EXAMPLES
  small, there = int(is_small.sum()), there[~is_small]
  if not len(there):
    return line.unknown(
      name,
      f"{examples:,} examples are too few for {small} domains: a random subset "
      f"would hold fewer than {LEAST_EXAMPLES} of each. Raise "
      "config.select.budget.",
      threshold=STARVED,
    )
  ratio = (chosen[there] / chosen.sum()) / (pool[there] / pool.sum())
  order = there[np.argsort(ratio, kind="stable")]
  of = dict(zip(there.tolist(), ratio.tolist(), strict=True))
  few = [d for d in order.tolist() if of[d] < STARVED]
  said = f"All {len(there)} domains get {STARVED:g} of their share or more"
  if few:
    named = line.join([f"{names[d]} ({of[d]:.2f} of it)" for d in few])
    said = (
      f"Domains that get less than {STARVED:g} of their share of the pool: "
      f"{named}"
    )
  if small:
    said += (
      f". {small} more are too small to tell: a random subset would hold fewer "
      f"than {LEAST_EXAMPLES} examples of each"
    )
  return line.Line(
    name=name,
    verdict=line.CAUTION if few else line.OK,
    sentence=said + ".",
    number=float(ratio.min()),
    threshold=STARVED,
    detail={"domains": {names[d]: of[d] for d in order.tolist()}},
  )
