"""What a run will cost, before anything of it runs: --dry-run.

The pool is read and some of it tokenized; each stage's own code is tried on a
small part of the work, and programs are compiled for the mesh. No weights are
read and nothing is written.
"""

import dataclasses
import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np
from etils import epath

from ila_jax import config as config_lib
from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import costs, disk, memory, pool_sample, trials
from ila_jax.embed import encode, encoders, inputs
from ila_jax.embed import lsa as lsa_lib
from ila_jax.landscape import join
from ila_jax.landscape.maps import projections
from ila_jax.models import architecture, encoder
from ila_jax.models import decoder as decoder_lib
from ila_jax.models.folders import encoder_families, hub
from ila_jax.passes import forward
from ila_jax.pool import index
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import progress, units
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files
from ila_jax.selection import needs as needs_lib
from ila_jax.training import base

# What no trial tells: seconds, and more for every example.
_HOST_SECONDS = {
  "landscape": (6.0, 2e-4),
  "select": (2.0, 1e-4),
  "scaling": (3.0, 0.0),
  "report": (3.0, 1e-4),
}


def run(
  config: config_lib.Config,
  workdir: epath.PathLike,
  *,
  stages: Sequence[str] = stages_lib.NAMES,
) -> list[costs.Cost]:
  """Prints time, FLOPs and memory of each stage, and returns it.

  Args:
    config: from `config_parsing.parse`.
    workdir: folder of the run; its pool is used where it is there.
    stages: names of the stages to run.

  Raises:
    errors.InputError: stages, sources, models or a map that a run would refuse
      too.
  """
  stages_lib.check(stages)
  workdir = epath.Path(workdir)
  progress.say(f"{hardware.describe()}; folder {workdir}")
  hardware.check_devices()
  index.check_version(workdir)
  encoders.check(config, stages)
  if "landscape" in stages:
    join.check(config, workdir)
  mesh = mesh_lib.make(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
  sample = pool_sample.draw(config, workdir)
  decoder = base.sizes(config)
  if config.model.path == config_lib.SCRATCH:
    # A small pool bears fewer entries than it was asked for.
    decoder = dataclasses.replace(decoder, vocab=len(sample.tokenizer))
  work = costs.Run(config, mesh, sample, decoder)
  progress.say(
    f"  {sample.examples:,} examples, {sample.total:,.0f} tokens "
    f"({sample.source}); a decoder of "
    f"{decoder_lib.count_parameters(decoder):,} weights"
  )
  progress.say("  trying each stage on a part of its work")
  # What a trial has compiled is not compiled again to learn its memory.
  with tempfile.TemporaryDirectory() as folder, hardware.keep_compiled(folder):
    estimates = _costs(work, stages)
  needs = work.needs(stages)
  _print(work, estimates, needs)
  said = disk.shortage(workdir, disk.most(needs.values()))
  if said is not None:
    progress.say(f"warning: {said}")
  return estimates


def _costs(work: costs.Run, stages: Sequence[str]) -> list[costs.Cost]:
  """Costs in the order of the run, in which programs are compiled, too."""
  config, estimates = work.config, []
  if "pool" in stages and work.sample.seconds is not None:
    estimates.append(costs.Cost("pool", work.sample.seconds))
  by_base = "embed" in stages and config.encoder.path == "base"
  trained = stages_lib.use_base(stages)
  if config.model.path == config_lib.SCRATCH and (by_base or trained):
    estimates.append(_scratch(work))
  estimators = {
    "embed": _embedding,
    "score": _scoring,
    "landscape": _landscape,
    "select": _host,
    "finetune": _finetuning,
    "scaling": _scaling,
    "report": _host,
  }
  signals: set[str] = set()
  for stage in stages_lib.in_order(stages):
    for signal in needs_lib.signals(config, stage):
      if signal not in signals:
        # At most a pass of the base over the whole pool.
        estimates.append(work.scoring(signal, work.sample.examples, 1))
      signals.add(signal)
    if stage in estimators:
      estimates.append(estimators[stage](work, stage))
  return estimates


def _scratch(work: costs.Run) -> costs.Cost:
  """Cost of a base from scratch: its own text, in its own tokens."""
  scratch = work.config.model.scratch
  begin = time.monotonic()
  data = base.scratch_data(work.config, work.sample.tokenizer)
  reading = time.monotonic() - begin
  cost = work.training(
    stages_lib.BASE,
    data,
    examples=len(data),
    epochs=scratch.epochs,
    adapter=False,
  )
  return cost.plus(reading)


def _embedding(work: costs.Run, stage: str) -> costs.Cost:
  """Cost of embedding the prompts, in the encoder's own tokens."""
  config, prompts = work.config, work.sample.prompts
  if config.encoder.path == "lsa":
    return _lsa(work, stage)
  model: architecture.DecoderConfig | encoder.EncoderConfig = work.decoder
  longest, lower = config.encoder.max_tokens, False
  tokenizer = work.sample.tokenizer
  if config.encoder.path != "base":
    with files.local(config.encoder.path) as here:
      folder = hub.find(here, with_weights=False)
      model = encoder_families.encoder_config(
        folder,
        dtype=config.encoder.dtype,
        attention=config.encoder.attention,
      )
      tuned_for, lower = encoder_families.reading(folder)
      tokenizer = tokenizer_lib.load_tokenizer(folder)
    longest = min(longest, tuned_for or longest, model.max_positions)
  begin = time.monotonic()
  ids, read = inputs.tokenize(
    tokenizer,
    prompts,
    prefix=config.encoder.prefix,
    lower=lower,
    max_tokens=longest,
  )
  # A thread tokenizes while the devices work; the first shard is waited for.
  waiting = (time.monotonic() - begin) / len(prompts)
  waiting *= min(work.sample.examples, config.pool.shard_examples)
  each = costs.Pass(
    model,
    read.tokens,
    forward.flops(model, read.tokens),
    device_bytes=lambda layout: memory.embedding_bytes(
      model, layout, work.mesh
    ),
    trial=lambda: trials.embedding_pass(model, ids, mesh=work.mesh),
  )
  batches = costs.Batches(
    config.encoder.layout, config.encoder.batch_tokens, encode.PACK_TOKENS
  )
  cost = work.passes(stage, each, batches, examples=work.sample.examples)
  return cost.plus(waiting)


def _lsa(work: costs.Run, stage: str) -> costs.Cost:
  """Cost of LSA: scikit-learn's TF-IDF and SVD on the host, no model."""
  config, prompts = work.config, work.sample.prompts
  clock = [time.monotonic()]
  lsa_lib.fit_lsa(prompts[:50], width=2, seed=0)  # Imports scikit-learn.
  clock.append(time.monotonic())
  lsa = lsa_lib.fit_lsa(prompts, width=config.encoder.lsa_width, seed=0)
  clock.append(time.monotonic())
  lsa_lib.apply_lsa(lsa, encode.lsa_terms(lsa, prompts))
  clock.append(time.monotonic())
  imports, fit, apply = np.diff(clock).tolist()
  examples = work.sample.examples
  fitted = min(examples, lsa_lib.LSA_FIT_EXAMPLES)
  seconds = (fit * fitted + apply * examples) / len(prompts)
  return costs.Cost(stage, imports + seconds)


def _scoring(work: costs.Run, stage: str) -> costs.Cost:
  """Cost of passes of the base and each reference, and of their training."""
  config, seeds = work.config, len(work.config.score.reference_seeds)
  tuned = work.training(
    stage,
    work.sample.data,
    examples=config.score.reference_examples,
    epochs=config.score.epochs,
    runs=seeds,
  )
  # Adapters are scored with the base in one pass.
  models = 1 + seeds if work.lora else 1
  one = work.scoring(stage, work.sample.examples, models)
  return one.times(1 if work.lora else 1 + seeds).and_also(tuned)


def _landscape(work: costs.Run, stage: str) -> costs.Cost:
  """Cost of a map that is fitted on some examples and places all of them."""
  settings, examples = work.config.landscape, work.sample.examples
  cost = _host(work, stage)
  if settings.map is not None:
    return cost
  trial = trials.mapping(
    fitted=min(settings.fit_examples, examples),
    placed=examples,
    width=encoders.width(work.config, work.decoder),
    # The network of a parametric map learns a t-SNE, which is fitted first.
    name="tsne"
    if projections.PROJECTIONS[settings.projection].by_tsne
    else settings.projection,
    options=projections.Options(
      dimensions=2
      if settings.projection == "parametric"
      else settings.dimensions,
      perplexity=settings.perplexity,
      iterations=settings.iterations,
      mesh=work.mesh,
    ),
  )
  compiling = trial.compile_seconds
  return cost.and_also(costs.Cost(stage, trial.seconds + compiling, compiling))


def _host(work: costs.Run, stage: str) -> costs.Cost:
  """Cost of what the host does beside; assumed."""
  begin, more = _HOST_SECONDS[stage]
  return costs.Cost(stage, begin + more * work.sample.examples)


def _finetuning(work: costs.Run, stage: str) -> costs.Cost:
  """Cost of tuning on the selection and its rivals, and of all dev losses."""
  config = work.config
  response = float(work.sample.response.mean())
  budget = disk.selected(config, work.sample.examples, response)
  arms = 1 + 2 * len(config.finetune.compare)
  return _tuned(work, stage, arms, budget, evaluations=arms + 1)


def _scaling(work: costs.Run, stage: str) -> costs.Cost:
  """Cost of the laboratory of subsets, each with its dev loss."""
  settings = work.config.scaling
  subsets = settings.subsets + settings.held_out
  size = float(np.mean(settings.sizes))
  trained = _tuned(work, stage, subsets, size, evaluations=subsets)
  return trained.and_also(_host(work, stage)) if subsets else trained


def _tuned(
  work: costs.Run, stage: str, runs: int, size: float | int, *, evaluations: int
) -> costs.Cost:
  if not runs:
    return costs.Cost(stage, 0.0)
  config = work.config
  tuned = work.training(
    stage,
    work.sample.data,
    examples=size,
    epochs=config.finetune.epochs,
    runs=runs,
  )
  dev = work.scoring(stage, config.pool.dev_examples, 1)
  return dev.times(evaluations).and_also(tuned)


def _print(
  work: costs.Run, estimates: list[costs.Cost], needs: dict[str, disk.Need]
) -> None:
  rate = work.rate(work.config.model.dtype)
  width = max([10, *(len(cost.stage) + 1 for cost in estimates)])
  progress.say(
    f"\n{'stage':{width}}{'compute':>12}{'time':>14}{'to compile':>14}"
    f"{'memory a device':>18}{'disk':>10}"
  )
  for cost in estimates:
    sizes = [
      units.si(cost.flops, "FLOP") if cost.flops else "",
      units.si(cost.device_bytes, "B") if cost.device_bytes else "",
    ]
    need = needs.get(cost.stage)
    sizes.append(units.si(need.kept, "B") if need else "")
    mark = "" if cost.tried else " *"
    progress.say(
      f"{cost.stage:{width}}{sizes[0]:>12}{units.duration(cost.seconds):>14}"
      f"{units.duration(cost.compile_seconds):>14}{sizes[1]:>18}"
      f"{sizes[2]:>10}{mark}"
    )
  total = sum(cost.seconds for cost in estimates)
  compiling = sum(cost.compile_seconds for cost in estimates)
  progress.say(
    f"{'all':{width}}{'':12}{units.duration(total):>14}"
    f"{units.duration(compiling):>14}{'':18}"
    f"{units.si(disk.most(needs.values()), 'B'):>10}\n\n"
    "Times are of trials on a part of the pool; a folder compiles once. Some "
    "seconds are assumed for the map, the selection and the report. The disk "
    "of all has room for checkpoints, which go when their model is whole."
  )
  if not all(cost.tried for cost in estimates):
    progress.say(
      f"* too large for a trial here: {costs.FORWARD_SHARE:.0%} of the "
      f"measured {units.si(rate, 'FLOP/s')} of {work.mesh.size} × "
      f"{jax.devices()[0].device_kind} in passes and "
      f"{costs.TRAINING_SHARE:.0%} in training; compiling comes on top."
    )
  if work.config.landscape.stability or work.config.landscape.cells != "grid":
    progress.say("landscape.stability and k-means cells come on top.")
