"""What forward passes and training will cost, by trials or by a share.

A trial runs the run's own code on a part of the work. Of a model that is too
large for one, a share of the measured matrix rate is assumed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from ila_jax import config as config_lib
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import disk, pool_sample, trials
from ila_jax.dry_run import memory as memory_lib
from ila_jax.models import architecture, encoder
from ila_jax.models import lora as lora_lib
from ila_jax.passes import forward, layouts, token_set
from ila_jax.training import plan
from ila_jax.training import trial as trial_lib

# Shares of the matrix rate that are assumed of models that are too large for a
# trial. docs/results.md has 0.66 and 0.33 for one of ten million weights.
FORWARD_SHARE = 0.5
TRAINING_SHARE = 0.35
# A trial takes about so long, and is not begun where it would take far longer.
_TRIAL_SECONDS = 1.0
_MOST_SECONDS = 30.0
# Weights, gradients and moments, and what lies between, in sizes of a model.
_HELD_IN_TRAINING = 8
_PLANNED = 20_000  # Examples whose rows are packed; more are like them.


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a stage takes.

  Attributes:
    stage: its name; 'model' is a base that is trained from scratch.
    seconds: in all.
    compile_seconds: of these, once for the folder of a run.
    flops: of matrix products of models.
    device_bytes: memory on each device; 0 where the host works.
    tried: whether its code was tried; else a share of the matrix rate.
  """

  stage: str
  seconds: float
  compile_seconds: float = 0.0
  flops: float = 0.0
  device_bytes: int = 0
  tried: bool = True

  def plus(self, seconds: float) -> "Cost":
    """The cost with more seconds on the host."""
    return dataclasses.replace(self, seconds=self.seconds + seconds)

  def times(self, count: int) -> "Cost":
    """The cost of `count` repetitions, which are compiled once."""
    once = self.compile_seconds
    return dataclasses.replace(
      self,
      seconds=once + count * (self.seconds - once),
      flops=count * self.flops,
    )

  def and_also(self, other: "Cost") -> "Cost":
    """Both, one after the other.

    >>> Cost("score", 3.0).and_also(Cost("score", 1.0, tried=False))
    Cost(stage='score', seconds=4.0, compile_seconds=0.0, flops=0.0, \
device_bytes=0, tried=False)
    """
    return Cost(
      self.stage,
      self.seconds + other.seconds,
      self.compile_seconds + other.compile_seconds,
      self.flops + other.flops,
      max(self.device_bytes, other.device_bytes),
      self.tried and other.tried,
    )


class Pass(NamedTuple):
  """A forward pass over the sample of a pool.

  Attributes:
    model: its sizes.
    lengths: tokens of each example [s].
    flops: of them all.
    device_bytes: memory on each device, under a layout.
    trial: makes what does the pass, for `trials.passes`.
  """

  model: architecture.DecoderConfig | encoder.EncoderConfig
  lengths: np.ndarray
  flops: float | int
  device_bytes: Callable[[layouts.Layout], int]
  trial: Callable[[], Callable]


class Batches(NamedTuple):
  """How the examples of a pass are laid out.

  Attributes:
    kind: of the layout, as config.score.layout has it.
    tokens: of a batch on each device.
    pack_tokens: of a packed row.
  """

  kind: str
  tokens: int
  pack_tokens: int


@dataclasses.dataclass
class Run:
  """A run that has not begun: what forward passes and training will take.

  Attributes:
    config: of the run.
    mesh: the devices.
    sample: of its pool.
    decoder: sizes of the base.
  """

  config: config_lib.Config
  mesh: Mesh
  sample: pool_sample.Sample
  decoder: architecture.DecoderConfig

  def __post_init__(self) -> None:
    self.lora = trial_lib.lora(self.config)
    self.lengths = self.sample.data.lengths
    self._steps: dict[bool, trials.Training | None] = {}
    self._training_bytes: dict[bool, int] = {}

  def needs(self, stages: Sequence[str]) -> dict[str, disk.Need]:
    """Bytes that these stages write, but for a pool that is there."""
    sample = self.sample
    known = disk.sizes(
      self.config,
      self.decoder,
      examples=sample.examples,
      stored=sample.stored,
      record=sample.record,
      response=float(sample.response.mean()),
    )
    todo = [s for s in stages if s != "pool" or sample.seconds is not None]
    return disk.forecast(self.config, known, todo)

  def pass_flops(
    self, data: token_set.TokenSet, examples: float | int
  ) -> float:
    """FLOPs of a forward pass over a number of examples like these."""
    flops = forward.flops(
      self.decoder, data.lengths, response_tokens=data.response_tokens
    )
    return flops * examples / len(data)

  def rate(self, dtype: str) -> float:
    """FLOP/s of all devices."""
    return hardware.matrix_rate(self.mesh, dtype)

  def affords(self, seconds: float) -> bool:
    """Whether a trial may be begun: in time, and training within memory."""
    held = _HELD_IN_TRAINING * memory_lib.weight_bytes(self.decoder, self.mesh)
    return bool(seconds < _MOST_SECONDS and held < hardware.device_bytes())

  def passes(
    self,
    stage: str,
    each: Pass,
    batches: Batches,
    *,
    examples: int,
    models: int = 1,
  ) -> Cost:
    """Cost of forward passes over some examples, under stacked models."""
    per_token = each.flops / max(each.lengths.sum(), 1)
    total = each.flops * examples / len(each.lengths)
    # A dev set is smaller than the sample, and has widths of its own.
    some = np.random.default_rng(0).permutation(len(each.lengths))[:examples]
    lengths = each.lengths[some]
    layout = layouts.choose(
      np.resize(lengths, max(examples, 1)).astype(np.int32),
      batch_tokens=max(batches.tokens // models, 1),
      kind=batches.kind,
      pack_tokens=batches.pack_tokens,
      program_tokens=forward.program_tokens(each.model),
    )
    rate = self.rate(each.model.dtype) * FORWARD_SHARE
    batch = layout.batch_tokens * mesh_lib.batch_multiple(self.mesh)
    part = max(_TRIAL_SECONDS * rate / per_token, batch)
    if not self.affords(2 * part * per_token / rate):
      memory = each.device_bytes(layout)
      return Cost(stage, total / rate, 0.0, total, memory, tried=False)
    work = each.trial()
    trial = trials.passes(
      lambda layout, rows: work(layout, some[rows].tolist()),
      lengths,
      layout=layout,
      mesh=self.mesh,
      examples=examples,
      shard_examples=self.config.pool.shard_examples,
      tokens=part / models,
    )
    whole = trial.seconds + trial.compile_seconds
    # Compiled by now, and found again.
    memory = each.device_bytes(layout)
    return Cost(stage, whole, trial.compile_seconds, total, memory)

  def scoring(self, stage: str, examples: int, models: int) -> Cost:
    """Passes of the base, or of stacked adapters, over examples of the pool."""
    lora = self.lora if models > 1 else None
    data = self.sample.data
    each = Pass(
      self.decoder,
      self.lengths,
      models * self.pass_flops(data, len(data)),
      device_bytes=lambda layout: memory_lib.scoring_bytes(
        self.decoder, layout, self.mesh, lora=lora, models=models
      ),
      trial=lambda: trials.scoring_pass(
        self.decoder, data, mesh=self.mesh, lora=lora, models=models
      ),
    )
    settings = self.config.score
    batches = Batches(
      settings.layout, settings.batch_tokens, layouts.PACK_TOKENS
    )
    return self.passes(stage, each, batches, examples=examples, models=models)

  def training(
    self,
    stage: str,
    data: token_set.TokenSet,
    *,
    examples: float | int,
    epochs: float | int,
    runs: int = 1,
    adapter: bool = True,
  ) -> Cost:
    """Cost of several training runs, each on examples like these."""
    config, lora = self.config, self.lora if adapter else None
    width = config.tokens.max_tokens
    flops = trial_lib.passes(lora) * self.pass_flops(
      data, runs * epochs * examples
    )
    rows = max(config.train.batch_tokens // width, 1)
    some = max(round(min(examples, _PLANNED)), 1)
    steps = len(
      plan.plan(
        np.resize(data.lengths, some),
        width=width,
        rows=rows,
        seed=0,
        epochs=epochs,
      )
    )
    steps *= max(examples / some, 1)
    assumed = flops / (self.rate(config.model.dtype) * TRAINING_SHARE)
    first = adapter not in self._steps
    if first:
      self._steps[adapter] = None
      if self.affords(8 * assumed / (runs * steps)):
        self._steps[adapter] = trials.training(
          self.decoder,
          data,
          width=width,
          batch_tokens=config.train.batch_tokens,
          mesh=self.mesh,
          lora=lora,
        )
    trial = self._steps[adapter]
    if first:
      self._training_bytes[adapter] = self._bytes_of_training(lora)
    memory = self._training_bytes[adapter]
    if trial is None:
      return Cost(stage, assumed, 0.0, flops, memory, tried=False)
    compiling = trial.compile_seconds if first else 0.0
    seconds = compiling + runs * (trial.start + steps * trial.step)
    return Cost(stage, seconds, compiling, flops, memory)

  def _bytes_of_training(self, lora: lora_lib.LoraConfig | None) -> int:
    """Bytes of a step; a whole model is trained beside the kept base."""
    needed = memory_lib.training_bytes(
      self.decoder,
      self.mesh,
      width=self.config.tokens.max_tokens,
      batch_tokens=self.config.train.batch_tokens,
      lora=lora,
    )
    if lora is None:
      needed += memory_lib.weight_bytes(self.decoder, self.mesh)
    return needed
