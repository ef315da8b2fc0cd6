"""A selection in one call from Python: a pool in, the chosen records out."""

import contextlib
import dataclasses
import hashlib
import itertools
import math
import numbers
import os
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from etils import epath
from jaxtyping import Float, Int

from ila_jax import config_fields, config_parsing, errors, pipeline, presets
from ila_jax.pool import reading
from ila_jax.run import progress, tables
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files, paths, run_folder

_Path = str | os.PathLike[str]

# Of the usable examples at most so many are held out, or are the reference.
_SHARE = 10
# Fields that are dicts, and no sections.
_DICTS = {
  one.name for one in config_fields.every() if isinstance(one.default, dict)
}
_STAGES = ("pool", "embed", "score", "landscape", "select")


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
  """What was chosen, in rank order: any prefix is a selection on this map.

  Not with `tshirt`, which chooses others for a smaller budget. The cells of the
  map are made for the budget, unless `landscape.grid` is a number.

  Attributes:
    ids: 16 hex digits for each, by which an example is known in all tables.
    records: the records as they came in.
    scores: depth, as `landscape.depth` says. By default it is Equation 5: by
      how much the loss per response token falls when the base is tuned on a
      sample of the pool, times the labels.
    cells: number of the cell of the map in which each stands.
    workdir: the folder of the run, with all tables and `report/index.html`;
      None where none was given.
  """

  ids: tuple[str, ...]
  records: tuple[dict[str, Any], ...]
  scores: Float[np.ndarray, " k"]
  cells: Int[np.ndarray, " k"]
  workdir: epath.Path | None

  def __repr__(self) -> str:
    """A line, whatever the records hold."""
    return f"Selection({len(self.ids):,} records, workdir={self.workdir})"


def select(
  pool: _Path | Sequence[_Path] | Iterable[Mapping[str, Any]],
  *,
  model: str | os.PathLike[str] | None = None,
  encoder: str | os.PathLike[str] | None = None,
  budget: float | int | None = None,
  strategy: str | None = None,
  workdir: str | os.PathLike[str] | None = None,
  config: str | os.PathLike[str] | None = None,
  settings: Mapping[str, Any] | None = None,
) -> Selection:
  """Chooses instruction-tuning data: the stages `pool` to `select` in one call.

  Without `model` a small base is trained on the spot, which needs no download
  and is good for trying things. It says on stderr how far it is.

  Args:
    pool: a file, a folder, a URL or another source that `--config.pool.source`
      takes, or a list of such; or records, such as a list of dicts.
    model: folder or name of the base on the Hugging Face Hub, or "scratch". A
      model of your own needs an encoder, too.
    encoder: folder or name of the encoder, or "lsa" or "base".
    budget: a float up to 1 is a fraction of the candidates, 1.0 all of them; an
      int is a number of examples. None: that of the config, a tenth in
      "notebook" and 5,000 in "ila".
    strategy: "ila", or a rival such as "random".
    workdir: a folder that keeps the run, with a report; the same call again
      goes on there. Without it a temporary one is used, and removed.
    config: a preset or a config file, whose values count where no argument
      says otherwise. None: "notebook", or "ila" with a model of your own.
    settings: more fields by their names, such as {"landscape.cells": "kmeans"}.
      Unless they or a config file of yours tell how many, at most a tenth of
      the usable examples is held out, and at most a tenth is the reference.

  Raises:
    errors.InputError: a pool, a model or a value that cannot be used. Messages
      are those of the command line: for --config.NAME=VALUE put NAME and VALUE
      into `settings`, and for --redo give another `workdir`.

  >>> pool = [{"instruction": f"Add {i} and {j}.", "output": f"{i + j}."}
  ...         for i in range(12) for j in range(12)]
  >>> chosen = select(pool, budget=10)
  >>> len(chosen.ids), chosen.records[0] in pool, chosen.scores.shape
  (10, True, (10,))
  """
  settings = {
    str(name).removeprefix("config."): value
    for name, value in (settings or {}).items()
  }
  name = config or ("notebook" if model in (None, "scratch") else "ila")
  fields = presets.load(name)
  chosen: dict[str, Any] = {
    "model.path": model and os.fspath(model),
    "encoder.path": encoder and os.fspath(encoder),
    "select.strategy": strategy,
  }
  if budget is not None:
    chosen |= _budget(budget)
  chosen = {name: value for name, value in chosen.items() if value is not None}
  if config is None:
    chosen["pool.limit"] = None  # A preset's may be there for a first try.
  _set(fields, chosen | settings)
  with contextlib.ExitStack() as stack:
    if workdir is None:
      folder = stack.enter_context(_temporary())
    else:
      folder = paths.of_folder(
        os.fspath(workdir), name="workdir", schemes=("gs",)
      )
      folder = epath.Path(folder)
    fields.pool.source = _source(pool, folder)
    if name in presets.names():
      _fit_to_pool(fields, settings)
    stages = _STAGES if workdir is None else (*_STAGES, "report")
    pipeline.run(config_parsing.parse(fields), folder, stages=stages)
    command = _command(name, fields, folder)
    if workdir is not None and command:
      progress.say(f"the same in a shell: {command}")
    records = files.read_jsonl(tables.SELECTED.path(folder))
    ranking = files.read_head(tables.RANKING.path(folder), len(records))
  return Selection(
    ids=tuple(map(str, ranking["id"])),
    records=tuple(records),
    scores=ranking["depth"],
    cells=ranking["cell"],
    workdir=None if workdir is None else folder,
  )


@contextlib.contextmanager
def _temporary() -> Iterator[epath.Path]:
  """A folder of a run; who is then sent to its files hears how to keep it."""
  with tempfile.TemporaryDirectory(prefix="ila_jax-") as made:
    try:
      yield epath.Path(made) / "run"
    except errors.InputError as error:
      if made not in str(error):
        raise
      raise errors.InputError(
        f"{error} ({made} was temporary, and is gone: call `select` with "
        "workdir=FOLDER to keep it.)"
      ) from error


def _budget(budget: float | int) -> dict[str, Any]:
  """The fields of a budget: a whole number counts, a float up to 1 is a share.

  >>> _budget(1), _budget(1.0)["select.unit"]
  ({'select.budget': 1.0, 'select.unit': 'examples'}, 'fraction')
  """
  is_number = isinstance(budget, numbers.Real) and math.isfinite(budget)
  is_count = is_number and budget == int(budget)
  is_share = is_number and not isinstance(budget, numbers.Integral)
  is_share = is_share and budget <= 1
  if not (is_count or is_share):
    raise errors.InputError(
      f"budget is {budget!r}; allowed: a float up to 1, a fraction of the "
      "candidates, or a whole number of examples."
    )
  unit = "fraction" if is_share else "examples"
  return {"select.budget": float(budget), "select.unit": unit}


def _set(fields: ml_collections.ConfigDict, values: Mapping[str, Any]) -> None:
  for name, value in values.items():
    try:
      fields.update_from_flattened_dict({name: value})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
      is_there = not isinstance(error, AttributeError | KeyError)
      said = config_fields.remedy(name, is_there=is_there)
      raise errors.InputError(
        f"settings has {name!r}: {value!r}; {said} `ila --fields` lists all "
        "fields."
      ) from error


def _command(
  name: str | os.PathLike[str],
  fields: ml_collections.ConfigDict,
  workdir: epath.Path,
) -> str:
  """The command line of this run, for what a call from Python cannot ask.

  "": a config file alone can hold what differs, a field that is a dict.
  """
  preset = _leaves(presets.load(name).to_dict())
  changed = {
    field: value
    for field, value in _leaves(fields.to_dict()).items()
    if (field, value) not in preset.items()
  }
  if any(isinstance(value, Mapping) for value in changed.values()):
    return ""
  words = ["ila", f"--config={os.fspath(name)}", f"--workdir={workdir}"]
  words += [f"--config.{field}={value}" for field, value in changed.items()]
  return shlex.join(words)


def _leaves(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
  """The fields of a config by their dotted names, as flags have them.

  >>> _leaves({"select": {"unit": "tokens"}, "pool": {"overrides": {"a": {}}}})
  {'select.unit': 'tokens', 'pool.overrides': {'a': {}}}
  """
  found: dict[str, Any] = {}
  for name, value in tree.items():
    field = f"{before}{name}"
    if isinstance(value, Mapping) and field not in _DICTS:
      found |= _leaves(value, f"{field}.")
    else:
      found[field] = value
  return found


def _source(
  pool: _Path | Sequence[_Path] | Iterable[Mapping[str, Any]],
  workdir: epath.Path,
) -> str | tuple[str, ...]:
  """A pool as `pool.source` has it; records are written into the workdir."""
  if isinstance(pool, str | os.PathLike):
    return os.fspath(pool)
  is_list = isinstance(pool, list | tuple) and len(pool) > 0
  if is_list and all(isinstance(one, str | os.PathLike) for one in pool):
    return tuple(map(os.fspath, pool))
  if not isinstance(pool, Iterable):
    raise errors.InputError(
      f"pool is {pool!r}; allowed: a path or another source, or records, such "
      "as a list of dicts."
    )
  # Named by the content: those of another call stay as they are.
  lines = list(_lines(pool))
  name = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
  given = tables.GIVEN.path(workdir, name=name)
  with run_folder.claim(workdir, stages_lib.RECORDED):
    if not given.exists():
      files.write_lines(given, lines)
  return os.fspath(given)


def _lines(pool: Iterable[Mapping[str, Any]]) -> Iterator[str]:
  for number, record in enumerate(pool, 1):
    if not isinstance(record, Mapping):
      raise errors.InputError(
        f"record {number} of the pool is a {type(record).__name__}; allowed: a "
        "dict. For a pandas table, give df.to_dict('records')."
      )
    try:
      yield files.json_line(dict(record))
    except (TypeError, ValueError) as error:
      raise errors.InputError(
        f"record {number} of the pool has no JSON form ({error}); allowed: "
        "texts, finite numbers, true, false, null, and lists and dicts of such."
      ) from error


def _fit_to_pool(
  fields: ml_collections.ConfigDict, settings: Mapping[str, Any]
) -> None:
  """Holds out less, and makes the reference smaller, where the pool is small.

  No more records are read than it takes to know that the pool is large enough.
  """
  config = config_parsing.parse(fields)
  dev, reference = config.pool.dev_examples, config.score.reference_examples
  sets = len(config.score.reference_seeds)
  enough = _SHARE * max(dev, sets * reference)
  n = sum(1 for _ in itertools.islice(reading.examples(config), enough))
  if n == enough or n < _SHARE * sets:
    return  # The stage `pool` refuses what is too small.
  smaller = {
    "pool.dev_examples": min(dev, n // _SHARE),
    "score.reference_examples": min(reference, n // _SHARE // sets),
  }
  smaller = {k: v for k, v in smaller.items() if k not in settings}
  _set(fields, smaller)
  said = ", ".join(f"{name}={value}" for name, value in smaller.items())
  if said:
    progress.say(f"{n:,} usable examples: {said}")
