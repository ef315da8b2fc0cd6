"""What a run will write, and whether the disk of its folder has room."""

import pathlib
import shutil
from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc
from etils import epath

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.dry_run import plans
from ila_jax.forecast import costs, sizes
from ila_jax.pool import shards
from ila_jax.run import progress, stage_record, tables, units
from ila_jax.run.disk import buckets, files
from ila_jax.training import base

# What is foretold may be wrong by this factor.
_PROMISED = 1.5


def _left(need: costs.Need, there: int) -> costs.Need:
  """Bytes that a stage has yet to write, of which some are there."""
  kept = max(need.kept - there, 0.0)
  # Whose model is whole has no more checkpoints.
  return costs.Need(kept, need.passing if kept > need.kept / 2 else 0.0)


def _least(needs: Iterable[costs.Need]) -> float | int:
  """What is written even if less is kept than foretold, or one checkpoint."""
  return most(
    costs.Need(need.kept / _PROMISED, need.passing / sizes.CHECKPOINTS)
    for need in needs
  )


def most(needs: Iterable[costs.Need]) -> float | int:
  """Bytes that must be free before the first of these stages.

  >>> most([costs.Need(5.0), costs.Need(2.0, passing=9.0), costs.Need(3.0)])
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
  if buckets.is_remote(workdir):
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

  def is_done(name: str) -> bool:
    return stage_record.read_record(workdir / name).get("done", False)

  todo = [name for name in stages if not is_done(name)]
  if not todo or not is_done("pool") or free(workdir) is None:
    return
  examples, record, response = _pool(workdir)
  known = sizes.Sizes(
    config,
    base.sizes(config),
    examples=examples,
    stored=0.0,  # It is written.
    record=record,
    response=response,
  )
  left = [
    _left(plan.need(known), stage_record.bytes_in(workdir / name))
    for name, plan in plans.in_order(config, todo).items()
    if not is_done(name)
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
