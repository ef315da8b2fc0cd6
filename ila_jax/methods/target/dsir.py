"""DSIR: examples drawn by how much likelier their words are in a target set.

Xie et al., "Data Selection for Language Models via Importance Resampling",
arXiv 2302.03169, and its package data-selection: words and pairs of words in
lower case are hashed into buckets; p and q are the shares of the buckets in the
target set and among the candidates; the logarithm of an example's weight is
log (p + 1e-8) - log (q + 1e-8), summed over its n-grams. Gumbel noise makes the
order a draw without replacement by these weights. It is a sum, not a mean: long
examples have great weights, of either sign.

The authors drop texts below 100 words, for they choose pages of the web. That
would drop most instructions, so here none is dropped unless `least_words` says
so. Their q is of a part of the pool where that is large; here it is of all
candidates. Where a script has no blanks between words, as Chinese, each
character is a word here; there, all between two signs.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.target import ngrams, texts
from ila_jax.run import progress

# Added to shares, so that a bucket without n-grams has a logarithm.
_FLOOR = 1e-8
# Of a text of the pool of Alpaca, on one core (docs/results.md).
_SECONDS_EACH = 8e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What is counted, and whether chance decides."""

  text: str = options_lib.field(
    "all", "what counts of an example", choices=tuple(texts.PARTS)
  )
  buckets: int = options_lib.field(
    10_000, "buckets of n-grams", low=1, high=2**24
  )
  pseudo_count: float = options_lib.field(
    0.0,
    "added to the count of each bucket in the target set",
    low=0,
    high=10**9,
  )
  least_words: int = options_lib.field(
    0, "examples with fewer words are left out", low=0, high=10**9
  )
  sample: bool = options_lib.field(
    True, "draw by the weights; False: the greatest weight first"
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Draws examples by the ratio of their words' shares; all in round 1."""
  rows = np.flatnonzero(c.candidate)
  if not len(rows):
    return candidates.Ranking(rows, rows)
  buckets = ngrams.Buckets(options.buckets)
  target = c.inputs["target_turns"]
  everything = np.arange(len(target))
  of_target, _ = _read(target, everything, options, buckets, "target words")
  of_pool, words = _read(c.inputs["turns"], rows, options, buckets, "words")
  value = _log_ratio(
    np.bincount(of_target, minlength=options.buckets) + options.pseudo_count,
    np.bincount(of_pool, minlength=options.buckets),
  )
  key = np.zeros(len(c.ids))
  key[rows] = ngrams.totals(of_pool, words, value)
  if options.sample:
    key += gumbel(c.uniform)
  among = c.candidate.copy()
  among[rows] = words >= options.least_words
  left = len(rows) - int(among.sum())
  rest = (
    f"{left:,} have fewer words than config.select.options.dsir.least_words, "
    f"{options.least_words:,}."
  )
  key = (-key).astype(np.float32)
  return candidates.ranking(c, (key,), among=among, rest=rest)


def _read(
  turns: object,
  rows: Int[np.ndarray, " n"],
  options: Options,
  buckets: ngrams.Buckets,
  desc: str,
) -> tuple[Int[np.ndarray, " g"], Int[np.ndarray, " n"]]:
  """Buckets of the n-grams of some examples, 4 bytes each, and their words."""
  found, words = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
  with progress.counter(len(rows), desc=desc, unit="examples") as advance:
    for block in texts.blocks(turns, rows, options.text):
      some, counts = buckets(block)
      found.append(some)
      words.append(counts)
      advance(len(block))
  return np.concatenate(found), np.concatenate(words)


def _log_ratio(
  target: Float[np.ndarray, " b"] | Int[np.ndarray, " b"],
  pool: Int[np.ndarray, " b"],
) -> Float[np.ndarray, " b"]:
  """Log (p + 1e-8) - log (q + 1e-8), of counts."""
  p, q = (count / max(count.sum(), 1) for count in (target, pool))
  return np.log(p + _FLOOR) - np.log(q + _FLOOR)


def gumbel(uniform: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
  """Gumbel noise of uniform numbers in [0, 1], float64.

  >>> gumbel(np.array([0.0, 1 - 1 / np.e, 1.0])).round(1).tolist()
  [37.4, -0.0, -2.8]
  """
  inside = np.clip(uniform.astype(np.float64), 2.0**-54, 1 - 2.0**-24)
  # Small numbers, which have many digits, give the great ones.
  return -np.log(-np.log1p(-inside))


def _effort(size: effort_lib.Size, _: Options) -> effort_lib.Effort:
  texts = size.candidates + size.targets
  return effort_lib.Effort(core_seconds=_SECONDS_EACH * texts)


METHOD = method.Method(
  name="dsir",
  rank=rank,
  needs=("turns", "target_turns", "uniform"),
  options=Options,
  effort=_effort,
  colour="#e7298a",
)
