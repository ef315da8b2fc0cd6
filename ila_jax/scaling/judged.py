"""How well the landscape law and its rivals foretell subsets that they lack.

All foretell the loss itself, in nats a token, of subsets that they were not
fitted on: fold by fold, where a fold is what was drawn together.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ila_jax import errors
from ila_jax.scaling import landscape_law, mixtures

LEVEL = 0.95
# One is left out, and the law has five numbers.
_LEAST = 7


class Subsets(NamedTuple):
  """Trained subsets.

  Attributes:
    loss: nats a token on the dev set [m].
    tokens: response tokens in each domain [m, C].
    count: examples [m].
    coverage: share of the cells [m].
    depth: mean relative depth [m].
    fold: what is left out together [m].
    in_design: whether coverage and depth were set, and not only observed [m].
  """

  loss: Float[np.ndarray, " m"]
  tokens: Float[np.ndarray, "m c"]
  count: Float[np.ndarray, " m"]
  coverage: Float[np.ndarray, " m"]
  depth: Float[np.ndarray, " m"]
  fold: Shaped[np.ndarray, " m"]
  in_design: Bool[np.ndarray, " m"]

  def some(self, rows: Shaped[np.ndarray, " k"]) -> "Subsets":
    """These subsets alone, by number or by truth."""
    return Subsets(*(column[rows] for column in self))


# From subsets to fit on and subsets to foretell, to the losses of the latter.
Rival = Callable[[Subsets, Subsets], Float[np.ndarray, " k"]]


def rivals(domains: landscape_law.Domains, *, seed: int) -> dict[str, Rival]:
  """The law, the law with what makes it one taken away, and plain regressions.

  Args:
    domains: what is known of them.
    seed: of the permutation of what can be reduced over the domains.
  """
  rng = np.random.default_rng([seed, *b"landscape law"])
  # One ring over the domains: each has another's, whatever the draw is.
  ring, reducible = (
    rng.permutation(len(domains.weight)),
    domains.reducible.copy(),
  )
  reducible[ring] = domains.reducible[np.roll(ring, 1)]
  shuffled = domains._replace(reducible=reducible)
  even = domains._replace(
    weight=np.full(len(domains.weight), 1 / len(domains.weight))
  )
  return {
    "landscape law": _law(domains),
    "law, reducible loss permuted": _law(shuffled),
    "law, weights alike": _law(even),
    "tokens": _linear(_log_tokens),
    "tokens, mean length": _linear(_log_tokens, _log_length),
    "tokens, shares of domains": _ridge,
    "examples": _linear(lambda s: np.log(s.count)),
    "coverage": _linear(lambda s: np.log(s.coverage)),
    "depth": _linear(lambda s: np.log(s.depth)),
    "coverage, depth": _linear(
      lambda s: np.log(s.coverage), lambda s: np.log(s.depth)
    ),
  }


def _law(domains: landscape_law.Domains) -> Rival:
  def foretell(known: Subsets, new: Subsets) -> Float[np.ndarray, " k"]:
    law = landscape_law.fit(known.loss, known.tokens, domains)
    return landscape_law.foretell(law, new.tokens, domains)

  return foretell


def _log_tokens(subsets: Subsets) -> Float[np.ndarray, " m"]:
  return np.log(subsets.tokens.sum(axis=1))


def _log_length(subsets: Subsets) -> Float[np.ndarray, " m"]:
  return np.log(subsets.tokens.sum(axis=1) / subsets.count)


def _linear(*columns: Callable[[Subsets], Float[np.ndarray, " m"]]) -> Rival:
  """Ordinary least squares on a constant and some columns."""

  def design(subsets: Subsets) -> Float[np.ndarray, "m p"]:
    ones = np.ones(len(subsets.loss))
    return np.stack([ones, *(column(subsets) for column in columns)], axis=1)

  def foretell(known: Subsets, new: Subsets) -> Float[np.ndarray, " k"]:
    slopes = np.linalg.lstsq(design(known), known.loss, rcond=None)[0]
    return design(new) @ slopes

  return foretell


def _ridge(known: Subsets, new: Subsets) -> Float[np.ndarray, " k"]:
  """Ridge regression on log tokens and shares, its strength by RidgeCV."""
  from sklearn import linear_model, pipeline, preprocessing

  def columns(subsets: Subsets) -> Float[np.ndarray, "m p"]:
    shares = subsets.tokens / subsets.tokens.sum(axis=1, keepdims=True)
    return np.hstack([_log_tokens(subsets)[:, None], shares])

  model = pipeline.make_pipeline(
    preprocessing.StandardScaler(),
    linear_model.RidgeCV(alphas=np.logspace(-3, 3, 13)),
  )
  return model.fit(columns(known), known.loss).predict(columns(new))


def judge(
  subsets: Subsets,
  domains: landscape_law.Domains,
  *,
  resamples: int,
  seed: int,
) -> list[dict[str, Any]]:
  """What each rival foretells, over folds and from the designed to the others.

  Args:
    subsets: all that were trained.
    domains: what is known of their domains.
    resamples: of the bootstrap.
    seed: of the bootstrap and of the permutation.

  Returns:
    For each of `rivals`: name; fitted, R² on what it was fitted on; left_out,
    R² of the folds that were left out; gap, by how much that of the law is
    above it, with `value`, `low` and `high` (bootstrap-t over folds, None for
    the law itself); and agnostic, R² on subsets that were not designed when
    fitted on those that were. None where it cannot be told.
  """
  made = rivals(domains, seed=seed)
  errors_of = {name: _left_out(subsets, rival) for name, rival in made.items()}
  law = errors_of["landscape law"]
  found = []
  for name, rival in made.items():
    missed = errors_of[name]
    gap = None
    if name != "landscape law" and missed is not None and law is not None:
      gap = _gap(subsets, missed, law, resamples=resamples, seed=seed)
    found.append(
      {
        "name": name,
        "fitted": _r2(subsets.loss, subsets.loss - rival(subsets, subsets)),
        "left_out": None if missed is None else _r2(subsets.loss, missed),
        "gap": gap,
        "agnostic": _to_agnostic(subsets, rival),
      }
    )
  return found


def _left_out(subsets: Subsets, rival: Rival) -> Float[np.ndarray, " m"] | None:
  """Observed less foretold, each fold by a fit without it; None: one fold."""
  missed = np.zeros(len(subsets.loss))
  folds = np.unique(subsets.fold)
  if len(folds) < 2:
    return None
  for fold in folds:
    out = subsets.fold == fold
    foretold = rival(subsets.some(~out), subsets.some(out))
    missed[out] = subsets.loss[out] - foretold
  return missed


def _to_agnostic(subsets: Subsets, rival: Rival) -> float | None:
  inside = subsets.in_design
  if inside.sum() < 6 or (~inside).sum() < 3:
    return None
  others = subsets.some(~inside)
  return _r2(others.loss, others.loss - rival(subsets.some(inside), others))


def _r2(
  loss: Float[np.ndarray, " m"], missed: Float[np.ndarray, " m"]
) -> float | None:
  total = np.sum((loss - loss.mean()) ** 2)
  return float(1 - np.sum(missed**2) / total) if total > 0 else None


def _gap(
  subsets: Subsets,
  missed: Float[np.ndarray, " m"],
  law: Float[np.ndarray, " m"],
  *,
  resamples: int,
  seed: int,
) -> dict[str, float]:
  """R² of the law less that of a rival, both of what was left out.

  A bootstrap-t over folds: the gap is a sum of what each fold adds to it.
  """
  total = np.sum((subsets.loss - subsets.loss.mean()) ** 2)
  _, fold = np.unique(subsets.fold, return_inverse=True)
  part = np.bincount(fold, (missed**2 - law**2) / total)
  count = len(part)
  rng = np.random.default_rng([seed, *b"landscape gap"])
  drawn = part[rng.integers(count, size=(resamples, count))]
  floor = np.finfo(np.float64).tiny  # Folds that are all alike.
  spread = np.maximum(drawn.std(axis=1, ddof=1), floor)
  t = (drawn.mean(axis=1) - part.mean()) / spread
  tail = (1 - LEVEL) / 2
  high, low = np.quantile(t, [tail, 1 - tail])
  own = part.std(ddof=1)
  return {
    "value": float(part.sum()),
    "low": float(count * (part.mean() - low * own)),
    "high": float(count * (part.mean() - high * own)),
  }


def ceiling(
  loss: Float[np.ndarray, " m"], repeats: Sequence[Float[np.ndarray, " _"]]
) -> float | None:
  """The R² that no law can pass: 1 less the noise of a run over the variance.

  Args:
    loss: of the subsets.
    repeats: losses of runs that differ by chance alone, a list for each subset
      that was trained several times; None is told where there is none.

  >>> repeats = [np.array([1.0, 1.2]), np.array([2.0, 1.8])]
  >>> round(ceiling(np.array([1.0, 2.0, 3.0]), repeats), 3)
  0.98
  """
  spreads = [np.var(one, ddof=1) for one in repeats if len(one) > 1]
  if not spreads or np.ptp(loss) == 0:
    return None
  return float(1 - np.mean(spreads) / np.var(loss, ddof=1))


def fits(
  runs: Sequence[Mapping[str, Any]],
  domains: landscape_law.Domains,
  *,
  resamples: int,
  seed: int,
) -> dict[str, Any]:
  """The landscape law of a run, and how it and its rivals foretell.

  Args:
    runs: the lines of `scaling/runs.jsonl`.
    domains: what is known of them.
    resamples: of the bootstrap.
    seed: of the bootstrap and of the permutation.

  Returns:
    {"fitted": False, "reason": ...} where the runs cannot carry the law; else
    runs; law, its five numbers; domains; judged, as `judge` returns it;
    ceiling, the R² that noise leaves to any law, by the subsets that were tuned
    on several times, or None; and fixed_tokens, the same as judged of the
    mixtures that have as many tokens, or None where they are fewer than eight.
  """
  subsets, count = of_runs(runs), len(runs)
  try:
    if count < _LEAST:
      raise errors.InputError(f"runs: {count}; needed: at least {_LEAST}")
    law = landscape_law.fit(subsets.loss, subsets.tokens, domains)
  except errors.InputError as error:
    return {"fitted": False, "reason": str(error), "runs": len(runs)}
  told = functools.partial(
    judge, domains=domains, resamples=resamples, seed=seed
  )
  fixed = _of_middle(runs)
  return {
    "fitted": True,
    "runs": len(runs),
    "law": law._asdict(),
    "domains": {k: v.tolist() for k, v in domains._asdict().items()},
    "judged": told(subsets),
    "ceiling": ceiling(
      subsets.loss,
      [np.array([r["loss"], *r["repeats"]]) for r in runs if r.get("repeats")],
    ),
    "fixed_tokens": told(subsets.some(fixed)) if fixed.sum() >= 8 else None,
  }


def _of_middle(runs: Sequence[Mapping[str, Any]]) -> Bool[np.ndarray, " m"]:
  """The mixtures that were given the same tokens."""
  asked = [
    run["levels"]["tokens"] if run["kind"] == mixtures.KIND else -1
    for run in runs
  ]
  sizes, number, counts = np.unique(
    asked, return_inverse=True, return_counts=True
  )
  counts = np.where(sizes < 0, 0, counts)
  return (number == counts.argmax()) & (counts.max() > 1)


def of_runs(runs: Sequence[Mapping[str, Any]]) -> Subsets:
  """Trained subsets, by the lines of `scaling/runs.jsonl`."""
  columns = ("loss", "n", "coverage", "depth")
  loss, count, coverage, depth = (
    np.array([run[name] for run in runs], np.float64) for name in columns
  )
  return Subsets(
    loss=loss,
    tokens=np.array([run["domain_tokens"] for run in runs], np.float64),
    count=count,
    coverage=coverage,
    depth=depth,
    fold=np.array([run["name"] for run in runs]),
    in_design=np.array([run["in_design"] for run in runs]),
  )
