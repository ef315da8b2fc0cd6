"""The map of another run that new records join: its cells are kept.

A run takes a copy of what it joins, and needs the other run's folder no more.
"""

import dataclasses
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float, Int

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.landscape import centers as centers_lib
from ila_jax.landscape import grid
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import variants
from ila_jax.pool import revisions, shards
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import files as files_lib

# Files of a fitted map, in the folder of the stage.
_FITTED = tuple(
  f"{tables.FITTED_FOLDER}/{one.file()}"
  for one in (tables.FITTED, tables.FITTED_ARRAYS)
)


def inputs(run: context.Run) -> dict[str, Any]:
  """A fingerprint of the map that is joined; {} if none is.

  Raises:
    errors.InputError: the map is not there, and was not copied before.
  """
  config, workdir = run.config, run.workdir
  if config.landscape.map is None:
    return {}
  about = _find(config, workdir)
  files = [about, about.parent / tables.CENTERS.file()]
  content = [path.read_bytes().hex() for path in files if path.exists()]
  parts = [revisions.of_path(about.parent / tables.FITTED_FOLDER), *content]
  return {"joined": stage_record.fingerprint(parts)}


def check(
  config: config_lib.Config, workdir: epath.Path, *, copied: bool = True
) -> None:
  """Checks that a run can join its map, as far as embeddings are not needed.

  Args:
    config: of the run.
    workdir: of the run.
    copied: whether a copy that the run has taken before counts.

  Raises:
    errors.InputError: no map there, or cells that it does not have are wanted.
  """
  if config.landscape.map is not None:
    _check(config, _find(config, workdir if copied else None))


def take(run: context.Run, *, width: int) -> dict[str, Any] | None:
  """Copies the map that is joined, once, and tells what it says of itself.

  Args:
    run: that joins it.
    width: of its embeddings.

  Returns:
    The other run's `map.json`; None if none is joined.

  Raises:
    errors.InputError: as `check`, or the map is of embeddings of another width.
  """
  config, workdir = run.config, run.workdir
  if config.landscape.map is None:
    return None
  joined = tables.JOINED.path(workdir)
  if not _is_copied(workdir):
    about = _find(config, workdir)
    facts = _check(config, about, width)
    progress.say(
      f"  joining the {facts['projection']} map of {config.landscape.map}; "
      "config.landscape.projection and what else a fit is told do not count"
    )
    names = list(_FITTED)
    if facts["grid"] is None:
      names.append(tables.CENTERS.file())
    for name in names:
      content = files_lib.read_bytes(about.parent / name)
      files_lib.write_bytes(joined.parent / name, content)
    # This file comes last: where it is, the others are whole.
    files_lib.write_bytes(joined, files_lib.read_bytes(about))
    mesh.barrier("map copied")
  return files_lib.read_json(joined)


def _is_copied(workdir: epath.Path) -> bool:
  """Whether the map that is joined has been copied whole."""
  copied = (tables.JOINED, tables.FITTED, tables.FITTED_ARRAYS)
  if not all(shards.done([one.path(workdir) for one in copied])):
    return False
  about = files_lib.read_json(tables.JOINED.path(workdir))
  by_grid = about["grid"] is not None
  return by_grid or all(shards.done([tables.CENTERS.path(workdir)]))


def as_joined(run: context.Run) -> config_lib.Config:
  """The config of a run that would fit the map that this one has joined."""
  config, workdir = run.config, run.workdir
  if config.landscape.map is None:
    return config
  return _fitting(config, files_lib.read_json(_find(config, workdir)))


def points(
  run: context.Run, x: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, "n m"], Int[np.ndarray, " n"]]:
  """Where new points lie on the map of a run, and in which of its cells.

  They are placed as the pool was, so that an example of the pool comes to its
  own place. Beyond the border of the map the nearest cell counts.

  Args:
    run: whose stage `landscape` is done.
    x: embeddings by the run's own encoder, float32.
  """
  workdir = run.workdir
  facts = files_lib.read_json(tables.MAP.path(workdir))
  fitted_map = projections.load(tables.FITTED.path(workdir).parent)
  rows = mesh.put_rows(x, run.mesh)
  xy = mesh.fetch(fitted_map.place(rows))[: len(x)]
  if facts["grid"] is None:
    centers = files_lib.read_array(tables.CENTERS.path(workdir))
    cell = mesh.fetch(centers_lib.assign(rows, centers).cell)[: len(x)]
    return xy, cell
  low, high = (np.array(facts[end], np.float32) for end in ("low", "high"))
  cell = grid.grid_cells(xy, grid=facts["grid"], low=low, high=high, clip=True)
  return xy, np.asarray(cell)


def _find(config: config_lib.Config, workdir: epath.Path | None) -> epath.Path:
  """The `map.json` of the map that is joined, or else the copy of it."""
  theirs = epath.Path(config.landscape.map) / tables.MAP.file()
  if theirs.exists():
    return theirs
  if workdir is not None:
    copied = tables.JOINED.path(workdir)
    if copied.exists():
      return copied
  raise errors.InputError(
    f"config.landscape.map is {config.landscape.map!r}, which has no "
    f"{theirs.name}; allowed: the folder `landscape` of a finished run, or "
    "None, to fit a map."
  )


def _check(
  config: config_lib.Config, about: epath.Path, width: int | None = None
) -> dict[str, Any]:
  """Reads the `map.json` that is joined, and checks that it suits the run."""
  projections.read_about(about.parent / tables.FITTED_FOLDER, width=width)
  facts = files_lib.read_json(about)
  kind = "kmeans" if facts["grid"] is None else "grid"
  same = {"cells": (kind,), "dimensions": (2, facts["dimensions"])}
  if kind == "grid":
    same["grid"] = ("auto", facts["grid"])
  else:
    same["clusters"] = (None, facts["num_cells"])
  for name, allowed in same.items():
    value = getattr(config.landscape, name)
    if value not in allowed:
      raise errors.InputError(
        f"config.landscape.{name} is {value!r}, and the map that "
        f"config.landscape.map joins has {allowed[-1]!r}; allowed: "
        f"{' or '.join(map(repr, dict.fromkeys(allowed)))}. New records join "
        "its cells."
      )
  variants.check_stability(_fitting(config, facts))
  return facts


def _fitting(
  config: config_lib.Config, facts: dict[str, Any]
) -> config_lib.Config:
  """The config of a run that would fit the map of this `map.json`."""
  own = config.landscape
  own = dataclasses.replace(
    own,
    map=None,
    projection=facts["projection"],
    dimensions=facts["dimensions"],
    perplexity=facts["notes"].get("perplexity", own.perplexity),
    grid=own.grid if facts["grid"] is None else facts["grid"],
    clusters=facts["num_cells"] if facts["grid"] is None else None,
  )
  return dataclasses.replace(config, landscape=own)
