"""NovelSelect, and NovelSum: diversity as distance that counts crowds.

Yang et al., "Measuring Data Diversity for Instruction Tuning", arXiv
2502.17184. The distance of two examples, 1 - cosine, is weighed by how crowded
their neighbourhoods are; of the distances from an example to a set the r-th
nearest has the weight 1 / r. NovelSum is the mean of that over the set;
NovelSelect adds the example for which it is greatest.

A reconstruction. Density is (mean distance to the 10 nearest examples of the
pool) ^ -½; that mean is at least 0.01, so that a copy is not infinitely dense.
As in the authors' code, NovelSum weighs by the density of the example itself,
and the choice by the sum of both. Theirs computes in half precision, which may
decide; here it is float32, and ties go to the lower id.

To choose k of n costs k n d operations for the distances and k² n for keeping
them sorted, and k n numbers on the devices, twice: 20,000 examples and 5,000
chosen are 0.8 GB, 100,000 and 20,000 are 16 GB. Density costs 2 n² d.
"""

import functools
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, row_blocks
from ila_jax.methods import candidates, method, options
from ila_jax.methods import effort as effort_lib
from ila_jax.methods.diversity import likeness
from ila_jax.run import progress

NEIGHBOURS = 10
_LEAST_DISTANCE = 0.01
# Chosen rows that there is room for at first; then twice as many, and again.
_ROOM = 16
_UNIT = likeness.SCALE**2


def rank(c: candidates.Candidates, _: options.Options) -> candidates.Ranking:
  """The one of the greatest weighed distance from the chosen, and again.

  The first is drawn by chance. No more than the budget may buy are ordered.
  All in round 1.
  """
  rows = likeness.rows_by_tie(c)
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  if not count:
    rest = "NovelSelect orders none: the budget buys none." if len(rows) else ""
    return candidates.Ranking(rows[:0], rows[:0], rest)
  x = likeness.rounded(c.inputs["embeddings"], rows)
  chosen = _greedy(x, int(np.argmin(c.uniform[rows])), count)
  rest = (
    f"NovelSelect orders {count:,}, as many as the budget may buy."
    if count < len(rows)
    else ""
  )
  return candidates.Ranking(rows[chosen], np.ones(len(chosen), np.int32), rest)


def novelsum(
  x: Any,
  rows: Int[np.ndarray, " k"],
  *,
  sample: Int[np.ndarray, " s"] | None = None,
  members: Int[np.ndarray, " m"] | None = None,
) -> float:
  """NovelSum of a subset: how far apart it is, its crowded parts more so.

  Args:
    x: embeddings of the pool, of unit norm; x[rows] is an array of some.
    rows: of the subset, 2 or more.
    sample: 11 rows or more, by which places are crowded, whatever is chosen; a
      row does not crowd itself. None: all.
    members: places in `rows` of a sample that the mean is taken over, each with
      its distances to the whole subset; None: all. It costs m d (s + k) for
      the distances and m k log k to sort them.

  >>> eleven = np.repeat(np.eye(2, dtype=np.float32), 12, axis=0)
  >>> novelsum(eleven, np.array([0, 12])), novelsum(eleven, np.array([0, 1]))
  (10.0, 0.0)
  """
  sample = np.arange(len(x)) if sample is None else sample
  if len(rows) < 2 or len(sample) <= NEIGHBOURS:
    raise ValueError("NovelSum is of 2 rows or more of 11 or more")
  chosen = np.float32(x[rows])
  place = np.arange(len(rows)) if members is None else members
  some = chosen[place]
  near = neighbours.nearest(some, np.float32(x[sample]), k=NEIGHBOURS + 1)
  squared = np.asarray(near.squared)
  # The nearest of a row of the sample is the row itself, or a copy.
  is_there = np.isin(rows[place], sample)[:, None]
  density = _density(np.where(is_there, squared[:, 1:], squared[:, :-1]) / 2)
  value = row_blocks.apply(_spread, (some, place.astype(np.int32)), chosen)
  return float(np.mean(np.asarray(value) * density, dtype=np.float64))


def _density(distance: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
  """How crowded rows are, from the distances to their neighbours."""
  return np.float32(np.maximum(distance.mean(axis=1), _LEAST_DISTANCE) ** -0.5)


def _spread(
  block: tuple[Float[Array, "b d"], Int[Array, " b"]],
  chosen: Float[Array, "k d"],
) -> Float[Array, " b"]:
  """The mean distance from each row to the others, the r-th weighed 1 / r."""
  rows, place = block
  product = jnp.dot(rows, chosen.T, precision=neighbours.EXACT)
  distance = jnp.maximum(1 - product, 0)
  own = place[:, None] == jnp.arange(len(chosen))[None]
  # The row itself stands last, and does not count.
  distance = jnp.sort(jnp.where(own, jnp.inf, distance), axis=1)[:, :-1]
  weight = 1 / jnp.arange(1, len(chosen), dtype=jnp.float32)
  return jnp.sum(distance * weight[None], axis=1) / jnp.sum(weight)


def _greedy(
  x: Int[np.ndarray, "m d"], first: int, count: int
) -> Int[np.ndarray, " k"]:
  """Chooses `first`, and then rows by weighed distance; of equals the first."""
  mesh = mesh_lib.current()
  placed = mesh_lib.put_rows(x.astype(np.float32), mesh)
  score = np.full(len(placed), -np.inf, np.float32)
  score[: len(x)] = 0
  score[first] = 1
  density = np.ones(len(placed), np.float32)
  if len(x) > 1:
    k = min(NEIGHBOURS, len(x) - 1)
    near = neighbours.nearest(placed, x.astype(np.float32), k=k, same=True)
    density = _density(mesh_lib.fetch(near.squared) / (2 * _UNIT))
  by_row = jax.sharding.NamedSharding(mesh, mesh_lib.BATCH)
  density, score = mesh_lib.put((density, score), mesh)
  far = jnp.zeros((len(placed), 0), jnp.float32, device=by_row)
  chosen: list[np.ndarray] = []
  done = 0
  with progress.counter(count, desc="NovelSelect", unit="examples") as advance:
    while done < count:
      # Room for as many again; a sum over room has its own bits, so that it
      # must not depend on how many are wanted.
      room = max(_ROOM, 2 * far.shape[1])
      far = jnp.pad(far, ((0, 0), (0, room - far.shape[1])))
      far, score, block = _choose(
        placed, density, far, score, np.int32(done), room - done, mesh
      )
      places = mesh_lib.fetch(block)[: count - done]
      chosen.append(places)
      done += len(places)
      advance(len(places))
  return np.concatenate(chosen)


@functools.partial(jax.jit, static_argnames=("count", "mesh"))
def _choose(
  x: Float[Array, "p d"],
  density: Float[Array, " p"],
  far: Float[Array, "p r"],
  score: Float[Array, " p"],
  done: Int[Array, ""],
  count: int,
  mesh: Mesh,
) -> tuple[Float[Array, "p r"], Float[Array, " p"], Int[Array, " b"]]:
  """Chooses some rows more; where none is left, the places mean nothing.

  Args:
    x: rows in whole coordinates.
    density: of each.
    far: of each, its weighed distances from the chosen, ascending, and room.
    score: of each; -inf: chosen, or no row.
    done: rows that are chosen.
    count: rows to choose.
    mesh: of the rows.
  """
  room = jnp.arange(far.shape[1])

  def add(
    block: tuple[Array, Array, Array], own: Array, crowd: Array, done: Array
  ) -> tuple[Array, Array]:
    rows, density, far = block
    product = jnp.dot(rows, own, precision=neighbours.EXACT)
    new = jnp.maximum(1 - product / _UNIT, 0) * (density + crowd)
    before = (far <= new[:, None]) & (room < done)[None]
    place = jnp.sum(before, axis=1)[:, None]
    shifted = jnp.roll(far, 1, axis=1)
    far = jnp.where(room[None] < place, far, shifted)
    far = jnp.where(room[None] == place, new[:, None], far)
    weight = jnp.where(room <= done, 1.0 / (1 + room), 0.0)
    return far, jnp.sum(far * weight[None], axis=1)

  def on_device(
    x: Array, density: Array, far: Array, own: Array, crowd: Array, done: Array
  ) -> tuple[Array, Array]:
    def block(rows: tuple, *_: Any) -> tuple[tuple[Array, Array], tuple[()]]:
      return add(rows, own, crowd, done), ()

    return row_blocks.walk(block, (x, density, far))[0]

  by_row, whole = mesh_lib.BATCH, mesh_lib.REPLICATED
  update = jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(by_row, by_row, by_row, whole, whole, whole),
    out_specs=by_row,
    check_vma=False,
  )

  def one(
    state: tuple[Array, Array, Array], _: None
  ) -> tuple[tuple[Array, Array, Array], Array]:
    far, score, done = state
    place = jnp.argmax(score)
    far, new = update(x, density, far, x[place], density[place], done)
    score = jnp.where(jnp.isneginf(score), score, new)
    score = score.at[place].set(-jnp.inf)
    return (far, score, done + 1), place.astype(jnp.int32)

  (far, score, _), places = lax.scan(one, (far, score, done), length=count)
  return far, score, places


def _effort(size: effort_lib.Size, _: options.Options) -> effort_lib.Effort:
  n, k = size.candidates, size.wanted
  density = effort_lib.against(n, n, size.embedding)
  # Before each choice all rows are read, and all distances to the chosen.
  read = n * k * (4 * size.embedding + 4 * k)
  return effort_lib.Effort(flops=density.flops, read=read)


METHOD = method.Method(
  name="novelselect",
  rank=rank,
  needs=("embeddings", "uniform"),
  effort=_effort,
  colour="#e6550d",
)
