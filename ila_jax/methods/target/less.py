"""LESS: the examples by which the target set would be learnt best.

Xia et al. 2024, arXiv 2402.04333; docs/method.md 16. As published: a LoRA
warm-up on 5 % of the pool, Adam's direction of each example of the pool, plain
gradients of the target, cosines weighted by the epochs' learning rates, the
mean over the examples of a subtask, the greatest over subtasks. It deviates:

* The projection is by signs and Hadamard matrices instead of a dense matrix of
  signs: as exact, and much cheaper (`passes.projection`).
* There is no dropout. Rank, matrices, batches and the fall of the rate are
  those of config.train (published: rank 128, alpha 512, on query, key, value
  and output, schedule "linear"; the default falls by a cosine).
* A subtask is a domain of the target set, of any size. Published code wants
  subtasks of equal sizes, in order.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.score.gradients import warmup

# Bytes of gradients that are read at once.
_BLOCK_BYTES = 2**28


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(warmup.Settings, options_lib.Options):
  """How gradients are taken."""


def rank(c: candidates.Candidates, _: Options) -> candidates.Ranking:
  """The greatest influence on a subtask of the target first; all in round 1.

  What an example does for a subtask is Σ_i w_i ⟨Γ_i, mean of g_i⟩: by the
  subtask's mean gradient, so that a million examples take a product with one
  vector a subtask, and of memory a block of their gradients.

  Raises:
    errors.InputError: a candidate whose gradient is not finite.
  """
  target = np.asarray(c.inputs["target_gradients"])
  means = subtask_means(target, np.asarray(c.inputs["target_domain"]))
  rows = np.flatnonzero(c.candidate)
  score = np.zeros(len(c.ids), np.float32)
  score[rows] = influence(c.inputs["gradients"], rows, means)
  lost = int((~np.isfinite(score)).sum())
  if lost:
    raise errors.InputError(
      f"less: the gradients of {lost:,} of {len(rows):,} candidates are not "
      "finite. Lower config.select.options.less.learning_rate, or set "
      "--config.model.dtype=float32."
    )
  return candidates.ranking(c, (-score,))


def subtask_means(
  gradients: Float[np.ndarray, "m w"], domain: Shaped[np.ndarray, " m"]
) -> Float[np.ndarray, "s w"]:
  """The mean gradient of each subtask, in the order of their names.

  Args:
    gradients: of the target examples.
    domain: of each; None is a subtask of its own.

  >>> subtask_means(np.eye(3, dtype=np.float32), np.array(["b", "a", "b"]))
  array([[0. , 1. , 0. ],
         [0.5, 0. , 0.5]], dtype=float32)
  """
  names, number = np.unique(domain.astype(str), return_inverse=True)
  # In float64, so that the order of the examples is rounded away.
  sums = np.zeros((len(names), gradients.shape[1]))
  np.add.at(sums, number, gradients.astype(np.float64))
  return (sums / np.bincount(number)[:, None]).astype(np.float32)


def influence(
  gradients: Any,
  rows: Shaped[np.ndarray, " k"],
  means: Float[np.ndarray, "s w"],
) -> Float[np.ndarray, " k"]:
  """The greatest product of each row's gradient with a subtask's mean.

  Args:
    gradients: of the pool; gradients[rows] is an array of some.
    rows: that are asked for.
    means: of the subtasks; where there is none, all are 0.
  """
  if not len(rows) or not len(means):
    return np.zeros(len(rows), np.float32)
  mesh = mesh_lib.current()
  placed = mesh_lib.put(means, mesh, mesh_lib.REPLICATED)
  size = max(_BLOCK_BYTES // (4 * means.shape[1]), 1)
  found = []
  for start in range(0, len(rows), size):
    block = gradients[rows[start : start + size]]
    best = _best(mesh_lib.put_rows(block, mesh), placed)
    found.append(mesh_lib.fetch(best)[: len(block)])
  return np.concatenate(found)


@functools.partial(jax.jit)
def _best(
  x: Float[Array, "k w"], means: Float[Array, "s w"]
) -> Float[Array, " k"]:
  # A sum along a row: the same on any number of devices.
  products = jax.lax.map(
    lambda mean: (x.astype(jnp.float32) * mean[None]).sum(axis=1), means
  )
  return products.max(axis=0)


def _effort(size: effort_lib.Size, options: Options) -> effort_lib.Effort:
  # The products are with the means of a few subtasks.
  each = 2 * options.epochs * options.width
  return effort_lib.Effort(read=size.candidates * each)


METHOD = method.Method(
  name="less",
  rank=rank,
  needs=("gradients", "target_gradients", "target_domain"),
  options=Options,
  effort=_effort,
  colour="#6a3d9a",
)
