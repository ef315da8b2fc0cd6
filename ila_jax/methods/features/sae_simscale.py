"""sae_simscale: most features first, unless too many of them are covered.

SimScale of Yang et al., arXiv 2502.14050, for budgets that are large for
`sae_greedy`. A reconstruction: written from a description of the paper, whose
code we have not found.

Faithful: examples are visited in one order; one is taken if no more than a
share of its features is covered by those that are taken; when all have been
visited, nothing is covered any more and the others are visited again. Where we
had to choose: the order (most features, or the longest response: both are
described), the share of 0.8, ties by id, and that an example without features
is left out, for it has no such share.
"""

import dataclasses
import functools

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Int, UInt32

from ila_jax.compute import mesh as mesh_lib
from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.methods.features import packed
from ila_jax.run import progress

# Rows that every device has at hand at once.
_BLOCK_ROWS = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """In which order examples are visited, and which are taken."""

  overlap: float = options_lib.field(
    0.8, "share of its features that are covered, at most", low=0, high=1
  )
  first: str = options_lib.field(
    "most_features",
    "what is visited first",
    choices=("most_features", "longest"),
  )
  reset: bool = options_lib.field(
    True,
    "when all are visited: forget what is covered and visit the others again; "
    "False: leave them out",
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """Those that are taken, visit by visit; a visit to all is a round.

  No more than the budget may buy are ordered. A round reads all that are left
  once; memory as in `features.packed`. Copies are taken one a round.
  """
  rows = likeness.rows_by_tie(c)
  if not len(rows):
    return candidates.Ranking(rows, rows)
  words = packed.words(c.inputs["sae_features"], rows)
  on = mesh_lib.fetch(packed.count_each(words))[: len(rows)]
  size = on if options.first == "most_features" else c.n_tokens[rows]
  # Of equals the first by id.
  left = np.argsort(-size.astype(np.int64), kind="stable")
  left = left[on[left] > 0]
  count = likeness.wanted(c, on > 0)
  most = at_most(on, options.overlap)
  taken, turns = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
  with progress.counter(count, desc="sae_simscale", unit="examples") as advance:
    while count and len(left):
      some = _visit(words, left, most[left], count)
      taken.append(left[some])
      turns.append(np.full(len(some), len(turns), np.int32))
      advance(len(some))
      count -= len(some)
      left = np.delete(left, some)
      if not options.reset:
        break
  rest = packed.without_features(on)
  if count and len(left):
    rest.append(
      f"{len(left):,} have more than {options.overlap:g} of their features "
      "covered (config.select.options.sae_simscale: a greater `overlap`, or "
      "`reset=True`, takes more)."
    )
  elif len(left):
    held = sum(map(len, taken))
    rest.append(f"sae_simscale orders {held:,}, as many as the budget may buy.")
  order = rows[np.concatenate(taken)]
  return candidates.Ranking(order, np.concatenate(turns), " ".join(rest))


def at_most(on: Int[np.ndarray, " m"], share: float) -> Int[np.ndarray, " m"]:
  """The most features that are covered where their share is at most `share`.

  >>> at_most(np.array([5, 10, 100, 0]), 0.29).tolist()
  [1, 2, 29, 0]
  """
  most = np.floor(share * on).astype(np.int32)
  # The product rounds; the quotient is what is meant.
  more = (most < on) & ((most + 1) / np.maximum(on, 1) <= share)
  return most + more.astype(np.int32)


def _visit(
  words: UInt32[jax.Array, "p v"],
  places: Int[np.ndarray, " l"],
  most: Int[np.ndarray, " l"],
  count: int,
) -> Int[np.ndarray, " k"]:
  """Visits rows in their order, with nothing covered at first.

  Returns:
    Which of the l are taken, ascending; at most `count`.
  """
  whole = NamedSharding(words.sharding.mesh, mesh_lib.REPLICATED)
  covered = jax.device_put(np.zeros(words.shape[1], np.uint32), whole)
  taken = np.zeros(0, np.int64)
  for start in range(0, len(places), _BLOCK_ROWS):
    part = places[start : start + _BLOCK_ROWS]
    spare = (0, _BLOCK_ROWS - len(part))
    limit = np.pad(most[start : start + _BLOCK_ROWS], spare, constant_values=-1)
    covered, block = _take(
      words, covered, np.pad(part, spare).astype(np.int32), limit, whole=whole
    )
    block = np.flatnonzero(mesh_lib.fetch(block))
    taken = np.concatenate([taken, start + block])
    if len(taken) >= count:
      break
  return taken[:count]


@functools.partial(jax.jit, static_argnames="whole")
def _take(
  words: UInt32[Array, "p v"],
  covered: UInt32[Array, " v"],
  places: Int[Array, " b"],
  most: Int[Array, " b"],
  *,
  whole: NamedSharding,
) -> tuple[UInt32[Array, " v"], Bool[Array, " b"]]:
  """Which rows of a block are taken, and what is covered then."""
  rows = lax.with_sharding_constraint(words[places], whole)
  number = jnp.arange(len(places))
  # What has too much covered at the start has it at its turn, too.
  may = packed.count_on(rows & covered[None]) <= most

  def next_after(i: Int[Array, ""]) -> Int[Array, ""]:
    later = may & (number > i)
    return jnp.where(later.any(), jnp.argmax(later), len(places))

  def visit(
    state: tuple[Array, Array, Array],
  ) -> tuple[Array, Array, Array]:
    i, covered, taken = state
    is_taken = packed.count_on(rows[i] & covered) <= most[i]
    covered = jnp.where(is_taken, covered | rows[i], covered)
    return next_after(i), covered, taken.at[i].set(is_taken)

  nothing = jnp.zeros(len(places), jnp.bool_)
  _, covered, taken = lax.while_loop(
    lambda state: state[0] < len(places),
    visit,
    (next_after(jnp.int32(-1)), covered, nothing),
  )
  return covered, taken


METHOD = method.Method(
  name="sae_simscale",
  rank=rank,
  needs=("sae_features", "n_tokens"),
  options=Options,
  colour="#00a5b5",
)
