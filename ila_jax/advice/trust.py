"""How far depth can be trusted to rank, and how much of the pool is junk.

docs/method.md 22.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ila_jax.advice import line
from ila_jax.compute import quantiles

# Strata of length of a domain.
BINS = 5
# Below this reliability depth may filter, and should not rank.
RANKS = 0.5
# Above this bound a filter is worth its cost.
JUNK = 0.1
# From this bound on the model hardly tells prompts apart, and says nothing.
BLIND = 0.5


def reliability(
  depths: Float[np.ndarray, "r n"],
  n_tokens: Int[np.ndarray, " n"],
  domain: Int[np.ndarray, " n"],
) -> float | None:
  """How far the mean depth of r references would agree with that of r others.

  Each depth is ranked inside its stratum of length and domain, so that what
  differs between lengths or domains does not count as agreement. The mean
  correlation ρ of two references becomes that of means of r by Spearman and
  Brown: r ρ / (1 + (r - 1) ρ).

  Args:
    depths: of each example by each reference [r, n].
    n_tokens: of each response [n].
    domain: of each example, from 0 [n].

  Returns:
    None: there is one reference, or nothing varies inside the strata.

  >>> depths = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]])
  >>> round(reliability(depths, np.ones(4, int), np.zeros(4, int)), 3)
  0.889
  """
  r = len(depths)
  if r < 2 or depths.shape[1] < 3:
    return None
  stratum = quantiles.length_strata(n_tokens, domain, bins=BINS)
  ranks = np.stack([quantiles.within(one, stratum) for one in depths])
  if not ranks.std(axis=1).all():
    return None
  rho = float(np.corrcoef(ranks)[np.triu_indices(r, 1)].mean())
  if rho <= -1 / (r - 1):
    return -1.0  # As far apart as r can be: the formula has its pole there.
  return r * rho / (1 + (r - 1) * rho)


def depth_line(found: float | None, *, references: int) -> line.Line:
  """The line of `reliability`.

  Args:
    found: what it returned.
    references: how many reference seeds the run has.
  """
  name = "depth"
  if found is None:
    more = (
      f"{references} reference seeds were scored, and no depth varies inside "
      "its stratum of length and domain"
      if references > 1
      else "with one reference seed nobody knows whether another would rank "
      "alike"
    )
    return line.unknown(
      name,
      f"{more}. Score two or more: `--config.score.reference_seeds='(0, 1)' "
      "--redo=score` (three models then score the pool, and not two).",
      threshold=RANKS,
    )
  ranks = found >= RANKS
  return line.Line(
    name=name,
    verdict=line.OK if ranks else line.CAUTION,
    sentence=(
      f"Inside strata of length and domain, the depth of {references} "
      f"references has a reliability of {found:.2f} (Spearman-Brown; "
      f"{RANKS:g} or more to rank): depth may "
      + (
        "rank. It says that references agree, not that they are right."
        if ranks
        else "filter, and should not rank: use coverage_only or trim, or more "
        "config.score.reference_seeds."
      )
    ),
    number=found,
    threshold=RANKS,
    detail={"references": references},
  )


def junk_line(
  told: dict[str, Any] | None, *, rivals: Sequence[str] = ()
) -> line.Line:
  """The bound of the share of responses that do not belong to their prompts.

  Args:
    told: as `swapped_prompt.told` returns it; None: it was not computed.
    rivals: config.select.compare, for the command that computes it.

  >>> junk_line({"junk_bound": 0.25}).number
  0.25
  """
  name = "junk"
  bound = told and told["junk_bound"]
  if bound is None:
    return line.unknown(
      name,
      "the pool was not scored behind other prompts. "
      + line.by_rival("specific", rivals)
      if told is None
      else "no record of the pool has another prompt.",
      threshold=JUNK,
    )
  if bound >= BLIND:
    return line.unknown(
      name,
      f"2 P(TS < 0) is {100 * bound:.0f} %. The model of this run hardly tells "
      "a response behind its own prompt from one behind another, and then says "
      "nothing of junk. Score with a model that reads prompts "
      f"(config.model.path); a bound below {100 * BLIND:.0f} % says something.",
      threshold=JUNK,
    )
  is_much = bound > JUNK
  said = (
    f"At most {100 * bound:.1f} % of the responses have nothing to do with "
    "their prompts, by 2 P(TS < 0): an upper bound, the higher the worse the "
    f"model reads prompts (a filter pays above {100 * JUNK:.0f} %)"
  )
  if is_much:
    said += (
      ". Equation 5 does not see them: look at some, or filter with "
      "`--config.select.strategy=specific`"
    )
  return line.Line(
    name=name,
    verdict=line.CAUTION if is_much else line.OK,
    sentence=said + ".",
    number=bound,
    threshold=JUNK,
  )
