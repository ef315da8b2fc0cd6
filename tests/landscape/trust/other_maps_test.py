"""Cells on maps of other seeds: those that a run of that seed would make."""

import numpy as np
import pytest
from etils import epath

from ila_jax import errors
from ila_jax.forecast import costs
from ila_jax.landscape import place
from ila_jax.landscape import stage as landscape_stage
from ila_jax.landscape.maps import trial
from ila_jax.landscape.trust import other_maps
from ila_jax.run import stage_record
from ila_jax.run.disk import files
from ila_jax.selection import inputs, needs
from tests.landscape.trust import write_test
from tests.support import planned, tiny

_ROWS = np.arange(write_test.N)


def _config(**changes):
  settings = {
    "landscape__projection": "random",
    "landscape__duplicate_cosine": None,
    "landscape__iterations": 60,
    "landscape__fit_examples": 150,
    "landscape__consensus_maps": 3,
    "select__strategy": "ila_consensus",
    "select__budget": write_test.BUDGET,
    "select__unit": "examples",
  }
  return tiny.config("pool.jsonl", **(settings | changes))


def _made(folder, config):
  """The cells of the run's own map, after stage `landscape`."""
  workdir = epath.Path(folder)
  write_test.write_pool(workdir)
  landscape_stage.run(tiny.run(config, workdir))
  cells = files.read_table(workdir / "landscape/cells.parquet", ["cell"])
  return workdir, cells["cell"]


@pytest.mark.parametrize(
  "changes",
  [
    {"landscape__projection": "random"},
    {"landscape__cells": "kmeans"},
    {"landscape__cells": "kmeans", "landscape__clusters": 7},
    {"landscape__grid": 5},
  ],
  ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_they_are_what_a_run_of_that_seed_has(tmp_path, changes):
  """Of another seed the map, the fitted examples and the centres change."""
  config = _config(**changes)
  workdir, own = _made(tmp_path / "run", config)
  other_maps.run(tiny.run(config, workdir))
  found = inputs.Inputs(workdir, _ROWS[::-1])["other_cells"][::-1]
  assert found.shape == (write_test.N, 2) and found.dtype == np.int32
  for number, seed in enumerate((config.seed + 1, config.seed + 2)):
    _, theirs = _made(tmp_path / str(seed), _config(seed=seed, **changes))
    np.testing.assert_array_equal(found[:, number], theirs)
    assert (theirs != own).any()


def test_a_killed_run_goes_on_with_the_next_map(tmp_path, monkeypatch):
  config = _config()
  workdir, _ = _made(tmp_path / "run", config)
  made, anew = [], place.anew

  def dies(run, **more):
    made.append(run.config.seed)
    if len(made) == 2:
      raise KeyboardInterrupt
    return anew(run, **more)

  monkeypatch.setattr(place, "anew", dies)
  with pytest.raises(KeyboardInterrupt):
    other_maps.run(tiny.run(config, workdir))
  with pytest.raises(errors.InputError):
    other_maps.read(workdir, _ROWS)
  other_maps.run(tiny.run(config, workdir))
  assert made == [config.seed + 1, config.seed + 2, config.seed + 2]
  other_maps.run(tiny.run(config, workdir))
  assert len(made) == 3
  assert other_maps.read(workdir, _ROWS).shape == (write_test.N, 2)


def test_more_maps_make_them_anew(tmp_path):
  config, more = _config(), _config(landscape__consensus_maps=4)
  workdir, _ = _made(tmp_path / "run", config)
  other_maps.run(tiny.run(config, workdir))
  before = stage_record.output(workdir / "beside", other_maps.NAME)
  two = other_maps.read(workdir, _ROWS)
  other_maps.run(tiny.run(more, workdir))
  three = other_maps.read(workdir, _ROWS)
  np.testing.assert_array_equal(three[:, :2], two)
  assert three.shape[1] == 3
  assert stage_record.output(workdir / "beside", other_maps.NAME) != before


def test_only_the_consensus_asks_for_them():
  assert needs.before(_config(), "select") == ["other_maps"]
  rival = _config(select__strategy="ila", select__compare=("ila_consensus",))
  assert needs.before(rival, "select") == ["other_maps"]
  assert needs.before(rival, "finetune") == []
  assert needs.before(_config(select__strategy="ila"), "select") == []


def test_it_costs_a_map_each(monkeypatch):
  run = planned.run(landscape__consensus_maps=4)
  one = costs.Cost(5.0, compile_seconds=2.0)
  monkeypatch.setattr(trial, "cost", lambda run: one)
  assert other_maps.cost(run) == one.times(3)
  clusters = planned.run(landscape__cells="kmeans")
  assert other_maps.cost(clusters).left_out
  known = planned.known(landscape__consensus_maps=4)
  assert other_maps.need(known).kept == 3 * 4 * 10_000 + costs.TABLE


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"landscape__projection": "pca"}, "'pca', and the method 'ila_consensus'"),
    ({"landscape__map": "other/landscape"}, "which a map that is joined does"),
    ({"select__cell_weight": "target"}, "does not weigh cells so; allowed wi"),
  ],
)
def test_maps_that_would_not_differ_are_refused(changes, message):
  with pytest.raises(errors.InputError, match=message):
    _config(**changes)
  if "select__cell_weight" not in changes:
    rival = {"select__strategy": "random", "finetune__compare": ("random",)}
    _config(**(changes | rival))
