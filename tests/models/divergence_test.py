"""Divergences of two heads against SciPy, in any chunks, on any devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import divergence


def _case(b=3, t=9, d=6, v=24):
  rng = np.random.default_rng(0)
  hidden = rng.normal(size=(2, b, t, d)).astype(np.float32) * 2
  heads = rng.normal(size=(2, v, d)).astype(np.float32)
  targets = rng.random((b, t)) < 0.6
  return tuple(hidden), tuple(heads), targets


def _jsd(hidden, heads, targets, **more):
  arrays = jax.tree.map(jnp.asarray, (hidden, heads, targets))
  return divergence.token_jsd(*arrays, **more)


def _scipy(hidden, heads, targets, softcap=None):
  """SciPy's distance, which is the root, at each place before a target."""
  distance = pytest.importorskip("scipy.spatial.distance")
  logits = [
    np.einsum("btd,vd->btv", x.astype(np.float64), head)
    for x, head in zip(hidden, heads, strict=True)
  ]
  if softcap:
    logits = [softcap * np.tanh(x / softcap) for x in logits]
  p, q = (np.exp(x - x.max(axis=-1, keepdims=True)) for x in logits)
  found = distance.jensenshannon(p, q, axis=-1) ** 2
  ahead = np.roll(found, 1, axis=1)
  ahead[:, 0] = 0
  return np.where(targets, ahead, 0)


@pytest.mark.parametrize(("chunk", "softcap"), [(4, None), (None, 1.5)])
def test_it_is_the_square_of_scipys_distance(chunk, softcap):
  case = _case()
  found = _jsd(*case, softcap=softcap, chunk_tokens=chunk)
  wanted = _scipy(*case, softcap=softcap)
  assert found.dtype == jnp.float32 and wanted.max() > 0.3
  np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-7)


def test_small_differences_keep_their_digits():
  (hidden, _), (head, _), targets = _case()
  near = hidden + np.float32(1e-3)
  found = _jsd((hidden, near), (head, head), targets)
  wanted = _scipy((hidden, near), (head, head), targets)
  assert 0 < wanted.max() < 1e-5
  np.testing.assert_allclose(found, wanted, atol=1e-7)
  other_way = _jsd((near, hidden), (head, head), targets)
  np.testing.assert_allclose(found, other_way, atol=1e-7)
  same = _jsd((hidden, hidden), (head, head), targets)
  assert not same.any()


def test_a_state_that_is_not_finite_is_told():
  """Also behind a soft cap, which would hide it."""
  hidden, heads, targets = _case(b=1)
  targets[:] = True
  hidden[1][0, 3] = np.inf
  found = _jsd(hidden, heads, targets, softcap=2.0)
  assert np.flatnonzero(~np.isfinite(found[0])).tolist() == [4]


def test_many_devices_equal_one():
  hidden, heads, targets = _case(b=8)
  targets[:2] = False  # Some devices have fewer chunks, or none.
  devices = jax.make_mesh(
    (2, 2, 2), mesh_lib.AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3
  )
  run = jax.jit(functools.partial(_jsd, chunk_tokens=2))
  with jax.set_mesh(devices):
    found = run(hidden, heads, targets)
  wanted = _scipy(hidden, heads, targets)
  np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-7)
