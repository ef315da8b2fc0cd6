"""Training an autoencoder: chunk after chunk of hidden states, and resuming."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.run import interrupts
from ila_jax.score.sae import autoencoder, train
from ila_jax.training import checkpoint

Load = Callable[[int], Float[np.ndarray, "m d"]]
# Of one visit to a chunk: visit, steps, unexplained, auxiliary, dead_share.
Told = dict[str, float | int]


class Fitted(NamedTuple):
  """An autoencoder that was trained.

  Attributes:
    weights: reads hidden states as they are; NumPy arrays on every host.
    history: means over the steps of each visit to a chunk.
    dead_share: of the latents, at the end.
  """

  weights: autoencoder.Weights
  history: list[Told]
  dead_share: float


class _Frame(NamedTuple):
  """The units in which hidden states are trained on."""

  mean: Float[np.ndarray, " d"]
  scale: Float[np.ndarray, ""]


def steps(tokens: Sequence[int], *, batch_tokens: int, epochs: int) -> int:
  """Steps over chunks of so many tokens, each chunk in whole batches.

  >>> steps([9, 4], batch_tokens=4, epochs=2)
  8
  """
  return epochs * sum(-(-count // batch_tokens) for count in tokens)


def fit(
  recipe: train.Recipe,
  load: Load,
  chunks: int,
  *,
  epochs: int,
  mesh: Mesh,
  checkpoints: checkpoint.Checkpoints,
  due: checkpoint.Due,
  on_step: Callable[[], None] = lambda: None,
) -> Fitted:
  """Trains on chunks of hidden states, in their order, some times over.

  Within a chunk tokens come in a random order, which follows from the seed,
  the epoch and the chunk; where batches do not divide it, some come twice. One
  chunk is held at a time, and read again in each epoch, unless there is one
  alone. Hidden states are taken less the mean of the first chunk and in units
  of its deviation, so that one learning rate fits all models.

  Args:
    recipe: how.
    load: from the number of a chunk to its hidden states.
    chunks: how many there are.
    epochs: passes over all of them.
    mesh: the devices, each of which has some latents.
    checkpoints: of this training.
    due: after which visits one is saved; also when the run is asked to stop.
    on_step: called when the device has done a step.

  Raises:
    errors.InputError: a loss that is not finite, or all states are equal.
  """
  load = functools.lru_cache(1)(load)
  visits = [(e, chunk) for e in range(epochs) for chunk in range(chunks)]
  state, frame, history = _begin(recipe, load, mesh, checkpoints)
  with interrupts.deferred():
    for visit in range(len(history), len(visits)):
      x = (load(visits[visit][1]) - frame.mean) / frame.scale
      told = []
      for rows in _batches(len(x), recipe, visits[visit]):
        with jax.set_mesh(mesh):
          batch = mesh_lib.put(x[rows], mesh, PartitionSpec())
          state, metrics = train.step(recipe, state, batch)
        told.append(metrics)
        if len(told) > 1:  # One is at work, and one waits.
          jax.block_until_ready(told[-2])
          on_step()
      history.append(_summary(visit, told, recipe))
      on_step()
      stops = interrupts.is_requested()
      is_last = visit + 1 == len(visits)
      if due.after(visit + 1) or stops or is_last:
        held = {"state": state, "frame": frame}
        checkpoints.save(visit + 1, held, {"history": history})
      if stops and not is_last:
        interrupts.stop(
          f"the autoencoder is saved after {visit + 1} of {len(visits)} chunks"
        )
  weights, idle = mesh_lib.fetch((state.weights, state.idle))
  raw = train.in_units_of(weights, frame.mean, frame.scale)
  dead = float((idle >= recipe.dead_tokens).mean())
  return Fitted(jax.tree.map(np.asarray, raw), history, dead)


def _begin(
  recipe: train.Recipe,
  load: Load,
  mesh: Mesh,
  checkpoints: checkpoint.Checkpoints,
) -> tuple[train.State, _Frame, list[Told]]:
  """What the newest checkpoint holds, or the state before the first step."""
  make = functools.partial(train.first_state, recipe)
  shapes = jax.eval_shape(make)
  places = train.place(shapes, mesh)
  whole = NamedSharding(mesh, PartitionSpec())
  frame = _Frame(
    jax.ShapeDtypeStruct((recipe.width,), np.float32, sharding=whole),
    jax.ShapeDtypeStruct((), np.float32, sharding=whole),
  )
  like = jax.tree.map(
    lambda s, sharding: jax.ShapeDtypeStruct(
      s.shape, s.dtype, sharding=sharding
    ),
    shapes,
    places,
  )
  saved = checkpoints.restore({"state": like, "frame": frame})
  if saved is not None:
    held, record = saved
    return held["state"], mesh_lib.fetch(held["frame"]), record["history"]
  frame = _frame(load(0))
  return jax.jit(make, out_shardings=places)(), frame, []


def _frame(x: Float[np.ndarray, "m d"]) -> _Frame:
  """In its units a hidden state has, in the mean, the norm √d."""
  mean = x.mean(axis=0, dtype=np.float64)
  square = np.mean((x - mean) ** 2, dtype=np.float64)
  if not square > 0:
    raise errors.InputError(
      f"config.sae.layer: all {len(x):,} hidden states are equal there; "
      "allowed: states that differ, on which an autoencoder is trained. Set "
      "another --config.sae.layer, or check config.model.path."
    )
  return _Frame(mean.astype(np.float32), np.float32(np.sqrt(square)))


def _batches(
  count: int, recipe: train.Recipe, visit: tuple[int, int]
) -> Iterator[Int[np.ndarray, " b"]]:
  """The tokens of each batch of a visit: (epoch, chunk)."""
  size = recipe.batch_tokens
  order = np.random.default_rng((recipe.seed, *visit)).permutation(count)
  return iter(np.resize(order, (-(-count // size), size)))


def _summary(
  visit: int, told: list[train.Metrics], recipe: train.Recipe
) -> Told:
  """The means of what the steps of a visit told.

  Raises:
    errors.InputError: a loss is not finite.
  """
  held = mesh_lib.fetch(told)
  means = {
    name: float(np.mean([getattr(one, name) for one in held]))
    for name in ("unexplained", "auxiliary")
  }
  if not np.isfinite([*means.values()]).all():
    raise errors.InputError(
      f"config.sae.learning_rate is {recipe.learning_rate:.3g}, and the loss "
      f"of the sparse autoencoder is not finite ({means}); allowed: a rate at "
      "which it is. Lower it."
    )
  dead = float(held[-1].dead)
  return {"visit": visit + 1, "steps": len(told), **means, "dead_share": dead}
