"""Which folders a `--redo` takes, and when another budget takes the map."""

import pytest
from etils import epath

from ila_jax import errors, redo
from ila_jax.run import stage_record, tables
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files
from tests.support import tiny

_AFTER = ("select", "finetune", "scaling")


def _config(budget=20.0, **more):
  fields = {"select__unit": "examples", "select__budget": budget}
  return tiny.config("pool.jsonl", **fields | more)


def _made(workdir, config, *names, begun=()):
  """A run whose map has the cells of a config, with stages made from it."""
  budget = {"budget": config.select.budget, "unit": config.select.unit}
  settings = config.section("landscape")
  if config.landscape.follows_budget:
    settings["select"] = budget
  for name in ("landscape", *names, *begun):
    inputs = {"config": settings} if name == "landscape" else {}
    stage = stage_record.Stage(workdir, name, inputs)
    stage.begin()
    if name not in begun:
      stage.finish()
  return epath.Path(workdir)


def _is_widened(config, workdir, name=None, stages=stages_lib.NAMES):
  return redo.has_cells_of_another_budget(config, workdir, stages, name)


def test_the_map_goes_unasked_where_nothing_else_is_lost(tmp_path):
  workdir = _made(tmp_path, _config(20.0), "select", "finetune")
  assert _is_widened(_config(30.0), workdir, "select")
  assert not _is_widened(_config(20.0), workdir, "select")
  assert not _is_widened(_config(30.0), workdir, "landscape")
  assert not _is_widened(_config(30.0), workdir, "select", stages=("select",))
  # What else has changed is refused by the stage.
  other = _config(30.0, landscape__projection="pca")
  assert not _is_widened(other, workdir, "select")


def test_nothing_is_made_of_the_map_yet(tmp_path):
  """A budget that was refused leaves `select` begun, and no more."""
  workdir = _made(tmp_path, _config(20.0), begun=["select"])
  assert _is_widened(_config(30.0), workdir)
  # A map that is joined has the cells of another run.
  joined = {"landscape__map": "old"}
  workdir = _made(tmp_path / "joined", _config(20.0, **joined))
  assert not _is_widened(_config(30.0, **joined), workdir)
  kmeans = {"landscape__cells": "kmeans"}
  workdir = _made(tmp_path / "kmeans", _config(20.0, **kmeans))
  assert _is_widened(_config(30.0, **kmeans), workdir)


@pytest.mark.parametrize(
  ("fields"),
  [
    {"landscape__grid": 5},
    {"landscape__cells": "kmeans", "landscape__clusters": 5},
  ],
)
def test_cells_that_do_not_follow_the_budget_stay(tmp_path, fields):
  workdir = _made(tmp_path, _config(20.0, **fields))
  assert not _is_widened(_config(30.0, **fields), workdir)


def test_scores_that_depth_is_made_of_do_not_hold_the_map(tmp_path):
  fields = {"landscape__depth": "score:q", "pool__fields__scores": "q"}
  workdir = _made(tmp_path, _config(20.0, **fields))
  record = stage_record.read_record(workdir / "landscape")
  record["inputs"]["config"]["scores"] = {"q": "0123"}
  files.write_json(tables.RECORD.path(workdir, stage="landscape"), record)
  assert _is_widened(_config(30.0, **fields), workdir)


@pytest.mark.parametrize(
  ("made", "begun", "name", "remedy"),
  [
    (
      ("select", "finetune"),
      (),
      None,
      "Add --redo=select, which makes map and",
    ),
    (("select",), ("finetune",), "finetune", "Add --redo=select,"),
    (
      ("select", "scaling"),
      (),
      "select",
      "Add --redo=landscape, which makes m",
    ),
    (
      ("select",),
      ("scaling",),
      "select",
      "and scaling anew and keeps embeddin",
    ),
  ],
)
def test_what_would_be_lost_is_asked_for(tmp_path, made, begun, name, remedy):
  workdir = _made(tmp_path, _config(20.0), *made, begun=begun)
  with pytest.raises(errors.InputError) as raised:
    _is_widened(_config(30.0), workdir, name)
  said = str(raised.value)
  assert remedy in said and "nothing was changed" in said
  assert "config.select.budget was 20 examples and is now 30 examples" in said


def test_gradients_go_with_the_warm_up_that_made_them():
  config = _config(select__target="target.jsonl", select__compare=("less",))
  assert redo.gone(config, "less_warmup") == {
    *("beside/less_warmup", "signals/gradients", "beside/target_gradients"),
    *("select", "finetune"),
  }
  assert redo.gone(config, "gradients") == {
    *("signals/gradients", "select", "finetune"),
  }
