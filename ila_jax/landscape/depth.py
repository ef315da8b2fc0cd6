"""Information depth: what fine-tuning taught the model about an example.

Depth formulas are registered by name in `DEPTHS`. All take the response
losses under the base model and under the reference-tuned model, as sums, and
are linear in the latter as far as `ila` goes: with several reference seeds
pass the mean loss, and get the mean depth.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from ila_jax import errors
from ila_jax.compute import quantiles

BINS = 10  # Of length within a domain.


def ila(
  nll_base: Float[np.ndarray, " n"],
  nll_sft: Float[np.ndarray, " n"],
  n_tokens: Int[np.ndarray, " n"],
  n_labels: Int[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """Information depth as published (paper, Equation 5).

  ID = (nll(base) - nll(tuned)) / T * K. Negative where tuning made the
  example harder to predict. It prefers short, formulaic answers; `ila_length`
  does not.

  Args:
    nll_base: summed response loss under the base model, nats [n].
    nll_sft: the same under the reference-tuned model, nats [n].
    n_tokens: response tokens T, at least 1 [n].
    n_labels: distinct labels K, at least 1 [n].
    domain: not used by this formula [n].

  Returns:
    Nats per token times labels, float32 [n]. A loss that is NaN gives a depth
    that is NaN, which the caller rejects with a reason.

  Raises:
    ValueError: an example without response tokens or labels.

  >>> one = np.array([1])
  >>> ila(np.array([30.0]), np.array([20.0]), 4 * one, 2 * one, 0 * one)
  array([5.], dtype=float32)
  """
  _check_counts(n_tokens, n_labels)
  gain = nll_base.astype(np.float32) - nll_sft.astype(np.float32)
  return gain / n_tokens.astype(np.float32) * n_labels.astype(np.float32)


def infinity_instruct(
  nll_base: Float[np.ndarray, " n"],
  nll_sft: Float[np.ndarray, " n"],
  n_tokens: Int[np.ndarray, " n"],
  n_labels: Int[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """Depth of InfinityInstruct-Subject: log K times the loss of a token.

  log(K) * nll(base) / T with the natural logarithm, a reconstruction after
  arXiv 2506.11116. No tuned model is asked; of one label the depth is 0.

  Args, what it returns and raises: as `ila`, without nll_sft and domain.

  >>> one = np.array([1])
  >>> infinity_instruct(
  ...   np.array([8.0]), np.array([0.0]), 4 * one, 3 * one, 0 * one)
  array([2.1972246], dtype=float32)
  """
  _check_counts(n_tokens, n_labels)
  loss = nll_base.astype(np.float32) / n_tokens.astype(np.float32)
  return loss * np.log(n_labels.astype(np.float32))


def ila_std(
  nll_sft_std: Float[np.ndarray, " n"],
  n_tokens: Int[np.ndarray, " n"],
  n_labels: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """Standard deviation of `ila` over reference seeds: std(nll) / T * K.

  Args:
    nll_sft_std: deviation of the tuned loss over reference seeds, nats [n].
    n_tokens: response tokens T, at least 1 [n].
    n_labels: distinct labels K, at least 1 [n].

  Returns:
    Nats per token times labels, float32 [n].

  Raises:
    ValueError: an example without response tokens or labels.

  >>> ila_std(np.array([2.0]), np.array([4]), np.array([3]))
  array([1.5], dtype=float32)
  """
  _check_counts(n_tokens, n_labels)
  spread = nll_sft_std.astype(np.float32) / n_tokens.astype(np.float32)
  return spread * n_labels.astype(np.float32)


def ila_length(
  nll_base: Float[np.ndarray, " n"],
  nll_sft: Float[np.ndarray, " n"],
  n_tokens: Int[np.ndarray, " n"],
  n_labels: Int[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """Depth ranked among examples of like length and equal domain.

  The mid-rank quantile of `ila` inside a length bin; the bins are the deciles
  of response length within the domain, and equal lengths share a bin. A domain
  of fewer than 10 examples a bin has fewer bins.

  Args:
    nll_base: summed response loss under the base model, nats [n].
    nll_sft: the same under the reference-tuned model, nats [n].
    n_tokens: response tokens T, at least 1 [n].
    n_labels: distinct labels K, at least 1 [n].
    domain: domain of each example, from 0 [n].

  Returns:
    Quantiles in (0, 1), float32 [n].

  Raises:
    ValueError: an example without response tokens or labels, or a depth that
      is NaN: it cannot be ranked.

  >>> ones = np.ones(20, int)
  >>> tokens = np.repeat([1, 100], 10)
  >>> gains = np.arange(20.0)
  >>> depth = ila_length(gains, 0 * gains, tokens, ones, 0 * ones)
  >>> depth[[0, 9, 10, 19]]
  array([0.05, 0.95, 0.05, 0.95], dtype=float32)
  """
  depth = ila(nll_base, nll_sft, n_tokens, n_labels, domain)
  stratum = quantiles.length_strata(n_tokens, domain, bins=BINS)
  return quantiles.within(depth, stratum).astype(np.float32)


def relative_depth(
  depth: Float[np.ndarray, " n"], domain: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
  """RID: the mid-rank quantile of depth among the examples of its domain.

  (number below + half the number equal, itself among them) / size of the
  domain, which is `scipy.stats.percentileofscore(..., kind="mean") / 100`.
  It lies in (0, 1], strictly inside for this convention, so that its
  logarithm exists; a domain of one example gives 0.5. Reconstructed from
  summaries of the paper.

  Args:
    depth: any depth [n].
    domain: domain of each example [n].

  Returns:
    float32 [n].

  Raises:
    ValueError: a depth that is NaN.

  >>> relative_depth(np.array([-1.0, 3.0, 3.0, 9.0]), np.array([0, 0, 0, 1]))
  array([0.16666667, 0.6666667 , 0.6666667 , 0.5       ], dtype=float32)
  """
  return quantiles.within(depth, domain).astype(np.float32)


def sameness(depth: Float[np.ndarray, " n"]) -> str:
  """A sentence where most examples have one depth: it hardly orders them.

  Args:
    depth: any depth [n].

  Returns:
    The sentence; "" where no value stands for more than half of the examples.

  >>> sameness(np.array([7.0, 7.0, 7.0, 1.0])).partition(":")[0]
  '75.0 % of the examples have the depth 7'
  >>> sameness(np.array([1.0, 2.0]))
  ''
  """
  values, counts = np.unique(depth, return_counts=True)
  if not len(values) or 2 * counts.max() <= len(depth):
    return ""
  share = 100 * counts.max() / len(depth)
  return (
    f"{share:.1f} % of the examples have the depth "
    f"{values[counts.argmax()]:.6g}: which of them comes first is decided by "
    "config.select.tie_break, or else by ids alone"
  )


PUBLISHED = "ila"  # Equation 5, the depth of the paper
DEPTHS: dict[str, Callable[..., np.ndarray]] = {
  PUBLISHED: ila,
  "ila_length": ila_length,
  "infinity_instruct": infinity_instruct,
}
LABELS = {
  PUBLISHED: "information depth (nats per token)",
  "ila_length": "depth among answers of like length (quantile)",
  "infinity_instruct": "log of the labels × loss of a token (nats)",
}
# Formulas in which the tuned model has no part.
_OF_BASE = ("infinity_instruct",)
# What a depth begins with that is a score of others as it stands.
SCORE = "score:"
CHOICES = (*DEPTHS, f"{SCORE}NAME")


def score_name(depth: str) -> str:
  """The score that a depth is; "": it is a formula.

  >>> score_name("score:quality"), score_name("ila")
  ('quality', '')
  """
  return depth.removeprefix(SCORE) if depth.startswith(SCORE) else ""


def is_of_tuned(depth: str) -> bool:
  """Whether a depth changes with the reference set.

  >>> is_of_tuned("ila"), is_of_tuned("score:quality")
  (True, False)
  """
  return not score_name(depth) and depth not in _OF_BASE


def check_labels(depth: str, n_labels: Int[np.ndarray, " n"]) -> None:
  """Refuses a depth that is 0 everywhere, for no example has two labels.

  Raises:
    errors.InputError: that is so.
  """
  if depth == "infinity_instruct" and not (n_labels > 1).any():
    raise errors.InputError(
      f"config.landscape.depth is {depth!r}, which is 0 for an example of one "
      "label, and no example of the pool has more. Name their field with "
      "--config.pool.fields.labels=FIELD --redo=pool, or choose another depth."
    )


def label(depth: str) -> str:
  """What figures call a depth of `config.landscape.depth`, with its unit.

  >>> label("score:quality")
  'depth: the score quality'
  """
  name = score_name(depth)
  return f"depth: the score {name}" if name else LABELS[depth]


def _check_counts(n_tokens: np.ndarray, n_labels: np.ndarray) -> None:
  if (n_tokens < 1).any():
    raise ValueError("an example has no response token; reject it first")
  if (n_labels < 1).any():
    raise ValueError("an example has fewer than one label; K is at least 1")
