"""Trials: what they measure is scaled to the whole, by hand."""

import jax
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import trials
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import layouts, token_set
from ila_jax.training import recipe as recipe_lib
from tests.support import clock as clock_lib
from tests.support import planned


def _one_device():
  return jax.make_mesh((1, 1, 1), mesh_lib.AXES, devices=jax.devices()[:1])


def test_the_first_call_compiles(monkeypatch):
  clock = clock_lib.Clock(monkeypatch)
  seconds = iter([7.0, 2.0])
  found = trials.twice(lambda: clock.passes(next(seconds)))
  assert found == trials.Trial(seconds=2.0, compile_seconds=5.0)


def test_a_part_has_all_lengths_alike():
  lengths = np.random.default_rng(0).permutation(np.arange(1, 1001))
  rows = trials.part(lengths, tokens=50_050)
  assert len(np.unique(rows)) == len(rows) == 100
  assert lengths[rows].mean() == pytest.approx(lengths.mean(), rel=0.01)
  assert lengths[rows[0]] == 1000  # The widest batch is tried.
  assert len(trials.part(lengths, tokens=1e9)) == 1000


@pytest.mark.parametrize(("kind", "widths"), [("buckets", 2), ("pack", 1)])
def test_passes_are_scaled_by_cells_and_programs(kind, widths, monkeypatch):
  lengths = np.repeat(np.array([10, 100], np.int32), 200)
  layout = layouts.choose(lengths, batch_tokens=1000, kind=kind)
  assert len(layout.widths) == widths
  tried = []
  trial = trials.Trial(seconds=3.0, compile_seconds=4.0)
  monkeypatch.setattr(trials, "twice", lambda work: work() or trial)
  found = trials.passes(
    lambda layout, rows: tried.extend(rows),
    lengths,
    layout=layout,
    mesh=_one_device(),
    examples=4000,
    shard_examples=400,
    tokens=4400,
  )
  # A fifth of the sample was tried, and the pool is ten times the sample.
  assert len(tried) == 80
  here = layouts.plan(lengths[tried], layout)
  there = layouts.plan(lengths, layout)
  cells = [sum(b.cells for b in batches) for batches in (here, there)]
  assert found.seconds == pytest.approx(3.0 * 10 * cells[1] / cells[0])
  shapes = [len({(b.width, b.height) for b in bs}) for bs in (here, there)]
  assert found.compile_seconds == pytest.approx(4.0 * shapes[1] / shapes[0])


def test_a_step_a_start_and_a_compilation_are_told_apart(monkeypatch):
  clock = clock_lib.Clock(monkeypatch)
  starts = iter([9.0, 2.0])  # 7 s of compiling, once.

  def train(decoder, data, recipe, *, on_step, **_):
    clock.passes(next(starts))
    assert recipe.epochs is None and recipe.learning_rate < 1
    for _ in range(recipe.total_steps):
      clock.passes(3.0)
      on_step({})

  monkeypatch.setattr(trials.loop, "train", train)
  found = trials.training(
    planned.SMALL,
    token_set.TokenSet([], []),
    recipe_lib.Recipe(
      learning_rate=1e9, batch_tokens=8, width=8, seed=0, epochs=7
    ),
    mesh=_one_device(),
  )
  assert found == trials.Training(step=3.0, start=2.0, compile_seconds=7.0)


def test_a_model_of_zeros_lies_where_the_model_would():
  mesh = mesh_lib.make(fsdp=4, tensor=2)
  model = trials.zeros(planned.SMALL, mesh)
  leaves = jax.tree.leaves(jax.device_get(jax.tree.leaves(model)))
  assert sum(leaf.size for leaf in leaves) == decoder_lib.count_parameters(
    planned.SMALL
  )
  assert not any(leaf.any() for leaf in leaves)
