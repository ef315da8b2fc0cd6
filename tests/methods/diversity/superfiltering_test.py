"""Superfiltering, by hand and by its two steps."""

import dataclasses

import numpy as np

from ila_jax.methods import candidates, table
from tests.support import reference_selection as reference

METHOD = table.METHODS["superfiltering"]


def _pool(n, seed, wanted=None):
  random = np.random.default_rng(seed)
  x = random.normal(size=(n, 12))
  x /= np.linalg.norm(x, axis=1, keepdims=True)
  pool = reference.pool(n, seed) | {"candidate": random.random(n) < 0.9}
  c = candidates.candidates(**pool | {"depth": np.zeros(n)}, seed=seed)
  inputs = {
    "embeddings": np.float32(x),
    "nll_base": np.float32(random.integers(5, 30, n)),
    "answers_alone": np.float32(random.integers(1, 9, (n, 4)) * [9, 1, 9, 1]),
  }
  return dataclasses.replace(c, inputs=inputs, wanted=wanted)


def test_by_hand():
  """The middle of the three that are kept represents them best."""
  # Of the fourth the prompt is no help; the fifth has the lowest IFD.
  angle = np.radians([0, 40, 60, 50, 20])
  x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  pool = reference.pool(5, 0) | {"ids": np.arange(5, dtype=np.uint64)}
  pool |= {"candidate": np.ones(5, bool), "depth": np.zeros(5)}
  c = candidates.candidates(**pool | {"n_tokens": np.full(5, 2)}, seed=0)
  # Of two tokens, of which the second alone is predicted without the prompt.
  alone = np.float32([[loss, 1, loss, 1] for loss in (4.5, 4.5, 4.5, 5, 4.5)])
  inputs = {
    "embeddings": np.float32(x),
    "nll_base": np.float32([8, 8, 8, 10, 2]),
    "answers_alone": alone,
  }
  got = METHOD(dataclasses.replace(c, inputs=inputs), share=0.6)
  assert got.order.tolist() == [1, 0, 2]
  assert got.rest == (
    "Superfiltering chooses from 3: those with the highest IFD below 1, at most"
    " 0.6 of the candidates (config.select.options.superfiltering.share)."
  )


def test_it_is_facility_location_among_the_highest_ifd():
  for seed in range(5):
    c = _pool(80, seed, wanted=10)
    total, predicted = c.inputs["answers_alone"].T[:2]
    ratio = np.exp(c.inputs["nll_base"] / c.n_tokens - total / predicted)
    most = int(np.ceil(0.3 * c.candidate.sum()))
    walk = sorted(
      np.flatnonzero(c.candidate & (ratio < 1)),
      key=lambda row: (-ratio[row].astype(np.float32), c.ids[row]),
    )[:most]
    among = np.isin(np.arange(80), walk)
    only = dataclasses.replace(c, candidate=among)
    want = table.METHODS["facility_location"](only, similarity="euclidean")
    got = METHOD(c, share=0.3)
    assert got.order.tolist() == want.order.tolist()
    assert len(got.order) == 10


def test_its_ifd_is_that_of_the_variant_of_its_name():
  """With all kept for facility location, the same are left out."""
  c = _pool(60, 3)
  by_ifd = table.METHODS["ifd"](c, variant="superfiltering").order
  assert {*METHOD(c, share=1.0).order} == {*by_ifd}
  for count in (1, 5, 20):
    share = float((count - 0.5) / c.candidate.sum())
    assert {*METHOD(c, share=share).order} == {*by_ifd[:count]}


def test_what_has_no_ifd_is_left_out():
  c = _pool(40, 1)
  base = c.inputs["nll_base"].copy()
  base[:20] = np.inf
  base[20:25] = np.nan
  c = dataclasses.replace(c, inputs={**c.inputs, "nll_base": base})
  order = METHOD(c, share=1.0).order
  assert len(order) and order.min() >= 25
