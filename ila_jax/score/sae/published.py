"""Autoencoders on disk: those that others published, and ours.

Read are three layouts: of sparsify (EleutherAI), in which ours are written; of
SAELens; and `params.npz` of Gemma Scope. All are turned into `Weights`.
"""

import contextlib
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  # Gives NumPy the type of bfloat16.
import numpy as np
import safetensors.numpy
from etils import epath

from ila_jax import errors
from ila_jax.models.folders import json_fields
from ila_jax.run.disk import files
from ila_jax.score.sae import autoencoder
from ila_jax.sections import sae as sae_lib

FIELD = "config.sae.path"
CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
# Beside ours: how good it is, and its threshold.
NOTES = "notes.json"
# Files of weights, by who writes them.
_SPARSIFY, _LENS, _SCOPE = WEIGHTS, "sae_weights.safetensors", "params.npz"
_ALLOWED = (
  f"a folder with {CONFIG} and {_SPARSIFY} (sparsify), with {CONFIG} and "
  f"{_LENS} (SAELens), or with {_SCOPE} (Gemma Scope)"
)
_ARCHITECTURES = ("standard", "topk", "jumprelu")
_REMEDY = f"Set --{FIELD} to another, or leave it out to train one on the pool."


class Published(NamedTuple):
  """An autoencoder that was read.

  Attributes:
    weights: NumPy arrays, float32.
    k: latents of a token; None: all that are above their gate.
    layout: whose layout it has, in words.
  """

  weights: autoencoder.Weights
  k: int | None
  layout: str


def save(
  folder: epath.PathLike, weights: autoencoder.Weights, *, k: int
) -> None:
  """Writes a TopK autoencoder as sparsify does; the weights come last.

  >>> import jax, tempfile
  >>> weights = autoencoder.init(jax.random.key(0), width=4, latents=16)
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   save(folder, weights, k=2)
  ...   found = read(folder, width=4)
  >>> found.k, bool((found.weights.decoder == weights.decoder).all())
  (2, True)
  """
  folder = epath.Path(folder)
  about = {
    "activation": "topk",
    "normalize_decoder": True,
    "num_latents": weights.latents,
    "k": k,
    "d_in": weights.width,
  }
  files.write_json(folder / CONFIG, about)
  tensors = {
    "encoder.weight": np.asarray(weights.encoder).T,
    "encoder.bias": weights.encoder_bias,
    "W_dec": weights.decoder,
    "b_dec": weights.bias,
  }
  held = {n: np.ascontiguousarray(t, np.float32) for n, t in tensors.items()}
  files.write_bytes(folder / WEIGHTS, safetensors.numpy.save(held))


def read(folder: epath.PathLike, *, width: int) -> Published:
  """Reads an autoencoder of hidden states of some width.

  Raises:
    errors.InputError: no layout that is known, a kind that is not, a tensor
      that is missing or of another shape, or another width.
  """
  with files.local(folder) as here:
    found = _found(pathlib.Path(here), folder)
  _check(found.weights, str(folder), width)
  return found


def latents(settings: sae_lib.Sae) -> int:
  """How many latents the autoencoder of config.sae has; reads no weights.

  Raises:
    errors.InputError: a published one that is in no layout that is known.
  """
  if settings.path is None:
    return settings.latents
  with files.local(settings.path) as here:
    path = pathlib.Path(here)
    held = [name for name in (_SPARSIFY, _LENS) if (path / name).is_file()]
    if not held:
      return _found(path, settings.path).weights.latents
    with _opened(path / held[0]) as opened:
      if "W_dec" not in opened.keys():  # noqa: SIM118
        raise _refusal(path, "has no tensor 'W_dec'", _ALLOWED)
      return opened.get_slice("W_dec").get_shape()[0]


def _found(path: pathlib.Path, folder: epath.PathLike) -> Published:
  for file, opens in (
    (_SPARSIFY, _sparsify),
    (_LENS, _lens),
    (_SCOPE, _scope),
  ):
    if (path / file).is_file():
      return opens(path)
  raise errors.InputError(
    f"{FIELD} is {str(folder)!r}, which holds none; allowed: {_ALLOWED}. "
    "Give the folder of one layer, which has these files in it."
  )


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
  try:
    with safetensors.safe_open(path, framework="numpy") as opened:
      yield opened
  except (OSError, safetensors.SafetensorError) as error:
    raise errors.InputError(
      f"{path} cannot be read as safetensors ({error}); it may be cut short. "
      "Fetch it again."
    ) from error


def _sparsify(path: pathlib.Path) -> Published:
  about = json_fields.read_json(path / CONFIG, dict)
  held = _tensors(path / _SPARSIFY)
  kind = about.get("activation", "topk")
  if kind != "topk" or about.get("transcode") or "W_skip" in held:
    what = "a transcoder" if kind == "topk" else f"of activation {kind!r}"
    raise _refusal(path, f"is {what}", "'topk', and no transcoder")
  encoder = _one(held, "encoder.weight", path).T
  weights = autoencoder.Weights(
    encoder,
    _one(held, "encoder.bias", path),
    _one(held, "W_dec", path),
    _one(held, "b_dec", path),
    np.zeros(encoder.shape[1], np.float32),
  )
  return Published(weights, _k(about.get("k"), path), "sparsify")


def _lens(path: pathlib.Path) -> Published:
  about = json_fields.read_json(path / CONFIG, dict)
  held = _tensors(path / _LENS)
  kind = about.get("architecture", "standard")
  relu = about.get("activation_fn_str", about.get("activation_fn", "relu"))
  if kind == "standard" and relu == "topk":
    kind = "topk"
  if kind not in _ARCHITECTURES:
    raise _refusal(
      path, f"has architecture {kind!r}", ", ".join(_ARCHITECTURES)
    )
  scaled = about.get("normalize_activations") or "none"
  if scaled != "none":
    raise _refusal(path, f"has normalize_activations {scaled!r}", "'none'")
  if about.get("rescale_acts_by_decoder_norm"):
    what = "has rescale_acts_by_decoder_norm"
    raise _refusal(path, what, "one whose decoder is folded into its encoder")
  options = about.get("activation_fn_kwargs") or {}
  k = about.get("k", options.get("k"))
  return Published(
    _weights(held, path, subtracts=about.get("apply_b_dec_to_input", True)),
    _k(k, path) if kind == "topk" else None,
    "SAELens",
  )


def _scope(path: pathlib.Path) -> Published:
  try:
    with np.load(path / _SCOPE, allow_pickle=False) as opened:
      held = {name: opened[name].astype(np.float32) for name in opened.files}
  except (OSError, ValueError) as error:
    raise errors.InputError(
      f"{path / _SCOPE} cannot be read as arrays ({error}). Fetch it again."
    ) from error
  return Published(_weights(held, path, subtracts=False), None, "Gemma Scope")


def _weights(
  held: Mapping[str, np.ndarray], path: pathlib.Path, *, subtracts: bool
) -> autoencoder.Weights:
  """Reads tensors that have the names of SAELens.

  Args:
    held: by name.
    path: for messages.
    subtracts: whether b_dec is subtracted before the encoder, as ours is; if
      not, what that would take away is given back by the bias.
  """
  encoder, encoder_bias = _one(held, "W_enc", path), _one(held, "b_enc", path)
  bias = _one(held, "b_dec", path)
  if not subtracts and encoder.shape[0] == len(bias):
    encoder_bias = encoder_bias + bias @ encoder
  gate = held.get("threshold", np.zeros(encoder.shape[1], np.float32))
  decoder = _one(held, "W_dec", path)
  return autoencoder.Weights(encoder, encoder_bias, decoder, bias, gate)


def _tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All tensors of a file, as float32; bfloat16 too."""
  with _opened(path) as opened:
    names = opened.keys()
    return {n: opened.get_tensor(n).astype(np.float32) for n in names}


def _one(
  held: Mapping[str, np.ndarray], name: str, path: pathlib.Path
) -> np.ndarray:
  if name not in held:
    raise _refusal(path, f"has no tensor {name!r}", _ALLOWED)
  return held[name]


def _k(k: Any, path: pathlib.Path) -> int:
  if type(k) is not int or k < 1:
    said = json.dumps(k)
    raise _refusal(path / CONFIG, f"has k {said}", "a whole number from 1 on")
  return k


def _check(weights: autoencoder.Weights, folder: str, width: int) -> None:
  """Checks that the shapes fit together, and the model."""
  found = weights.encoder.shape[0]
  if found != width:
    raise errors.InputError(
      f"{FIELD} is {folder!r}, which reads hidden states of width {found}, and "
      f"those of config.model.path have width {width}; allowed: an autoencoder "
      f"of that model. {_REMEDY}"
    )
  count = weights.encoder.shape[1]
  wanted = {"encoder_bias": (count,), "gate": (count,), "bias": (width,)}
  wanted["decoder"] = count, width
  for name, shape in wanted.items():
    if getattr(weights, name).shape != shape:
      raise errors.InputError(
        f"{FIELD} is {folder!r}, whose {name} has shape "
        f"{getattr(weights, name).shape}; allowed: {shape}, as its encoder has "
        f"{count:,} latents. Fetch it again."
      )
  if count % 8:
    raise errors.InputError(
      f"{FIELD} is {folder!r}, which has {count:,} latents; allowed: multiples "
      f"of 8, for 8 are held in a byte. {_REMEDY}"
    )
  if not all(math.isfinite(float(np.sum(leaf))) for leaf in weights):
    raise errors.InputError(
      f"{FIELD} is {folder!r}, whose weights are not finite; allowed: finite "
      f"numbers. {_REMEDY}"
    )


def _refusal(path: pathlib.Path, what: str, allowed: str) -> errors.InputError:
  return errors.InputError(
    f"{FIELD}: {path} {what}; allowed: {allowed}. {_REMEDY}"
  )
