"""Random draws keyed by seed and id: the order of reading changes nothing."""

import hashlib

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ila_jax import errors


def keyed_uniform(
  ids: Shaped[np.ndarray, " n"], *, seed: int, purpose: str
) -> Float[np.ndarray, " n"]:
  """A uniform number in [0, 1) for each id, the same wherever the id stands.

  The first 53 bits of blake2b("purpose/seed/id"), so that each purpose and
  each seed draws independently of all others.

  Args:
    ids: strings, shape [n].
    seed: the seed of the run.
    purpose: what the number is for, such as "reference".

  Returns:
    float64 [n].

  >>> ids = np.array(["a", "b", "c"])
  >>> keyed_uniform(ids, seed=0, purpose="reference").round(3)
  array([0.038, 0.265, 0.037])
  """
  prefix = f"{purpose}/{seed}/"
  digests = b"".join(
    hashlib.blake2b((prefix + name).encode(), digest_size=8).digest()
    for name in ids.tolist()
  )
  return (np.frombuffer(digests, ">u8") >> np.uint64(11)) / 2.0**53


def overshoot(drawn: Bool[np.ndarray, " n"], *, count: int) -> str | None:
  """A sentence where whole groups made a draw much larger than was asked.

  >>> overshoot(np.ones(30, bool), count=3)
  '3 asked for and 30 drawn: many records share a prompt, which is never split'
  >>> overshoot(np.ones(3, bool), count=3)
  """
  found = int(drawn.sum())
  if found <= 1.1 * count + 10:
    return None
  return (
    f"{count:,} asked for and {found:,} drawn: many records share a prompt, "
    "which is never split"
  )


def draw(
  groups: Shaped[np.ndarray, " n"],
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
    groups: the group of each row, strings, shape [n].
    count: rows wanted; the last group may overshoot it.
    seed: the seed of the run.
    purpose: what is drawn, such as "reference".
    allowed: rows that may be drawn, bool [n].

  Returns:
    The rows drawn, bool [n].

  Raises:
    errors.InputError: fewer than `count` rows are allowed.

  >>> prompts = np.array(["p", "q", "p", "r"])
  >>> free = np.array([True, True, True, False])
  >>> draw(prompts, count=1, seed=0, purpose="dev", allowed=free)
  array([ True, False,  True, False])
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
