"""The landscape law: coverage and depth inside one sum, domain by domain.

docs/method.md 21. The published regression has coverage and depth as factors.
Here each domain has a part of the loss that tuning can take away, and takes the
more of it away the more of the subset's tokens lie there.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ila_jax import errors

# Where the search for tau (as a multiple of the median tokens of a domain) and
# beta begins.
_STARTS = tuple(itertools.product((0.1, 1.0, 10.0), (0.2, 1.0)))


class Domains(NamedTuple):
  """What is known of the domains before any subset is trained.

  Attributes:
    weight: of each domain in the dev loss, in sum 1 [C].
    base: nats a token under the base [C].
    reducible: by how many nats a token the reference tuning lowers that [C].
  """

  weight: Float[np.ndarray, " c"]
  base: Float[np.ndarray, " c"]
  reducible: Float[np.ndarray, " c"]


class Law(NamedTuple):
  """Five numbers that are fitted.

  Attributes:
    offset: a, in nats a token.
    scale: s, of the loss that the domains foretell.
    tau: tokens of a domain at which its loss begins to bend.
    beta: exponent; the larger, the sooner all is learned.
    kappa: what a token elsewhere is worth to a domain, from 0 to 1.
  """

  offset: float
  scale: float
  tau: float
  beta: float
  kappa: float


def foretell(
  law: Law, tokens: Float[np.ndarray, "m c"], domains: Domains
) -> Float[np.ndarray, " m"]:
  """The dev loss of subsets, in nats a token, by their tokens in each domain.

  L = a + s Σ_c w_c [ℓ_c − A_c (1 − (1 + t_c / τ)^−β)], where t_c counts the
  response tokens in domain c, and κ / C of those elsewhere.

  Args:
    law: as fitted.
    tokens: response tokens of m subsets in each of C domains.
    domains: what is known of them.

  >>> one = np.ones(1)
  >>> law = Law(offset=0.0, scale=1.0, tau=100.0, beta=1.0, kappa=0.0)
  >>> foretell(law, np.array([[0.0], [100.0]]), Domains(one, 3 * one, one))
  array([3. , 2.5])
  """
  x = _foretold(tokens, domains, law.tau, law.beta, law.kappa)
  return law.offset + law.scale * x


def _foretold(
  tokens: Float[np.ndarray, "m c"],
  domains: Domains,
  tau: float,
  beta: float,
  kappa: float,
) -> Float[np.ndarray, " m"]:
  elsewhere = tokens.sum(axis=1, keepdims=True) - tokens
  seen = tokens + kappa * elsewhere / tokens.shape[1]
  learned = -np.expm1(-beta * np.log1p(seen / tau))
  left = domains.base[None] - domains.reducible[None] * learned
  return left @ domains.weight


def fit(
  loss: Float[np.ndarray, " m"],
  tokens: Float[np.ndarray, "m c"],
  domains: Domains,
) -> Law:
  """The law of least squares.

  For given τ, β and κ the law is a straight line, so that a and s are known at
  once (variable projection: Golub and Pereyra, 1973); the three are searched by
  SciPy from several starts.

  Args:
    loss: dev loss of each subset, in nats a token.
    tokens: as `foretell` takes them.
    domains: what is known of them.

  Raises:
    errors.InputError: fewer than six subsets, or a reference tuning that has
      lowered no loss: then nothing can be told apart.

  >>> rng = np.random.default_rng(0)
  >>> third, four = np.full(3, 1 / 3), np.full(3, 4.0)
  >>> domains = Domains(third, four, np.array([1, 2, 3.0]))
  >>> tokens = rng.uniform(0, 1000, (20, 3))
  >>> true = Law(offset=0.1, scale=1.0, tau=300.0, beta=0.5, kappa=0.2)
  >>> law = fit(foretell(true, tokens, domains), tokens, domains)
  >>> bool(np.ptp(foretell(law, tokens, domains) - foretell(true, tokens,
  ...   domains)) < 1e-6)
  True
  """
  if len(loss) < 6 or not (domains.reducible > 0).any():
    raise errors.InputError(
      f"the landscape law has five numbers, and is fitted on {len(loss)} "
      f"subsets and {int((domains.reducible > 0).sum())} domains whose loss "
      "the reference tuning lowers; needed: six or more, and one or more. "
      "Raise config.scaling.subsets, or config.score.learning_rate."
    )
  from scipy import optimize

  middle = max(float(np.median(tokens[tokens > 0])), 1.0)

  def line(x: Float[np.ndarray, " m"]) -> Float[np.ndarray, " two"]:
    design = np.stack([np.ones(len(x)), x], axis=1)
    return np.linalg.lstsq(design, loss, rcond=None)[0]

  def residual(free: Float[np.ndarray, " three"]) -> Float[np.ndarray, " m"]:
    x = _foretold(tokens, domains, *_named(free, middle))
    offset, scale = line(x)
    return offset + scale * x - loss

  found = min(
    (
      optimize.least_squares(
        residual,
        np.array([np.log(tau), np.log(beta), 0.1]),
        bounds=([-9, -5, 0], [9, 3, 1]),
      )
      for tau, beta in _STARTS
    ),
    key=lambda one: one.cost,
  )
  tau, beta, kappa = _named(found.x, middle)
  offset, scale = line(_foretold(tokens, domains, tau, beta, kappa))
  return Law(float(offset), float(scale), tau, beta, kappa)


def _named(
  free: Float[np.ndarray, " three"], middle: float
) -> tuple[float, float, float]:
  """τ, β and κ by the numbers that are searched."""
  return middle * float(np.exp(free[0])), float(np.exp(free[1])), float(free[2])
