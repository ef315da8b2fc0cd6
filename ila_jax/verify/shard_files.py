"""Every shard of a run is there, with the rows of the pool's own shard."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from ila_jax.pool import shards
from ila_jax.run import context, tables
from ila_jax.run.disk import artifact, checksums
from ila_jax.score import losses
from ila_jax.score.signals import example_signal
from ila_jax.score.signals import table as signals_table
from ila_jax.verify import artifacts, findings


def check(run: context.Run, done: set[str]) -> findings.Check:
  """Checks that all shards are there, each with the rows of the pool's.

  Args:
    run: whose pool is done.
    done: the folders of stages and signals that are.
  """
  workdir = run.workdir
  path = tables.INDEX.path(workdir)
  checksums.check(path)
  total, differs = _rows(workdir, path, is_table=True)
  if total is None:
    return findings.made("shards", "the index of the pool", differs)
  sizes = []
  for path in shards.listed(workdir, tables.RECORDS):
    rows, said = _rows(workdir, path, is_table=True)
    differs += said
    sizes.append(rows)
  # All have as many rows as the first, but for the last.
  if sizes and sizes[0]:
    first, count = sizes[0], -(-total // sizes[0])
    wanted = [first] * (count - 1) + [total - first * (count - 1)]
  else:
    wanted = []
  known = [size for size in sizes if size is not None]
  if len(known) == len(sizes) and sizes != wanted:
    differs.append(
      f"{artifacts.short(workdir, tables.INDEX.path(workdir))}: it has "
      f"{total:,} rows, and the shards of records have {sum(known):,}, in "
      f"{len(sizes)} files"
    )
  seen = len(sizes)
  for one, fields in _sharded(run, done):
    for shard, rows in enumerate(wanted):
      path = one.path(workdir, shard=shard, **fields)
      held, said = _rows(workdir, path, is_table=bool(one.columns))
      seen += 1
      differs += said
      if held not in (None, rows):
        name = artifacts.short(workdir, path)
        differs.append(
          f"{name}: it has {held:,} rows, and the pool's shard {rows:,}"
        )
  return findings.made("shards", f"{seen} files of {total:,} rows", differs)


def _sharded(
  run: context.Run, done: set[str]
) -> Iterator[tuple[artifact.Artifact, dict[str, str]]]:
  """What has a file for each shard of the pool, and names in its path."""
  if "embed" in done:
    yield tables.EMBEDDINGS, {}
    yield tables.INPUTS, {}
  if "score" in done:
    for name in losses.passes(run.config)[0]:
      yield tables.LOSSES, {"losses": name}
  for name in sorted(done):
    signal = signals_table.SIGNALS.get(name.removeprefix("signals/"))
    if signal is not None and signal.of == example_signal.POOL:
      yield tables.SIGNAL, {"name": signal.name}


def _rows(
  workdir: epath.Path, path: epath.Path, *, is_table: bool
) -> tuple[Any, list[str]]:
  """Rows of a shard, and what is wrong; None of one that is not whole."""
  if not path.exists():
    return None, [f"{artifacts.short(workdir, path)}: it is missing"]
  if not checksums.is_whole(path):
    return None, []  # It stands under the files.
  try:
    with path.open("rb") as file:
      if is_table:
        return pq.read_metadata(file).num_rows, []
      return len(np.load(file, allow_pickle=False)), []
  except (ValueError, EOFError, pa.ArrowException) as error:
    why = str(error).splitlines()[0]
    return None, [f"{artifacts.short(workdir, path)}: it is unreadable ({why})"]
