"""What to doubt in a fitted law, in sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Beyond this correlation two regressors stand in for each other.
_COLLINEAR = 0.8
# Below it an interval is wide by Student's t, whatever the subsets say.
_FEW_RUNS = 12


def cautions(fit: Mapping[str, Any], *, law: Sequence[str]) -> list[str]:
  """Sentences that keep a reader from taking a good fit for a law.

  Args:
    fit: what `law.fit_law` returns.
    law: the regressors of the law.

  >>> fit = {"fitted": False, "correlations": [
  ...   {"pair": ["coverage", "tokens"], "r": 0.95}]}
  >>> cautions(fit, law=("coverage", "depth"))[0].partition(" in ")[0]
  'log coverage and log tokens have correlation 0.95'
  """
  said = [
    f"log {' and log '.join(a['pair']).replace('_', ' ')} have correlation "
    f"{a['r']:.2f} in this design: one can stand in for the other"
    for a in fit["correlations"]
    if abs(a["r"] or 0) > _COLLINEAR and set(a["pair"]) & set(law)
  ]
  if not fit["fitted"]:
    return said
  if fit["runs"] < _FEW_RUNS:
    said.append(
      f"{fit['runs']} subsets are few: below {_FEW_RUNS} the intervals are "
      "wide, and a slope that is there may not show; the paper has 36"
    )
  if fit["loo_r2"] is None or fit["loo_r2"] < fit["r2"] - 0.2:
    said.append("leave-one-out R² is far below R²: the fit leans on few runs")
  ours = set(fit["coefficients"]) - {"constant"}
  for rival in fit["rivals"]:
    if ours < set(rival["regressors"]) or _loo(rival) <= _loo(fit):
      continue
    names = " and ".join(f"log {name}" for name in rival["regressors"])
    names = names.replace("_", " ")
    said.append(
      f"{names} alone foretell a left-out run better than the law does "
      f"(leave-one-out R² {_loo(rival):.2f})"
    )
  return said


def _loo(fit: Mapping[str, Any]) -> float:
  """Leave-one-out R², lowest where there is none."""
  loo = fit.get("loo_r2")
  return -math.inf if loo is None else loo
