"""Losses of tokens whose embeddings carry noise, under one model.

A token's noise follows from the seed, the id of its example, the neighbour and
its place in the example: neither batches nor devices change it, and a token has
the same noise wherever it is read.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree, UInt64

from ila_jax.compute import mesh as mesh_lib
from ila_jax.compute import prefetch
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import losses
from ila_jax.passes import collate, layouts, token_set

# The place of a token that no noise is added to.
CLEAN = -1
# Of a place in an example, which has 2**20 tokens at most.
_PLACE_BITS = 20


class Noise(NamedTuple):
  """How much noise, and how often.

  Attributes:
    alpha: of NEFTune; noise is uniform in ± alpha / sqrt(tokens · width).
    neighbours: noisy copies of an example.
    seed: of the run.
  """

  alpha: float
  neighbours: int
  seed: int


class Read(NamedTuple):
  """Parts of examples to be read, and what their noise follows from.

  Attributes:
    data: the parts.
    places: of their tokens in their example, `CLEAN` without noise.
    ids: of their examples, uint64 [p].
    lengths: tokens of their examples [p].
  """

  data: token_set.TokenSet
  places: Sequence[Int[np.ndarray, " _"]]
  ids: UInt64[np.ndarray, " p"]
  lengths: Int[np.ndarray, " p"]


def noise(
  setting: Noise,
  neighbour: Int[Array, ""],
  about: dict[str, Array],
  width: int,
) -> Float[Array, "b t d"]:
  """The noise of each token of a batch for one neighbour, float32.

  Args:
    setting: how much.
    neighbour: its number, from 0.
    about: of each token int32 [b, t]: `low` and `high`, the halves of its
      example's id; `place`; and `length`, tokens of the example.
    width: d, of an embedding.
  """

  def one(low: Array, high: Array, place: Array) -> Array:
    # The id is the key; places have 20 bits, for examples are no longer.
    words = jnp.stack([low, high]).astype(jnp.uint32)
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    key = jax.random.fold_in(key, setting.seed)
    key = jax.random.fold_in(key, (neighbour << _PLACE_BITS) + place)
    return jax.random.uniform(key, (width,), minval=-1, maxval=1)

  drawn = jax.vmap(jax.vmap(one))(about["low"], about["high"], about["place"])
  cells = jnp.maximum(about["length"], 1).astype(jnp.float32) * width
  scale = jnp.where(about["place"] == CLEAN, 0, setting.alpha / jnp.sqrt(cells))
  return drawn * scale[:, :, None]


@functools.partial(jax.jit, static_argnums=(0, 1))
def batch_losses(
  graphdef: nnx.GraphDef,
  setting: Noise,
  params: PyTree,
  batch: dict[str, Array],
  about: dict[str, Array],
) -> Float[Array, "m b t"]:
  """The loss of each target of a batch, in nats, for each noisy neighbour.

  Args:
    graphdef: structure of the decoder.
    setting: of the noise.
    params: weights of the decoder.
    batch: of `collate.collate`.
    about: as `noise` takes it.

  Returns:
    float32, 0 where there is no target. One neighbour is in memory at a time.
  """
  decoder = nnx.merge(graphdef, params)

  def one(neighbour: Array) -> Array:
    added = noise(setting, neighbour, about, decoder.config.width)
    hidden = decoder.hidden(
      batch["tokens"], batch["positions"], batch["segment_ids"], noise=added
    )
    return losses.token_nll(
      hidden,
      decoder.head_weights(),
      batch["tokens"],
      batch["targets"],
      softcap=decoder.config.final_softcap,
    )

  return jax.lax.map(one, jnp.arange(setting.neighbours))


def token_losses(
  decoder: decoder_lib.Decoder,
  read: Read,
  setting: Noise,
  *,
  layout: layouts.Layout,
  mesh: Mesh,
  on_batch: Callable[[collate.Batch], None] = lambda batch: None,
) -> list[Float[np.ndarray, "m r"]]:
  """The losses of all targets of each part, for each noisy neighbour.

  Args:
    decoder: the model; its parameters stay where they lie.
    read: the parts.
    setting: of the noise.
    layout: of the pool that they are from.
    mesh: a batch is split over `data` and `fsdp`.
    on_batch: called with each batch when it is finished.

  Returns:
    For each part its r targets, in their order, float32 nats.
  """
  graphdef, params = nnx.split(decoder)
  multiple = mesh_lib.batch_multiple(mesh)
  plan = layouts.plan(read.data.lengths, layout, multiple=multiple)
  found: list[np.ndarray] = [np.zeros(0)] * len(read.data)

  def run(plan: Sequence[collate.Batch]) -> None:
    laid_out = ((batch, *_on_mesh(read, batch, mesh)) for batch in plan)
    for batch, arrays, about in prefetch.ahead(laid_out):
      made = batch_losses(graphdef, setting, params, arrays, about)
      for part, own in _of_parts(read, batch, mesh_lib.fetch(made)):
        found[part] = own
      on_batch(batch)

  run(plan)
  # As in `forward.map_examples`: only a row of its own tells whose fault it is.
  doubtful = [i for i, own in enumerate(found) if not np.isfinite(own).all()]
  if layout.packed and doubtful:
    alone = [[part] for part in doubtful]
    run(layouts.batches(alone, plan[0], multiple=multiple))
  return found


def _on_mesh(
  read: Read, batch: collate.Batch, mesh: Mesh
) -> tuple[dict[str, Array], dict[str, Array]]:
  """A batch, and of each of its tokens what its noise follows from."""
  halves = read.ids.view(np.int32).reshape(-1, 2)
  of_parts = {"low": halves[:, 0], "high": halves[:, 1], "length": read.lengths}

  def spread(values: Sequence[np.ndarray]) -> Array:
    masks = read.data.is_response
    return collate.on_mesh(values, masks, batch, mesh)["tokens"]

  about = {
    name: spread(_Repeated(of_part, read.data.tokens))
    for name, of_part in of_parts.items()
  }
  arrays = collate.on_mesh(*_arrays(read.data), batch, mesh)
  return arrays, about | {"place": spread(read.places)}


def _arrays(data: token_set.TokenSet) -> tuple[Sequence, Sequence]:
  return data.tokens, data.is_response


class _Repeated(Sequence):
  """A number of each part as often as the part has tokens."""

  def __init__(self, values: np.ndarray, tokens: Sequence[np.ndarray]) -> None:
    self._values, self._tokens = values, tokens

  def __len__(self) -> int:
    return len(self._tokens)

  def __getitem__(self, part: int) -> np.ndarray:
    return np.full(len(self._tokens[part]), self._values[part], np.int32)


def _of_parts(
  read: Read, batch: collate.Batch, made: Float[np.ndarray, "m b t"]
) -> Iterator[tuple[int, Float[np.ndarray, "m r"]]]:
  """The losses of each part of a batch, cut out of its rows."""
  for row, parts in enumerate(batch.rows):
    begin = 0
    for part in parts:
      mask = read.data.is_response[part]
      end = begin + len(mask)
      yield part, made[:, row, begin:end][:, mask]
      begin = end
