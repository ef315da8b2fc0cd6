"""Scores of others: the numbers that records, or files beside them, hold.

`config.pool.fields.scores` names them, and `config.pool.scores` files that are
joined. They follow from the pool and those files alone: what is made of the
pool stays, whichever scores are read.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from jaxtyping import Float, Int, Shaped, UInt64

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.forecast import costs, work
from ila_jax.pool import examples, index, reading, records, shards
from ila_jax.pool.contamination import evaluation
from ila_jax.pool.scores import ids as ids_lib
from ila_jax.pool.scores import joined as joined_lib
from ila_jax.pool.scores import names as names_lib
from ila_jax.pool.scores import numeric, sought
from ila_jax.pool.sources import sources
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, stage_record
from ila_jax.run.disk import folders
from ila_jax.score.signals import example_signal
from ila_jax.sections import data

NAME = "scores"
# Seconds for a record, whose JSON is read; assumed.
_SECONDS_EACH = 5e-5


def _made_from(run: context.Run) -> dict[str, Any]:
  """Paths by name, and the files; those that moved away count as they were."""
  config, workdir = run.config, run.workdir
  made: dict[str, Any] = {
    "fields": config.pool.fields.scores,
    "files": dict.fromkeys(config.pool.score_files),
  }
  overrides = config.pool.overrides
  own = sources.matched(overrides, config.pool.score_files)
  if own:
    made["overrides"] = {name: overrides[name] for name in sorted(own)}
  if not mesh.is_writer():  # The others may not see the first host's files.
    return made
  before = stage_record.Stage(workdir / folders.SIGNALS, NAME, {})
  recorded = before.recorded_inputs().get("made_from", {})
  try:
    for spec in made["files"]:
      with evaluation.names_field(joined_lib.FIELD):
        made["files"][spec] = sources.signature(spec, workdir=workdir)
    return made | {"names": _paths(run)}
  except errors.InputError:
    is_same = recorded.get("fields") == made["fields"]
    if is_same and list(recorded["files"]) == list(made["files"]):
      said = "cannot be compared: taken to be what it was"
      progress.say(f"  {joined_lib.FIELD} {said}")
      return recorded
    raise


def paths(settings: data.Pool, rules: examples.Rules) -> dict[str, str]:
  """The path of each score by its name.

  Raises:
    errors.InputError: a file of scores that cannot be read or holds none.
  """
  named = names_lib.parse(settings.fields.scores)
  if not named:
    found = joined_lib.paths(settings.score_files, rules)
    named = names_lib.named(found)
  if not named:
    raise errors.InputError(
      f"{joined_lib.FIELD} is {settings.scores!r}, of which no field holds "
      "numbers; allowed: files with scores. Name their fields with "
      f"--{names_lib.FIELD}, or correct the file."
    )
  return named


def _paths(run: context.Run) -> dict[str, str]:
  return paths(run.config.pool, reading.rules(run.config))


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n k"]]:
  del account
  config, workdir = run.config, run.workdir
  named = _paths(run)
  has, of_files = np.zeros(len(named), np.bool_), None
  if config.pool.score_files:
    of_files, has = joined_lib.read(
      config.pool.score_files,
      list(named.values()),
      pool=joined_lib.Pool(
        index.column(workdir, "id"),
        index.column(workdir, "prompt_id"),
        reading.rules(config),
        functools.partial(_given_ids, workdir),
      ),
      announce=lambda message: progress.say(f"  {message}"),
    )
  del advance  # A shard of numbers is read at once.
  own = [place for place in range(len(named)) if not has[place]]
  if has.any() and own:
    names = ", ".join(list(named)[place] for place in own)
    progress.say(f"  not in these files, and read from the records: {names}")
  said: set[str] = set()

  def of_shard(table: pa.Table) -> np.ndarray:
    rows = table.column("row").to_numpy()
    values = np.full((len(rows), len(named)), np.nan, np.float32)
    if of_files is not None:
      values[:, has] = of_files[rows][:, has]
    for place, text in enumerate(table.column("record").to_pylist()):
      if not own:
        break
      record = json.loads(text)
      for column in own:
        path = list(named.values())[column]
        values[place, column], is_other = numeric.at(record, path)
        if is_other and path not in said:
          said.add(path)
          _say_other(path, record, int(rows[place]))
    return values

  return of_shard


def _given_ids(workdir: epath.Path, field: str) -> UInt64[np.ndarray, " n"]:
  """The ids that the pool's records have in a field."""
  return ids_lib.numbers(
    (
      json.loads(text)
      for shard in range(shards.count(workdir))
      for text in shards.read_records(workdir, shard, ["record"])
      .column("record")
      .to_pylist()
    ),
    field,
  )


def _say_other(path: str, record: dict[str, Any], row: int) -> None:
  held = repr(records.lookup(record, path))[:80]
  progress.say(
    f"  warning: {path!r} of row {row:,} is {held}, which is no number that "
    "float32 holds: such an example has no score"
  )


def _about(
  run: context.Run, shards: Iterator[Float[np.ndarray, "_ k"]]
) -> dict[str, Any]:
  """What is noted of each score: a hash, how many have one, and the range.

  Raises:
    errors.InputError: no example has a score.
  """
  noted, values = [], np.concatenate(list(shards))
  for (name, path), held in zip(_paths(run).items(), values.T, strict=True):
    known = held[~np.isnan(held)]
    if not len(known):
      raise _none(run, name, path)
    low, median, high = np.quantile(known, [0, 0.5, 1])
    progress.say(
      f"  {name}: {len(known):,} of {len(held):,} examples have one, "
      f"{low:.6g} to {high:.6g}, {median:.6g} in the median"
    )
    noted.append(
      {
        "name": name,
        "hash": hashlib.sha256(held.tobytes()).hexdigest()[:16],
        "known": len(known),
        "low": float(low),
        "median": float(median),
        "high": float(high),
      }
    )
  return {"scores": noted}


def _none(run: context.Run, name: str, path: str) -> errors.InputError:
  """What to say where no example has a score."""
  config = run.config
  texts = shards.read_records(run.workdir, 0, ["record"]).column("record")
  found = numeric.paths(map(json.loads, texts.to_pylist()))
  if config.pool.score_files:
    found += joined_lib.paths(config.pool.score_files, reading.rules(config))
  return sought.refusal(name, path, found, config.pool.score_files)


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of reading every record's numbers, on the host; assumed."""
  return costs.Cost(_SECONDS_EACH * run.sample.examples)


SIGNAL = example_signal.Signal(
  name=NAME,
  made_from=_made_from,
  compute=_compute,
  cost=_cost,
  reads=("row", "record"),
  width=None,
  about=_about,
)


def noted(workdir: epath.PathLike) -> list[dict[str, Any]]:
  """What is noted of each score that a run has read, in their order.

  Returns:
    name, hash (of the values), known (how many examples have one), low, median
    and high; [] where a run has read none.

  >>> noted("no/such/folder")
  []
  """
  record = stage_record.read_record(
    epath.Path(workdir) / folders.SIGNALS / NAME
  )
  return record["scores"] if record.get("done") else []


def hashes(workdir: epath.PathLike, names: Iterable[str]) -> dict[str, str]:
  """What some scores are, for the inputs of a stage that reads them.

  Raises:
    errors.InputError: a name that no score has.
  """
  known = {one["name"]: one["hash"] for one in noted(workdir)}
  return {name: known[name] for name in _checked(names, known)}


def read(
  workdir: epath.PathLike, names: Sequence[str], row: Int[np.ndarray, " k"]
) -> dict[str, Float[np.ndarray, " k"]]:
  """Some scores of some rows of the pool; NaN where an example has none.

  Raises:
    errors.InputError: a name that no score has.
  """
  if not names:
    return {}
  known = [one["name"] for one in noted(workdir)]
  names = _checked(names, known)
  values = example_signal.read(epath.Path(workdir), NAME, row)
  return {name: values[:, known.index(name)] for name in names}


def table(
  workdir: epath.PathLike, row: Int[np.ndarray, " k"]
) -> Shaped[np.ndarray, " k"]:
  """All scores of some rows of the pool: a structured array, by their names.

  float32; NaN where an example has no such score.
  """
  kind = [(one["name"], np.float32) for one in noted(workdir)]
  values = example_signal.read(epath.Path(workdir), NAME, row)
  return np.ascontiguousarray(values).view(kind)[:, 0]


def _checked(names: Iterable[str], known: Iterable[str]) -> list[str]:
  names, known = list(names), list(known)
  for name in names:
    if name not in known:
      raise errors.InputError(
        f"{names_lib.FIELD}: {name!r} is no score of this run; allowed: "
        f"{', '.join(known) or 'none was read'}. Name it there, or give a "
        f"file that has it in {joined_lib.FIELD}."
        f"{errors.did_you_mean(name, known)}"
      )
  return names
