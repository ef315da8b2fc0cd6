"""Several runs of one shape, trained side by side by one program.

A small model leaves most of a large device idle, and a mesh that splits it
spends its time on exchanging. Here each device has whole models of its own, and
devices exchange nothing: a pod trains hundreds at once.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Float, PyTree

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.passes import collate, token_set, windows
from ila_jax.run import account as account_lib
from ila_jax.run import progress
from ila_jax.training import batches, loop, trial
from ila_jax.training import recipe as recipe_lib
from ila_jax.training import step as step_lib

# Each device has whole runs.
RUNS = PartitionSpec("runs")


def train(
  decoder: decoder_lib.Decoder,
  data: Sequence[token_set.TokenSet],
  recipes: Sequence[recipe_lib.Recipe],
  *,
  mesh: Mesh,
  on_step: Callable[[list[loop.Metrics | None]], None] = lambda metrics: None,
) -> list[tuple[decoder_lib.Decoder | lora_lib.Adapter, list[loop.Metrics]]]:
  """Trains m runs from one base; each is as `loop.train` would train it alone.

  Weights differ from those of a lone run by rounding alone. All runs are held
  at once, m / (devices of the mesh) on each device, in groups that the caller
  chooses. Nothing is saved on the way.

  Args:
    decoder: where all runs start; left as it is.
    data: what each run learns.
    recipes: how; they may differ in learning rate, schedule, seed and length.
    mesh: its devices share the runs.
    on_step: called with the metrics of each run at each step, one step late;
      None of a run that has come to its end.

  Returns:
    Of each run what `loop.train` returns, whole on every device.

  Raises:
    errors.InputError: as `loop.train`.
    ValueError: recipes that are not of one shape and one optimizer, or with an
      early stop or micro-batches.

  >>> from ila_jax.models import architecture
  >>> sizes = dict(vocab=32, layers=1, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> base = decoder_lib.Decoder(config, rngs=nnx.Rngs(0))
  >>> text = token_set.TokenSet.of_text([np.arange(9, dtype=np.int32)] * 8)
  >>> recipes = [
  ...   recipe_lib.Recipe(total_steps=n, learning_rate=0.1, batch_tokens=64,
  ...                     width=16, seed=n) for n in (2, 3)]
  >>> runs = train(base, [text, text], recipes, mesh=mesh_lib.make())
  >>> [len(history) for _, history in runs]
  [2, 3]
  """
  place, histories = trained(decoder, data, recipes, mesh=mesh, on_step=on_step)
  return [(place(at), history) for at, history in enumerate(histories)]


def trained(
  decoder: decoder_lib.Decoder,
  data: Sequence[token_set.TokenSet],
  recipes: Sequence[recipe_lib.Recipe],
  *,
  mesh: Mesh,
  on_step: Callable[[list[loop.Metrics | None]], None],
) -> tuple[Callable[[int], Any], list[list[loop.Metrics]]]:
  """As `train`; each model is put on the mesh when it is asked for.

  Returns:
    What gives the model of a run, by its place; and the metrics of each run.

  Raises:
    errors.InputError, ValueError: as `train`.
  """
  _check(data, recipes)
  first = recipes[0]
  plans = [
    recipe.plan(one.lengths) for one, recipe in zip(data, recipes, strict=True)
  ]
  rates = [r.rates(len(p)) for r, p in zip(recipes, plans, strict=True)]
  devices = one_axis(mesh)
  graphdef, base = nnx.split(decoder)
  base = mesh_lib.fetch(nnx.to_pure_dict(base))
  starts = [_start(decoder, base, recipe) for recipe in recipes]
  # Runs that fill up a device learn nothing, and are not looked at.
  count = -(-len(starts) // devices.size) * devices.size
  fill = [starts[-1]] * (count - len(starts))
  stacked = jax.tree.map(lambda *x: np.stack(x), *starts, *fill)
  frozen = {} if first.lora is None else base
  frozen = mesh_lib.put(frozen, devices, PartitionSpec())
  histories: list[list[loop.Metrics]] = [[] for _ in recipes]

  def report(step: int, metrics: PyTree) -> None:
    values = mesh_lib.fetch(metrics)
    told: list[loop.Metrics | None] = []
    for at, own in enumerate(histories):
      if step < len(plans[at]):
        one = {name: value[at] for name, value in values.items()}
        own.append(loop.read(one, step, rates[at]))
      told.append(own[-1] if step < len(plans[at]) else None)
    on_step(told)

  # In place of a mesh that the caller works on, which has other axes.
  with jax.set_mesh(devices):
    begin = functools.partial(step_lib.first_state, first.optimizer)
    begin = jax.shard_map(
      jax.vmap(begin), mesh=devices, in_specs=RUNS, out_specs=RUNS
    )
    states = jax.jit(begin)(_put(stacked, devices))
    pending = None
    for at in range(max(map(len, plans))):
      batch = _batch(at, data, plans, count, first)
      rate = [r[at] if at < len(r) else 0.0 for r in rates]
      rate = np.array([*rate, *[0.0] * (count - len(rate))], np.float32)
      states, metrics = step(
        *(graphdef, first.optimizer, devices, first.lora),
        *(states, frozen, _put(batch, devices), _put(rate, devices)),
      )
      if pending is not None:
        report(*pending)
      pending = at, metrics
  report(*pending)
  weights = mesh_lib.fetch(states["params"])

  def place(at: int) -> Any:
    return _of_run(at, weights, starts[at], graphdef, first.lora, mesh)

  return place, histories


def one_axis(mesh: Mesh) -> Mesh:
  """The devices of a mesh in a row, along which runs are laid.

  >>> one_axis(mesh_lib.make()).axis_names
  ('runs',)
  """
  return Mesh(mesh.devices.ravel(), ("runs",), axis_types=(AxisType.Auto,))


def tune(
  decoder: decoder_lib.Decoder,
  data: Sequence[token_set.TokenSet],
  recipes: Sequence[recipe_lib.Recipe],
  *,
  mesh: Mesh,
  account: account_lib.Account,
) -> Iterator[tuple[trial.Tuned, int]]:
  """Tunes a base on several sets for a stage, which accounts for it.

  A long example is trained on in windows. All are trained when it returns;
  the models are held by the host, and are put on the mesh one by one.

  Args:
    decoder: where all runs start; left as it is.
    data: what each run learns.
    recipes: how, as for `train`.
    mesh: its devices share the runs.
    account: of the stage, to which FLOPs, tokens and cells are added.

  Returns:
    Of each run what it has made, and its steps.

  Raises:
    errors.NotFiniteError: a loss of one of them is not finite.
    errors.InputError, ValueError: as `train`.
  """
  cut = [
    windows.split(one, max_tokens=recipe.width).data
    for one, recipe in zip(data, recipes, strict=True)
  ]
  desc = f"train {len(cut)} side by side"
  with progress.counter(None, desc=desc, unit="steps") as advance:

    def count(told: list[loop.Metrics | None]) -> None:
      at_work = [one for one in told if one is not None]
      advance(1, total=max(one["total_steps"] for one in at_work))
      cells = recipes[0].rows * recipes[0].width
      account.add(cells=len(at_work) * cells)

    place, histories = trained(decoder, cut, recipes, mesh=mesh, on_step=count)
  for one, recipe in zip(cut, recipes, strict=True):
    epochs = recipe.epochs_over(one.lengths)
    flops = trial.training_flops(decoder.config, one, recipe.lora)
    account.add(flops=epochs * flops, tokens=round(epochs * one.lengths.sum()))
  lora = recipes[0].lora

  def tuned(at: int) -> trial.Tuned:
    made = place(at)
    return (
      trial.Tuned(made) if lora is None else trial.Tuned(decoder, lora, made)
    )

  return ((tuned(at), len(one)) for at, one in enumerate(histories))


def _check(
  data: Sequence[token_set.TokenSet], recipes: Sequence[recipe_lib.Recipe]
) -> None:
  if len(data) != len(recipes) or not recipes:
    raise ValueError(f"{len(data)} sets of examples, {len(recipes)} recipes")
  free = {"learning_rate": 0.0, "schedule": "", "warmup_fraction": 0.0}
  free |= {"seed": 0, "epochs": None, "total_steps": None}
  if len({repr(dataclasses.replace(r, **free)) for r in recipes}) > 1:
    raise ValueError("runs together have one shape and one optimizer")
  if recipes[0].early_stop or recipes[0].micro_batch_tokens:
    raise ValueError("runs together have no early stop and no micro-batches")
  for one in data:
    batches.check(one, width=recipes[0].width)


def _start(
  decoder: decoder_lib.Decoder, base: PyTree, recipe: recipe_lib.Recipe
) -> PyTree:
  """What is trained of one run, as it is at first, on the host."""
  if recipe.lora is None:
    return base
  key = jax.random.key(recipe.seed)
  return mesh_lib.fetch(lora_lib.init(decoder.config, recipe.lora, key))


def _put(tree: PyTree, devices: Mesh) -> PyTree:
  return mesh_lib.put(tree, devices, RUNS)


def _batch(
  step: int,
  data: Sequence[token_set.TokenSet],
  plans: Sequence[list[list[batches.Row]]],
  count: int,
  recipe: recipe_lib.Recipe,
) -> dict[str, np.ndarray]:
  """The batches of all runs, [runs, b, t]; empty ones where a run has ended."""
  made = [
    collate.collate(
      one.tokens,
      one.is_response,
      collate.Batch(
        plan[step] if step < len(plan) else [], recipe.width, recipe.rows
      ),
    )
    for one, plan in zip(data, plans, strict=True)
  ]
  empty = jax.tree.map(np.zeros_like, made[-1])
  return jax.tree.map(
    lambda *x: np.stack(x), *made, *[empty] * (count - len(made))
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def step(
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformationExtraArgs,
  devices: Mesh,
  lora: lora_lib.LoraConfig | None,
  states: PyTree,
  base: PyTree,
  batch: dict[str, Array],
  learning_rate: Float[Array, " runs"],
) -> tuple[PyTree, dict[str, Array]]:
  """One update of each run; arguments as of `step.train_step`, stacked.

  Args:
    graphdef: of the decoder.
    optimizer: of all runs.
    devices: of `one_axis`; each has as many runs as the others.
    lora: recipe of the adapters, or None.
    states: of the runs, [runs, ...]; donated.
    base: the decoder's parameters beside adapters, on every device; else {}.
    batch: of the runs, [runs, b, t].
    learning_rate: of each run.

  Returns:
    New states and metrics, [runs, ...]. A run without targets stays as it is.
  """

  def one(
    state: PyTree, rows: dict[str, Array], rate: Array, base: PyTree
  ) -> tuple[PyTree, dict[str, Array]]:
    new, metrics = step_lib.update(
      graphdef, optimizer, lora, state, base, rows, rate
    )
    # A run that has ended stays as it is.
    goes_on = metrics["tokens"] > 0
    new = jax.tree.map(lambda a, b: jnp.where(goes_on, a, b), new, state)
    return new, metrics

  return jax.shard_map(
    jax.vmap(one, in_axes=(0, 0, 0, None)),
    mesh=devices,
    in_specs=(RUNS, RUNS, RUNS, PartitionSpec()),
    out_specs=RUNS,
    check_vma=False,
  )(states, batch, learning_rate, base)


def _of_run(
  at: int,
  trained: PyTree,
  start: PyTree,
  graphdef: nnx.GraphDef,
  lora: lora_lib.LoraConfig | None,
  mesh: Mesh,
) -> Any:
  """What one run has trained, in the dtype of its start, on the mesh."""
  own = jax.tree.map(lambda t, s: t[at].astype(s.dtype), trained, start)
  table = decoder_lib if lora is None else lora_lib
  own = jax.device_put(own, table.shardings(own, mesh))
  return nnx.merge(graphdef, own) if lora is None else own
