"""What a run will cost, before anything of it runs: --dry-run.

The pool is read and some of it tokenized, and programs are compiled for the
mesh. No weights are read and nothing is written.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  estimate,
  forward,
  hardware,
  hub,
  layouts,
  metrics,
  pool_sample,
  report,
)
from ila_jax import config as config_lib
from ila_jax import mesh as mesh_lib
from ila_jax.models import architecture, foreign
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import encoder as encoder_lib
from ila_jax.stages import base, embedding, joining, training

# Shares of the matrix rate that are assumed. docs/results.md has 0.66 and 0.33
# for a model of ten million weights; smaller ones reach less.
_FORWARD_SHARE = 0.5
_TRAINING_SHARE = 0.35


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a stage takes.

  Attributes:
    stage: its name.
    flops: of matrix products.
    seconds: at the usual share of the measured rate.
    device_bytes: memory on each device.
  """

  stage: str
  flops: float
  seconds: float
  device_bytes: int


def run(
  config: config_lib.Config,
  workdir: epath.PathLike,
  *,
  stages: Sequence[str] = config_lib.STAGES,
) -> list[Cost]:
  """Prints time, FLOPs and memory of each stage that computes, and returns it.

  Args:
    config: from `config.parse`.
    workdir: folder of the run; its pool is used where it is there.
    stages: names of the stages to run.

  Raises:
    errors.InputError: sources, models or a map that a run would refuse too.
  """
  if "landscape" in stages:
    joining.check(config, epath.Path(workdir))
  mesh = mesh_lib.make(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
  lengths = pool_sample.lengths(config, epath.Path(workdir))
  decoder = base.sizes(config)
  metrics.say(
    f"  {lengths.examples:,} examples, {lengths.total:,.0f} tokens "
    f"({lengths.source}); a decoder of "
    f"{decoder_lib.count_parameters(decoder):,} weights"
  )
  metrics.say("  compiling, to learn the memory of each device")
  costs = []
  if "embed" in stages:
    costs += _embedding(config, mesh, lengths, decoder)
  if "score" in stages:
    costs.append(_scoring(config, mesh, lengths, decoder))
  costs += _training(config, mesh, lengths, decoder, stages)
  _print(config, mesh, costs)
  return costs


def _pass(
  lengths: pool_sample.Lengths,
  decoder: architecture.DecoderConfig,
  examples: float | int,
) -> float:
  """FLOPs of a forward pass over so many examples like those of the pool."""
  cost = forward.flops(
    decoder,
    (lengths.prompt + lengths.response).astype(np.int32),
    response_tokens=int(lengths.response.sum()),
  )
  return cost * examples / len(lengths.prompt)


def _cost(
  config: config_lib.Config,
  mesh: Mesh,
  stage: str,
  *,
  passes: float | int = 0,
  steps: float | int = 0,
  device_bytes: int,
) -> Cost:
  """A stage of so many FLOPs in forward passes, and in training steps."""
  by_encoder = stage == "embed" and config.encoder.path != "base"
  dtype = config.encoder.dtype if by_encoder else config.model.dtype
  rate = hardware.matrix_rate(mesh, dtype)
  seconds = (passes / _FORWARD_SHARE + steps / _TRAINING_SHARE) / rate
  return Cost(stage, float(passes + steps), seconds, device_bytes)


def _embedding(
  config: config_lib.Config,
  mesh: Mesh,
  lengths: pool_sample.Lengths,
  decoder: architecture.DecoderConfig,
) -> list[Cost]:
  """Nothing for 'lsa', whose time is not that of matrix products."""
  if config.encoder.path == "lsa":
    return []
  model: architecture.DecoderConfig | encoder_lib.EncoderConfig = decoder
  longest = config.encoder.max_tokens
  if config.encoder.path != "base":
    with artifacts.local(config.encoder.path) as here:
      folder = hub.find(here, with_weights=False)
      model = foreign.encoder_config(
        folder,
        dtype=config.encoder.dtype,
        attention=config.encoder.attention,
      )
      tuned_for, _ = foreign.reading(folder)
    longest = min(longest, tuned_for or longest, model.max_positions)
  prompts = np.minimum(lengths.prompt, longest)
  layout = layouts.choose(
    prompts,
    batch_tokens=config.encoder.batch_tokens,
    kind=config.encoder.layout,
    pack_tokens=embedding.PACK_TOKENS,
    program_tokens=forward.program_tokens(model),
  )
  flops = forward.flops(model, prompts.astype(np.int32))
  return [
    _cost(
      config,
      mesh,
      "embed",
      passes=flops * lengths.examples / len(prompts),
      device_bytes=estimate.embedding_bytes(model, layout, mesh),
    )
  ]


def _scoring(
  config: config_lib.Config,
  mesh: Mesh,
  lengths: pool_sample.Lengths,
  decoder: architecture.DecoderConfig,
) -> Cost:
  """The passes of the base and of each reference, and their training."""
  lora = training.lora(config)
  seeds = len(config.score.reference_seeds)
  models = 1 + seeds if lora else 1
  layout = layouts.choose(
    (lengths.prompt + lengths.response).astype(np.int32),
    batch_tokens=max(config.score.batch_tokens // models, 1),
    kind=config.score.layout,
    program_tokens=forward.program_tokens(decoder),
  )
  tuned = config.score.epochs * config.score.reference_examples * seeds
  device_bytes = max(
    estimate.scoring_bytes(decoder, layout, mesh, lora=lora, models=models),
    _training_bytes(config, mesh, decoder),
  )
  return _cost(
    config,
    mesh,
    "score",
    passes=(1 + seeds) * _pass(lengths, decoder, lengths.examples),
    steps=training.passes(training.lora(config))
    * _pass(lengths, decoder, tuned),
    device_bytes=device_bytes,
  )


def _training_bytes(
  config: config_lib.Config, mesh: Mesh, decoder: architecture.DecoderConfig
) -> int:
  """Of a step; a whole model is trained beside the base, which is kept."""
  lora = training.lora(config)
  found = estimate.training_bytes(
    decoder,
    mesh,
    width=config.tokens.max_tokens,
    batch_tokens=config.train.batch_tokens,
    lora=lora,
  )
  return found + (0 if lora else estimate.weight_bytes(decoder, mesh))


def _training(
  config: config_lib.Config,
  mesh: Mesh,
  lengths: pool_sample.Lengths,
  decoder: architecture.DecoderConfig,
  stages: Sequence[str],
) -> list[Cost]:
  """The check, and the laboratory of subsets, each with its dev losses."""
  budget = config.select.budget
  if config.select.unit == "tokens":
    budget /= float(lengths.response.mean())
  elif config.select.unit == "fraction":
    taken = len(config.score.reference_seeds) * config.score.reference_examples
    taken = config.pool.dev_examples + taken * config.score.exclude_reference
    budget *= max(lengths.examples - taken, 0)
  arms = 1 + 2 * len(config.finetune.compare)
  subsets = config.scaling.subsets + config.scaling.held_out
  examples = {
    "finetune": (arms + 1, arms * budget),
    "scaling": (subsets, subsets * float(np.mean(config.scaling.sizes))),
  }
  examples = {name: examples[name] for name in examples if name in stages}
  if not examples:
    return []
  device_bytes = _training_bytes(config, mesh, decoder)
  return [
    _cost(
      config,
      mesh,
      stage,
      passes=_pass(lengths, decoder, evaluations * config.pool.dev_examples),
      steps=training.passes(training.lora(config))
      * _pass(lengths, decoder, config.finetune.epochs * tuned),
      device_bytes=device_bytes,
    )
    for stage, (evaluations, tuned) in examples.items()
  ]


def _print(config: config_lib.Config, mesh: Mesh, costs: list[Cost]) -> None:
  rate = hardware.matrix_rate(mesh, config.model.dtype)
  metrics.say(
    f"\n{'stage':10}{'compute':>12}{'time':>14}{'memory a device':>18}"
  )
  for cost in costs:
    metrics.say(
      f"{cost.stage:10}{report.si(cost.flops, 'FLOP'):>12}"
      f"{report.duration(cost.seconds):>14}"
      f"{report.si(cost.device_bytes, 'B'):>18}"
    )
  total = sum(cost.seconds for cost in costs)
  metrics.say(
    f"{'all':10}{'':12}{report.duration(total):>14}\n\n"
    f"Times are those of matrix products at {_FORWARD_SHARE:.0%} of the "
    f"measured {report.si(rate, 'FLOP/s')} of {mesh.size} × "
    f"{jax.devices()[0].device_kind} in passes and {_TRAINING_SHARE:.0%} in "
    "training. Reading, the map and the report come on top, and compiling in "
    "the first run."
  )
