"""Every jitted program of the package, lowered for shapes on a mesh.

A program is a jitted function and the shapes that a run calls it with. They are
lowered for devices that nobody needs to have (`ila_jax.compute.topologies`).
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import neighbours, row_blocks, topologies
from ila_jax.embed import encode
from ila_jax.forecast import memory
from ila_jax.landscape import (
  centers,
  cluster_sums,
  clusters,
  grid,
  ordering,
  segment_max,
)
from ila_jax.landscape.duplicates import pair_search
from ila_jax.landscape.maps import (
  affinities,
  descent,
  linear,
  new_points,
  parametric,
  tsne,
)
from ila_jax.landscape.trust import agreement
from ila_jax.methods.diversity import (
  gains,
  kcenter,
  likeness,
  novelselect,
  repr_filter,
)
from ila_jax.methods.features import feature_coverage, packed, sae_simscale
from ila_jax.methods.target import less, nearness
from ila_jax.models import architecture, encoder, layers
from ila_jax.models import lora as lora_lib
from ila_jax.models.folders import placement
from ila_jax.passes import (
  example_divergence,
  example_gradients,
  example_loss,
  hidden,
  noisy_loss,
)
from ila_jax.score.sae import autoencoder, features, judge, records
from ila_jax.score.sae import train as sae_train
from ila_jax.training import checkpoint, recipe, step
from tests.support import tpu_facts

# Sizes of the published models.
_BF16 = {"dtype": "bfloat16", "param_dtype": "bfloat16", "attention": "splash"}
# What training holds, whatever it multiplies in.
_MASTER = {"param_dtype": "float32"}
_REMAT = {"remat": True, **_MASTER}
MODELS = {
  # Qwen2-7B, one of the paper's.
  "qwen": architecture.DecoderConfig(
    **_BF16,
    **{"vocab": 152_064, "layers": 28, "width": 3584, "heads": 28},
    **{"kv_heads": 4, "head_dim": 128, "mlp_width": 18_944},
    **{"qkv_bias": True, "tied": False, "max_positions": 131_072},
  ),
  # As Gemma 2 2B: soft caps, windows, norms on both sides.
  "gemma": architecture.DecoderConfig(
    **_BF16,
    **{"vocab": 256_000, "layers": 26, "width": 2304, "heads": 8},
    **{"kv_heads": 4, "head_dim": 256, "mlp_width": 9216},
    **{"activation": "gelu_pytorch_tanh", "norm_plus_one": True},
    **{"sandwich_norms": True, "attention_softcap": 50.0},
    **{"final_softcap": 30.0, "embedding_scale": 48.0},
    **{"window": 1024, "local_layers": (True, False) * 13},
  ),
  # Llama 3.2 1B.
  "llama": architecture.DecoderConfig(
    **_BF16,
    **{"vocab": 128_256, "layers": 16, "width": 2048, "heads": 32},
    **{"kv_heads": 8, "head_dim": 64, "mlp_width": 8192},
  ),
  # Qwen3 0.6B: norms of queries and keys.
  "qwen3": architecture.DecoderConfig(
    **_BF16,
    **{"vocab": 151_936, "layers": 28, "width": 1024, "heads": 16},
    **{"kv_heads": 8, "head_dim": 128, "mlp_width": 3072, "qk_norm": True},
  ),
}
ENCODER = encoder.EncoderConfig(  # bge-base-en
  vocab=30_522,
  layers=12,
  width=768,
  heads=12,
  mlp_width=3072,
  max_positions=512,
  **_BF16,
)
LORA = lora_lib.LoraConfig(
  rank=8, alpha=16, targets=("query", "key", "value", "output")
)
POINTS, WIDTH, CELLS = 16_384, 768, 1000
# An autoencoder of Yang et al. (arXiv 2502.14050), of Llama 3.1 8B.
LATENTS, STATE_WIDTH = 131_072, 4096
_ROWS = mesh_lib.BATCH
_WHOLE = PartitionSpec()


def _array(mesh: Mesh, shape: Any, dtype: Any = "float32", spec: Any = _WHOLE):
  shape = (shape,) if isinstance(shape, int) else shape
  sharding = NamedSharding(mesh, spec)
  return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _placed(mesh: Mesh, shapes: PyTree, spec: Any = _WHOLE) -> PyTree:
  return jax.tree.map(lambda x: _array(mesh, x.shape, x.dtype, spec), shapes)


def _key(mesh: Mesh):
  return _placed(mesh, jax.eval_shape(lambda: jax.random.key(0)))


def score(
  mesh: Mesh,
  config: architecture.DecoderConfig,
  *,
  tokens: int = 4096,
  models: int = 1,
  segments: int = 16,
) -> Any:
  """A scoring step, packed; of several adapters where `models` is above 1."""
  graphdef, params = memory.placed(config, mesh)
  adapters = memory.stacked(config, LORA if models > 1 else None, models)
  if adapters is not None:
    adapters = _placed(mesh, adapters)
  batch = memory.batch(2048, tokens // models, mesh)
  return example_loss.batch_nll.lower(
    graphdef, segments, params, adapters, batch
  )


def diverging(mesh: Mesh, config: architecture.DecoderConfig) -> Any:
  """How far two whole models are from each other, packed."""
  graphdef, params = memory.placed(config, mesh)
  batch = memory.batch(2048, 4096, mesh)
  return example_divergence.batch_jsd.lower(
    (graphdef, graphdef), 16, (params, params), None, batch
  )


def gaining(mesh: Mesh, config: architecture.DecoderConfig) -> Any:
  """What one of two whole models gains on each token, packed."""
  graphdef, params = memory.placed(config, mesh)
  batch = memory.batch(2048, 4096, mesh)
  clip = _array(mesh, ())
  return example_divergence.batch_gain.lower(
    (graphdef, graphdef), 16, clip, (params, params), None, batch
  )


def noisy(mesh: Mesh, config: architecture.DecoderConfig) -> Any:
  """A scoring step of three noisy neighbours, packed."""
  graphdef, params = memory.placed(config, mesh)
  batch = memory.batch(2048, 4096, mesh)
  about = dict.fromkeys(("low", "high", "length", "place"), batch["tokens"])
  setting = noisy_loss.Noise(5.0, 3, 0)
  return noisy_loss.batch_losses.lower(graphdef, setting, params, batch, about)


def train(
  mesh: Mesh,
  config: architecture.DecoderConfig,
  *,
  lora: lora_lib.LoraConfig | None = None,
  tokens: int = 2048,
  parts: int = 1,
) -> Any:
  """A training step, of `tokens` a device, in so many micro-batches."""
  made = recipe.Recipe(
    learning_rate=1e-5,
    batch_tokens=tokens * mesh_lib.batch_multiple(mesh),
    micro_batch_tokens=tokens // parts * mesh_lib.batch_multiple(mesh),
    width=2048,
    seed=0,
    total_steps=1,
    lora=lora,
  )
  return step.train_step.lower(*memory.training_arguments(config, made, mesh))


def first_state(mesh: Mesh, config: architecture.DecoderConfig) -> Any:
  """The weights in float32 and the optimizer, as `training.loop` begins."""
  made = recipe.Recipe(learning_rate=1e-5, batch_tokens=1, width=1, seed=0)
  _, params = memory.placed(config, mesh)
  params = nnx.to_pure_dict(params)
  first = functools.partial(step.first_state, made.optimizer)
  places = step.shardings(jax.eval_shape(first, params), mesh, None)
  return jax.jit(first, out_shardings=places).lower(params)


def embed(mesh: Mesh, config: Any, pooling: str, *, width: int = 512) -> Any:
  """Embeddings of a packed batch, under an encoder or a decoder."""
  graphdef, params = memory.placed(config, mesh)
  batch = memory.batch(width, 4096, mesh)
  return encode.batch_embeddings.lower(graphdef, pooling, 16, params, batch)


def _apply(mesh: Mesh, function: Callable, rows: PyTree, *whole: PyTree) -> Any:
  one = _array(mesh, (), "int32")
  options = {"function": function, "mesh": mesh, "axes": _ROWS[0]}
  return row_blocks._apply.lower(rows, whole, one, **options)


def nearest(mesh: Mesh, *, k: int, same: bool = True) -> Any:
  rows = _array(mesh, POINTS, "int32", _ROWS)
  queries = _array(mesh, (POINTS, WIDTH), spec=_ROWS)
  search = neighbours._search(k, same)
  points = _array(mesh, (POINTS, WIDTH))
  return _apply(mesh, search, (rows, queries), points)


def nearest_to_targets(mesh: Mesh) -> Any:
  """The nearest candidates of 1,024 target examples, in a block of 8,192."""
  best = [_array(mesh, (1024, 1024), t, _ROWS) for t in ("float32", "int32")]
  return nearness._merge.lower(
    tuple(best),
    _array(mesh, (1024, WIDTH), spec=_ROWS),
    _array(mesh, (8192, WIDTH)),
    _array(mesh, 8192, "bool"),
    _array(mesh, (), "int32"),
    mesh=mesh,
  )


def greatest_to_targets(mesh: Mesh) -> Any:
  block = _array(mesh, (8192, WIDTH), spec=_ROWS)
  return nearness._greatest.lower(block, _array(mesh, (1024, WIDTH)))


def _near(mesh: Mesh, k: int) -> neighbours.Neighbours:
  index = _array(mesh, (POINTS, k), "int32", _ROWS)
  return neighbours.Neighbours(index, _array(mesh, (POINTS, k), spec=_ROWS))


def affinity(mesh: Mesh) -> Any:
  squared = _near(mesh, 91).squared
  function = affinities.conditional_probabilities
  return _apply(mesh, function, squared, _array(mesh, ()))


def _pairs(mesh: Mesh) -> affinities.Pairs:
  rows = 6 * POINTS
  return affinities.Pairs(
    _array(mesh, rows, "int32", _ROWS),
    _array(mesh, (rows, 32), "int32", _ROWS),
    _array(mesh, (rows, 32), spec=_ROWS),
  )


def descend(mesh: Mesh, *, nodes: int | None) -> Any:
  place = _array(mesh, (POINTS, 2), spec=_ROWS)
  phase = descent.Phase(*[_array(mesh, ())] * 5)
  return descent.descend.lower(
    descent.State(place, place, place),
    _pairs(mesh),
    phase,
    _array(mesh, (), "int32"),
    _array(mesh, (), "bool"),
    layout=descent.Layout(POINTS, nodes, mesh),
  )


def cost(mesh: Mesh, *, nodes: int | None) -> Any:
  place = _array(mesh, (POINTS, 2), spec=_ROWS)
  layout = descent.Layout(POINTS, nodes, mesh)
  return tsne._compiled_cost.lower(place, _pairs(mesh), layout=layout)


def field(mesh: Mesh) -> Any:
  return new_points._field.lower(_array(mesh, (POINTS, 2)), nodes=64)


def settle(mesh: Mesh) -> Any:
  shape = jax.ShapeDtypeStruct((POINTS, 2), "float32")
  made = functools.partial(new_points._field.__wrapped__, nodes=64)
  there = _placed(mesh, jax.eval_shape(made, shape))
  positions = _array(mesh, (POINTS, 2))
  whole = positions, there, _array(mesh, ())
  return _apply(mesh, new_points._settle, _near(mesh, 91), *whole)


def principal(mesh: Mesh) -> Any:
  x = _array(mesh, (POINTS, WIDTH), spec=_ROWS)
  options = {"dimensions": 2, "mesh": mesh, "axes": _ROWS[0]}
  return linear._principal_axes.lower(x, **options)


def place_linear(mesh: Mesh) -> Any:
  x = _array(mesh, (POINTS, WIDTH), spec=_ROWS)
  whole = _array(mesh, WIDTH), _array(mesh, (WIDTH, 2))
  return _apply(mesh, linear._place_rows, x, *whole)


def _network(mesh: Mesh, units: int = 1024) -> tuple[Any, PyTree]:
  def made() -> parametric.Network:
    x, xy = jnp.zeros((units, WIDTH)), jnp.zeros((units, 2))
    return parametric.Network(x, xy, jnp.float32(0))

  definition, weights = nnx.split(nnx.eval_shape(made))
  return definition, _placed(mesh, weights)


def _points(mesh: Mesh) -> list[Any]:
  return [_array(mesh, (POINTS, WIDTH)), _array(mesh, (POINTS, 2))]


def epoch(mesh: Mesh) -> Any:
  definition, weights = _network(mesh)
  moments = jax.eval_shape(parametric._optimizer(100).init, weights)
  state = weights, _placed(mesh, moments)
  data = _points(mesh), _points(mesh)
  return parametric._epoch.lower(
    definition, state, *data, _key(mesh), batch=256, steps=100
  )


def held_out(mesh: Mesh) -> Any:
  return parametric._held_out.lower(*_network(mesh), _points(mesh))


def place_parametric(mesh: Mesh) -> Any:
  x = _array(mesh, (POINTS, WIDTH), spec=_ROWS)
  whole = [(WIDTH,), (1024, WIDTH), (1024, 2), ()]
  arrays = [_array(mesh, shape) for shape in whole]
  return _apply(mesh, parametric._place_rows, x, *arrays)


def plus_plus(mesh: Mesh) -> Any:
  x = _array(mesh, (POINTS, WIDTH))
  return clusters._plus_plus.lower(x, _key(mesh), clusters=CELLS)


def lloyd(mesh: Mesh) -> Any:
  digits = cluster_sums.digit_bits(POINTS)
  totals = cluster_sums.width(WIDTH, digits)
  return clusters._lloyd.lower(
    _array(mesh, (POINTS, WIDTH), spec=_ROWS),
    _array(mesh, (CELLS, WIDTH)),
    (
      _array(mesh, POINTS, "int32", _ROWS),
      _array(mesh, (CELLS, totals), "int32"),
    ),
    _array(mesh, (), "int32"),
    _array(mesh, (), "int32"),
    False,
    over=mesh,
    axes=_ROWS[0],
  )


def assign(mesh: Mesh) -> Any:
  x = _array(mesh, (POINTS, WIDTH), spec=_ROWS)
  return _apply(mesh, centers._assign_rows, x, _array(mesh, (CELLS, WIDTH)))


def _columns(mesh: Mesh, n: int = 2**20) -> tuple[Any, ...]:
  dtypes = "int32", "float32", "int32", "bool"
  return tuple(_array(mesh, n, dtype, _ROWS) for dtype in dtypes)


def deepest(mesh: Mesh) -> Any:
  options = {"num_cells": 2**16, "mesh": mesh, "axes": _ROWS[0]}
  return segment_max._deepest.lower(*_columns(mesh), **options)


def place_in_cell(mesh: Mesh) -> Any:
  cell, depth, ids, candidate = _columns(mesh)
  return ordering.place_in_cell.lower(cell, (depth,), ids, candidate)


def sort_rows(mesh: Mesh) -> Any:
  cell, depth, ids, candidate = _columns(mesh)
  return ordering.sort_rows.lower((cell, depth), ids, candidate)


def locate(mesh: Mesh) -> Any:
  xy = _array(mesh, (2**20, 2), spec=_ROWS)
  edges, side = _array(mesh, (2, 257)), _array(mesh, (), "int32")
  return grid._locate.lower(xy, edges, side, _array(mesh, (), "bool"))


def occupied(mesh: Mesh, *, size: int | None) -> Any:
  cell = _array(mesh, 2**20, "int32", _ROWS)
  return grid._count_occupied.lower(cell, size=size)


def near_pairs(mesh: Mesh) -> Any:
  places = _array(mesh, POINTS, "int32", _ROWS)
  return pair_search._greatest_products.lower(
    _array(mesh, (POINTS, WIDTH), spec=_ROWS),
    places,
    places,
    _array(mesh, (8192, WIDTH)),
    _array(mesh, 8192, "int32"),
    mesh=mesh,
  )


def ranks(mesh: Mesh) -> Any:
  x = _array(mesh, (POINTS, WIDTH))
  rows, others = (
    _array(mesh, shape, "int32") for shape in ((1024,), (1024, 10))
  )
  return agreement._places.lower(x, rows, others)


def _features(mesh: Mesh, rows: int = 2**20) -> Any:
  """131,072 latents of a million examples, as bits."""
  return _array(mesh, (rows, 4096), "uint32", _ROWS)


def most_new_features(mesh: Mesh) -> Any:
  on = _array(mesh, 2**20, "int32", _ROWS)
  state = _array(mesh, 4096, "uint32"), on
  steps = _array(mesh, (), "int32")
  options = {"mesh": mesh, "axes": _ROWS[0]}
  return packed._choose.lower(_features(mesh), on, state, steps, **options)


def visit_features(mesh: Mesh) -> Any:
  block = _array(mesh, 1024, "int32")
  covered = _array(mesh, 4096, "uint32")
  whole = NamedSharding(mesh, _WHOLE)
  words = _features(mesh)
  return sae_simscale._take.lower(words, covered, block, block, whole=whole)


def count_features(mesh: Mesh) -> Any:
  words, rows = _features(mesh, 4096), _array(mesh, (), "int32")
  whole = NamedSharding(mesh, _WHOLE)
  return feature_coverage._count.lower(words, rows, whole=whole)


def _autoencoder(mesh: Mesh) -> autoencoder.Weights:
  first = functools.partial(autoencoder.init, latents=LATENTS)
  shapes = jax.eval_shape(lambda: first(jax.random.key(0), width=STATE_WIDTH))
  return _at_places(shapes, autoencoder.place(shapes, mesh))


def _at_places(shapes: PyTree, places: PyTree) -> PyTree:
  return jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    places,
  )


def train_autoencoder(mesh: Mesh) -> Any:
  """A step of the paper's sizes: 131,072 latents, 128 of them a token."""
  made = sae_train.Recipe(
    **{"width": STATE_WIDTH, "latents": LATENTS, "k": 128},
    **{"k_auxiliary": 512, "learning_rate": 7e-5, "warmup_fraction": 0.05},
    **{"steps": 1000, "batch_tokens": 4096, "dead_tokens": 10**7, "seed": 0},
  )
  shapes = jax.eval_shape(functools.partial(sae_train.first_state, made))
  state = _at_places(shapes, sae_train.place(shapes, mesh))
  return sae_train.step.lower(made, state, _array(mesh, (4096, STATE_WIDTH)))


def judge_autoencoder(mesh: Mesh) -> Any:
  given = [(1024, STATE_WIDTH), (1024,), (STATE_WIDTH,)]
  x, counts, mean = (_array(mesh, shape) for shape in given)
  counts = _array(mesh, 1024, "bool")
  return judge._step.lower(_autoencoder(mesh), x, counts, mean, k=128)


def score_features(mesh: Mesh, config: architecture.DecoderConfig) -> Any:
  """The features of a packed batch."""
  graphdef, params = memory.placed(config, mesh)
  latents, block = 2**14, PartitionSpec(None, "tensor")
  shape = latents // features.BLOCK, features.BLOCK
  reader = features.Reader(
    _array(mesh, (shape[0], config.width, shape[1]), spec=features.BY_LATENT),
    *[_array(mesh, shape, spec=block)] * 2,
    _array(mesh, config.width),
  )
  return records.batch_features.lower(
    *(graphdef, config.layers, 16, params, reader, _array(mesh, ())),
    memory.batch(2048, 4096, mesh),
  )


def merge_top(mesh: Mesh) -> Any:
  by_latent = PartitionSpec(autoencoder.AXES, None)
  shape = LATENTS, 10
  top = features.Top(
    _array(mesh, shape, spec=by_latent),
    _array(mesh, shape, "int32", by_latent),
  )
  peak = _array(mesh, (128, LATENTS), spec=_ROWS)
  return features.merge.lower(top, peak, _array(mesh, 128, "int32"))


def states_of_layer(mesh: Mesh, config: architecture.DecoderConfig) -> Any:
  graphdef, params = memory.placed(config, mesh)
  batch = memory.batch(2048, 4096, mesh)
  return hidden.batch_states.lower(graphdef, 1, params, batch)


def gradients(mesh: Mesh, config: architecture.DecoderConfig) -> Any:
  """Projected directions of Adam, an example a row."""
  graphdef, params = memory.placed(config, mesh)
  shapes = jax.eval_shape(
    lambda: lora_lib.init(config, LORA, jax.random.key(0))
  )
  adapter = _placed(mesh, shapes)
  return example_gradients.batch_gradients.lower(
    graphdef,
    example_gradients.Recipe(LORA, 8192, 0),
    params,
    adapter,
    example_gradients.Moments(adapter, adapter),
    memory.batch(512, 4096, mesh),
  )


def influence(mesh: Mesh) -> Any:
  width = 4 * 8192
  x = _array(mesh, (2048, width), "float16", _ROWS)
  return less._best.lower(x, _array(mesh, (3, width)))


def visit_likeness(mesh: Mesh) -> Any:
  """A block of the Repr filter, beside 131,072 that may be taken."""
  return repr_filter.visit.lower(
    _array(mesh, (2**17, WIDTH), "int16", _ROWS),
    _array(mesh, (4096, WIDTH), "int16"),
    _array(mesh, 4, "int32"),
    mesh=mesh,
  )


def farthest(mesh: Mesh) -> Any:
  """Choices of k-center."""
  x = _array(mesh, (2**20, WIDTH), spec=_ROWS)
  state = _array(mesh, 2**20, "int32", _ROWS)
  return likeness._choose.lower(x, state, kcenter._nearest)


def novel(mesh: Mesh) -> Any:
  """Choices of NovelSelect, when 1,024 of a pool of 131,072 are chosen."""
  x = _array(mesh, (2**17, WIDTH), spec=_ROWS)
  own = _array(mesh, 2**17, spec=_ROWS)
  far = _array(mesh, (2**17, 2048), spec=_ROWS)
  done = _array(mesh, (), "int32")
  return novelselect._choose.lower(x, own, far, own, done, 1024, mesh)


# Examples that facility location represents, and rows whose likenesses to them
# are kept.
_REPRESENTED, _KEPT_LIKENESSES, _LIKE_BLOCK = 2**17, 2048, 256


def _represented(mesh: Mesh, block: int) -> tuple[Any, ...]:
  """Rows, what is covered of them, and a block of candidates."""
  return (
    _array(mesh, (_REPRESENTED, WIDTH), spec=_ROWS),
    _array(mesh, _REPRESENTED, spec=_ROWS),
    _array(mesh, (block, WIDTH)),
  )


def _likenesses(mesh: Mesh) -> Any:
  shape = _KEPT_LIKENESSES, _REPRESENTED
  return _array(mesh, shape, "int16", gains.BY_COLUMN)


def cover(mesh: Mesh, similarity: str) -> Any:
  like = gains.LIKENESS[similarity]
  return gains.cover.lower(*_represented(mesh, 1), like, mesh=mesh)


def gains_of_block(mesh: Mesh, similarity: str) -> Any:
  like = gains.LIKENESS[similarity]
  return gains.of_block.lower(*_represented(mesh, 8192), like, mesh=mesh)


def keep_likenesses(mesh: Mesh, similarity: str) -> Any:
  rows, _, block = _represented(mesh, _LIKE_BLOCK)
  places = _array(mesh, _LIKE_BLOCK, "int32")
  like = gains.LIKENESS[similarity]
  kept = _likenesses(mesh)
  return gains.keep.lower(kept, rows, block, places, like, mesh=mesh)


def choose_by_gain(mesh: Mesh) -> Any:
  covered = _represented(mesh, 1)[1]
  block = _array(mesh, _LIKE_BLOCK, "int32")
  others = _array(mesh, 3, "int32")
  return gains.choose.lower(
    _likenesses(mesh), covered, block, block, others, mesh=mesh
  )


def draw(mesh: Mesh) -> Any:
  shapes = ((4096, 512), (512, 512))
  return layers.draw.lower(_key(mesh), shapes, std=0.02, dtype="float32")


def first_adapter(mesh: Mesh) -> Any:
  return lora_lib.init.lower(small("llama"), LORA, _key(mesh))


def checksum(mesh: Mesh) -> Any:
  spec = PartitionSpec(None, "fsdp", "tensor")
  return checkpoint._sum.lower(_array(mesh, (2, 2048, 8192), spec=spec))


def zeros(mesh: Mesh) -> Any:
  spec = PartitionSpec(None, "fsdp", "tensor")
  options = {"shape": (2, 2048, 8192), "dtype": jnp.dtype("bfloat16")}
  sharding = NamedSharding(mesh, spec)
  return placement._zeros.lower(**options, sharding=sharding)


def write_layer(mesh: Mesh) -> Any:
  spec = PartitionSpec(None, "fsdp", "tensor")
  stack = _array(mesh, (2, 2048, 8192), "bfloat16", spec)
  part = _array(mesh, (2048, 8192), "bfloat16", PartitionSpec(*spec[1:]))
  layer, sharding = _array(mesh, (), "int32"), NamedSharding(mesh, spec)
  return placement._write_layer.lower(stack, part, layer, sharding=sharding)


def layer_of(mesh: Mesh) -> Any:
  spec = PartitionSpec(None, "fsdp", "tensor")
  stack = _array(mesh, (2, 2048, 8192), "bfloat16", spec)
  return placement.layer_of.lower(stack, _array(mesh, (), "int32"))


def small(name: str, **changes: Any) -> architecture.DecoderConfig:
  """A model of a family, with two layers, which one scan runs, and narrow."""
  config = MODELS[name]
  return dataclasses.replace(
    config,
    **{"vocab": 8192, "layers": 2, "width": 512, "heads": 4, "kv_heads": 2},
    **{"mlp_width": 1024, "local_layers": config.local_layers[:2], **changes},
  )


_at = functools.partial

# By name: what lowers it for a mesh.
PROGRAMS: dict[str, Callable[[Mesh], Any]] = {
  "score qwen": lambda mesh: score(mesh, small("qwen")),
  "score gemma": lambda mesh: score(mesh, small("gemma")),
  "score llama": lambda mesh: score(mesh, small("llama")),
  "score qwen3": lambda mesh: score(mesh, small("qwen3")),
  "score 4 adapters": lambda mesh: score(
    mesh, small("llama"), tokens=8192, models=4
  ),
  "score noisy neighbours": lambda mesh: noisy(mesh, small("llama")),
  "score divergences": lambda mesh: diverging(mesh, small("llama")),
  "score gains of tokens": lambda mesh: gaining(mesh, small("llama")),
  "train": lambda mesh: train(mesh, small("llama", **_REMAT)),
  "train without remat": lambda mesh: train(mesh, small("llama", **_MASTER)),
  "train by micro-batches": lambda mesh: train(
    mesh, small("llama", **_REMAT), tokens=8192, parts=4
  ),
  "train gemma": lambda mesh: train(mesh, small("gemma", **_REMAT)),
  "train adapter": lambda mesh: train(
    mesh, small("llama", remat=True), lora=LORA
  ),
  "first state": lambda mesh: first_state(mesh, small("llama")),
  "embed by encoder": lambda mesh: embed(mesh, ENCODER, "cls"),
  "embed by decoder": lambda mesh: embed(mesh, small("qwen3"), "mean"),
  "embed by position": lambda mesh: embed(mesh, small("qwen3"), "weightedmean"),
  "nearest": _at(nearest, k=10),
  "nearest, approximately": _at(nearest, k=91),
  "nearest to targets": nearest_to_targets,
  "greatest to targets": greatest_to_targets,
  "affinities": affinity,
  "descend, all pairs": _at(descend, nodes=None),
  "descend, grid": _at(descend, nodes=64),
  "cost, all pairs": _at(cost, nodes=None),
  "cost, grid": _at(cost, nodes=64),
  "place: field": field,
  "place: settle": settle,
  "principal axes": principal,
  "place: linear": place_linear,
  "network: epoch": epoch,
  "network: held out": held_out,
  "place: network": place_parametric,
  "k-means++": plus_plus,
  "Lloyd": lloyd,
  "assign": assign,
  "deepest of a cell": deepest,
  "place in cell": place_in_cell,
  "sort rows": sort_rows,
  "locate": locate,
  "occupied cells": _at(occupied, size=2**16),
  "occupied cells, by sort": _at(occupied, size=None),
  "near-duplicates": near_pairs,
  "ranks": ranks,
  "most new features": most_new_features,
  "visit features": visit_features,
  "count features": count_features,
  "autoencoder: step": train_autoencoder,
  "autoencoder: judge": judge_autoencoder,
  "score features": lambda mesh: score_features(mesh, small("llama")),
  "top of a latent": merge_top,
  "score states of a layer": lambda mesh: states_of_layer(mesh, small("llama")),
  "score gradients": lambda mesh: gradients(mesh, small("llama")),
  "influence": influence,
  "visit by likeness": visit_likeness,
  "farthest": farthest,
  "novel": novel,
  "cover by cosine": _at(cover, similarity="cosine"),
  "gains by cosine": _at(gains_of_block, similarity="cosine"),
  "gains by distance": _at(gains_of_block, similarity="euclidean"),
  "keep likenesses": _at(keep_likenesses, similarity="cosine"),
  "choose by gain": choose_by_gain,
  "draw": draw,
  "first adapter": first_adapter,
  "checksum": checksum,
  "zeros": zeros,
  "write layer": write_layer,
  "layer of": layer_of,
}


# The published sizes, which must fit: as many tokens as a run takes.
LARGE: dict[str, Callable[[Mesh], Any]] = {
  "score Qwen2-7B": lambda mesh: score(mesh, MODELS["qwen"], tokens=16_384),
  "score Qwen2-7B, 4 adapters": lambda mesh: score(
    mesh, MODELS["qwen"], tokens=16_384, models=4
  ),
  "train Qwen2-7B": lambda mesh: train(
    mesh, dataclasses.replace(MODELS["qwen"], **_REMAT)
  ),
  "train an adapter of Qwen2-7B": lambda mesh: train(
    mesh, dataclasses.replace(MODELS["qwen"], remat=True), lora=LORA
  ),
}
# Programs that hold a decoder or an encoder, whose matrices a mesh splits.
OF_MODELS = re.compile("score|train|embed")


def lower(name: str, mesh: Mesh) -> Any:
  """A program, lowered for the devices of a mesh as a run would.

  Its text is the same in every checkout: kernels would carry the files and
  lines of their source.
  """
  with jax.set_mesh(mesh), topologies.without_places():
    return (PROGRAMS | LARGE)[name](mesh)


_Place = tpu_facts.Place
_OF_MODELS = [name for name in PROGRAMS if OF_MODELS.search(name)]
# Minutes of compiling: for the sweep alone.
_SLOW = ("principal axes",)
# What the table keeps, and the tests look at.
KEPT: dict[tpu_facts.Place, list[str]] = {
  _Place("v5e:4x4", (2, 4, 2)): [n for n in PROGRAMS if n not in _SLOW],
  _Place("v5e:4x4", (1, 16, 1)): list(LARGE),
  _Place("v5e:2x2", (2, 4, 1), slices=2): ["score llama"],
  _Place("v6e:2x4", (2, 2, 2)): ["score gemma"],
  _Place("v5p:2x2x2", (1, 8, 1)): ["score gemma"],
}
# What is compiled when somebody asks.
SWEEP: dict[tpu_facts.Place, list[str]] = {
  _Place("v5e:4x4", (2, 4, 2)): list(PROGRAMS),
  _Place("v6e:2x4", (2, 2, 2)): list(PROGRAMS),
  _Place("v5p:2x2x2", (2, 2, 2)): list(PROGRAMS),
  _Place("v5e:4x4", (1, 16, 1)): [*_OF_MODELS, *LARGE],
  _Place("v6e:4x4", (1, 16, 1)): [*_OF_MODELS, *LARGE],
  _Place("v5p:2x2x4", (1, 16, 1)): [*_OF_MODELS, *LARGE],
  _Place("v5e:2x4", (8, 1, 1)): _OF_MODELS,
  _Place("v6e:4x4", (2, 4, 2)): _OF_MODELS,
  _Place("v5p:2x2x4", (4, 1, 4)): _OF_MODELS,
  _Place("v5e:2x4", (2, 8, 1), slices=2): _OF_MODELS,
  _Place("v5p:2x2x2", (2, 4, 2), slices=2): _OF_MODELS,
}
