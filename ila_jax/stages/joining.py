"""The map of another run that new records join: its cells are kept."""

import dataclasses
from typing import Any

from etils import epath

from ila_jax import artifacts, errors, provenance
from ila_jax import config as config_lib

# What the map and its cells are: for the report, and for runs that join.
MAP = "map.json"
FITTED = "map"
CENTERS = "centers.npy"


def inputs(config: config_lib.Config) -> dict[str, Any]:
  """What tells whether the map that is joined is the same; {} of none."""
  if config.landscape.map is None:
    return {}
  folder = epath.Path(config.landscape.map)
  there = (folder / name for name in (MAP, CENTERS))
  files = [path.read_bytes().hex() for path in there if path.exists()]
  found = [provenance.signature(folder / FITTED), *files]
  return {"joined": provenance.fingerprint(found)}


def read(config: config_lib.Config) -> dict[str, Any] | None:
  """What the map that is joined says of itself; None if none is.

  Raises:
    errors.InputError: no map there, or cells that it does not have are wanted.
  """
  if config.landscape.map is None:
    return None
  path = epath.Path(config.landscape.map) / MAP
  if not path.exists():
    raise errors.InputError(
      f"config.landscape.map is {config.landscape.map!r}, which has no {MAP}; "
      "allowed: the folder `landscape` of a finished run, or None."
    )
  found = artifacts.read_json(path)
  kind = "kmeans" if found["grid"] is None else "grid"
  same = {
    "cells": (kind,),
    "grid": ("auto", found["grid"]),
    "clusters": (None, found["num_cells"]),
  }
  other = {"grid": "clusters", "kmeans": "grid"}[kind]
  for name, allowed in same.items():
    value = getattr(config.landscape, name)
    if name != other and value not in allowed:
      raise errors.InputError(
        f"config.landscape.{name} is {value!r}, and the map that "
        f"config.landscape.map joins has {allowed[-1]!r}; allowed: "
        f"{' or '.join(map(repr, allowed))}. New records join its cells."
      )
  return found


def as_joined(config: config_lib.Config) -> config_lib.Config:
  """The config of a run that would fit what this one joins."""
  found = read(config)
  if found is None:
    return config
  own = config.landscape
  own = dataclasses.replace(
    own,
    projection=found["projection"],
    dimensions=found["dimensions"],
    perplexity=found["notes"].get("perplexity", own.perplexity),
    grid=own.grid if found["grid"] is None else found["grid"],
    clusters=found["num_cells"] if found["grid"] is None else None,
  )
  return dataclasses.replace(config, landscape=own)
