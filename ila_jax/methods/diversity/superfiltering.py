"""Superfiltering with diversity: the highest IFD, then facility location.

Li et al., "Superfiltering: Weak-to-Strong Data Filtering", arXiv 2402.00530,
whose diverse variant keeps a fifth of the pool by IFD, with GPT-2 as the model,
and chooses a tenth of that by facility location. IFD is the ratio of
perplexities with and without the prompt, that of `ifd` with
`variant=superfiltering` (docs/method.md 9); from 1 on an example is out. The
authors measure likeness by Euclidean distance, as submodlib does.

What differs: the model is the base of the run, with the run's tokens and chat
template; likeness is that of prompts, by the encoder of the run, where theirs
is of prompt and response by MiniLM. A share is of the candidates, and not of a
fixed 52,002.
"""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import facility_location, gains, likeness
from ila_jax.methods.quality import ifd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(facility_location.Options):
  """Those of facility location, and the share that it chooses from."""

  similarity: str = options_lib.field(
    "euclidean",
    "likeness of two: their cosine, or 2 - Euclidean distance",
    choices=tuple(gains.LIKENESS),
  )
  share: float = options_lib.field(
    0.2, "of the candidates, by IFD, that are chosen from", low=0, high=1
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Those that represent the ones with the highest IFD best.

  No more than the budget may buy are ordered. All in round 1.
  """
  rows = likeness.rows_by_tie(c)
  given, alone = ifd.losses(c, ifd.SUPERFILTERING)
  with np.errstate(invalid="ignore", over="ignore"):
    ratio = np.exp(given - alone)[rows].astype(np.float32)
  helped = np.isfinite(given)[rows] & (ratio < 1)
  most = int(np.ceil(options.share * len(rows)))
  by_ifd = np.argsort(-np.where(helped, ratio, -np.inf), kind="stable")
  kept = np.sort(by_ifd[: min(most, int(helped.sum()))])
  found = facility_location.head(
    c,
    rows[kept],
    similarity=options.similarity,
    represented=options.represented,
    name="Superfiltering",
  )
  rest = found.rest
  if len(kept) < len(rows):
    rest = (
      f"Superfiltering chooses from {len(kept):,}: those with the highest IFD "
      f"below 1, at most {options.share:g} of the candidates "
      f"(config.select.options.superfiltering.share). {rest}"
    ).strip()
  return dataclasses.replace(found, rest=rest)


def _effort(size: effort_lib.Size, options: Options) -> effort_lib.Effort:
  rows = options.share * size.candidates
  return facility_location.effort(size, rows, options.represented)


METHOD = method.Method(
  name="superfiltering",
  rank=rank,
  needs=("embeddings", "nll_base", "answers_alone", "n_tokens"),
  options=Options,
  share=lambda options: options.share,
  effort=_effort,
  colour="#b79f00",
)
