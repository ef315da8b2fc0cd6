"""What compiled programs need: memory on each device, before weights are read.

Programs are compiled for shapes on the mesh and asked for their memory.
"""

import hashlib
import importlib.metadata
import math
import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import topologies
from ila_jax.models import architecture, decoder, encoder
from ila_jax.models import lora as lora_lib
from ila_jax.passes import example_loss, layouts
from ila_jax.run.disk import files
from ila_jax.training import recipe as recipe_lib
from ila_jax.training import step, together

# "... total memory required for HLO temporaries (66.19G) exceeds ...", "Used
# 17.05G of 15.75G hbm".
_TOO_LARGE = re.compile(r"(?:\(|Used )([\d.]+)([KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Arrays of a batch.
_DTYPES = {
  "tokens": np.int32,
  "positions": np.int32,
  "segment_ids": np.int32,
  "targets": np.bool_,
}


def weight_bytes(
  config: architecture.DecoderConfig | encoder.EncoderConfig, mesh: Mesh
) -> int:
  """Bytes of a model's weights on each device.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> weight_bytes(config, mesh_lib.make(data=jax.device_count()))
  5792
  """
  _, params = placed(config, mesh)
  return _bytes(params)


def _bytes(tree: PyTree) -> int:
  """Bytes on each device of arrays that have a place."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def scoring_bytes(
  config: architecture.DecoderConfig,
  layout: layouts.Layout,
  mesh: Mesh,
  *,
  lora: lora_lib.LoraConfig | None = None,
  models: int = 1,
) -> int:
  """Bytes on each device while examples are scored: weights and the rest.

  Args:
    config: of the decoder.
    layout: of the pool; the largest of its batches counts.
    mesh: the devices.
    lora: recipe of the adapters, where there are some.
    models: m, adapters that are scored together, the zero adapter included.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> layout = layouts.Layout((32,), batch_tokens=64, packed=False)
  >>> weights = 4 * decoder.count_parameters(config)
  >>> scoring_bytes(config, layout, mesh_lib.make()) > weights
  True
  """
  graphdef, params = placed(config, mesh)
  adapters = stacked(config, lora, models)
  return max(
    program_bytes(
      example_loss.batch_nll,
      graphdef,
      layout.segments,
      params,
      adapters,
      batch(width, layout.batch_tokens, mesh),
      mesh=mesh,
    )
    for width in {layout.widths[0], layout.widths[-1]}
  )


def training_bytes(
  config: architecture.DecoderConfig, recipe: recipe_lib.Recipe, mesh: Mesh
) -> int:
  """Bytes on each device while a decoder, or an adapter, is trained.

  Args:
    config: of the decoder.
    recipe: what is trained, and on which batches.
    mesh: the devices.
  """
  arguments = training_arguments(config, recipe, mesh)
  return program_bytes(step.train_step, *arguments, mesh=mesh)


def together_bytes(
  config: architecture.DecoderConfig,
  recipe: recipe_lib.Recipe,
  mesh: Mesh,
  *,
  beside: int,
) -> int:
  """Bytes on each device while runs are trained side by side.

  Args:
    config: of the decoder.
    recipe: of each run.
    mesh: the devices.
    beside: runs on each of them.
  """
  devices = together.one_axis(mesh)
  runs = beside * devices.size
  graphdef, shapes = nnx.split(decoder.abstract(config))
  base = nnx.to_pure_dict(shapes)
  lora = recipe.lora
  start = base if lora is None else _adapter(config, lora)
  state = jax.eval_shape(
    lambda start: step.first_state(recipe.optimizer, start), start
  )
  rows = {
    name: jax.ShapeDtypeStruct((recipe.rows, recipe.width), dtype)
    for name, dtype in _DTYPES.items()
  }
  rate = jax.ShapeDtypeStruct((), jnp.float32)

  def stacked(shapes: PyTree) -> PyTree:
    place = NamedSharding(devices, together.RUNS)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((runs, *x.shape), x.dtype, sharding=place),
      shapes,
    )

  whole = NamedSharding(devices, PartitionSpec())
  frozen = {} if lora is None else base
  frozen = _on(frozen, jax.tree.map(lambda _: whole, frozen))
  return program_bytes(
    together.step,
    *(graphdef, recipe.optimizer, devices, lora),
    *(stacked(state), frozen, stacked(rows), stacked(rate)),
    mesh=devices,
  )


def best_bytes(
  config: architecture.DecoderConfig, recipe: recipe_lib.Recipe, mesh: Mesh
) -> int:
  """Bytes on each device of the best weights, which an early stop keeps."""
  if recipe.early_stop is None:
    return 0
  return _bytes(training_arguments(config, recipe, mesh)[4]["params"])


def training_arguments(
  config: architecture.DecoderConfig, recipe: recipe_lib.Recipe, mesh: Mesh
) -> tuple[Any, ...]:
  """Shapes and places of what `training.step.train_step` is called with."""
  graphdef, params = placed(config, mesh)
  params = nnx.to_pure_dict(params)
  optimizer, lora = recipe.optimizer, recipe.lora
  trained, frozen = params, {}
  if lora is not None:
    trained = _adapter(config, lora)
    frozen = params
  state = jax.eval_shape(
    lambda start: step.first_state(optimizer, start), trained
  )
  state = _on(state, step.shardings(state, mesh, lora))
  return (
    graphdef,
    optimizer,
    mesh,
    lora,
    state,
    frozen,
    _step_batch(recipe, mesh),
    jax.ShapeDtypeStruct((), jnp.float32),
  )


def placed(
  config: architecture.DecoderConfig | encoder.EncoderConfig, mesh: Mesh
) -> tuple[Any, PyTree]:
  """A model's structure, and the shapes and places of its weights."""
  kind = decoder
  if isinstance(config, encoder.EncoderConfig):
    kind = encoder
  graphdef, shapes = nnx.split(kind.abstract(config))
  return graphdef, _on(shapes, kind.shardings(shapes, mesh))


def stacked(
  config: architecture.DecoderConfig,
  lora: lora_lib.LoraConfig | None,
  models: int,
) -> PyTree:
  """Shapes of adapters that are scored together; None where there are none."""
  if lora is None:
    return None
  return jax.eval_shape(
    lambda one: lora_lib.stack(lora, [one] * models), _adapter(config, lora)
  )


def _adapter(
  config: architecture.DecoderConfig, lora: lora_lib.LoraConfig
) -> PyTree:
  """Shapes of an adapter."""
  return jax.eval_shape(lambda: lora_lib.init(config, lora, jax.random.key(0)))


def _on(shapes: PyTree, shardings: PyTree) -> PyTree:
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    shapes,
    shardings,
  )


def batch(
  width: int, tokens: int, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch of `tokens` a device."""
  rows = max(tokens // width, 1) * mesh_lib.batch_multiple(mesh)
  return _shapes((rows, width), mesh)


def _step_batch(
  recipe: recipe_lib.Recipe, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of what `training.batches.batch` makes."""
  parts, rows = recipe.micro_batches(mesh_lib.batch_multiple(mesh))
  inner = (parts,) if parts > 1 else ()
  return _shapes((rows, *inner, recipe.width), mesh)


def _shapes(
  shape: tuple[int, ...], mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  place = NamedSharding(mesh, mesh_lib.BATCH)
  return {
    name: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
    for name, dtype in _DTYPES.items()
  }


def program_bytes(function: Any, *args: Any, mesh: Mesh) -> int:
  """Bytes of arguments, results and temporaries; shared ones count once.

  Of TPUs that are not here, bytes at the fullest moment, as their compiler
  says. What it said is kept in the user's cache, for it takes a minute.
  """
  if mesh.devices.flat[0].platform != jax.default_backend():
    return _compiled_elsewhere(function, args, mesh)
  with jax.set_mesh(mesh):
    analysis = function.lower(*args).compile().memory_analysis()
  return (
    analysis.argument_size_in_bytes
    + analysis.output_size_in_bytes
    + analysis.temp_size_in_bytes
    - analysis.alias_size_in_bytes
  )


def _compiled_elsewhere(
  function: Any, args: tuple[Any, ...], mesh: Mesh
) -> int:
  """Bytes of a program for TPUs; where it does not fit, those that it lacks."""
  with jax.set_mesh(mesh), topologies.without_places():
    lowered = function.lower(*args)
  path = _kept_path(lowered.as_text(), mesh)
  if path.exists():
    return files.read_json(path)["bytes"]
  try:
    with topologies.uncached():
      analysis = lowered.compile().memory_analysis()
    found = analysis.peak_memory_in_bytes
  except jax.errors.JaxRuntimeError as error:
    told = _TOO_LARGE.search(str(error))
    if told is None:
      raise
    found = round(float(told[1]) * _UNITS[told[2]])
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_json(path, {"bytes": found})
  return found


def _kept_path(text: str, mesh: Mesh) -> epath.Path:
  """Says where is kept what the compiler said of a program."""
  cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  versions = [importlib.metadata.version(name) for name in ("jax", "libtpu")]
  # The text does not say for which chips it is.
  kind = mesh.devices.flat[0].device_kind
  places = str([device.coords for device in mesh.devices.flat])
  key = "\n".join([*versions, kind, places, text])
  name = hashlib.sha256(key.encode()).hexdigest()[:32]
  return epath.Path(cache) / "ila_jax" / "programs" / name
