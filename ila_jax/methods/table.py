"""Selection: a strategy orders the whole pool, a budget cuts the order.

Every strategy returns one total order of the candidates, so that any prefix
is its answer for a smaller budget. Ties always go to the lower id, and random
draws are keyed by seed and id, so the order in which the pool was read
changes nothing. `STRATEGIES` registers them by name. Where a strategy takes
`rank_by`, it is "depth" or "relative_depth".

>>> import numpy as np
>>> five = np.arange(5)
>>> pool = candidates.candidates(
...   np.array(["e", "d", "c", "b", "a"]), cell=np.array([0, 0, 0, 1, 1]),
...   depth=np.array([4.0, 3.0, 2.0, 1.0, 0.0]), relative_depth=five / 5,
...   n_tokens=five + 1, domain=0 * five, candidate=five >= 0, seed=0)
>>> for name in STRATEGIES:
...   print(name, STRATEGIES[name](pool).order)
ila [0 3 1 4 2]
trim [3 1 0 4 2]
random [4 2 1 3 0]
longest [4 3 2 1 0]
depth_only [0 1 2 3 4]
coverage_only [2 4 3 1 0]
stratified [0 3 1 4 2]
"""

from collections.abc import Callable

from ila_jax.methods import baselines, candidates, ila

STRATEGIES: dict[str, Callable[..., candidates.Ranking]] = {
  "ila": ila.ila,
  "trim": ila.trim,
  "random": baselines.random,
  "longest": baselines.longest,
  "depth_only": baselines.depth_only,
  "coverage_only": baselines.coverage_only,
  "stratified": ila.stratified,
}

# They take one of every cell a round, so that a stream keeps the first few.
STREAMED = ("ila", "coverage_only")
