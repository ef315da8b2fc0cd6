"""Trials: what they measure is scaled to the whole, by hand."""

import time

import jax
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import trials
from ila_jax.landscape.maps import projections
from ila_jax.models import architecture
from ila_jax.passes import layouts, token_set
from ila_jax.run import progress

_SIZES = architecture.DecoderConfig(
  vocab=64, layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=32
)


class _Clock:
  """Stands still unless it is told that time passes."""

  def __init__(self, monkeypatch):
    self.now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: self.now)

  def passes(self, seconds):
    self.now += seconds


def _one_device():
  return jax.make_mesh((1, 1, 1), mesh_lib.AXES, devices=jax.devices()[:1])


def test_the_first_call_compiles(monkeypatch):
  clock = _Clock(monkeypatch)
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
  clock = _Clock(monkeypatch)
  starts = iter([9.0, 2.0])  # 7 s of compiling, once.

  def train(decoder, data, recipe, *, on_step, **_):
    clock.passes(next(starts))
    for _ in range(recipe.total_steps):
      clock.passes(3.0)
      on_step({})

  monkeypatch.setattr(trials.loop, "train", train)
  found = trials.training(
    _SIZES,
    token_set.TokenSet([], []),
    width=8,
    batch_tokens=8,
    mesh=_one_device(),
    lora=None,
  )
  assert found == trials.Training(step=3.0, start=2.0, compile_seconds=7.0)


def test_a_map_goes_on_as_it_ended(monkeypatch):
  clock, compiled = _Clock(monkeypatch), [0.0]
  monkeypatch.setattr(progress, "compile_seconds", lambda: compiled[0])

  class Found:
    arrays = ()

    def place(self, rows):
      clock.passes(4.0)

  def fit(x, *, options, **_):
    assert len(x) == 500 and options.iterations == 300
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)
    clock.passes(10.0)  # Neighbours.
    for done in range(50, 301, 50):
      compiled[0] += 2.0
      clock.passes(2.0 + done / 50)  # Steps get dearer as the map grows.
      options.on_progress(done, 1.0)
    return Found()

  monkeypatch.setattr(projections, "fit", fit)
  found = trials.mapping(
    fitted=500,
    placed=5000,
    width=6,
    name="tsne",
    options=projections.Options(iterations=1000, mesh=_one_device()),
  )
  # 10 + (1 + ... + 6), and 700 steps at 5 s for 50, the median of the last.
  assert found.seconds == pytest.approx(31 + 70 + 4.0 * 10)
  assert found.compile_seconds == pytest.approx(12.0)


def test_a_model_of_zeros_lies_where_the_model_would():
  mesh = mesh_lib.make(fsdp=4, tensor=2)
  from ila_jax.models import decoder as decoder_lib

  model = trials.zeros(_SIZES, mesh)
  leaves = jax.tree.leaves(jax.device_get(jax.tree.leaves(model)))
  assert sum(leaf.size for leaf in leaves) == decoder_lib.count_parameters(
    _SIZES
  )
  assert not any(leaf.any() for leaf in leaves)
