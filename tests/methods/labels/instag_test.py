"""InsTag's passes by hand and by brute force."""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, table
from ila_jax.methods.labels import instag
from tests.support import reference_selection as reference

_INSTAG = table.METHODS["instag"]


def _pool(tags, **columns):
  n, width = len(tags), max(map(len, tags))
  held = np.full((n, width), -1, np.float32)
  for row, own in enumerate(tags):
    held[row, : len(own)] = own
  pool = reference.pool(n, 0) | {"candidate": np.ones(n, bool)}
  pool |= {"depth": np.zeros(n), "ids": np.arange(n, dtype=np.uint64)}
  made = candidates.candidates(**(pool | columns), seed=0)
  return dataclasses.replace(made, inputs={"tags": held})


def test_by_hand():
  """Row 1 has the most; 0 brings 3; 2 and 4 wait, and 3 has no tag."""
  tags = [[1, 3], [0, 1, 2], [0, 2], [], [1]]
  got = _INSTAG(_pool(tags))
  # Pass 1: {0,1,2}, then {1,3}. Pass 2: {0,2}, then {1}.
  assert got.order.tolist() == [1, 0, 2, 4]
  assert got.round.tolist() == [1, 1, 2, 2]
  assert got.rest == "1 have no tag (config.pool.fields.labels)."


def test_rare_tags_do_not_count():
  tags = [[7], [0, 8], [0], [0, 1], [1]]
  got = _INSTAG(_pool(tags), least_records=2)
  # Without 7 and 8: {0,1}, then the ids of {0}, {0}, {1}.
  assert got.order.tolist() == [3, 1, 4, 2]
  assert got.round.tolist() == [1, 2, 2, 3]
  assert "of 2 candidates or more (config.select.options.instag." in got.rest


def test_the_numbers_of_a_selection_by_hand():
  """Of four tags of candidates the chosen have 0, 1 and 2."""
  c = _pool([[0, 1], [1, 2], [3], [4, 5], []])
  candidate = np.array([True, True, True, False, True])
  got = instag.metrics(c.inputs["tags"], np.array([0, 1, 4]), candidate)
  assert got == {"tag_diversity": 3 / 4, "tag_complexity": 4 / 3}
  none = instag.metrics(c.inputs["tags"], np.zeros(0, int), candidate)
  assert none == {"tag_diversity": 0.0, "tag_complexity": 0.0}


def _brute_force(tags, candidate):
  """The sampling as the paper tells it, record by record."""
  left = [row for row in range(len(tags)) if candidate[row] and tags[row]]
  left.sort(key=lambda row: (-len(tags[row]), row))
  taken, turn = [], 0
  while left:
    seen, turn, rest = set(), turn + 1, []
    for row in left:
      if set(tags[row]) - seen:
        seen |= set(tags[row])
        taken.append((row, turn))
      else:
        rest.append(row)
    left = rest
  return taken


def test_it_is_the_sampling_of_the_paper():
  for seed in range(20):
    random = np.random.default_rng(seed)
    kinds = int(random.integers(1, 30))
    tags = [
      random.choice(
        kinds, random.integers(0, min(kinds, 7) + 1), replace=False
      ).tolist()
      for _ in range(200)
    ]
    candidate = random.random(200) < 0.8
    got = _INSTAG(_pool(tags, candidate=candidate))
    pairs = zip(got.order.tolist(), got.round.tolist(), strict=True)
    assert list(pairs) == _brute_force(tags, candidate)
