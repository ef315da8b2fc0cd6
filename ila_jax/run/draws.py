"""Random draws keyed by seed and id: the order of reading changes nothing."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from ila_jax import errors
from ila_jax.run import units

# Ids whose digests are held at once.
_PART_ROWS = 2**20


def keyed_uniform(
  ids: UInt64[np.ndarray, " n"], *, seed: int, purpose: str
) -> Float[np.ndarray, " n"]:
  """A uniform number in [0, 1) for each id, the same wherever the id stands.

  The first 53 bits of blake2b("purpose/seed/id"), the id in 16 hex digits, so
  that each purpose and each seed draws independently of all others.

  Args:
    ids: uint64 [n].
    seed: the seed of the run.
    purpose: what the number is for, such as "reference".

  Returns:
    float64 [n].

  >>> ids = np.array([1, 2, 3], np.uint64)
  >>> keyed_uniform(ids, seed=0, purpose="reference").round(3)
  array([0.538, 0.408, 0.765])
  """
  prefix = f"{purpose}/{seed}/".encode()
  uniform = np.empty(len(ids))
  for start in range(0, len(ids), _PART_ROWS):
    part = slice(start, start + _PART_ROWS)
    digests = [
      hashlib.blake2b(prefix + name, digest_size=8).digest()
      for name in units.id_text(ids[part]).tolist()
    ]
    bits = np.frombuffer(b"".join(digests), ">u8") >> np.uint64(11)
    uniform[part] = bits / 2.0**53
  return uniform


def overshoot(drawn: Bool[np.ndarray, " n"], *, count: int) -> str | None:
  """A sentence where whole groups made a draw much larger than was asked.

  >>> overshoot(np.ones(30, bool), count=3)
  '3 asked for and 30 drawn: many records share a prompt, which is never split'
  >>> overshoot(np.ones(3, bool), count=3)
  """
  got = int(drawn.sum())
  if got <= 1.1 * count + 10:
    return None
  return (
    f"{count:,} asked for and {got:,} drawn: many records share a prompt, "
    "which is never split"
  )


def draw(
  groups: UInt64[np.ndarray, " n"],
  *,
  count: int,
  seed: int,
  purpose: str,
  allowed: Bool[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
  """Draws whole groups at random until at least `count` rows are drawn.

  Groups (records that share a prompt) are walked in keyed order, and every
  allowed row of a group that is reached is drawn: no prompt is on two sides
  of a draw. A larger count draws a superset.

  Args:
    groups: the id of each row's group, uint64 [n].
    count: rows wanted; the last group may overshoot it.
    seed: the seed of the run.
    purpose: what is drawn, such as "reference".
    allowed: rows that may be drawn, bool [n].

  Returns:
    The rows drawn, bool [n].

  Raises:
    errors.InputError: fewer than `count` rows are allowed.

  >>> prompts = np.array([1, 2, 1, 3], np.uint64)
  >>> free = np.array([True, True, True, False])
  >>> draw(prompts, count=2, seed=0, purpose="dev", allowed=free)
  array([ True,  True,  True, False])
  """
  if count > allowed.sum():
    raise errors.InputError(
      f"{count} examples are wanted for {purpose} and only {allowed.sum()} of "
      "the pool are free; ask for fewer or add to the pool."
    )
  names, group = np.unique(groups, return_inverse=True)
  sizes = np.bincount(group[allowed], minlength=len(names))
  uniform = keyed_uniform(names, seed=seed, purpose=purpose)
  walk = np.argsort(uniform, kind="stable")
  drawn_before = np.cumsum(sizes[walk]) - sizes[walk]
  reached = np.zeros(len(names), bool)
  reached[walk] = drawn_before < count
  return allowed & reached[group]


def references(
  prompts: UInt64[np.ndarray, " n"],
  is_dev: Bool[np.ndarray, " n"],
  *,
  count: int,
  seeds: Sequence[int],
) -> dict[int, Bool[np.ndarray, " n"]]:
  """The rows of R for each seed: whole prompts, never of the dev split.

  Args:
    prompts: the id of each row's prompt, uint64 [n].
    is_dev: rows that are held out, bool [n].
    count: rows wanted of each set.
    seeds: of the sets.

  >>> prompts, is_dev = np.arange(4, dtype=np.uint64), np.arange(4) > 2
  >>> {s: int(r.sum()) for s, r in
  ...  references(prompts, is_dev, count=2, seeds=(0, 1)).items()}
  {0: 2, 1: 2}
  """
  return {
    seed: draw(
      prompts, count=count, seed=seed, purpose="reference", allowed=~is_dev
    )
    for seed in seeds
  }


def choose(
  ids: UInt64[np.ndarray, " n"], *, count: int, seed: int, purpose: str
) -> Int[np.ndarray, " k"]:
  """Draws some of distinct ids at random; a larger count draws a superset.

  Args:
    ids: distinct, uint64 [n].
    count: ids wanted; all where there are fewer.
    seed: the seed of the run.
    purpose: what is drawn.

  Returns:
    Places of the drawn, in the order of their ids [k].

  >>> ids = np.array([30, 10, 20], np.uint64)
  >>> choose(ids, count=2, seed=0, purpose="fit").tolist()
  [1, 0]
  """
  drawn = np.arange(len(ids))
  if count < len(ids):
    uniform = keyed_uniform(ids, seed=seed, purpose=purpose)
    last = np.partition(uniform, count - 1)[count - 1]
    near = np.flatnonzero(uniform <= last)  # More than wanted where it is tied.
    drawn = near[np.lexsort((ids[near], uniform[near]))[:count]]
  return drawn[np.argsort(ids[drawn])]
