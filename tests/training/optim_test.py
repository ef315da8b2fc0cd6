"""AdamW against torch, the schedule against its formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ila_jax.training import optim


def _tree(rng: np.random.Generator) -> dict:
  return {
    "layers": {
      "kernel": rng.normal(size=(4, 3)).astype(np.float32),
      "input_norm": rng.normal(size=(2, 3)).astype(np.float32),
    },
    "head": {
      "weight": rng.normal(size=(5, 3)).astype(np.float32),
      "bias": rng.normal(size=5).astype(np.float32),
    },
  }


@pytest.mark.parametrize("clip_norm", [0.5, 1e6])
def test_ten_updates_equal_torch(clip_norm):
  torch = pytest.importorskip("torch")
  torch.set_num_threads(1)  # tiny products: threads only wait for each other
  rng = np.random.default_rng(0)
  params = jax.tree.map(jnp.asarray, _tree(rng))
  optimizer = optim.adamw(
    weight_decay=0.3, clip_norm=clip_norm, b1=0.8, b2=0.95, eps=1e-6
  )
  state = optimizer.init(params)
  twins = jax.tree.map(lambda p: torch.tensor(np.array(p)), params)
  decayed = jax.tree.leaves(optim.decayed(params))
  leaves = [twin.requires_grad_() for twin in jax.tree.leaves(twins)]
  rival = torch.optim.AdamW(
    [
      {"params": [p for p, d in zip(leaves, decayed, strict=True) if d]},
      {
        "params": [p for p, d in zip(leaves, decayed, strict=True) if not d],
        "weight_decay": 0.0,
      },
    ],
    betas=(0.8, 0.95),
    eps=1e-6,
    weight_decay=0.3,
  )
  for step in range(10):
    rate = 0.1 / (step + 1)
    grads = _tree(rng)
    updates, state = optimizer.update(
      jax.tree.map(jnp.asarray, grads), state, params, learning_rate=rate
    )
    params = optax.apply_updates(params, updates)
    for leaf, grad in zip(leaves, jax.tree.leaves(grads), strict=True):
      leaf.grad = torch.tensor(grad)
    torch.nn.utils.clip_grad_norm_(leaves, clip_norm)
    for group in rival.param_groups:
      group["lr"] = rate
    rival.step()
  for ours, theirs in zip(jax.tree.leaves(params), leaves, strict=True):
    np.testing.assert_allclose(ours, theirs.detach(), rtol=2e-5, atol=2e-6)


def test_norms_and_biases_are_not_decayed():
  assert optim.decayed(_tree(np.random.default_rng(0))) == {
    "layers": {"kernel": True, "input_norm": False},
    "head": {"weight": True, "bias": False},
  }


@pytest.mark.parametrize(
  ("warmup_fraction", "total"),
  [(0.0, 1), (0.0, 7), (0.1, 20), (0.25, 9), (1.0, 5), (1.0, 1)],
)
def test_cosine_is_its_formula(warmup_fraction, total):
  warmup = min(round(warmup_fraction * total), total - 1)
  wanted = [
    3e-4 * (s + 1) / (warmup + 1)
    if s <= warmup
    else 3e-4 * (1 + math.cos(math.pi * (s - warmup) / (total - warmup))) / 2
    for s in range(total)
  ]
  rate = optim.cosine(
    learning_rate=3e-4, warmup_fraction=warmup_fraction, total_steps=total
  )
  found = np.asarray(rate(np.arange(total)))
  np.testing.assert_allclose(found, wanted, rtol=1e-4)
  assert (found > 0).all()
  np.testing.assert_allclose(found.max(), 3e-4, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(optim.SCHEDULES))
def test_schedules_fall_as_those_of_transformers(name):
  pytest.importorskip("torch")
  import torch
  import transformers

  warmup, total = 5, 20
  schedule = transformers.get_scheduler(
    {"constant": "constant_with_warmup"}.get(name, name),
    torch.optim.SGD([torch.zeros(1)], lr=3e-4),
    num_warmup_steps=warmup,
    num_training_steps=total,
  )
  (theirs,) = schedule.lr_lambdas
  rate = optim.SCHEDULES[name](
    learning_rate=3e-4, warmup_fraction=warmup / total, total_steps=total
  )
  ours = np.asarray(rate(np.arange(total)))
  wanted = [3e-4 * theirs(step) for step in range(total)]
  np.testing.assert_allclose(ours[warmup:], wanted[warmup:], rtol=1e-4)
  # Theirs begins with a step of rate zero; ours is never zero.
  rise = 3e-4 * (np.arange(warmup) + 1) / (warmup + 1)
  np.testing.assert_allclose(ours[:warmup], rise, rtol=1e-5)
  assert ours.max() == np.float32(3e-4) and ours.min() > 0


@pytest.mark.parametrize("name", sorted(optim.SCHEDULES))
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_schedules_of_few_steps_have_no_rate_of_zero(name, fraction):
  for total in (1, 2, 3):
    rate = optim.SCHEDULES[name](
      learning_rate=1.0, warmup_fraction=fraction, total_steps=total
    )
    found = np.asarray(rate(np.arange(total)))
    assert (found > 0).all() and found.max() == 1.0


def test_equal_arguments_give_the_same_optimizer():
  assert optim.adamw(clip_norm=0.7) is optim.adamw(clip_norm=0.7)
  assert optim.adamw(clip_norm=0.7) is not optim.adamw(clip_norm=0.8)
