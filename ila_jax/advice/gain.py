"""The predicted gain of a selection over random at equal response tokens.

docs/method.md 22. It needs no tuning on the selection: only what the last part
of the reference set has taught of each domain, and how many tokens of each
domain are chosen. So it knows nothing of what is better inside a domain.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from ila_jax.advice import line
from ila_jax.methods.variants import ila_marginal

NAME = "predicted gain"
# Below this, in nats a token, a gain is not worth a selection.
LEAST_GAIN = 0.01
# What a token elsewhere is worth to a domain. No run has measured it here: the
# interval holds what any of `KAPPAS` would give.
KAPPA = 0.3
KAPPAS = (0.1, KAPPA, 1.0)
RESAMPLES = 2000
LEVEL = 0.9


class Sample(NamedTuple):
  """Examples that were scored under the earlier and the later models.

  Attributes:
    gain: nll of the earlier model less that of each reference-tuned model, in
      nats over the response [r, n].
    n_tokens: of each response [n].
    domain: of each example, from 0 [n].
    prompt: examples that share a prompt are drawn together [n].
    ids: which put the examples in an order [n].
  """

  gain: Float[np.ndarray, "r n"]
  n_tokens: Int[np.ndarray, " n"]
  domain: Int[np.ndarray, " n"]
  prompt: Shaped[np.ndarray, " n"]
  ids: Shaped[np.ndarray, " n"]


class Shares(NamedTuple):
  """Where tokens of the response lie, by domain.

  Attributes:
    dev: of the examples that are held out [d].
    chosen: of the selection [d].
    pool: of all candidates [d].
  """

  dev: Float[np.ndarray, " d"]
  chosen: Float[np.ndarray, " d"]
  pool: Float[np.ndarray, " d"]


class Prediction(NamedTuple):
  """The gain, in nats a token of the dev set; above 0 the selection is better.

  Attributes:
    value: the mean over the references.
    low: lower end of the 90 % interval.
    high: its upper end.
    references: how many later models there are.
    marginal: M_d, in nats a token for each e-fold of tokens [d].
    e_folds: by how many e-folds more of a domain is seen than at random [d].
  """

  value: float
  low: float
  high: float
  references: int
  marginal: Float[np.ndarray, " d"]
  e_folds: Float[np.ndarray, " d"]


def e_folds(
  chosen: Float[np.ndarray, " d"],
  other: Float[np.ndarray, " d"],
  *,
  kappa: float,
) -> Float[np.ndarray, " d"]:
  """E-folds of the tokens that teach a domain: ln of chosen over other.

  Besides its own tokens a domain is taught by κ / C of those elsewhere, as in
  the landscape law (docs/method.md 21). Twice the tokens of all domains are
  ln 2 in each, so that the unit is that of `marginal`.

  Args:
    chosen: response tokens by domain [d].
    other: those of the subset that it is compared with [d].
    kappa: worth of a token elsewhere, above 0.

  >>> tokens = np.array([30.0, 10.0])
  >>> e_folds(2 * tokens, tokens, kappa=0.5).round(4).tolist()
  [0.6931, 0.6931]
  """
  return np.log(_seen(chosen, kappa) / _seen(other, kappa))


def _seen(
  tokens: Float[np.ndarray, " d"], kappa: float
) -> Float[np.ndarray, " d"]:
  return tokens + kappa * (tokens.sum() - tokens) / len(tokens)


def marginal(
  gain: Float[np.ndarray, " d"],
  n_tokens: Float[np.ndarray, " d"],
  *,
  early_share: float,
) -> Float[np.ndarray, " d"]:
  """What an e-fold of tokens still takes from the loss of each domain.

  M_d = (Σ_d g + 300 M) / (T_d + 300) / ln(1 / early_share), M = Σ g / Σ T: a
  domain of few tokens is drawn to the mean, as in `ila_marginal`.

  Args:
    gain: Σ_d g, sums of nll(earlier) - nll(later) over the sample [d].
    n_tokens: T_d, its response tokens [d].
    early_share: of the reference set that taught the earlier model, below 1.

  Returns:
    Nats a token [d].

  >>> marginal(np.array([60.0, 0.0]), np.array([300.0, 0.0]), early_share=0.25)
  array([0.1442695, 0.1442695])
  """
  pseudo = ila_marginal.PSEUDO_TOKENS
  mean = gain.sum() / n_tokens.sum()
  shrunk = (gain + pseudo * mean) / (n_tokens + pseudo)
  return shrunk / math.log(1 / early_share)


def predict(
  sample: Sample, shares: Shares, *, early_share: float, seed: int
) -> Prediction:
  """The gain of the selection over a random subset of as many tokens.

  Σ_d w_d M_d `e_folds`_d. The interval has three parts: the middle 90 % of
  resamples of the sample's prompts; the lowest and the highest end over
  `KAPPAS`; and, where there are two references or more, Student's interval of
  their mean, added in quadrature.

  Args:
    sample: what was scored.
    shares: tokens by domain; none of the three may be 0 in all.
    early_share: see `marginal`.
    seed: of the resamples.
  """
  order = np.lexsort((sample.ids,))  # The same bits in any order of the rows.
  domain, n_tokens = sample.domain[order], sample.n_tokens[order]
  gain = sample.gain[:, order].astype(np.float64)
  _, prompt = np.unique(sample.prompt[order], return_inverse=True)
  count = len(shares.pool)
  random = shares.chosen.sum() * shares.pool / shares.pool.sum()
  weight = shares.dev / shares.dev.sum()
  seen = {k: e_folds(shares.chosen, random, kappa=k) for k in KAPPAS}

  def by_domain(
    values: Float[np.ndarray, " n"], times: Float[np.ndarray, " n"]
  ) -> Float[np.ndarray, " d"]:
    return np.bincount(domain, weights=values * times, minlength=count)

  def learned(
    values: Float[np.ndarray, " n"], times: Float[np.ndarray, " n"]
  ) -> Float[np.ndarray, " d"]:
    tokens = by_domain(n_tokens.astype(np.float64), times)
    return marginal(by_domain(values, times), tokens, early_share=early_share)

  once, mean = np.ones(len(domain)), gain.mean(axis=0)
  found = learned(mean, once)
  value = float(weight @ (found * seen[KAPPA]))
  rng = np.random.default_rng([seed, *b"advice"])
  prompts = int(prompt.max()) + 1
  spread = np.empty((RESAMPLES, len(KAPPAS)))
  for row in spread:
    times = np.bincount(rng.integers(0, prompts, prompts), minlength=prompts)
    again = weight * learned(mean, times[prompt].astype(np.float64))
    row[:] = [again @ seen[kappa] for kappa in KAPPAS]
  tail = (1 - LEVEL) / 2
  ends = np.quantile(spread, [tail, 1 - tail], axis=0)
  each = [float(weight @ (learned(g, once) * seen[KAPPA])) for g in gain]
  more = _of_references(each)
  low = value - math.hypot(value - min(value, ends[0].min()), more)
  high = value + math.hypot(max(value, ends[1].max()) - value, more)
  return Prediction(value, low, high, len(each), found, seen[KAPPA])


def _of_references(values: Sequence[float]) -> float:
  """Half of Student's interval of the mean; 0 of one value."""
  if len(values) < 2:
    return 0.0
  from scipy import stats

  sd = float(np.std(values, ddof=1)) / math.sqrt(len(values))
  return float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * sd


def seed_spread(
  nll: Float[np.ndarray, "r n"], n_tokens: Int[np.ndarray, " n"]
) -> float | None:
  """How far the dev loss moves by the seed alone, in nats a token.

  The standard deviation over models that were tuned on reference sets of
  other seeds. None: there is one model, or no dev example.

  Args:
    nll: of each dev example under each tuned model [r, n].
    n_tokens: of their responses [n].

  >>> seed_spread(np.array([[4.0, 4.0], [2.0, 2.0]]), np.array([2, 2]))
  0.707...
  """
  if len(nll) < 2 or not n_tokens.sum():
    return None
  return float((nll.sum(axis=1) / n_tokens.sum()).std(ddof=1))


def told(
  found: Prediction,
  *,
  names: Sequence[str],
  shares: Shares,
  spread: float | None,
) -> line.Line:
  """The line of a prediction.

  Args:
    found: of `predict`.
    names: of the domains.
    shares: that it was made with.
    spread: of `seed_spread`.
  """
  threshold = max(LEAST_GAIN, spread or 0.0)
  helps = found.low >= threshold
  said = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] nats a token"
  what = "expected to help by " if helps else "not expected to help: "
  parts = [
    f"{what}{said}".replace("-", "−"),
    "at equal response tokens, by where the tokens lie alone; the lower end is "
    f"{'not ' if helps else ''}below {threshold:.3f}"
    + (
      ", by which dev loss moves with the seed"
      if spread and spread > LEAST_GAIN
      else ""
    ),
    _of_what(found.references, spread),
  ]
  pool, chosen = (s / s.sum() for s in (shares.pool, shares.chosen))
  return line.Line(
    name=NAME,
    verdict=line.OK if helps else line.CAUTION,
    sentence=(". ".join(one[0].upper() + one[1:] for one in parts) + "."),
    number=found.value,
    low=found.low,
    high=found.high,
    threshold=threshold,
    detail={
      "references": found.references,
      "seed_spread": spread,
      "domains": [
        {
          "domain": name,
          "dev_share": float(shares.dev[d] / shares.dev.sum()),
          "pool_share": float(pool[d]),
          "chosen_share": float(chosen[d]),
          "marginal": float(found.marginal[d]),
          "e_folds": float(found.e_folds[d]),
        }
        for d, name in enumerate(names)
      ],
    },
  )


def _of_what(references: int, spread: float | None) -> str:
  over = "the interval is over prompts of the sample, over what a token of "
  over += f"another domain is worth (κ from {min(KAPPAS):g} to {max(KAPPAS):g})"
  if references > 1:
    return f"{over}, and over {references} references of one earlier model"
  return (
    f"{over}; with one reference seed it holds no other reference set"
    + ("" if spread else ", and the spread by the seed is not known")
    + " (`--config.score.reference_seeds='(0, 1, 2)' --redo=score`)"
  )


def missing(shares: Shares) -> str:
  """Why no gain can be foretold from these shares; "": one can.

  >>> one = np.ones(1)
  >>> missing(Shares(one, one, one))[:35]
  'the pool has one domain, and where '
  """
  for tokens, why in (
    (
      shares.chosen,
      "nothing is selected. Raise config.select.budget, and run stage select",
    ),
    (
      shares.dev,
      "no example is held out, so what counts is not known. Set "
      "`--config.pool.dev_examples=1000 --redo=pool`",
    ),
  ):
    if not tokens.sum():
      return f"{why}."
  if (shares.pool > 0).sum() < 2:
    return (
      "the pool has one domain, and where tokens lie among domains is all that "
      "this prediction knows: it would be 0 of any selection. Name the field "
      "that tells them with `--config.pool.fields.domain=FIELD --redo=pool`, "
      "or raise config.landscape.domain_blocks."
    )
  return ""
