"""Loss, gradients and a step against plain torch; a dictionary is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ila_jax.score.sae import autoencoder, loss, train

_RECIPE = train.Recipe(
  **{"width": 12, "latents": 40, "k": 3, "k_auxiliary": 5, "seed": 0},
  **{"learning_rate": 1e-2, "warmup_fraction": 0.5, "steps": 20},
  **{"batch_tokens": 64, "dead_tokens": 64},
)
_NAMES = "encoder", "encoder_bias", "decoder", "bias"


def _weights():
  """Random weights, whose encoder is no longer the decoder's transpose."""
  rng = np.random.default_rng(0)
  weights = autoencoder.init(jax.random.key(1), width=12, latents=40)
  return weights._replace(
    encoder=weights.encoder + 0.1 * rng.normal(size=(12, 40)),
    encoder_bias=jnp.array(0.1 * rng.normal(size=40), jnp.float32),
    bias=jnp.array(rng.normal(size=12), jnp.float32),
  )


def _batch(seed=2):
  rng = np.random.default_rng(seed)
  return (2 * rng.normal(size=(64, 12)) + 1).astype(np.float32)


def _torch_loss(p, x, dead):
  """The published loss, written down once more."""
  z = torch.relu((x - p["bias"]) @ p["encoder"] + p["encoder_bias"])

  def keep(z, k):
    value, place = z.topk(k, dim=1)
    return torch.zeros_like(z).scatter(1, place, value)

  left = x - keep(z, 3) @ p["decoder"] - p["bias"]
  variance = ((x - x.mean(0)) ** 2).sum()
  some = keep(torch.where(dead, z, torch.zeros(())), 5) @ p["decoder"]
  auxiliary = ((left.detach() - some) ** 2).sum() / variance
  main = (left**2).sum() / variance
  if not dead.any():
    auxiliary = torch.zeros(())
  return main, auxiliary, main + auxiliary / 32


def _as_torch(weights):
  return {
    n: torch.tensor(np.asarray(getattr(weights, n)), requires_grad=True)
    for n in _NAMES
  }


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_loss_and_gradients_are_those_of_torch(share):
  weights, x = _weights(), _batch()
  dead = np.arange(40) < share * 40
  slope = jax.value_and_grad(loss.loss, has_aux=True)
  (total, parts), ours = slope(
    weights, jnp.array(x), jnp.array(dead), k=3, k_auxiliary=5
  )
  theirs = _as_torch(weights)
  main, auxiliary, wanted = _torch_loss(
    theirs, torch.tensor(x), torch.tensor(dead)
  )
  wanted.backward()
  assert float(parts.unexplained) == pytest.approx(main.item(), rel=1e-5)
  assert float(parts.auxiliary) == pytest.approx(auxiliary.item(), rel=1e-5)
  assert float(total) == pytest.approx(wanted.item(), rel=1e-5)
  assert (share == 0) == (float(parts.auxiliary) == 0)
  for name in _NAMES:
    grad = theirs[name].grad.numpy()
    np.testing.assert_allclose(
      getattr(ours, name), grad, atol=1e-5 * np.abs(grad).max()
    )


def test_steps_are_those_of_torch():
  """Adam, the rates, the dead, and rows that keep their norm."""
  state = train.first_state(_RECIPE)._replace(weights=_weights())
  # What is given away must be copies.
  state = jax.tree.map(jnp.array, state)
  theirs, idle = _as_torch(state.weights), torch.zeros(40)
  adam = torch.optim.Adam([theirs[n] for n in _NAMES], lr=1.0, eps=6.25e-10)
  rates = [*(1e-3 + 9e-4 * np.arange(10)), *[1e-2] * 7, 7.5e-3, 5e-3]
  was_dead = []
  for place, rate in enumerate(rates):
    x = _batch(place)
    state, told = train.step(_RECIPE, state, jnp.array(x))
    dead = idle >= 64
    main, _, total = _torch_loss(theirs, torch.tensor(x), dead)
    adam.zero_grad()
    total.backward()
    rows = theirs["decoder"]
    rows.grad -= (rows.grad * rows.data).sum(1, keepdim=True) * rows.data
    adam.param_groups[0]["lr"] = rate
    adam.step()
    with torch.no_grad():
      rows /= rows.norm(dim=1, keepdim=True)
    assert float(told.unexplained) == pytest.approx(main.item(), rel=1e-3)
    assert float(told.dead) == pytest.approx(dead.float().mean().item())
    was_dead.append(float(told.dead))
    idle = torch.tensor(np.array(state.idle), dtype=torch.float32)
  assert 0 < max(was_dead) < 1
  for name in _NAMES:
    np.testing.assert_allclose(
      getattr(state.weights, name), theirs[name].detach(), atol=2e-4
    )
  norms = np.linalg.norm(state.weights.decoder, axis=1)
  np.testing.assert_allclose(norms, 1, atol=1e-5)


def test_a_planted_dictionary_is_found():
  """Of 24 directions in 16 dimensions, two at a time."""
  rng = np.random.default_rng(0)
  planted = rng.normal(size=(24, 16))
  planted /= np.linalg.norm(planted, axis=1, keepdims=True)
  recipe = train.Recipe(
    **{"width": 16, "latents": 48, "k": 2, "k_auxiliary": 16, "seed": 0},
    **{"learning_rate": 1e-2, "warmup_fraction": 0.05, "steps": 600},
    **{"batch_tokens": 256, "dead_tokens": 2048},
  )
  state = train.first_state(recipe)
  for _ in range(recipe.steps):
    which = rng.permuted(np.tile(np.arange(24), (256, 1)), axis=1)[:, :2]
    sizes = rng.uniform(1, 2, (256, 2, 1))
    x = (sizes * planted[which]).sum(axis=1).astype(np.float32)
    state, told = train.step(recipe, state, x)
  assert float(told.unexplained) < 0.05
  cosine = planted @ np.asarray(state.weights.decoder).T
  assert (cosine.max(axis=1) > 0.97).mean() >= 0.9
