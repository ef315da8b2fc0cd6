"""What must hold among the numbers of a run: arrays in, differences out.

Each function yields what differs, in words that follow the name of a file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ila_jax.verify import findings

# A loss that is computed again may differ by this share of itself, or of a nat
# a response token where that is more: batches of other companions, and programs
# for other devices, add up in other orders. Measured with bfloat16: 0.03.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
# Cosine of an embedding to the one that is computed again, at least.
LEAST_COSINE = 0.99


def counted(counts: Mapping[str, Any]) -> Iterator[str]:
  """Checks that what was read is what was used, rejected and left out.

  Args:
    counts: of `pool/counts.json`.

  >>> list(counted({"read": 9, "used": 7, "rejected": 1, "reasons": {"a": 1}}))
  ['read is 9, and used 7 + rejected 1 + contaminated 0 = 8']
  """
  parts = {
    name: counts.get(name, 0) for name in ("used", "rejected", "contaminated")
  }
  total = sum(parts.values())
  if counts["read"] != total:
    said = " + ".join(f"{name} {count:,}" for name, count in parts.items())
    yield f"read is {counts['read']:,}, and {said} = {total:,}"
  reasons = sum(counts["reasons"].values())
  if reasons != counts["rejected"]:
    yield (
      f"rejected is {counts['rejected']:,}, and the reasons add up to "
      f"{reasons:,}"
    )


def number(what: str, held: int, wanted: int, why: str) -> Iterator[str]:
  """Compares two numbers.

  >>> list(number("lines", 3, 4, "counts.json says"))
  ['3 lines, and counts.json says 4']
  """
  if held != wanted:
    yield f"{held:,} {what}, and {why} {wanted:,}"


def once(
  name: str, values: Shaped[np.ndarray, " n"], rows: Int[np.ndarray, " n"]
) -> Iterator[str]:
  """Checks that no value stands twice.

  Args:
    name: of the column.
    values: of it.
    rows: that they belong to, for the message.

  >>> list(once("id", np.array([5, 6, 5]), np.arange(3)))
  ['row 2: its id stands in an earlier row, too']
  """
  _, first = np.unique(values, return_index=True)
  again = np.ones(len(values), np.bool_)
  again[first] = False
  yield from where(again, rows, f"its {name} stands in an earlier row, too")


def numbered(
  name: str, values: Int[np.ndarray, " n"], first: int
) -> Iterator[str]:
  """Checks that a column counts upwards without a gap.

  >>> list(numbered("rank", np.array([1, 2, 4]), 1))
  ['row 2: its rank is not 1 more than that before it']
  """
  wanted = np.arange(first, first + len(values))
  places = np.flatnonzero(values != wanted)[:1]
  if len(places):
    said = f"its {name} is not 1 more than that before it"
    if not places[0]:
      said = f"its {name} is not {first}"
    yield f"{findings.rows_text(places)}: {said}"


def where(
  is_wrong: Bool[np.ndarray, " n"], rows: Int[np.ndarray, " n"], said: str
) -> Iterator[str]:
  """Names the rows of which something is wrong, if there are any."""
  if is_wrong.any():
    yield f"{findings.rows_text(rows[is_wrong])}: {said}"


def same(
  name: str,
  held: Shaped[np.ndarray, " n"],
  wanted: Shaped[np.ndarray, " n"],
  rows: Int[np.ndarray, " n"],
  source: str,
) -> Iterator[str]:
  """Compares two columns, value by value; NaN equals NaN.

  >>> x = np.array([1.0, np.nan, 3.0])
  >>> list(same("depth", x, np.array([1.0, np.nan, 4.0]), np.arange(3), "b"))
  ['row 2: its depth is not that of b']
  """
  differs = held != wanted
  if np.issubdtype(held.dtype, np.floating):
    differs &= ~(np.isnan(held) & np.isnan(wanted))
  yield from where(differs, rows, f"its {name} is not that of {source}")


def unlike(
  held: Float[np.ndarray, " k"],
  again: Float[np.ndarray, " k"],
  n_tokens: Int[np.ndarray, " k"],
  tolerance: float,
) -> Bool[np.ndarray, " k"]:
  """Which losses are not those that are computed again.

  Args:
    held: sums over each response, in nats.
    again: the same, computed anew.
    n_tokens: tokens of each response.
    tolerance: of `TOLERANCE`.

  >>> tokens = np.array([10, 10])
  >>> unlike(np.array([30.0, 30.0]), np.array([30.01, 30.1]), tokens, 1e-3)
  array([False,  True])
  """
  allowed = tolerance * np.maximum(np.abs(held), n_tokens)
  # Two losses that are not finite are alike; one is not.
  both = ~np.isfinite(held) & ~np.isfinite(again)
  return ~(np.abs(held - again) <= allowed) & ~both


def cosines(
  held: Float[np.ndarray, "k d"], again: Float[np.ndarray, "k e"]
) -> Float[np.ndarray, " k"]:
  """Cosine of each embedding to its second one; -1 where their widths differ.

  >>> cosines(np.eye(2), np.eye(2)), cosines(np.eye(2), np.ones((2, 3)))
  (array([1., 1.]), array([-1., -1.]))
  """
  if held.shape != again.shape:
    return np.full(len(held), -1.0)
  norms = np.linalg.norm(held, axis=1) * np.linalg.norm(again, axis=1)
  return np.sum(held * again, axis=1) / np.maximum(norms, 1e-12)


def sample(
  rows: Int[np.ndarray, " n"], *, share: float, least: int, seed: int
) -> Int[np.ndarray, " k"]:
  """Draws a share of some rows, and at least a few; ascending.

  >>> len(sample(np.arange(10_000), share=0.01, least=64, seed=0))
  100
  >>> len(sample(np.arange(9), share=0.01, least=64, seed=0))
  9
  """
  count = min(max(int(np.ceil(share * len(rows))), least), len(rows))
  draw = np.random.default_rng(seed)
  return np.sort(draw.choice(rows, count, replace=False))
