"""What the report says of scores of others, and of the autoencoder."""

from typing import Any

from etils import epath

from ila_jax.landscape import depth
from ila_jax.pool.scores import names
from ila_jax.run import stages, tables
from ila_jax.run.disk import files
from ila_jax.scaling import axes as axes_lib
from ila_jax.scaling import law
from ila_jax.score.signals import sae_features, scores

_Records = dict[str, dict[str, Any]]


def axes(
  workdir: epath.Path, runs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
  """How scores go with the dev loss of the subsets that were trained."""
  path = tables.SUBSETS.path(workdir)
  named = [one["name"] for one in scores.noted(workdir)]
  if not (named and path.exists()):  # Older versions did not write it.
    return []
  subsets = files.read_table(path, ["subset", "row"])
  held = scores.read(workdir, named, subsets["row"])
  return axes_lib.axes(runs, subsets["subset"], held, given=law.LAW)


def unread(pool: dict[str, Any], records: _Records) -> dict[str, Any]:
  """What was noted of a pool, without fields that have been read since.

  Args:
    pool: the record of the stage.
    records: of all stages and signals, by their folders.
  """
  record = records.get(f"{stages.SIGNALS}/{scores.NAME}", {})
  paths = record.get("inputs", {}).get("made_from", {}).get("names", {})
  read = names.roots(paths)
  left = {k: v for k, v in pool["unread"].items() if k not in read}
  return pool | {"unread": left}


def _config(records: _Records, stage: str, field: str) -> str:
  """What a stage was told by a field of the section of its name."""
  config = records.get(stage, {}).get("inputs", {}).get("config", {})
  return str(config.get(stage, {}).get(field, ""))


def is_depth(records: _Records) -> bool:
  """Whether depth is a score, so that no label counts in it.

  >>> config = {"config": {"landscape": {"depth": "score:quality"}}}
  >>> is_depth({"landscape": {"inputs": config}}), is_depth({})
  (True, False)
  """
  return bool(depth.score_name(_config(records, "landscape", "depth")))


def features(records: _Records) -> list[str]:
  """How good the sparse autoencoder of the run is, in a sentence."""
  noted = records.get(f"{stages.SIGNALS}/{sae_features.NAME}", {}).get("sae")
  if not noted:
    return []
  said = sae_features.sentence(noted)
  return [f"{said[0].upper()}{said[1:]}."]


def warnings(records: _Records) -> list[str]:
  """What scores have left out, or do not decide, in sentences."""
  noted = records.get(f"{stages.SIGNALS}/{sae_features.NAME}", {}).get("sae")
  said = [f"{one}." for one in sae_features.warnings(noted)] if noted else []
  lost = records.get("landscape", {}).get("without_depth")
  if lost:
    name = _config(records, "landscape", "depth")
    said.append(
      f"{lost:,} examples have no depth (config.landscape.depth is {name!r}): "
      "they are neither on the map nor candidates."
    )
  same = records.get("landscape", {}).get("same_depth")
  if same:
    said.append(f"{same}.")
  where = _config(records, "select", "where")
  if where:
    said.append(
      f"Only candidates for which {where} may be chosen (config.select.where)"
      f"{_counted(records['select'].get('where'))}."
    )
  few = records.get("select", {}).get("few_cells")
  return said + ([f"{few}."] if few else [])


def _counted(count: dict[str, int] | None) -> str:
  """How many a filter lets in; "" in runs of older versions."""
  if not count:
    return ""
  left_out = count["candidates"] - count["holds"]
  said = f": {count['holds']:,} of {count['candidates']:,}"
  said += f"; {left_out:,} {'is' if left_out == 1 else 'are'} left out"
  if count["open"]:
    said += f", {count['open']:,} of them for they lack a score"
  return said
