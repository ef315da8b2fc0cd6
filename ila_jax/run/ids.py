"""Ids of examples: 64-bit integers in columns, hex digits where people read."""

import numpy as np
from jaxtyping import Shaped, UInt64


def text(ids: UInt64[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
  """Writes ids as people read them: 16 hex digits each, in the same order.

  Args:
    ids: uint64 [n].

  Returns:
    Strings of 16 bytes, `S16` [n].

  >>> text(np.array([255, 2**63], np.uint64)).tolist()
  [b'00000000000000ff', b'8000000000000000']
  """
  return np.frombuffer(ids.astype(">u8").tobytes().hex().encode(), "S16")
