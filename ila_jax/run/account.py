"""What a stage did: seconds, tokens, cells and FLOPs."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any


class Account:
  """Seconds, FLOPs and tokens of one stage, added up as it runs.

  >>> account = Account()
  >>> account.add(flops=2.0, tokens=3, cells=4)
  >>> account.totals(matrix_rate=1e9)["padding"]
  0.25
  """

  def __init__(self) -> None:
    self._begin = time.monotonic()
    self._flops = 0.0
    self._tokens = 0
    self._cells = 0
    self._parts: dict[str, float] = {}

  def add(
    self, *, flops: float | int = 0, tokens: int = 0, cells: int = 0
  ) -> None:
    """Adds the FLOPs of the matrix products, useful tokens and all tokens.

    Args:
      flops: that the useful tokens need.
      tokens: useful tokens: no padding.
      cells: tokens that the devices computed, padding included.
    """
    self._flops += float(flops)
    self._tokens += int(tokens)
    self._cells += int(cells)

  @contextlib.contextmanager
  def part(self, name: str) -> Iterator[None]:
    """Tells the seconds that are spent within apart, too.

    >>> account = Account()
    >>> with account.part("random"):
    ...   pass
    >>> list(account.totals()["parts"])
    ['random']
    """
    begin = time.monotonic()
    try:
      yield
    finally:
      spent = time.monotonic() - begin
      self._parts[name] = self._parts.get(name, 0.0) + spent

  def go_on(self, totals: dict[str, Any]) -> None:
    """Adds what an attempt before this one had spent (its `totals`)."""
    self._begin -= totals.get("seconds", 0.0)
    for name, seconds in totals.get("parts", {}).items():
      self._parts[name] = self._parts.get(name, 0.0) + seconds
    self.add(**{k: totals.get(k, 0) for k in ("flops", "tokens", "cells")})

  def exclude(self, *, seconds: float) -> None:
    """Takes out time that is accounted elsewhere."""
    self._begin += seconds

  def totals(self, matrix_rate: float | None = None) -> dict[str, Any]:
    """All that was added up, as JSON values.

    Args:
      matrix_rate: FLOP/s of the devices (`hardware.matrix_rate`).

    Returns:
      seconds since the start, flops, tokens, cells; and where they mean
      something tokens_per_second (useful ones), padding (share of the cells)
      and utilisation (flops / seconds / matrix_rate), else None; and parts,
      seconds by name, if there are any.
    """
    seconds = time.monotonic() - self._begin
    spent = {
      "seconds": round(seconds, 3),
      "flops": self._flops,
      "tokens": self._tokens,
      "cells": self._cells,
      "tokens_per_second": None,
      "padding": None,
      "matrix_rate": matrix_rate,
      "utilisation": None,
    }
    if self._parts:
      spent["parts"] = {k: round(v, 3) for k, v in self._parts.items()}
    if self._tokens:
      spent["tokens_per_second"] = self._tokens / seconds
    if self._cells:
      spent["padding"] = 1 - self._tokens / self._cells
    if matrix_rate and self._flops:
      spent["utilisation"] = self._flops / seconds / matrix_rate
    return spent
