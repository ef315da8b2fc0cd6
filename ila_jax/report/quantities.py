"""Numbers as people read them."""

from collections.abc import Mapping

from ila_jax.finetune import verdict
from ila_jax.run import units


def count(value: units.Number) -> str:
  """A whole number with its thousands apart; – where there is none.

  >>> count(12345), count(None)
  ('12,345', '–')
  """
  return "–" if value is None else f"{value:,.0f}"


def fixed(value: units.Number, digits: int = 3) -> str:
  """A number with `digits` decimals, and a true minus sign.

  >>> fixed(-0.12345), fixed(None)
  ('−0.123', '–')
  """
  return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def estimate(value: Mapping[str, float] | None) -> str:
  """A difference with its interval; – where there is none.

  >>> estimate({"value": -0.031, "low": -0.049, "high": -0.012})
  '−0.031 [−0.049, −0.012]'
  """
  if value is None:
    return "–"
  digits = verdict.digits(value)
  low, high = (fixed(value[end], digits) for end in ("low", "high"))
  return f"{fixed(value['value'], digits)} [{low}, {high}]"


def percent(value: units.Number) -> str:
  """A share as a percentage.

  >>> percent(0.1234)
  '12.3 %'
  """
  return "–" if value is None else f"{100 * value:.1f} %"
