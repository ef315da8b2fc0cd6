"""What a signal is, and how one is computed: shard by shard, once.

`DIR/signals/NAME` has a record of its own, so that a method which needs a
signal leaves `score` as it is. `values-00000.npy` and on are [n] or [n, width],
one for each shard of the pool; what is on disk is kept. A signal may be of the
target set's examples instead.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from jaxtyping import Int, Shaped

from ila_jax import config as config_lib
from ila_jax.compute import hardware, prefetch
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import rows as rows_lib
from ila_jax.forecast import costs, sizes, work
from ila_jax.pool import index, shards
from ila_jax.run import account as account_lib
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import artifact as artifact_lib
from ila_jax.run.disk import files, folders
from ila_jax.score import target as target_lib

POOL, TARGET = "pool", target_lib.NAME
OfShard = Callable[[pa.Table], np.ndarray]
Advance = Callable[[int], object]
# Numbers of an example that a plan takes some for.
_SOME = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signal:
  """Numbers of every example; `SIGNAL` of its own module.

  Attributes:
    name: of its folder below `DIR/signals`, and in a method's `needs`.
    made_from: from the run to the JSON value of all that it follows from,
      beside the pool.
    compute: from the run, an account and `advance` to a function that takes
      some columns of a shard of the pool to [n] or [n, width]. It is called
      once, and only if a shard is to be computed. Where a shard takes a while,
      the function calls `advance` with the examples that it has done.
    cost: of that, before the run has begun: what a plan of a stage says.
    reads: these columns, of `pool.shards.SCHEMA`.
    width: numbers of an example, or from the config to how many; None: some,
      and at once: the first host makes them alone, and anew whenever what they
      are made from has changed.
    dtype: of the values.
    about: from the run and the values of each shard, in their order, to what
      its record notes of them; it refuses values that are of no use.
    beside: a file that `compute`'s function writes for each shard, too.
    is_wide: whether all values may not fit into memory: methods read them by
      [places], as embeddings.
    of: `POOL`, or `TARGET`: of the examples of config.select.target instead,
      which are made anew whenever the target set has changed.
  """

  name: str
  made_from: Callable[[context.Run], dict[str, Any]]
  compute: Callable[[context.Run, account_lib.Account, Advance], OfShard]
  cost: Callable[[work.PlannedRun], costs.Cost]
  reads: tuple[str, ...] = ("tokens", "is_response")
  width: int | Callable[[config_lib.Config], int] | None = 1
  dtype: str = "float32"
  about: (
    Callable[[context.Run, Iterator[np.ndarray]], dict[str, Any]] | None
  ) = None
  beside: artifact_lib.Artifact | None = None
  is_wide: bool = False
  of: str = POOL

  def width_of(self, config: config_lib.Config) -> int | None:
    """Numbers of an example in a run; None: some."""
    return self.width(config) if callable(self.width) else self.width

  def need(self, known: sizes.Sizes) -> costs.Need:
    """Bytes of its values, as a plan of a stage says them."""
    width, count = self.width_of(known.config) or _SOME, known.examples
    if self.of == TARGET:
      count = target_lib.count(known.config)
    return costs.Need(np.dtype(self.dtype).itemsize * width * count)

  def source(self, workdir: epath.PathLike) -> epath.Path:
    """The folder whose `pool` has its examples."""
    is_target = self.of == TARGET
    return target_lib.folder(workdir) if is_target else epath.Path(workdir)


def run(signal: Signal, run: context.Run) -> None:
  """Writes `signals/NAME`; what is done is skipped, the rest goes on.

  Raises:
    errors.InputError: the folder was made from other inputs.
  """
  config, workdir = run.config, run.workdir
  stage = stage_record.Stage(
    workdir / folders.SIGNALS,
    signal.name,
    {
      "made_from": signal.made_from(run),
      signal.of: stage_record.output(
        workdir / folders.BESIDE if signal.of == TARGET else workdir, signal.of
      ),
    },
  )
  at_once = signal.width is None
  is_quick = at_once or signal.of == TARGET
  if stage.begin(replace="all" if is_quick else "nothing"):
    return
  todo, noted = _todo(signal, workdir), {}
  if not at_once:
    _compute(signal, run, stage, todo)
  elif mesh_lib.is_writer():
    with interrupts.alone():
      _compute(signal, run, stage, todo)
  mesh_lib.barrier(f"{signal.name} computed")
  if signal.about and mesh_lib.is_writer():
    noted = signal.about(run, _shards(signal, workdir))
  stage.finish(
    matrix_rate=hardware.matrix_rate(run.mesh, config.model.dtype), **noted
  )


def _compute(
  signal: Signal,
  run: context.Run,
  stage: stage_record.Stage,
  todo: Iterator[tuple[epath.Path, int, pa.Table | None]],
) -> None:
  """Computes the shards that are not there yet."""
  of_shard, width = None, signal.width_of(run.config)
  total = len(index.lengths(signal.source(run.workdir)))
  with progress.counter(total, desc=signal.name, unit="examples") as advance:
    counted = progress.Shards(advance)
    for target, rows, table in prefetch.ahead(todo, depth=1):
      with counted.of(rows):
        if table is None:
          continue
        of_shard = of_shard or signal.compute(
          run, stage.account, counted.advance
        )
        values = _checked(signal, of_shard(table), rows, width)
        files.write_array(target, values)
        stage.save_progress()
        if width is not None:  # Else the others are not here.
          interrupts.point()


def _todo(
  signal: Signal, workdir: epath.Path
) -> Iterator[tuple[epath.Path, int, pa.Table | None]]:
  """Each shard's file and rows, and its columns if it is to be computed."""
  source = signal.source(workdir)
  targets = _paths(signal, workdir)
  done = shards.done(targets)
  if signal.beside:
    numbers = range(len(targets))
    others = [signal.beside.path(workdir, shard=n) for n in numbers]
    done = [a and b for a, b in zip(done, shards.done(others), strict=True)]

  def read(shard: int) -> tuple[int, pa.Table | None]:
    columns = ["row"] if done[shard] else list(signal.reads)
    table = shards.read_records(source, shard, columns)
    return len(table), None if done[shard] else table

  return ((target, *read(shard)) for shard, target in enumerate(targets))


def _checked(
  signal: Signal, values: np.ndarray, rows: int, width: int | None
) -> np.ndarray:
  each = values.shape[-1] if width is None else width
  wanted = (rows,) if each == 1 == width else (rows, each)
  if values.shape != wanted:
    raise ValueError(
      f"signal {signal.name} is {values.shape} for a shard; wanted: {wanted}"
    )
  return values.astype(signal.dtype)


def _shards(signal: Signal, workdir: epath.Path) -> Iterator[np.ndarray]:
  """The values of each shard, one held at a time."""
  return map(files.read_array, _paths(signal, workdir))


def read(
  workdir: epath.Path, name: str, row: Int[np.ndarray, " k"]
) -> Shaped[np.ndarray, "k ..."]:
  """The values of a signal for some rows of the pool, in any order.

  One shard is held at a time, beside the result.

  Raises:
    errors.InputError: the signal has not been computed.
  """
  stage_record.output(workdir / folders.SIGNALS, name)
  return _values(workdir, name, row)


def rows(
  workdir: epath.Path, signal: Signal, row: Int[np.ndarray, " k"]
) -> rows_lib.Rows:
  """A signal of several numbers for some of its rows, read when asked.

  Raises:
    errors.InputError: the signal has not been computed.
  """
  stage_record.output(workdir / folders.SIGNALS, signal.name)
  return rows_lib.Rows(workdir, row, _paths(signal, workdir))


def _paths(signal: Signal, workdir: epath.Path) -> list[epath.Path]:
  return [
    tables.SIGNAL.path(workdir, name=signal.name, shard=shard)
    for shard in range(shards.count(signal.source(workdir)))
  ]


def _values(
  workdir: epath.Path, name: str, row: Int[np.ndarray, " k"]
) -> Shaped[np.ndarray, "k ..."]:
  first = files.read_array(tables.SIGNAL.path(workdir, name=name, shard=0))
  chosen = np.empty((len(row), *first.shape[1:]), first.dtype)
  # All shards have as many rows as the first, but for the last.
  shard, place = np.divmod(row, len(first))
  for one in np.unique(shard).tolist():
    path = tables.SIGNAL.path(workdir, name=name, shard=one)
    values = files.read_array(path) if one else first
    here = shard == one
    chosen[here] = values[place[here]]
  return chosen
