"""The work of embedding: what it will take, by trials of the run's own code."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from ila_jax.embed import encode, encoders
from ila_jax.embed import lsa as lsa_lib
from ila_jax.forecast import costs, memory, sizes, trials, work
from ila_jax.models import architecture, encoder
from ila_jax.passes import forward, layouts


def cost(run: work.PlannedRun, *, fitted: int | None = None) -> costs.Cost:
  """Cost of embedding the prompts, in the encoder's own tokens.

  Args:
    run: whose sample stands for the prompts.
    fitted: prompts that LSA is fitted to; None: those that are embedded.
  """
  config, prompts = run.config, run.sample.prompts
  if config.encoder.path == "lsa":
    return _lsa(run, run.sample.examples if fitted is None else fitted)
  with run.machine.target():
    model, reader = encoders.planned(config, run.decoder, run.sample.tokenizer)
  begin = time.monotonic()
  ids, read = reader.read(prompts)
  # A thread tokenizes while the devices work; the first shard is waited for.
  waiting = (time.monotonic() - begin) / len(prompts)
  waiting *= min(run.sample.examples, config.pool.shard_examples)
  each = costs.Pass(
    "embeds",
    model,
    read.tokens,
    forward.flops(model, read.tokens),
    layout=lambda lengths: encode.layout(model, lengths, config.encoder),
    device_bytes=lambda layout, mesh: _device_bytes(model, layout, mesh),
    trial=lambda: _trial(model, ids, mesh=run.mesh),
  )
  return run.passes(each, examples=run.sample.examples).plus(waiting)


def of_base(
  run: work.PlannedRun,
  tokens: Sequence[Int[np.ndarray, " _"]],
  *,
  examples: int,
) -> costs.Cost:
  """Cost of a pass of the base whose hidden states are pooled.

  Args:
    run: what is known of it.
    tokens: ids of some texts, which stand for all.
    examples: of all.
  """
  model = run.decoder
  lengths = np.array([len(ids) for ids in tokens], np.int32)
  each = costs.Pass(
    "embeds",
    model,
    lengths,
    forward.flops(model, lengths),
    layout=lambda of: forward.layout(model, of, run.config.score),
    device_bytes=lambda layout, mesh: _device_bytes(model, layout, mesh),
    trial=lambda: _trial(model, tokens, mesh=run.mesh),
  )
  return run.passes(each, examples=examples)


def width(known: sizes.Sizes) -> int:
  """Columns of the embeddings."""
  return encoders.width(known.config, known.decoder)


def _lsa(run: work.PlannedRun, fitted: int) -> costs.Cost:
  """Cost of LSA: scikit-learn's TF-IDF and SVD on the host, no model."""
  config, prompts = run.config, run.sample.prompts
  clock = [time.monotonic()]
  lsa_lib.fit_lsa(prompts[:50], width=2, seed=0)  # Imports scikit-learn.
  clock.append(time.monotonic())
  lsa = lsa_lib.fit_lsa(prompts, width=config.encoder.lsa_width, seed=0)
  clock.append(time.monotonic())
  lsa_lib.apply_lsa(lsa, encode.lsa_terms(lsa, prompts))
  clock.append(time.monotonic())
  imports, fit, apply = np.diff(clock).tolist()
  examples = run.sample.examples
  fitted = min(fitted, lsa_lib.LSA_FIT_EXAMPLES)
  return costs.Cost(imports + (fit * fitted + apply * examples) / len(prompts))


def _device_bytes(
  model: architecture.DecoderConfig | encoder.EncoderConfig,
  layout: layouts.Layout,
  mesh: Mesh,
) -> int:
  """Bytes on each device while prompts are embedded, by either model."""
  graphdef, params = memory.placed(model, mesh)
  return memory.program_bytes(
    encode.batch_embeddings,
    graphdef,
    "mean",
    layout.segments,
    params,
    memory.batch(layout.widths[-1], layout.batch_tokens, mesh),
    mesh=mesh,
  )


def _trial(
  model: architecture.DecoderConfig | encoder.EncoderConfig,
  ids: Sequence[Int[np.ndarray, " _"]],
  *,
  mesh: Mesh,
) -> Callable[[layouts.Layout, Sequence[int]], Any]:
  """Embeds rows of `ids`, for `trials.passes`."""
  zeros = trials.zeros(model, mesh)
  return lambda layout, rows: encode.encode(
    zeros, [ids[r] for r in rows], pooling="mean", layout=layout, mesh=mesh
  )
