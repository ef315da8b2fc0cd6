"""What a model is trained on: token sets, a plan of steps, batches."""

import itertools
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.passes import collate, layouts, token_set

# The examples of a row, by index; a step trains on several rows.
Row = Sequence[int | np.integer]


def check(data: token_set.TokenSet, *, width: int) -> None:
  """Refuses what cannot be trained on, before anything is compiled.

  Raises:
    errors.InputError: no examples, an example longer than `width`, or one
      with nothing to predict.

  >>> check(token_set.TokenSet([], []), width=8)
  Traceback (most recent call last):
  ila_jax.errors.InputError: there are no examples to train on; ...
  """
  if not len(data):
    raise errors.InputError(
      "there are no examples to train on; add records to config.pool.source, "
      "or raise the budget."
    )
  for i, (ids, mask) in enumerate(
    zip(data.tokens, data.is_response, strict=True)
  ):
    if len(ids) > width:
      raise errors.InputError(
        f"example {i} has {len(ids)} tokens; allowed: up to the row width, "
        f"{width}. Set --config.tokens.max_tokens={width} or less."
      )
    if not mask[1:].any():
      raise errors.InputError(
        f"example {i} has {len(ids)} tokens and none to predict after the "
        "first; allowed: one or more. Leave the example out."
      )


def plan(
  lengths: Int[np.ndarray, " n"],
  *,
  width: int,
  rows: int,
  seed: int,
  epochs: float | int | None = None,
  total_steps: int | None = None,
) -> list[list[Row]]:
  """Which examples every step trains on, row by row.

  Each epoch is a permutation keyed by (seed, epoch), packed into rows; a step
  takes the next `rows` of them, across the ends of epochs. Only the last step
  of all may have fewer.

  Args:
    lengths: tokens of each example.
    width: tokens a row.
    rows: rows a step.
    seed: of the permutations.
    epochs: passes over the examples, fractions allowed.
    total_steps: steps, over as many epochs as needed; instead of `epochs`.

  Returns:
    For each step, for each row, the numbers of its examples.

  Raises:
    ValueError: both or none of epochs and total_steps.

  >>> steps = plan(np.full(4, 5), width=10, rows=1, seed=0, epochs=1.5)
  >>> [len(row) for step in steps for row in step]
  [2, 2, 2]
  """
  if (epochs is None) == (total_steps is None):
    raise ValueError("give either epochs or total_steps")
  n = len(lengths)
  examples_left = np.inf if epochs is None else max(round(epochs * n), 1)
  rows_left = np.inf if total_steps is None else total_steps * rows
  packed: list[Row] = []
  for epoch in itertools.count():
    order = np.random.default_rng((seed, epoch)).permutation(n)
    order = order[: int(min(n, examples_left))]
    packed += layouts.pack(lengths, width=width, order=order)
    examples_left -= len(order)
    if examples_left <= 0 or len(packed) >= rows_left:
      break
  packed = packed[: int(min(len(packed), rows_left))]
  return [packed[i : i + rows] for i in range(0, len(packed), rows)]


def batch(
  data: token_set.TokenSet,
  step: list[Row],
  *,
  width: int,
  rows: int,
  mesh: Mesh,
  parts: int = 1,
) -> dict[str, Array]:
  """The batch of one step of a `plan`, on the mesh.

  Empty rows, which weigh nothing, make up the number that the mesh divides.

  Args:
    data: the examples.
    step: the rows of the step, by the numbers of their examples.
    width: tokens a row.
    rows: of each micro-batch.
    mesh: the devices.
    parts: micro-batches of the step, `recipe.micro_batches`.

  Returns:
    tokens, positions, segment_ids (int32) and targets (bool), each [b, t]; of
    several micro-batches [b, parts, t], one at each place of the second axis.

  >>> text = token_set.TokenSet.of_text([np.arange(3, dtype=np.int32)])
  >>> arrays = batch(text, [[0]], width=4, rows=8, mesh=mesh_lib.make())
  >>> arrays["tokens"].shape, arrays["tokens"][0].tolist()
  ((8, 4), [0, 1, 2, 0])
  """
  multiple = mesh_lib.batch_multiple(mesh)
  height = -(-rows // multiple) * multiple
  laid_out = collate.Batch(step, width, height * parts)
  if parts == 1:
    return collate.on_mesh(data.tokens, data.is_response, laid_out, mesh)

  def make(own: Int[np.ndarray, " r"]) -> dict[str, np.ndarray]:
    # Rows of one device in all micro-batches lie side by side.
    every = (own[:, None] * parts + np.arange(parts)).ravel()
    made = collate.collate(data.tokens, data.is_response, laid_out.part(every))
    return {k: v.reshape(len(own), parts, width) for k, v in made.items()}

  return mesh_lib.put_own_rows(make, height, mesh)
