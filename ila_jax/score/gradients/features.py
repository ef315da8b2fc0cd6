"""Gradients of examples at each epoch of the warm-up, as unit vectors."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Float

from ila_jax import config as config_lib
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, memory, shapes, trials, work
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.passes import (
  collate,
  example_gradients,
  forward,
  layouts,
  projection,
  token_set,
  windows,
)
from ila_jax.pool import index
from ila_jax.run import account as account_lib
from ila_jax.run import context
from ila_jax.score.gradients import warmup
from ila_jax.training import trial

Of = Callable[[token_set.TokenSet], np.ndarray]


def width(config: config_lib.Config) -> int:
  """Numbers of an example: of all epochs, side by side."""
  own = warmup.settings(config)
  return own.epochs * own.width


def _recipe(config: config_lib.Config) -> example_gradients.Recipe:
  own = warmup.settings(config)
  return example_gradients.Recipe(trial.adapter(config), own.width, config.seed)


def _layout(
  config: config_lib.Config,
  decoder: architecture.DecoderConfig,
  lengths: np.ndarray,
) -> layouts.Layout:
  """One example a row: a packed row would have the sum of several gradients."""
  return layouts.choose(
    windows.lengths(lengths, max_tokens=config.tokens.max_tokens),
    batch_tokens=config.score.batch_tokens,
    kind="buckets",
    program_tokens=forward.program_tokens(decoder),
  )


def reader(
  run: context.Run,
  own: context.Run,
  decoder: decoder_lib.Decoder,
  account: account_lib.Account,
  *,
  is_adam: bool,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> Of:
  """A function from examples to projected unit vectors, float16 [n, c · w].

  The gradient is that of the mean loss of the response tokens. Of an example
  that is read in windows it is the mean over them, by their response tokens;
  of Adam's directions that is an approximation, for they do not add up.

  Args:
    run: whose warm-up is done.
    own: the run whose folder has the examples: `run`, or the target set's.
    decoder: the base.
    account: of who asks.
    is_adam: the direction of Adam; or the plain gradient.
    on_batch: called with each batch of each epoch.
  """
  config = run.config
  recipe = _recipe(config)
  layout = _layout(config, decoder.config, index.lengths(own.workdir))
  states = list(warmup.states(run))

  def count(batch: collate.Batch) -> None:
    account.add(cells=batch.cells)
    on_batch(batch)

  def of(data: token_set.TokenSet) -> np.ndarray:
    parts = windows.split(data, max_tokens=config.tokens.max_tokens)
    targets = np.array([mask.sum() for mask in parts.data.is_response])
    share = targets / np.maximum(parts.total(targets)[parts.example], 1)
    found = []
    for adapter, moments in states:
      placed = mesh_lib.put(
        (adapter, moments if is_adam else None), run.mesh, mesh_lib.REPLICATED
      )
      each = example_gradients.example_gradients(
        decoder,
        parts.data,
        recipe,
        adapter=placed[0],
        moments=placed[1],
        layout=layout,
        mesh=run.mesh,
        on_batch=count,
      )
      found.append(unit(parts.total(each * share[:, None].astype(np.float32))))
    flops = len(states) * _flops(config, decoder.config, parts.data)
    account.add(flops=flops, tokens=len(states) * int(parts.data.lengths.sum()))
    return np.concatenate(found, axis=1)

  return of


def unit(x: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n w"]:
  """Rows of norm 1 in float16; of zeros, which have no direction, zeros.

  >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).tolist()
  [[0.60009765625, 0.7998046875], [0.0, 0.0]]
  """
  norm = np.linalg.norm(x, axis=1, keepdims=True)
  return (x / np.where(norm == 0, 1, norm)).astype(np.float16)


def _flops(
  config: config_lib.Config,
  decoder: architecture.DecoderConfig,
  data: token_set.TokenSet,
) -> float:
  """FLOPs of the gradients of examples at one epoch, and of projecting them."""
  size = -(-warmup.adapter_size(config, decoder) // decoder.layers)
  each = projection.flops(size, width=warmup.settings(config).width)
  passes = trial.training_flops(decoder, data, trial.adapter(config))
  return passes + float(len(data)) * decoder.layers * each


def cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of the gradients of the pool's examples, at each epoch."""
  return run.once("gradients", lambda: _cost(run))


def _cost(run: work.PlannedRun) -> costs.Cost:
  config, model = run.config, run.decoder
  parts = windows.split(run.sample.data, max_tokens=config.tokens.max_tokens)
  data = parts.data
  each = costs.Pass(
    "takes gradients",
    model,
    data.lengths,
    _flops(config, model, data),
    layout=lambda lengths: _layout(config, model, lengths),
    device_bytes=lambda layout, mesh: _device_bytes(
      model, _recipe(config), layout, mesh
    ),
    trial=lambda: _trial(model, _recipe(config), data, run.mesh),
    by_shapes=lambda found, axes, layout: _by_shapes(
      found, axes, layout, adapter=warmup.adapter_size(config, model)
    ),
  )
  several = len(data) / max(len(run.sample.data), 1)
  count = round(run.sample.examples * several)
  one = run.passes(each, examples=count)
  return one.times(warmup.settings(config).epochs)


def _device_bytes(
  model: architecture.DecoderConfig,
  recipe: example_gradients.Recipe,
  layout: layouts.Layout,
  mesh: Mesh,
) -> int:
  """Bytes on each device: weights, moments, and one layer's gradients."""
  graphdef, params = memory.placed(model, mesh)
  # Where a trial has put them, so that its program is not compiled again.
  everywhere = NamedSharding(mesh, mesh_lib.REPLICATED)
  adapter = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
    jax.eval_shape(
      lambda: lora_lib.init(model, recipe.lora, jax.random.key(0))
    ),
  )
  return memory.program_bytes(
    example_gradients.batch_gradients,
    graphdef,
    recipe,
    params,
    adapter,
    example_gradients.Moments(adapter, adapter),
    memory.batch(layout.widths[-1], layout.batch_tokens, mesh),
    mesh=mesh,
  )


def _by_shapes(
  found: shapes.Shapes,
  axes: shapes.Axes,
  layout: layouts.Layout,
  *,
  adapter: int,
) -> float:
  """The same by arithmetic: each row has copies of one layer's adapter."""
  rows = max(layout.batch_tokens // layout.widths[-1], 1)
  held = shapes.training_bytes(
    found, axes, tokens=rows * layout.widths[-1], adapter=True
  )
  # The adapter and its moments; a row's copy, its gradient and its direction.
  return held + 4 * 3 * adapter * (1 + rows / found.layers)


def _trial(
  model: architecture.DecoderConfig,
  recipe: example_gradients.Recipe,
  data: token_set.TokenSet,
  mesh: Mesh,
) -> Callable[..., np.ndarray]:
  decoder = trials.zeros(model, mesh)
  adapter = lora_lib.init(model, recipe.lora, jax.random.key(0))
  moments = example_gradients.Moments(adapter, lora_lib.zero(adapter))
  placed, moments = mesh_lib.put((adapter, moments), mesh, mesh_lib.REPLICATED)

  def run(layout: layouts.Layout, rows: list[int]) -> np.ndarray:
    return example_gradients.example_gradients(
      decoder,
      data.subset(rows),
      recipe,
      adapter=placed,
      moments=moments,
      layout=layout,
      mesh=mesh,
    )

  return run
