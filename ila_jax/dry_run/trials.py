"""How long a run's own code takes on these devices, by trials on a small part.

The models of a trial have weights of zeros, which take as long as any others.
"""

import dataclasses
import itertools
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
from ila_jax.dry_run import memory
from ila_jax.embed import encode
from ila_jax.landscape.maps import projections
from ila_jax.models import architecture, encoder
from ila_jax.models import lora as lora_lib
from ila_jax.passes import example_loss, layouts, token_set
from ila_jax.run import progress
from ila_jax.training import loop
from ila_jax.training import recipe as recipe_lib

_STEPS = 5  # Of a trial of training.
_MAP_STEPS = 300  # Of a trial of t-SNE: the map grows, and so do its steps.
_PLACED = 4096


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
  """What forward passes over all examples take, by those of a part.

  Args:
    kind: does the pass over these rows of the sample.
    lengths: tokens of the sampled examples.
    layout: of the pool.
    mesh: the devices.
    examples: of the pool.
    shard_examples: of a shard, whose last batches are lower.
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


def embedding_pass(
  config: architecture.DecoderConfig | encoder.EncoderConfig,
  ids: Sequence[Int[np.ndarray, " _"]],
  *,
  mesh: Mesh,
) -> Callable[[layouts.Layout, Sequence[int]], Any]:
  """Embeds rows of `ids`, for `passes`."""
  model = zeros(config, mesh)
  return lambda layout, rows: encode.encode(
    model, [ids[r] for r in rows], pooling="mean", layout=layout, mesh=mesh
  )


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
  *,
  width: int,
  batch_tokens: int,
  mesh: Mesh,
  lora: lora_lib.LoraConfig | None,
) -> Training:
  """What a step takes, and a start: by two short runs of training."""
  recipe = recipe_lib.Recipe(
    learning_rate=1e-3,
    batch_tokens=batch_tokens,
    width=width,
    seed=0,
    lora=lora,
  )
  decoder = zeros(config, mesh)

  def run(steps: int) -> tuple[float, list[float]]:
    ends = []
    begin = time.monotonic()
    loop.train(
      decoder,
      data,
      dataclasses.replace(recipe, total_steps=steps),
      mesh=mesh,
      on_step=lambda step: ends.append(time.monotonic()),
    )
    return time.monotonic() - begin, ends

  first, ends = run(_STEPS)
  step = float(np.median(np.diff(ends)))
  second, _ = run(1)
  start = max(second - step, 0.0)
  compiling = max(first - start - _STEPS * step, 0.0)
  return Training(step, start, compiling)


def mapping(
  *,
  fitted: int,
  placed: int,
  width: int,
  name: str,
  options: projections.Options,
) -> Trial:
  """What it takes to fit a map and to place examples on it.

  Args:
    fitted: examples that the map is fitted on.
    placed: examples that are placed.
    width: of the embeddings.
    name: of the projection.
    options: of the run; those that tell of progress are overruled.
  """
  x = _clustered(fitted, width)
  clock: list[tuple[int, float]] = []
  compiled, begin = progress.compile_seconds(), time.monotonic()

  def note(done: int, _: float) -> None:
    busy = time.monotonic() - progress.compile_seconds()
    clock.append((done, busy))

  steps = min(options.iterations, _MAP_STEPS)
  fit = projections.fit(
    x,
    name=name,
    key=jax.random.key(0),
    options=dataclasses.replace(options, iterations=steps, on_progress=note),
  )
  jax.block_until_ready(fit.arrays)
  compiling = progress.compile_seconds() - compiled
  seconds = time.monotonic() - begin - compiling
  if len(clock) > 2 and options.iterations > steps:
    rates = [
      (late - early) / max(after - before, 1)
      for (before, early), (after, late) in itertools.pairwise(clock)
    ]
    seconds += (options.iterations - steps) * float(np.median(rates[-3:]))
  rows = mesh_lib.put_rows(x[:_PLACED], options.mesh)
  trial = twice(lambda: jax.block_until_ready(fit.place(rows)))
  seconds += trial.seconds * placed / len(rows)
  return Trial(seconds, compiling + trial.compile_seconds)


def _clustered(n: int, width: int) -> np.ndarray:
  """Unit vectors in groups, as the embeddings of a pool are."""
  random = np.random.default_rng(0)
  centers = random.normal(size=(50, width))
  x = centers[random.integers(50, size=n)]
  x = x + 0.7 * random.normal(size=(n, width))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
