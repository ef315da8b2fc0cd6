"""Training goes on where it was killed, and is the same on more devices."""

import jax
import numpy as np
import pytest

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.run import interrupts
from ila_jax.score.sae import fit, train
from ila_jax.training import checkpoint

_RECIPE = train.Recipe(
  **{"width": 8, "latents": 32, "k": 3, "k_auxiliary": 4, "seed": 0},
  **{"learning_rate": 3e-3, "warmup_fraction": 0.1, "steps": 20},
  **{"batch_tokens": 16, "dead_tokens": 256},
)
_SIZES = (40, 25, 30)


def _load(chunk):
  rng = np.random.default_rng(chunk)
  x = rng.laplace(size=(_SIZES[chunk], 8)) @ rng.normal(size=(8, 8))
  return (5 * x + 3).astype(np.float32)


def _fit(folder, *, devices=8, load=_load, recipe=_RECIPE):
  mesh = mesh_lib.make(devices=jax.devices()[:devices])
  with checkpoint.Checkpoints(folder, fingerprint="mine") as checkpoints:
    return fit.fit(
      recipe,
      load,
      len(_SIZES),
      epochs=3,
      mesh=mesh,
      checkpoints=checkpoints,
      due=checkpoint.Due(steps=1, minutes=10),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  return _fit(tmp_path_factory.mktemp("whole"))


def test_a_killed_training_goes_on_to_the_bit(whole, tmp_path):
  read = []

  def dies(chunk):
    read.append(chunk)
    if len(read) == 5:
      raise KeyboardInterrupt
    return _load(chunk)

  with pytest.raises(KeyboardInterrupt):
    _fit(tmp_path, load=dies)
  begun = []

  def counts(chunk):
    begun.append(chunk)
    return _load(chunk)

  resumed = _fit(tmp_path, load=counts)
  assert len(begun) == 9 - 4  # Visits that were saved are not made again.
  assert resumed.history == whole.history
  jax.tree.map(np.testing.assert_array_equal, resumed.weights, whole.weights)


def test_a_training_that_is_told_to_stop_is_saved(tmp_path, monkeypatch):
  asked = iter([False, True])
  monkeypatch.setattr(interrupts, "is_requested", lambda: next(asked))
  with pytest.raises(interrupts.Stopped) as stopped:
    _fit(tmp_path)
  assert stopped.value.kept == "the autoencoder is saved after 2 of 9 chunks"


def test_one_device_trains_as_eight_do_but_for_rounding(whole, tmp_path):
  alone = _fit(tmp_path, devices=1)
  for one, other in zip(alone.weights, whole.weights, strict=True):
    size = max(np.abs(other).max(), 1e-3)
    np.testing.assert_allclose(one, other, atol=1e-3 * size)


def test_states_that_are_equal_are_refused(tmp_path):
  with pytest.raises(errors.InputError, match=r"config\.sae\.layer"):
    _fit(tmp_path, load=lambda chunk: np.ones((20, 8), np.float32))


def test_a_loss_that_is_not_finite_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match=r"config\.sae\.learning_rate"):
    _fit(
      tmp_path,
      load=lambda chunk: _load(chunk) * np.float32(1e30) ** (chunk == 1),
    )
