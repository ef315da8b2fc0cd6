"""A pass over records: which latents each has, and who has most of each."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import layers as layers_lib
from ila_jax.passes import collate, forward, hidden, layouts, windows
from ila_jax.score.sae import autoencoder, features, top


class Found(NamedTuple):
  """What a pass found.

  Attributes:
    bits: of each record, eight latents a byte (`features.pack`).
    top: the records that have most of each latent.
    not_finite: records with a hidden state that is not finite: none is on.
  """

  bits: UInt8[np.ndarray, "n w"]
  top: features.Top
  not_finite: Bool[np.ndarray, " n"]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def batch_features(
  graphdef: nnx.GraphDef,
  layers: int,
  segments: int,
  params: PyTree,
  reader: features.Reader,
  threshold: Float[Array, ""],
  batch: dict[str, Array],
) -> tuple[UInt8[Array, "b s w"], Float[Array, "b s l"], Bool[Array, "b s"]]:
  """The bits, the peaks above the threshold, and what is not finite.

  The first token of a text does not count, as in training.

  Args:
    graphdef: structure of the decoder.
    layers: after which hidden states are read.
    segments: s, the texts that a row has room for.
    params: weights of the decoder.
    reader: of the autoencoder.
    threshold: what a latent must exceed at a token.
    batch: of `collate.collate`; the targets are the tokens that count.
  """
  states = hidden.states(graphdef, layers, params, batch)
  ids, counted = batch["segment_ids"], batch["targets"]
  peaks = features.peaks(reader, states, counted, ids, segments=segments)
  wrong = ~jnp.isfinite(states).all(axis=2) & (ids > 0)
  own = ids[:, None] == 1 + jnp.arange(segments)[None, :, None]
  bad = (own & wrong[:, None]).any(axis=2)
  on = (peaks > threshold) & ~bad[..., None]
  return features.pack(on), jnp.where(on, peaks, 0), bad


class Pass(NamedTuple):
  """What reads records.

  Attributes:
    decoder: the model.
    layers: after which hidden states are read.
    reader: of the autoencoder.
    latents: L.
    threshold: what a latent must exceed at a token to be on for a record.
    layout: of the pool.
    mesh: the devices.
    advance: called with the records whose first part is read.
  """

  decoder: decoder_lib.Decoder
  layers: int
  reader: features.Reader
  latents: int
  threshold: float
  layout: layouts.Layout
  mesh: Mesh
  advance: Callable[[int], object] = lambda records: None

  def over(self, parts: windows.Parts, row: Int[np.ndarray, " n"]) -> Found:
    """Reads records, each in one part or several.

    Args:
      parts: their tokens; those that count are the targets.
      row: of each record in the pool.
    """
    count = len(parts.data)
    bits = np.zeros((count, self.latents // 8), np.uint8)
    bad = np.zeros(count, np.bool_)
    best = mesh_lib.put(
      features.no_top(self.latents, top.RECORDS), self.mesh, _top_spec(self)
    )
    multiple = mesh_lib.batch_multiple(self.mesh)
    plan = layouts.plan(parts.data.lengths, self.layout, multiple=multiple)
    best = self._walk(parts, row, plan, bits, bad, best)
    # What is not finite spoils its neighbours in a packed row: only a row of
    # its own tells whose fault it is.
    if self.layout.packed and bad.any():
      alone = [[part] for part in np.flatnonzero(bad).tolist()]
      bad[:] = False
      again = layouts.batches(alone, plan[0], multiple=multiple)
      best = self._walk(parts, row, again, bits, bad, best)
    begins = np.flatnonzero(np.diff(parts.example, prepend=-1))
    return Found(
      np.bitwise_or.reduceat(bits, begins),
      mesh_lib.fetch(best),
      np.bitwise_or.reduceat(bad, begins),
    )

  def _walk(
    self,
    parts: windows.Parts,
    row: Int[np.ndarray, " n"],
    plan: Sequence[collate.Batch],
    bits: UInt8[np.ndarray, "p w"],
    bad: Bool[np.ndarray, " p"],
    best: features.Top,
  ) -> features.Top:
    """Fills in `bits` and `bad` of the parts of a plan; returns the new top."""
    graphdef, params = nnx.split(self.decoder)
    segments, data = self.layout.segments, parts.data
    step = functools.partial(
      *(batch_features, graphdef, self.layers, segments, params, self.reader),
      np.float32(self.threshold),
    )
    for batch, made in forward.each_batch(
      step, data.tokens, data.is_response, plan, self.mesh
    ):
      held, peaks, wrong = made
      own = np.full((batch.height, segments), -1)
      for place, examples in enumerate(batch.rows):
        own[place, : len(examples)] = examples
      is_there = own >= 0
      bits[own[is_there]] = mesh_lib.fetch(held)[is_there]
      bad[own[is_there]] = mesh_lib.fetch(wrong)[is_there]
      pool = np.where(is_there, row[parts.example[own]], np.iinfo(np.int32).max)
      with jax.set_mesh(self.mesh):
        flat = peaks.reshape(-1, self.latents)
        best = features.merge(best, flat, pool.reshape(-1).astype(np.int32))
      self.advance(parts.begun(batch.examples))
    return best


def _top_spec(one: Pass) -> PartitionSpec:
  spec = PartitionSpec(autoencoder.AXES, None)
  return layers_lib.fit(spec, (one.latents, top.RECORDS), one.mesh.shape)
