"""IFD: how little the prompt helps with its response (Li et al., 2023).

"From Quantity to Quality", arXiv 2308.12032, and three that followed, which
call different numbers by this name; `variant` says which is meant, and the
table of docs/method.md 9 what each of them is:

  plain            the base as it is, all tokens of the response behind one
                   token that begins a text; losses
  cherry           Li et al.: a warmed-up model, the response behind its header
  superfiltering   arXiv 2402.00530: the response behind nothing; perplexities
  data_juicer      the last answer of a conversation alone, behind nothing

T-SHIRT's is a method of its own, `tshirt`. Prompts are those of the run.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib

PLAIN, CHERRY = "plain", "cherry"
SUPERFILTERING, DATA_JUICER = "superfiltering", "data_juicer"


class _Variant(NamedTuple):
  """What differs, beside the losses: see `losses`.

  Attributes:
    needs: the losses.
    ratio: of mean losses, or of perplexities.
    most: the highest ratio that may be chosen; None: any.
    below: whether `most` itself is left out, too.
  """

  needs: tuple[str, ...]
  ratio: str = "loss"
  most: float | None = 1.0
  below: bool = False


_VARIANTS = {
  PLAIN: _Variant(("nll_base", "nll_without_prompt")),
  CHERRY: _Variant(("nll_warmed_up",)),
  SUPERFILTERING: _Variant(
    ("nll_base", "answers_alone"), ratio="perplexity", below=True
  ),
  DATA_JUICER: _Variant(
    ("nll_base", "answers_alone", "nll_of_earlier"), most=None
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """Which published number is meant, and which examples may be chosen."""

  variant: str = options_lib.field(
    PLAIN, "which of the published scores", choices=tuple(_VARIANTS)
  )
  ratio: str = options_lib.field(
    "published",
    "ratio of mean losses, or of perplexities; published: as the variant has",
    choices=("published", "loss", "perplexity"),
  )
  least: float = options_lib.field(
    0.0, "examples below it are left out", low=0, high=1e6
  )
  most: float | None = options_lib.field(
    None,
    "examples above it are left out; None: 1, of data_juicer none",
    low=0,
    high=1e6,
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The highest ratio of the losses with and without the prompt first.

  A ratio above 1 says that the response is more likely without its prompt:
  as the authors do, such examples are left out, and so are those whose ratio
  is not a number. All in round 1.
  """
  variant = _VARIANTS[options.variant]
  given, alone = losses(c, options.variant)
  kind = variant.ratio if options.ratio == "published" else options.ratio
  with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
    ratio = given / alone if kind == "loss" else np.exp(given - alone)
  ratio = ratio.astype(np.float32)
  known = np.isfinite([given, alone, ratio]).all(axis=0)
  most = variant.most if options.most is None else options.most
  most = np.inf if most is None else most
  below = variant.below and options.most is None
  low, high = known & (ratio < options.least), known & (ratio > most)
  high |= known & (ratio == most) & below
  rest = [
    f"{count:,} have an IFD {where} config.select.options.ifd.{field}, "
    f"{limit:g}."
    for count, where, field, limit in (
      (_count(c, high), "of or above" if below else "above", "most", most),
      (_count(c, low), "below", "least", options.least),
    )
    if count
  ]
  if unknown := _count(c, ~known):
    rest.append(f"Of {unknown:,} the IFD is not finite.")
  kept = c.candidate & known & ~low & ~high
  return candidates.ranking(c, (-ratio,), among=kept, rest=" ".join(rest))


def losses(
  c: candidates.Candidates, variant: str
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
  """Mean losses of a token with the prompt and without it, in nats.

  Args:
    c: with the losses that the variant needs.
    variant: which of the published scores is meant.
  """
  if variant == CHERRY:
    given, alone = c.inputs["nll_warmed_up"].T
    return given / c.n_tokens, alone / c.n_tokens
  given = c.inputs["nll_base"]
  if variant == PLAIN:
    return given / c.n_tokens, c.inputs["nll_without_prompt"] / c.n_tokens
  total, predicted, last, of_last = c.inputs["answers_alone"].T
  # Nothing predicts the first token of an answer that stands alone.
  with np.errstate(divide="ignore", invalid="ignore"):
    if variant == SUPERFILTERING:
      return given / c.n_tokens, total / predicted
    of_last_given = given - c.inputs["nll_of_earlier"]
    return of_last_given / (of_last + 1), last / of_last


def _count(c: candidates.Candidates, rows: np.ndarray) -> int:
  return int((c.candidate & rows).sum())


METHOD = method.Method(
  name="ifd",
  rank=rank,
  needs=("n_tokens",),
  also=lambda options: _VARIANTS[options.variant].needs,
  options=Options,
  colour="#882255",
)
