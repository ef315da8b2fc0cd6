"""Repr filter: the deepest first, unless one like it is chosen (Deita).

Liu et al., "What Makes Good Data for Alignment?", arXiv 2312.15685: examples
are visited by falling score, and one is taken where its cosine to all that are
taken is at most a threshold, 0.9. Deita's score is complexity × quality, each
by a model of its own, as `deita` has it; here it is the depth of the run, which
may be any score: landscape.depth=score:NAME. Its embeddings are of whole
conversations by a large model; here they are those of the prompts, as the run
has them. Blocks, in which the authors compare with rejected examples too, are
of one example.

Rows are visited in blocks, which changes no choice: each row of a block is
compared with all that are taken, and with the rows of the block before it. To
visit v rows and take k of d numbers costs 2 v k d operations at most, and 2 k d
bytes over all devices. What comes after the last that is taken is never read.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.methods import candidates, method
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.methods.diversity import likeness
from ila_jax.run import progress

# Rows of a block, at first and at most. It doubles when as many as these blocks
# hold are taken: to compare it with itself is a small part of the work.
_FIRST, _LONGEST, _BLOCKS = 256, 4096, 16
# Rows that may be taken, on a device: a multiple of it.
_ROOM = 256
_AXES = mesh_lib.BATCH[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.ByDepth):
  """How alike two that are chosen may be."""

  most: float = options_lib.field(
    0.9, "cosine of two that are chosen, at most", low=-1, high=1
  )


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """The deepest that is not too like a deeper one that was taken.

  What is too like one that is taken is left out. All in round 1.
  """
  depth = candidates.depth(c, options.rank_by)
  field = "repr_filter.most"
  return walk(c, depth, c.candidate, most=options.most, field=field)


def walk(
  c: candidates.Candidates,
  score: Float[np.ndarray, " n"],
  among: Bool[np.ndarray, " n"],
  *,
  most: float,
  field: str,
) -> candidates.Ranking:
  """Visits some candidates by falling score; ties go by id.

  Args:
    c: the candidates; the method has named `embeddings`.
    score: finite where `among` [n].
    among: the candidates that are visited.
    most: cosine of two that are taken, at most.
    field: of config.select.options that says so.
  """
  rows = likeness.rows_by_tie(c)
  rows = rows[among[rows]]
  if not len(rows):
    return candidates.Ranking(rows, rows)
  # The greatest first, of equals the first by id: the state is the turn.
  rows = rows[np.argsort(-score[rows], kind="stable")]
  count = likeness.wanted(c, np.ones(len(rows), np.bool_))
  chosen = rows[_visit(c.inputs["embeddings"], rows, count, _most(most))]
  rest = ""
  if len(chosen) < count:
    alike = len(rows) - len(chosen)
    rest = (
      f"{alike:,} have a cosine above {most:g} to one that is taken "
      f"(config.select.options.{field}; a greater one keeps more)."
    )
  elif count < len(rows):
    rest = f"{count:,} are ordered, as many as the budget may buy."
  return candidates.Ranking(chosen, np.ones(len(chosen), np.int32), rest)


def _most(cosine: float) -> int:
  """The greatest likeness that is allowed; copies may be rounded above 1."""
  return likeness.of_cosine(cosine) if cosine < 1 else likeness.CHOSEN


def _visit(
  embeddings: Any, rows: Int[np.ndarray, " m"], count: int, most: int
) -> Int[np.ndarray, " k"]:
  """Places in `rows` of those that are taken, ascending, at most `count`."""
  mesh = mesh_lib.current()
  room = _ROOM * mesh_lib.batch_multiple(mesh)
  room *= -(-count // room)
  width = embeddings[rows[:1]].shape[1]
  kept = mesh_lib.put(np.zeros((room, width), np.int16), mesh)
  places = [np.zeros(0, np.int64)]
  held, start, size = 0, 0, _FIRST
  with progress.counter(count, desc="Repr filter", unit="examples") as advance:
    while held < count and start < len(rows):
      if held >= _BLOCKS * size and size < _LONGEST:
        size *= 2
      some = rows[start : start + size]
      block = np.zeros((size, width), np.int16)
      block[: len(some)] = likeness.rounded(embeddings, some)
      numbers = np.array([len(some), held, count, most], np.int32)
      whole = mesh_lib.put((block, numbers), mesh, mesh_lib.REPLICATED)
      kept, taken = visit(kept, *whole, mesh)
      places.append(start + np.flatnonzero(mesh_lib.fetch(taken)))
      advance(len(places[-1]))
      held += len(places[-1])
      start += size
  return np.concatenate(places)


@functools.partial(jax.jit, static_argnames="mesh", donate_argnames="kept")
def visit(
  kept: Int[Array, "r d"],
  block: Int[Array, "b d"],
  numbers: Int[Array, "4"],
  mesh: Mesh,
) -> tuple[Int[Array, "r d"], Bool[Array, " b"]]:
  """Visits a block of rows, one after the other.

  Args:
    kept: what is taken so far, of `likeness.rounded`: the first on the first
      device of the mesh, the second on the second, and so on in turns.
    block: rows in the order of the visits, of `likeness.rounded`.
    numbers: how many of the block are rows, the first; how many are taken so
      far, and may be at most; the likeness that two may have at most.
    mesh: of the devices.

  Returns:
    What is taken then, and which of the block are.
  """

  def on_device(kept: Array, block: Array, numbers: Array) -> Any:
    rows, held, count, most = numbers
    shard, shards = lax.axis_index(_AXES), lax.axis_size(_AXES)
    own = (held - shard + shards - 1) // shards  # Taken, on this device.
    x = block.astype(jnp.float32)
    scale = likeness.scales(x)
    tile = min(len(block), len(kept))

    def follow(i: Array, dropped: Array) -> Array:
      # Tiles may overlap: to be dropped twice is to be dropped.
      first = jnp.minimum(i * tile, len(kept) - tile)
      other = lax.dynamic_slice_in_dim(kept, first, tile).astype(jnp.float32)
      like = likeness.alike(other, likeness.scales(other), x, scale)
      known = first + jnp.arange(tile) < own
      return dropped | jnp.any((like > most) & known[:, None], axis=0)

    none = jnp.zeros(len(block), jnp.bool_)
    dropped = lax.fori_loop(0, (own + tile - 1) // tile, follow, none)
    place = jnp.arange(len(block))
    free = (lax.pmax(dropped.astype(jnp.int32), _AXES) == 0) & (place < rows)
    like = likeness.alike(x, scale, x, scale)
    drops = (like > most) & (place[:, None] < place[None])
    taken = _first_come(drops, free)
    turn = held + jnp.cumsum(taken) - 1
    taken &= turn < count
    # What is not for this device gets a place behind its last: dropped.
    is_own = taken & (turn % shards == shard)
    target = jnp.where(is_own, turn // shards, len(kept))
    return kept.at[target].set(block, mode="drop"), taken

  by_row, whole = mesh_lib.BATCH, mesh_lib.REPLICATED
  return jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(by_row, whole, whole),
    out_specs=(by_row, whole),
    check_vma=False,
  )(kept, block, numbers)


def _first_come(
  drops: Bool[Array, "b b"], free: Bool[Array, " b"]
) -> Bool[Array, " b"]:
  """Which are taken, where each that is taken drops some that come later.

  There is one answer that agrees with itself. Each round settles at least one
  more row for good, the first that was not; most often a few settle all.
  """

  def settle(taken: Array) -> Array:
    return free & ~jnp.any(drops & taken[:, None], axis=0)

  def differs(state: tuple[Array, Array]) -> Array:
    return jnp.any(state[0] != state[1])

  def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
    return state[1], settle(state[1])

  return lax.while_loop(differs, again, (free, settle(free)))[1]


def effort(size: effort_lib.Size, _: options_lib.Options) -> effort_lib.Effort:
  """What visiting the candidates takes, where few are dropped."""
  # Each that is taken is compared with those before it, half of all.
  return effort_lib.against(size.wanted, size.wanted / 2, size.embedding)


METHOD = method.Method(
  name="repr_filter",
  rank=rank,
  needs=("embeddings", "depth", "relative_depth"),
  options=Options,
  effort=effort,
  colour="#6699cc",
)
