"""Autoencoders of others, in their own words; what is refused."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from ila_jax import errors
from ila_jax.score.sae import autoencoder, published
from ila_jax.sections import sae as sae_lib

_RNG = np.random.default_rng(0)
_X = _RNG.normal(size=(5, 6)).astype(np.float32)
_BIG = {
  "W_enc": (6, 16),
  "b_enc": (16,),
  "W_dec": (16, 6),
  "b_dec": (6,),
  "threshold": (16,),
}
_HELD = {n: _RNG.normal(size=s).astype(np.float32) for n, s in _BIG.items()}
_HELD["threshold"] = np.abs(_HELD["threshold"])


def _write(folder, about, tensors, name):
  folder.mkdir(exist_ok=True)
  if about is not None:
    (folder / "cfg.json").write_text(json.dumps(about))
  if name.endswith(".npz"):
    np.savez(folder / name, **tensors)
  else:
    safetensors.numpy.save_file(
      {n: np.ascontiguousarray(t) for n, t in tensors.items()}, folder / name
    )
  return folder


def _lens(folder, held=None, **about):
  held = dict(_HELD if held is None else held)
  if about.get("architecture") != "jumprelu":
    held.pop("threshold", None)
  return _write(folder, about, held, "sae_weights.safetensors")


def _sparsify(folder, **about):
  tensors = {
    "encoder.weight": _HELD["W_enc"].T,
    "encoder.bias": _HELD["b_enc"],
    "W_dec": _HELD["W_dec"],
    "b_dec": _HELD["b_dec"],
  }
  return _write(folder, {"k": 3, **about}, tensors, "sae.safetensors")


def _z(*, subtracts, k=None, jump=False):
  """Values of latents, as the libraries that write these files make them."""
  x = _X - _HELD["b_dec"] if subtracts else _X
  z = x @ _HELD["W_enc"] + _HELD["b_enc"]
  if jump:
    return z * (z > _HELD["threshold"])
  z = np.maximum(z, 0)
  if k:
    z[z < np.sort(z, axis=1)[:, [-k]]] = 0
  return z


_CASES = {
  "sparsify": (
    _sparsify,
    {"activation": "topk"},
    _z(subtracts=True, k=3),
    "sparsify",
  ),
  "SAELens, ReLU": (
    _lens,
    {"architecture": "standard", "apply_b_dec_to_input": True},
    _z(subtracts=True),
    "SAELens",
  ),
  "SAELens, TopK": (
    _lens,
    {"architecture": "topk", "k": 4, "apply_b_dec_to_input": False},
    _z(subtracts=False, k=4),
    "SAELens",
  ),
  "SAELens, older TopK": (
    _lens,
    {
      "architecture": "standard",
      "activation_fn_str": "topk",
      "activation_fn_kwargs": {"k": 4},
    },
    _z(subtracts=True, k=4),
    "SAELens",
  ),
  "SAELens, JumpReLU": (
    _lens,
    {"architecture": "jumprelu", "apply_b_dec_to_input": False},
    _z(subtracts=False, jump=True),
    "SAELens",
  ),
  "Gemma Scope": (
    lambda folder: _write(folder, None, _HELD, "params.npz"),
    {},
    _z(subtracts=False, jump=True),
    "Gemma Scope",
  ),
}


@pytest.mark.parametrize("name", _CASES)
def test_latents_are_those_of_whoever_wrote_them(name, tmp_path):
  write, about, wanted, layout = _CASES[name]
  folder = write(tmp_path / "sae", **about)
  found = published.read(folder, width=6)
  assert found.layout == layout
  weights = jax.tree.map(jnp.array, found.weights)
  z = autoencoder.active(weights, jnp.array(_X), found.k)
  np.testing.assert_allclose(z, wanted, atol=1e-5)
  made = autoencoder.decode(weights, z)
  back = wanted @ _HELD["W_dec"] + _HELD["b_dec"]
  np.testing.assert_allclose(made, back, atol=1e-4)
  assert published.latents(sae_lib.Sae(path=str(folder))) == 16


def test_halves_are_read(tmp_path):
  held = {n: t.astype(ml_dtypes.bfloat16) for n, t in _HELD.items()}
  found = published.read(_lens(tmp_path / "sae", held), width=6)
  assert found.weights.decoder.dtype == np.float32
  wanted = held["W_dec"].astype(np.float32)
  np.testing.assert_array_equal(found.weights.decoder, wanted)


_REFUSED = {
  "no file": (lambda f: _write(f, {}, {}, "other.safetensors"), "holds none"),
  "gated": (lambda f: _lens(f, architecture="gated"), "architecture 'gated'"),
  "scaled": (
    lambda f: _lens(f, normalize_activations="layer_norm"),
    "normalize_activations 'layer_norm'",
  ),
  "transcoder": (lambda f: _sparsify(f, transcode=True), "is a transcoder"),
  "other activation": (
    lambda f: _sparsify(f, activation="groupmax"),
    "activation 'groupmax'",
  ),
  "no k": (lambda f: _sparsify(f, k=None), "has k null"),
  "no tensor": (
    lambda f: _lens(f, {n: _HELD[n] for n in ("W_enc", "b_enc", "W_dec")}),
    "has no tensor 'b_dec'",
  ),
  "a shape": (
    lambda f: _lens(f, _HELD | {"b_enc": np.zeros(8, np.float32)}),
    r"encoder_bias has shape \(8,\)",
  ),
  "not finite": (
    lambda f: _lens(f, _HELD | {"b_dec": np.full(6, np.nan, np.float32)}),
    "not finite",
  ),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_cannot_be_used_is_refused(name, tmp_path):
  write, said = _REFUSED[name]
  with pytest.raises(errors.InputError, match=said) as told:
    published.read(write(tmp_path / "sae"), width=6)
  assert "config.sae.path" in str(told.value)


def test_one_of_another_width_is_refused(tmp_path):
  folder = _sparsify(tmp_path / "sae")
  with pytest.raises(errors.InputError, match=r"width 6, and .* have width 8"):
    published.read(folder, width=8)


def test_a_file_that_is_cut_is_told(tmp_path):
  path = _sparsify(tmp_path / "sae") / "sae.safetensors"
  path.write_bytes(path.read_bytes()[:99])
  with pytest.raises(errors.InputError, match="cut short"):
    published.read(path.parent, width=6)
