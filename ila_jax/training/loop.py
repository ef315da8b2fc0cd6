"""One function that trains: the base, the reference model and the check.

The batch is a function of (data, seed, step) and the learning rate of the
step, so a run that was killed and resumed equals one that was not, to the bit.
Every step has one shape and one compiled program, whatever the run's length.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Float, PyTree

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.passes import dev_loss, layouts, token_set
from ila_jax.run import hosts, interrupts
from ila_jax.training import batches, checkpoint, early_stop
from ila_jax.training import recipe as recipe_lib
from ila_jax.training import step as step_lib

Metrics = dict[str, float | int]


@dataclasses.dataclass(frozen=True)
class Saving:
  """Where and when the state of a run is saved; it changes no result.

  Attributes:
    folder: local or remote, of this run alone; it resumes from what is there.
    steps: between checkpoints; the last step has one too.
    minutes: a step that comes so long after the last checkpoint has one, too.
    before: called before each checkpoint is written.
    at: called after each step, before a checkpoint of it, with its number (from
      1) and the state: `params` and `optimizer`, which the next step takes.
  """

  folder: str | os.PathLike[str]
  steps: int = 500
  minutes: float | int = math.inf
  before: Callable[[], None] = lambda: None
  at: Callable[[int, PyTree], None] = lambda step, state: None


def train(
  decoder: decoder_lib.Decoder,
  data: token_set.TokenSet,
  recipe: recipe_lib.Recipe,
  *,
  mesh: Mesh,
  held_out: token_set.TokenSet | None = None,
  saving: Saving | None = None,
  on_step: Callable[[Metrics], None] = lambda metrics: None,
) -> tuple[decoder_lib.Decoder | lora_lib.Adapter, list[Metrics]]:
  """Minimises the mean loss of the target tokens.

  Per step, L = Σ nll / (number of targets in the batch), with AdamW in float32
  under a warm-up and the recipe's schedule (docs/method.md 2.1). Examples are
  packed into rows without seeing each other. Trained are all parameters, or
  with `recipe.lora` an adapter alone: the decoder's weights are then held as
  they are, and neither moments nor checkpoints are kept of them.

  Args:
    decoder: where training starts; left as it is.
    data: what is learned.
    recipe: how it is learned.
    mesh: a batch is split over `data` and `fsdp`, parameters by the table of
      `models.decoder`; the mesh does not change the result but by rounding.
    held_out: examples for `recipe.early_stop`; given with it, or not at all.
    saving: where and when the state is saved; None keeps nothing.
    on_step: called with each step's metrics, one step late so that the device
      never waits: step (from 1), total_steps, loss (nats per target token),
      grad_norm (before clipping), learning_rate, tokens (targets), and
      held_out_loss after which it was looked at. After a resume the steps since
      the checkpoint come again.

  Returns:
    The trained decoder, or the adapter of `recipe.lora`, placed on the mesh,
    and the metrics of all steps from the first, those before a resume included.
    With an early stop the weights are those of the lowest held-out loss.

  Raises:
    errors.InputError: no data, an example too long or without a target, a
      loss that is not finite, or checkpoints of another run or on a full disk.

  >>> from ila_jax.models import architecture
  >>> config = architecture.DecoderConfig(
  ...   vocab=32,
  ...   layers=1,
  ...   width=8,
  ...   heads=2,
  ...   kv_heads=1,
  ...   head_dim=4,
  ...   mlp_width=16,
  ... )
  >>> base = decoder_lib.Decoder(config, rngs=nnx.Rngs(0))
  >>> text = token_set.TokenSet.of_text([np.arange(9, dtype=np.int32)] * 8)
  >>> recipe = recipe_lib.Recipe(
  ...   total_steps=20, learning_rate=0.1, batch_tokens=64, width=16, seed=0
  ... )
  >>> tuned, history = train(base, text, recipe, mesh=mesh_lib.make())
  >>> history[-1]["loss"] < history[0]["loss"] / 2
  True
  """
  width, lora = recipe.width, recipe.lora
  batches.check(data, width=width)
  steps = recipe.plan(data.lengths)
  rates = recipe.rates(len(steps))
  parts, height = recipe.micro_batches(mesh_lib.batch_multiple(mesh))
  optimizer = recipe.optimizer
  graphdef, base = nnx.split(decoder)
  base = nnx.to_pure_dict(base)
  identity = [*recipe.identity(), _identity(decoder.config)]
  with (
    jax.set_mesh(mesh),
    _open(saving, base, (data, held_out), identity) as checkpoints,
    contextlib.ExitStack() as until_saved,
  ):
    start, frozen = _start(decoder.config, base, recipe, mesh)
    watch = early_stop.Watch(
      recipe.early_stop,
      _loss_of(held_out, graphdef, frozen, recipe, mesh),
      total=len(steps),
    )
    state, history = _begin(start, optimizer, mesh, lora, checkpoints, watch)

    def report(metrics: PyTree) -> None:
      history.append(read(metrics, len(history), rates))
      on_step(history[-1])

    pending, begin = None, len(steps) if watch.is_over else len(history)
    due = saving and checkpoint.Due(steps=saving.steps, minutes=saving.minutes)
    for step in range(begin, len(steps)):
      batch = batches.batch(
        data, steps[step], width=width, rows=height, mesh=mesh, parts=parts
      )
      state, metrics = step_lib.train_step(
        graphdef, optimizer, mesh, lora, state, frozen, batch, rates[step]
      )
      if checkpoints and step == begin:
        # From the first step on, which compiles, there is something to save.
        until_saved.enter_context(interrupts.deferred())
      # The host reads a step while the device works on the next one.
      if pending is not None:
        report(pending)
      pending = metrics | watch.after(step + 1, state["params"])
      if saving:
        saving.at(step + 1, state)
      # Every host asks at every step, so that all stop at the same one.
      stops = checkpoints is not None and interrupts.is_requested()
      is_due = checkpoints and due.after(step + 1)
      if watch.is_over or step + 1 == len(steps) or stops or is_due:
        report(pending)
        pending = None
        if checkpoints:
          saving.before()
          record = {"history": history} | watch.record()
          checkpoints.save(step + 1, watch.kept(state), record)
      if stops:
        interrupts.stop(f"training is saved at step {step + 1}/{len(steps)}")
      if watch.is_over:
        break
  trained = _as(watch.chosen(state["params"]), start)
  return nnx.merge(graphdef, trained) if lora is None else trained, history


def _loss_of(
  held_out: token_set.TokenSet | None,
  graphdef: nnx.GraphDef,
  frozen: PyTree,
  recipe: recipe_lib.Recipe,
  mesh: Mesh,
) -> Callable[[PyTree], float]:
  """A function from what is trained to the loss of held-out examples."""
  if (held_out is None) != (recipe.early_stop is None):
    raise ValueError("give both recipe.early_stop and held_out, or none")

  def loss(params: PyTree) -> float:
    whole = recipe.lora is None
    adapters = None if whole else lora_lib.stack(recipe.lora, [params])
    found = dev_loss.losses(
      nnx.merge(graphdef, params if whole else frozen),
      held_out,
      layout=layouts.choose(held_out.lengths, batch_tokens=recipe.width),
      mesh=mesh,
      adapters=adapters,
    )
    return dev_loss.summarise(*found)["micro"]

  return loss


def _start(
  config: architecture.DecoderConfig,
  base: PyTree,
  recipe: recipe_lib.Recipe,
  mesh: Mesh,
) -> tuple[PyTree, PyTree]:
  """What is trained, as it is at first, and what is held as it is."""
  if recipe.lora is None:
    return base, {}
  start = lora_lib.init(config, recipe.lora, jax.random.key(recipe.seed))
  return start, jax.device_put(base, decoder_lib.shardings(base, mesh))


def _begin(
  start: PyTree,
  optimizer: optax.GradientTransformationExtraArgs,
  mesh: Mesh,
  lora: lora_lib.LoraConfig | None,
  checkpoints: checkpoint.Checkpoints | None,
  watch: early_stop.Watch,
) -> tuple[PyTree, list[Metrics]]:
  """The state of the newest checkpoint, or of step 0, and the history."""
  first_state = step_lib.first_state
  shapes = jax.eval_shape(functools.partial(first_state, optimizer), start)
  shardings = step_lib.shardings(shapes, mesh, lora)
  if checkpoints:
    like = jax.tree.map(
      lambda s, sharding: jax.ShapeDtypeStruct(
        s.shape, s.dtype, sharding=sharding
      ),
      shapes,
      shardings,
    )
    saved = checkpoints.restore(watch.kept(like))
    if saved is not None:
      return watch.resume(*saved), saved[1]["history"]
  start = jax.device_put(start, shardings["params"])
  first = jax.jit(first_state, static_argnums=0, out_shardings=shardings)
  return first(optimizer, start), []


def read(metrics: PyTree, step: int, rates: Float[np.ndarray, " s"]) -> Metrics:
  """Brings one step's metrics to the host; `step` counts from 0."""
  values = {name: v.item() for name, v in mesh_lib.fetch(metrics).items()}
  rate = float(rates[step])
  for name in ("loss", "grad_norm"):
    if not np.isfinite(values[name]):
      raise errors.NotFiniteError(
        f"training: {name} is {values[name]} at step {step + 1} of "
        f"{len(rates)}, at learning rate {rate:.3g}; allowed: a finite "
        "number. Lower the learning rate (config.finetune.learning_rate, "
        "config.score.learning_rate or config.model.scratch.learning_rate) or "
        "config.train.clip_norm."
      )
  return {
    "step": step + 1,
    "total_steps": len(rates),
    "learning_rate": rate,
    **values,
  }


def _open(
  saving: Saving | None,
  params: PyTree,
  data: Sequence[token_set.TokenSet | None],
  identity: list[Any],
) -> contextlib.AbstractContextManager:
  if saving is None:
    return contextlib.nullcontext()
  fingerprint = _fingerprint(params, data, identity)
  hosts.check_same({"what is trained, and on what": fingerprint})
  return checkpoint.Checkpoints(saving.folder, fingerprint=fingerprint)


def _identity(config: architecture.DecoderConfig) -> str:
  """A decoder's sizes, without what changes rounding and memory alone."""
  return repr(dataclasses.replace(config, remat=False, attention="blocked"))


def _fingerprint(
  params: PyTree,
  data: Sequence[token_set.TokenSet | None],
  identity: list[Any],
) -> str:
  """A hash of the recipe, the data and a slice of every parameter.

  Training moves every parameter, so a slice tells two models apart, and it
  does not bring the weights of a large one to the host.
  """
  digest = hashlib.sha256(json.dumps(identity).encode())
  pairs = itertools.chain.from_iterable(
    zip(one.tokens, one.is_response, strict=True)
    for one in data
    if one is not None
  )
  for ids, mask in pairs:
    digest.update(len(ids).to_bytes(8, "little"))
    digest.update(np.asarray(ids, np.int32).tobytes())
    digest.update(np.packbits(mask).tobytes())
  for leaf in jax.tree.leaves(params):
    corner = leaf[(0,) * (leaf.ndim - 1)][:64]
    digest.update(mesh_lib.fetch(corner).tobytes())
  return digest.hexdigest()[:16]


def _as(trained: PyTree, params: PyTree) -> PyTree:
  """Trained parameters in the dtype that the decoder held them in."""
  return jax.tree.map(lambda t, p: t.astype(p.dtype), trained, params)
