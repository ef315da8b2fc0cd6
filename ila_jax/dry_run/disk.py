"""What a run will write, and whether the disk of its folder has room."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.compute as pc
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.embed import encoders
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.pool import shards
from ila_jax.report import map_page
from ila_jax.run import progress, stage_record, tables, units
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files
from ila_jax.score.signals import table as signals_table
from ila_jax.selection import needs as needs_lib
from ila_jax.training import base, trial

# Bytes of a row in the tables of a stage, as runs of thousands of rows have
# them, and of a token of a vocabulary in the files of a tokenizer.
_INDEX, _INPUTS, _LOSS, _SCORES, _CELLS, _RANKING = 30, 20, 8, 25, 70, 22
_TOKEN = 64
# Of the page and its figures, and of a dot of the map that can be explored.
_PAGE, _DOT = 1_700_000, 240
# Whatever is in it, a table and its entry in the ledger have about so many.
_TABLE = 1_500
# A checkpoint holds weights and two moments in float32. Two are kept, while
# the next one is written.
_STATE_BYTES, _CHECKPOINTS = 12, 3
# What is foretold may be wrong by this factor.
_PROMISED = 1.5


class Need(NamedTuple):
  """Bytes on the disk.

  Attributes:
    kept: when the stage is done.
    passing: more than that while it works: checkpoints, places.
  """

  kept: float | int
  passing: float | int = 0.0


@dataclasses.dataclass(frozen=True)
class Sizes:
  """What the bytes of a run follow from.

  Attributes:
    examples: of the pool.
    stored: bytes of an example in a shard of the pool.
    record: bytes of its record, as it was read.
    selected: examples, about.
    width: of the embeddings.
    tokenizer: bytes of a tokenizer's files.
    base: bytes of a folder with the weights of the base, and its tokenizer.
    tuned: the same of what is tuned: another model, or an adapter.
    state: bytes of a checkpoint of what is tuned.
    base_state: bytes of a checkpoint of the base.
  """

  examples: int
  stored: float | int
  record: float | int
  selected: float | int
  width: int
  tokenizer: float | int
  base: float | int
  tuned: float | int
  state: float | int
  base_state: float | int


def sizes(
  config: config_lib.Config,
  decoder: architecture.DecoderConfig,
  *,
  examples: int,
  stored: float | int,
  record: float | int,
  response: float | int,
) -> Sizes:
  """Sizes of a run by its pool, its base and its encoder.

  Args:
    config: of the run.
    decoder: of its base.
    examples: of the pool.
    stored: as in `Sizes`.
    record: as in `Sizes`.
    response: tokens of a response, in the mean.
  """
  weights = trained = decoder_lib.count_parameters(decoder)
  lora = trial.lora(config)
  if lora is not None:
    shapes = jax.eval_shape(lora_lib.init, decoder, lora, jax.random.key(0))
    trained = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  each = jnp.dtype(config.model.dtype).itemsize
  tokenizer = _TOKEN * decoder.vocab
  return Sizes(
    examples=examples,
    stored=stored,
    record=record,
    selected=selected(config, examples, response),
    width=encoders.width(config, decoder),
    tokenizer=tokenizer,
    base=each * weights + tokenizer,
    tuned=(each if lora is None else 4) * trained + tokenizer,
    state=_STATE_BYTES * trained,
    base_state=_STATE_BYTES * weights,
  )


def selected(
  config: config_lib.Config, examples: int, response: float
) -> float | int:
  """Examples that the budget buys, about.

  Args:
    config: of the run.
    examples: of its pool.
    response: tokens of a response, in the mean.
  """
  budget = config.select.budget
  if config.select.unit == "tokens":
    return budget / response
  if config.select.unit == "fraction":
    drawn = len(config.score.reference_seeds) * config.score.reference_examples
    taken = config.pool.dev_examples + drawn * config.score.exclude_reference
    return budget * max(examples - taken, 0)
  return budget


def forecast(
  config: config_lib.Config, known: Sizes, stages: Iterable[str]
) -> dict[str, Need]:
  """Bytes that each of some stages writes, and a base from scratch (`model`).

  Compiled programs and variants of `landscape.stability` come on top.
  """
  n, stages = known.examples, list(stages)
  headers = -(-n // config.pool.shard_examples) * _TABLE
  seeds = len(config.score.reference_seeds)
  checkpoints = _CHECKPOINTS * known.state
  is_scratch = config.model.path == config_lib.SCRATCH
  # A t-SNE keeps what it was fitted on.
  fitted = min(config.landscape.fit_examples, n) * 4 * (known.width + 2)
  if config.landscape.map is None and config.landscape.projection != "tsne":
    fitted = 0
  signals = {s for stage in stages for s in needs_lib.signals(config, stage)}
  numbers = sum(signals_table.SIGNALS[name].width for name in signals)
  needs = {
    "pool": Need(
      n * (known.stored + _INDEX) + headers + is_scratch * known.tokenizer
    ),
    "embed": Need(n * (4 * known.width + _INPUTS) + 2 * headers),
    "score": Need(
      n * ((1 + seeds) * _LOSS + _SCORES)
      + (1 + seeds) * headers
      + seeds * known.tuned,
      checkpoints,
    ),
    "landscape": Need(n * _CELLS + 6 * _TABLE + fitted, 8 * n),
    # The signals that its methods need lie beside it.
    "select": Need(
      n * (_RANKING + 4 * numbers)
      + 4 * _TABLE
      + min(known.selected, n) * known.record
    ),
    "finetune": Need(known.tuned + 4 * _TABLE, checkpoints),
    "scaling": Need(
      6 * _TABLE + 300 * (config.scaling.subsets + config.scaling.held_out)
    ),
    "report": Need(_PAGE + _DOT * min(n, map_page.MAX_POINTS)),
  }
  wanted = set(stages)
  by_base = config.encoder.path == "base" and "embed" in wanted
  if is_scratch and (by_base or stages_lib.use_base(wanted)):
    passing = _CHECKPOINTS * known.base_state
    needs[stages_lib.BASE] = Need(known.base + 4 * _TABLE, passing)
    wanted.add(stages_lib.BASE)
  return {name: need for name, need in needs.items() if name in wanted}


def _left(need: Need, there: int) -> Need:
  """Bytes that a stage has yet to write, of which some are there."""
  kept = max(need.kept - there, 0.0)
  # Whose model is whole has no more checkpoints.
  return Need(kept, need.passing if kept > need.kept / 2 else 0.0)


def _least(needs: Iterable[Need]) -> float | int:
  """What is written even if less is kept than foretold, or one checkpoint."""
  return most(
    Need(need.kept / _PROMISED, need.passing / _CHECKPOINTS) for need in needs
  )


def most(needs: Iterable[Need]) -> float | int:
  """Bytes that must be free before the first of these stages.

  >>> most([Need(5.0), Need(2.0, passing=9.0), Need(3.0)])
  19.0
  """
  needs = list(needs)
  passing = max((need.passing for need in needs), default=0.0)
  return sum(need.kept for need in needs) + passing


def free(workdir: epath.PathLike) -> int | None:
  """Bytes that are free where a folder is or will be; None on gs://.

  >>> free("no/such/folder") > 0, free("gs://bucket/run")
  (True, None)
  """
  if "://" in os.fspath(workdir):
    return None
  path = pathlib.Path(workdir).absolute()
  while not path.exists():
    path = path.parent
  return shutil.disk_usage(path).free


def shortage(workdir: epath.PathLike, needed: float | int) -> str | None:
  """What to say of a disk that is too small; None where it is not.

  >>> shortage("no/such/folder", 1.0)
  """
  there = free(workdir)
  if there is None or needed <= there:
    return None
  return (
    f"the disk of --workdir {workdir} has {units.si(there, 'B')} free, and "
    f"about {units.si(needed, 'B')} will be written"
  )


def _pool(workdir: epath.Path) -> tuple[int, float, float]:
  """Examples of a pool, bytes of their records, tokens of their responses."""
  index = files.read_table(tables.INDEX.path(workdir), ["n_response_tokens"])[
    "n_response_tokens"
  ]
  first = shards.read_records(workdir, 0, ["record"]).column("record")
  record = float(np.mean(pc.binary_length(first).to_numpy()))
  return len(index), record, float(index.mean())


def check(
  config: config_lib.Config, workdir: epath.Path, stages: Iterable[str]
) -> None:
  """Looks whether the disk bears what these stages are yet to write.

  For the first host; a pool that is not read is missed by the stages.

  Raises:
    errors.InputError: it does not.
  """
  done = {
    name: stage_record.read_record(workdir / name).get("done", False)
    for name in stages_lib.RECORDED
  }
  todo = [name for name in stages if not done[name]]
  if not todo or not done["pool"] or free(workdir) is None:
    return
  decoder = base.sizes(config)
  examples, record, response = _pool(workdir)
  known = sizes(
    config,
    decoder,
    examples=examples,
    stored=0.0,  # It is written.
    record=record,
    response=response,
  )
  left = [
    _left(need, stage_record.bytes_in(workdir / name))
    for name, need in forecast(config, known, todo).items()
    if not done[name]
  ]
  said = shortage(workdir, most(left))
  if said is not None and shortage(workdir, _least(left)):
    raise errors.InputError(
      f"{said}. Free space there, give another --workdir, or run fewer "
      "--stages; --config.train.method=lora writes smaller models. What is "
      "done is kept."
    )
  if said is not None:
    progress.say(f"  warning: {said}")
