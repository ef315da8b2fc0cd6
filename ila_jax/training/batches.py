"""What a model is trained on: token sets, a plan of steps, batches."""

import itertools
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.passes import collate, layouts, token_set
from ila_jax.training import recipe as recipe_lib

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


def epochs(lengths: Int[np.ndarray, " n"], recipe: recipe_lib.Recipe) -> float:
  """How often a recipe passes over the examples, by its plan.

  >>> recipe = recipe_lib.Recipe(learning_rate=0.1, batch_tokens=10, width=10,
  ...   seed=0, total_steps=3)
  >>> epochs(np.full(4, 5), recipe)
  1.5
  """
  steps = plan(
    lengths,
    width=recipe.width,
    rows=recipe.rows,
    seed=recipe.seed,
    epochs=recipe.epochs,
    total_steps=recipe.total_steps,
  )
  return sum(len(row) for step in steps for row in step) / len(lengths)


def batch(
  data: token_set.TokenSet,
  step: list[Row],
  *,
  width: int,
  rows: int,
  mesh: Mesh,
) -> dict[str, Array]:
  """The batch of one step of a `plan`, on the mesh.

  Empty rows, which weigh nothing, make up the number that the mesh divides.

  Returns:
    tokens, positions, segment_ids (int32) and targets (bool), each [b, t].

  >>> text = token_set.TokenSet.of_text([np.arange(3, dtype=np.int32)])
  >>> arrays = batch(text, [[0]], width=4, rows=8, mesh=mesh_lib.make())
  >>> arrays["tokens"].shape, arrays["tokens"][0].tolist()
  ((8, 4), [0, 1, 2, 0])
  """
  multiple = mesh_lib.batch_multiple(mesh)
  height = -(-rows // multiple) * multiple
  laid_out = collate.Batch(step, width, height)
  return collate.on_mesh(data.tokens, data.is_response, laid_out, mesh)
