"""The registered rule: what a laboratory has shown, over one pool or several.

An arm *succeeds* on a pool if it is better than chance and than each rival, at
equal tokens and at equal examples, in every measure: an intersection-union
test, whose p is the greatest of all of these. Better means that the 95 %
interval lies below 0: p of one side below 2.5 %, by Holm's rule over arms and
pools. A success is *strong* where it
is worth twice the data, and more than the same data in all of its interval.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ila_jax.laboratory import budgets, contrasts, estimates
from ila_jax.sections import laboratory

LEVEL = 0.025
STRONG = 2.0
# At both of these an arm must be better.
AT = (budgets.TOKENS, budgets.EXAMPLES)


def verdicts(
  pools: Mapping[str, Sequence[Mapping[str, Any]]],
  *,
  arms: Sequence[str],
  rivals: Sequence[str],
  draws: int,
) -> list[dict[str, Any]]:
  """What each arm has shown on each pool.

  Args:
    pools: by name of the pool, what `contrasts.contrasts` returns.
    arms: that are judged: all but chance.
    rivals: of each arm; what lacks one, or a draw of it, shows nothing.
    draws: of each contrast.

  Returns:
    A dict for each arm and pool: pool, arm, p, succeeds, is_strong; `missing`
    names what the rule asks for and no run tells (then p is 1), and `worst`
    the contrast of the greatest p.

  >>> better = dict(value=-0.1, low=-0.2, high=-0.01, p=0.001)
  >>> line = dict(arm="ila", rival="random", budget=9, multiple=None, draws=8,
  ...   micro=better, macro=better, pool=better)
  >>> lines = [line | dict(equal=equal) for equal in ("tokens", "examples")]
  >>> asked = dict(arms=["ila"], rivals=["random"], draws=8)
  >>> (found,) = verdicts({"P": lines}, **asked)
  >>> found["succeeds"], found["is_strong"]
  (True, False)
  """
  found = [
    _one(pool, arm, lines, [r for r in rivals if r != arm], draws)
    for pool, lines in pools.items()
    for arm in arms
  ]
  p = np.array([one["p"] for one in found], np.float64)
  for one, rejected in zip(found, contrasts.holm(p, level=LEVEL), strict=True):
    one["succeeds"] = bool(rejected)
    one["is_strong"] = bool(rejected and one["is_strong"])
  return found


def _one(
  pool: str,
  arm: str,
  lines: Sequence[Mapping[str, Any]],
  rivals: Sequence[str],
  draws: int,
) -> dict[str, Any]:
  ours = [line for line in lines if line["arm"] == arm]
  there = {
    (line["rival"], line["equal"], line["budget"])
    for line in ours
    if line["draws"] >= draws
  }
  sizes = sorted({line["budget"] for line in lines})
  missing = [
    f"{rival} at equal {equal} and {size:,} tokens"
    for rival in rivals
    for equal in AT
    for size in sizes
    if (rival, equal, size) not in there
  ]
  if not (rivals and sizes):
    missing = ["a rival" if sizes else "a run"]
  judged = [
    (line[measure]["p"], line, measure)
    for line in ours
    if line["equal"] in AT
    for measure in estimates.MEASURES
  ]
  worst = max(judged, key=lambda one: one[0], default=(1.0, None, ""))
  multiples = [
    line["multiple"][measure]
    for line in ours
    if line["rival"] == laboratory.CHANCE and line["multiple"]
    if line["equal"] in AT
    for measure in estimates.MEASURES
  ]
  line = worst[1]
  return {
    "pool": pool,
    "arm": arm,
    "p": 1.0 if missing else worst[0],
    "missing": missing,
    "worst": line
    and {
      "rival": line["rival"],
      "equal": line["equal"],
      "budget": line["budget"],
      "measure": worst[2],
      **line[worst[2]],
    },
    "is_strong": bool(multiples)
    and all(one["value"] >= STRONG and one["low"] > 1 for one in multiples),
  }


def sentence(judged: Mapping[str, Any]) -> str:
  """What an arm has shown, with the contrast that decides.

  Args:
    judged: one of what `verdicts` returns.

  >>> sentence({"arm": "ila", "missing": ["random at equal tokens"]})
  'ila: no verdict without random at equal tokens'
  """
  if judged["missing"]:
    return f"{judged['arm']}: no verdict without {', '.join(judged['missing'])}"
  worst = judged["worst"]
  told = "better than its rivals" if judged["succeeds"] else "not shown better"
  return (
    f"{judged['arm']}: {told}; the weakest is {worst['measure']} loss less "
    f"that of {worst['rival']} at equal {worst['equal']}, "
    f"{worst['value']:+.3f} nats a token ({worst['low']:+.3f} to "
    f"{worst['high']:+.3f})"
  )
