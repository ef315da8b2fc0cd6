"""Numbers as people read them."""

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


def percent(value: units.Number) -> str:
  """A share as a percentage.

  >>> percent(0.1234)
  '12.3 %'
  """
  return "–" if value is None else f"{100 * value:.1f} %"
