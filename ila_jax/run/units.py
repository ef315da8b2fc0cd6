"""Numbers as people read them: with units, and ids in hex digits."""

import math

import numpy as np
from jaxtyping import Shaped, UInt64

Number = float | int | np.number | None


def si(value: Number, unit: str = "") -> str:
  """A number with three digits and its SI prefix.

  >>> si(3.42e13, "FLOP"), si(950.0), si(0), si(999_999, "B")
  ('34.2 TFLOP', '950', '0', '1.00 MB')
  """
  if value is None:
    return "–"
  if value < 1000:
    return f"{value:.3g} {unit}".strip()
  prefixes = "kMGTPEZY"
  power = min(int(math.log10(value * 1.0005) // 3), len(prefixes))
  scaled = value / 1000.0**power
  digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
  return f"{scaled:.{digits}f} {prefixes[power - 1]}{unit}"


def duration(seconds: Number) -> str:
  """Seconds in the units that one would say.

  >>> duration(0.42), duration(75), duration(7322)
  ('0.4 s', '1 min 15 s', '2 h 02 min')
  """
  if seconds is None:
    return "–"
  if seconds < 59.95:
    return f"{seconds:.1f} s"
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f"{minutes} min {rest:02d} s"
  return f"{minutes // 60} h {minutes % 60:02d} min"


def id_text(ids: UInt64[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
  """Ids of examples as people read them: 16 hex digits, in the same order.

  Args:
    ids: uint64 [n].

  Returns:
    Strings of 16 bytes, `S16` [n].

  >>> id_text(np.array([255, 2**63], np.uint64)).tolist()
  [b'00000000000000ff', b'8000000000000000']
  """
  return np.frombuffer(ids.astype(">u8").tobytes().hex().encode(), "S16")
