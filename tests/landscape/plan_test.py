"""What a map takes, scaled from a trial by hand, and what it writes."""

import jax
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import trials
from ila_jax.landscape import plan
from ila_jax.landscape.maps import projections, trial
from ila_jax.run import progress
from tests.support import clock as clock_lib
from tests.support import planned


def _one_device():
  return jax.make_mesh((1, 1, 1), mesh_lib.AXES, devices=jax.devices()[:1])


def test_a_map_goes_on_as_it_ended(monkeypatch):
  clock, compiled = clock_lib.Clock(monkeypatch), [0.0]
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
  found = trial.fit_and_place(
    fitted=500,
    placed=5000,
    width=6,
    name="tsne",
    options=projections.Options(iterations=1000, mesh=_one_device()),
  )
  # 10 + (1 + ... + 6), and 700 steps at 5 s for 50, the median of the last.
  assert found.seconds == pytest.approx(31 + 70 + 4.0 * 10)
  assert found.compile_seconds == pytest.approx(12.0)


def test_a_map_keeps_what_it_was_fitted_on():
  def kept(**fields):
    return plan.need(planned.known(encoder__path="base", **fields)).kept

  fitted = kept(landscape__fit_examples=5000)
  axes = kept(landscape__projection="pca")
  # Embeddings of 1,024 numbers, and places in the plane.
  assert fitted - axes == 5000 * 4 * 1026
  joined = kept(landscape__projection="pca", landscape__map="a/map")
  assert joined == kept()


@pytest.mark.parametrize(
  ("fields", "tried", "left_out"),
  [
    ({}, "tsne", ()),
    ({"projection": "pca", "dimensions": 3}, "pca", ()),
    (
      {"projection": "parametric", "cells": "kmeans"},
      "tsne",
      ("k-means cells", "the network of a parametric map"),
    ),
    ({"map": "a/map", "stability": ("grid",)}, None, ("landscape.stability",)),
  ],
)
def test_what_no_trial_tells_is_named(fields, tried, left_out, monkeypatch):
  asked = []

  def fits(*, fitted, placed, width, name, options):
    asked.append((fitted, placed, width, name, options.dimensions))
    return trials.Trial(seconds=4.0, compile_seconds=1.0)

  monkeypatch.setattr(trial, "fit_and_place", fits)
  run = planned.run(
    landscape__fit_examples=600,
    **{f"landscape__{name}": value for name, value in fields.items()},
  )
  cost = plan.cost(run)
  assert cost.left_out == left_out
  assert (cost.seconds, cost.compile_seconds) == (
    (11.2, 1.0) if tried else (6.2, 0.0)
  )
  dimensions = 3 if tried == "pca" else 2
  assert asked == ([(600, 1000, 16, tried, dimensions)] if tried else [])
