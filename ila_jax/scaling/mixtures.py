"""Subsets by domains and lengths, which know neither cells nor depth."""

import numpy as np
from jaxtyping import Float, Int

from ila_jax import errors
from ila_jax.methods import candidates
from ila_jax.scaling import design

KIND = "mixture"
# Of the Dirichlet distribution: below 1 most mixtures have few domains.
_CONCENTRATION = 0.5


def mixtures(
  pool: candidates.Candidates,
  *,
  count: int,
  tokens: tuple[int, ...],
  seed: int,
) -> list[design.Subset]:
  """Subsets whose domains have random shares, and whose lengths are tilted.

  The shares are Dirichlet(½); inside a domain an example of z standard
  deviations of log length above the mean is exp(λ z) times as likely to be
  drawn as one of mean length, with λ uniform between −1 and 1. Every second
  mixture has as many tokens as the middle of the range, on a log scale, so that
  a law can be judged at fixed tokens; the others are log-uniform in it. What a
  domain cannot give, the others do.

  Args:
    pool: n rows and which of them may be drawn.
    count: of mixtures.
    tokens: response tokens of a subset, the fewest and the most.
    seed: of the draws, which are keyed by id; fewer are a head of more.

  Raises:
    errors.InputError: the candidates have fewer tokens.

  >>> x = np.arange(40)
  >>> pool = candidates.candidates(
  ...   x.astype(np.uint64), cell=x // 10, depth=x / 1, domain=x % 2,
  ...   relative_depth=(x + 0.5) / 40, n_tokens=x + 1, candidate=x >= 0, seed=0)
  >>> made = mixtures(pool, count=3, tokens=(100, 400), seed=0)
  >>> [bool(pool.n_tokens[one.rows].sum() <= 400) for one in made]
  [True, True, True]
  """
  rows = np.flatnonzero(pool.candidate)
  held = int(pool.n_tokens[rows].sum(dtype=np.int64))
  if count and not 0 < tokens[0] <= tokens[1] <= held:
    raise errors.InputError(
      f"config.scaling.mixture_tokens is {tokens}; allowed: the fewest and the "
      f"most response tokens of a subset, up to {held:,}, which the candidates "
      "have."
    )
  domains, code = np.unique(pool.domain[rows], return_inverse=True)
  z = _standard(np.log(pool.n_tokens[rows]), code)
  low, high = np.log(tokens)
  made = []
  for number in range(count):
    rng = np.random.default_rng([seed, number, *KIND.encode()])
    share = rng.dirichlet(np.full(len(domains), _CONCENTRATION))
    tilt = float(rng.uniform(-1, 1))
    size = rng.uniform(low, high) if number % 2 else (low + high) / 2
    key = (pool.uniform[rows].astype(np.float64) + rng.random()) % 1.0
    # Weighted sampling without replacement (Efraimidis and Spirakis, 2006).
    late = -np.log1p(-key) * np.exp(-tilt * z)
    taken = _first(
      pool, rows, code, late, np.maximum(share, 1e-9), np.exp(size)
    )
    levels = {"tokens": round(float(np.exp(size))), "tilt": tilt}
    made.append(design.Subset(f"{KIND}_{number:02d}", KIND, taken, levels))
  return made


def _standard(
  values: Float[np.ndarray, " k"], code: Int[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
  """Standard scores inside each domain; 0 where all values are alike."""
  count = np.bincount(code)
  mean = np.bincount(code, values) / count
  spread = np.sqrt(np.bincount(code, (values - mean[code]) ** 2) / count)
  return (values - mean[code]) / np.where(spread > 0, spread, 1)[code]


def _first(
  pool: candidates.Candidates,
  rows: Int[np.ndarray, " k"],
  code: Int[np.ndarray, " k"],
  late: Float[np.ndarray, " k"],
  share: Float[np.ndarray, " c"],
  size: float | np.floating,
) -> Int[np.ndarray, " m"]:
  """Rows of about `size` tokens, of which each domain has its share.

  A domain gives its rows in the order of `late`; the next row comes from where
  the tokens so far are the least of the domain's share.
  """
  order = np.lexsort((pool.id_rank[rows], late, code))
  n_tokens = pool.n_tokens[rows][order].astype(np.float64)
  spent = np.cumsum(n_tokens)
  first = np.searchsorted(code[order], np.arange(len(share)))
  before = np.r_[0.0, spent][first]
  time = (spent - before[code[order]]) / share[code[order]]
  walk = np.argsort(time, kind="stable")
  fitting = int(np.searchsorted(np.cumsum(n_tokens[walk]), size, side="right"))
  return np.sort(rows[order[walk[: max(fitting, 1)]]])
