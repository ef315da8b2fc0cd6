"""How long a run's own code takes on these devices, by trials on a small part.

The models of a trial have weights of zeros, which take as long as any others.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Int, PyTree

from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import memory
from ila_jax.models import architecture, encoder
from ila_jax.models import lora as lora_lib
from ila_jax.passes import example_loss, layouts, token_set
from ila_jax.training import loop, together
from ila_jax.training import recipe as recipe_lib

_STEPS = 5  # Of a trial of training.


class Trial(NamedTuple):
  """What some work takes.

  Attributes:
    seconds: of the work itself.
    compile_seconds: once in a process, and not again in a folder of a run.
  """

  seconds: float
  compile_seconds: float


class Training(NamedTuple):
  """What training takes.

  Attributes:
    step: seconds a step.
    start: seconds before the first step.
    compile_seconds: once in a process.
  """

  step: float
  start: float
  compile_seconds: float


def twice(work: Callable[[], Any]) -> Trial:
  """Times some work twice: the first pass compiles, the second does not.

  >>> trial = twice(lambda: jax.jit(lambda x: x + 1)(1).block_until_ready())
  >>> trial.seconds > 0 and trial.compile_seconds >= 0
  True
  """
  seconds = []
  for _ in range(2):
    begin = time.monotonic()
    work()
    seconds.append(time.monotonic() - begin)
  return Trial(seconds[1], max(seconds[0] - seconds[1], 0.0))


def part(
  lengths: Int[np.ndarray, " s"], *, tokens: float | int
) -> Int[np.ndarray, " p"]:
  """Some examples of all lengths, with about `tokens` tokens together.

  >>> part(np.array([3, 9, 1, 7]), tokens=10).tolist()
  [1, 0]
  """
  order = np.argsort(-lengths, kind="stable")
  share = max(round(lengths.sum() / max(tokens, 1)), 1)
  return order[::share]


def passes(
  kind: Callable[[layouts.Layout, Sequence[Any]], Any],
  lengths: Int[np.ndarray, " s"],
  *,
  layout: layouts.Layout,
  mesh: Mesh,
  examples: int,
  shard_examples: int,
  tokens: float | int,
) -> Trial:
  """Estimates the time of passes over the pool by a trial on a part.

  Args:
    kind: does the pass over these rows of the sample.
    lengths: tokens of the sampled examples.
    layout: of the pool.
    mesh: the devices.
    examples: of the pool.
    shard_examples: of a shard, whose last batches have fewer rows.
    tokens: of the part.
  """
  rows = part(lengths, tokens=tokens)
  trial = twice(lambda: kind(layout, rows.tolist()))
  multiple = mesh_lib.batch_multiple(mesh)
  here = layouts.plan(lengths[rows], layout, multiple=multiple)
  shard = np.resize(lengths, min(examples, shard_examples))
  there = layouts.plan(shard, layout, multiple=multiple)
  work = _cells(there) * examples / len(shard) / _cells(here)
  programs = len(_shapes(there)) / len(_shapes(here))
  return Trial(trial.seconds * work, trial.compile_seconds * programs)


def _cells(batches: Sequence[Any]) -> int:
  return sum(batch.cells for batch in batches)


def _shapes(batches: Sequence[Any]) -> set[tuple[int, int]]:
  return {(batch.width, batch.height) for batch in batches}


def scoring_pass(
  config: architecture.DecoderConfig,
  data: token_set.TokenSet,
  *,
  mesh: Mesh,
  lora: lora_lib.LoraConfig | None,
  models: int,
) -> Callable[[layouts.Layout, Sequence[int]], Any]:
  """Scores rows of `data`, for `passes`."""
  decoder = zeros(config, mesh)
  adapters = _zeros(memory.stacked(config, lora, models))

  def run(layout: layouts.Layout, rows: Sequence[int]) -> Any:
    some = data.subset(rows)
    return example_loss.example_nll(
      decoder,
      some.tokens,
      some.is_response,
      layout=layout,
      mesh=mesh,
      adapters=adapters,
    )

  return run


def zeros(
  config: architecture.DecoderConfig | encoder.EncoderConfig, mesh: Mesh
) -> nnx.Module:
  """A model on the mesh whose weights are zeros."""
  graphdef, params = memory.placed(config, mesh)
  return nnx.merge(graphdef, _zeros(params))


def _zeros(shapes: PyTree) -> PyTree:
  return jax.tree.map(
    lambda s: jnp.zeros(s.shape, s.dtype, device=s.sharding), shapes
  )


def training(
  config: architecture.DecoderConfig,
  data: token_set.TokenSet,
  recipe: recipe_lib.Recipe,
  *,
  mesh: Mesh,
  beside: int = 0,
) -> Training:
  """What a step takes, and a start: by two short trainings.

  Args:
    config: of the decoder.
    data: the sample, which each run learns.
    recipe: of a run.
    mesh: the devices.
    beside: runs on each device, whose steps are one; 0: one run on all.
  """
  decoder = zeros(config, mesh)

  def run(steps: int) -> tuple[float, list[float]]:
    ends = []

    def ended(_: object) -> None:
      ends.append(time.monotonic())

    # The rate is no part of the program, and weights of zeros bear few.
    short = dataclasses.replace(
      recipe,
      epochs=None,
      total_steps=steps,
      learning_rate=1e-3,
      early_stop=None,
    )
    begin = time.monotonic()
    if beside:
      several = beside * mesh.size
      together.trained(  # And not put on the mesh, one and all.
        decoder, [data] * several, [short] * several, mesh=mesh, on_step=ended
      )
    else:
      loop.train(decoder, data, short, mesh=mesh, on_step=ended)
    return time.monotonic() - begin, ends

  first, ends = run(_STEPS)
  step = float(np.median(np.diff(ends)))
  second, _ = run(1)
  start = max(second - step, 0.0)
  compiling = max(first - start - _STEPS * step, 0.0)
  return Training(step, start, compiling)
