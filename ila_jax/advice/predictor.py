"""Foretells the gain of a run's selection, or says why nobody can."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from ila_jax.advice import gain, line
from ila_jax.methods.variants import ila_marginal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
  """A pool as the advice looks at it; places are of its n scored rows.

  Attributes:
    names: of the domains.
    domain: of each row [n].
    n_tokens: of each response [n].
    is_dev: which rows are held out [n].
    candidate: which may be chosen [n].
    order: places, best first [m].
    chosen: the first of the order, which the budget pays for [k].
  """

  names: Sequence[str]
  domain: Int[np.ndarray, " n"]
  n_tokens: Int[np.ndarray, " n"]
  is_dev: Bool[np.ndarray, " n"]
  candidate: Bool[np.ndarray, " n"]
  order: Int[np.ndarray, " m"]
  chosen: Int[np.ndarray, " k"]

  def by_domain(self, places: np.ndarray) -> Float[np.ndarray, " d"]:
    """Response tokens of some places, or of those in a mask, by domain."""
    return np.bincount(
      self.domain[places],
      weights=self.n_tokens[places],
      minlength=len(self.names),
    )

  def shares(self) -> gain.Shares:
    """Where the tokens of dev set, selection and candidates lie."""
    return gain.Shares(
      dev=self.by_domain(self.is_dev),
      chosen=self.by_domain(self.chosen),
      pool=self.by_domain(self.candidate),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictor:
  """What foretells the gain of any head of an order.

  Attributes:
    places: the pool, and its order.
    sample: what was scored under the earlier model; None: nothing was.
    early_share: of the reference set that taught the earlier model.
    spread: of `gain.seed_spread`.
    seed: of the resamples.
    rivals: config.select.compare, for the command that makes the sample.
  """

  places: Places
  sample: gain.Sample | None
  early_share: float
  spread: float | None
  seed: int
  rivals: Sequence[str]

  def why_not(self) -> str:
    """Why nothing can be foretold, and what would make it known; "": it can."""
    why = gain.missing(self.places.shares())
    if why:
      return why
    if self.sample is None:
      return (
        "what the last part of the reference set has taught was not measured. "
        + line.by_rival(ila_marginal.METHOD.name, self.rivals)
        + " That is one tuning on a part of the reference set, and the scores "
        "of a sample."
      )
    if self.early_share >= 1:
      return (
        f"config.signals.early_share is {self.early_share:g}: earlier and "
        "later model are taught alike. Set it to 0.25."
      )
    if not self.sample.gain.mean(axis=0).sum() > 0:
      return (
        "the last part of the reference set has taught nothing, so that "
        "nothing says what more tokens would. Raise "
        "config.score.reference_examples or config.score.learning_rate, with "
        "`--redo=score`."
      )
    return ""

  def line(self) -> line.Line:
    """The line of the selection."""
    why = self.why_not()
    if why:
      return line.unknown(gain.NAME, why, threshold=gain.LEAST_GAIN)
    shares = self.places.shares()
    return gain.told(
      self._predict(shares),
      names=self.places.names,
      shares=shares,
      spread=self.spread,
    )

  def of_head(
    self, budget: int, *, dev: Float[np.ndarray, " d"] | None = None
  ) -> dict[str, float] | None:
    """The gain of the first of the order, of so many response tokens.

    Args:
      budget: the tokens.
      dev: as `of_tokens` has it.

    Returns:
      value, low, high, and the threshold of its lower end; None where the
      budget does not pay for the first.
    """
    order = self.places.order
    spent = np.cumsum(self.places.n_tokens[order], dtype=np.int64)
    head = order[: int(np.searchsorted(spent, budget, side="right"))]
    if not len(head):
      return None
    return self.of_tokens(self.places.by_domain(head), dev=dev)

  def of_tokens(
    self,
    chosen: Float[np.ndarray, " d"],
    *,
    dev: Float[np.ndarray, " d"] | None = None,
  ) -> dict[str, float]:
    """The gain of any subset over a random one of as many tokens.

    Args:
      chosen: its response tokens by domain, not all 0 [d].
      dev: those of the examples that judge; None: of the pool's dev set.

    Returns:
      As `of_head`.
    """
    shares = self.places.shares()._replace(chosen=chosen)
    if dev is not None:
      shares = shares._replace(dev=dev)
    found = self._predict(shares)
    threshold = max(gain.LEAST_GAIN, self.spread or 0.0)
    ends = {"low": found.low, "high": found.high}
    return {"value": found.value, "threshold": threshold} | ends

  def _predict(self, shares: gain.Shares) -> gain.Prediction:
    assert self.sample is not None  # Else `why_not` says so.
    share = self.early_share
    return gain.predict(self.sample, shares, early_share=share, seed=self.seed)
