"""Weights from and to Hugging Face folders.

Only safetensors are read: a pickle runs code, and is refused.
"""

import contextlib
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree

from ila_jax import artifacts, errors
from ila_jax import mesh as mesh_lib
from ila_jax.models import architecture, foreign
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import encoder as encoder_lib
from ila_jax.models import names as names_lib

_FLOATS = ("F64", "F32", "F16", "BF16")


def load_decoder(
  folder: str | os.PathLike[str],
  *,
  dtype: str = "float32",
  param_dtype: str = "float32",
  remat: bool = False,
  mesh: Mesh | None = None,
) -> tuple[architecture.DecoderConfig, decoder_lib.Decoder]:
  """Reads a causal language model of one of `families`.

  Args:
    folder: Hugging Face folder, or a name on the Hub.
    dtype: compute dtype.
    param_dtype: dtype of the weights, whatever they are in the files.
    remat: recompute blocks in the backward pass.
    mesh: puts each weight where `decoder.shardings` says, one by one, so that
      no device holds the whole; None puts all on the default device.

  Returns:
    (config, decoder).

  Raises:
    errors.InputError: no such folder; no safetensors in it; tensors missing,
      unknown or of another shape; anything in config.json that is not
      implemented (named, with what is allowed).

  >>> load_decoder("./nowhere")
  Traceback (most recent call last):
  ila_jax.errors.InputError: the model folder ./nowhere does not exist; give ...
  """
  folder = foreign.find(folder)
  config = foreign.decoder_config(
    folder, dtype=dtype, param_dtype=param_dtype, remat=remat
  )
  graphdef, shapes = nnx.split(decoder_lib.abstract(config))
  targets = decoder_lib.shardings(shapes, mesh) if mesh else None
  ignored = (
    (*names_lib.IGNORED, "lm_head.") if config.tied else names_lib.IGNORED
  )
  state = _read_state(
    folder,
    shapes,
    names_lib.decoder(config),
    ignored=ignored,
    shardings=targets,
  )
  return config, nnx.merge(graphdef, state)


def load_encoder(
  folder: str | os.PathLike[str],
  *,
  dtype: str = "float32",
  mesh: Mesh | None = None,
) -> tuple[encoder_lib.EncoderConfig, str, encoder_lib.Encoder]:
  """Reads a sentence encoder, BERT or XLM-RoBERTa.

  Args:
    folder: Hugging Face or sentence-transformers folder, or a name on the Hub.
    dtype: compute dtype.
    mesh: puts each weight where `encoder.shardings` says.

  Returns:
    (config, pooling, encoder); the pooling is what sentence-transformers'
    `1_Pooling/config.json` says, `cls` where there is none.

  Raises:
    errors.InputError: as `load_decoder`; or a pooling other than cls, mean.

  >>> load_encoder("./nowhere")
  Traceback (most recent call last):
  ila_jax.errors.InputError: the model folder ./nowhere does not exist; give ...
  """
  folder = foreign.find(folder)
  config = foreign.encoder_config(folder, dtype=dtype)
  pooling = foreign.pooling(folder)
  graphdef, shapes = nnx.split(encoder_lib.abstract(config))
  targets = encoder_lib.shardings(shapes, mesh) if mesh else None
  state = _read_state(
    folder,
    shapes,
    names_lib.ENCODER,
    ignored=names_lib.ENCODER_IGNORED,
    shardings=targets,
  )
  return config, pooling, nnx.merge(graphdef, state)


def save_decoder(
  folder: str | os.PathLike[str],
  config: architecture.DecoderConfig,
  decoder: decoder_lib.Decoder,
  *,
  bos_token_id: int | None = None,
  eos_token_id: int | None = None,
) -> None:
  """Writes config.json and model.safetensors as transformers reads them.

  The tokenizer is not written; save it into the same folder.

  Args:
    folder: made if absent; each file is replaced when it is whole.
    config: its sizes.
    decoder: what to write, in its `param_dtype`.
    bos_token_id: for those who generate with the model.
    eos_token_id: likewise.

  >>> import tempfile
  >>> config = architecture.DecoderConfig(
  ...   vocab=32, layers=2, width=8,
  ...   heads=2, kv_heads=1, head_dim=4, mlp_width=16,
  ... )
  >>> model = decoder_lib.Decoder(config, rngs=nnx.Rngs(0))
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   save_decoder(folder, config, model)
  ...   load_decoder(folder)[0] == config
  True
  """
  folder = epath.Path(folder)
  tensors, names = {}, names_lib.decoder(config)
  for path, leaf in _flat(nnx.state(decoder)).items():
    array = mesh_lib.fetch(leaf)
    stacked = array if path.startswith("blocks/") else array[None]
    for layer, tensor in enumerate(stacked):
      name = names[path].format(layer)
      tensors[name] = np.ascontiguousarray(_turn(path, tensor))
  ids = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
  artifacts.write_json(folder / "config.json", foreign.to_foreign(config) | ids)
  # The weights come last: a folder that has them is whole.
  content = safetensors.numpy.save(tensors, metadata={"format": "pt"})
  artifacts.write_bytes(folder / "model.safetensors", content)


def _flat(state: PyTree) -> dict[str, Any]:
  """Arrays, or shapes, by their path, as in `blocks/query`."""
  leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(state))
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in leaves
  }


def _turn(path: str, tensor: np.ndarray) -> np.ndarray:
  """Between our (in, out) matrices and their (out, in); its own inverse."""
  return tensor.T if path.startswith("blocks/") else tensor


def _read_state(
  folder: pathlib.Path,
  shapes: PyTree,
  names: dict[str, str],
  *,
  ignored: tuple[str, ...],
  shardings: PyTree | None,
) -> PyTree:
  """Fills the shapes with what the files hold, one weight at a time."""
  wanted = _flat(shapes)
  places = _flat(shardings) if shardings else dict.fromkeys(wanted)
  with contextlib.ExitStack() as stack:
    found = _open_tensors(folder, stack, ignored)
    _check_tensors(folder, found, wanted, names)
    arrays = {
      path: _read_weight(found, path, names[path], leaf, places[path])
      for path, leaf in wanted.items()
    }
  nested: dict[str, Any] = {"blocks": {}}
  for path, array in arrays.items():
    *outer, name = path.split("/")
    (nested[outer[0]] if outer else nested)[name] = array
  nnx.replace_by_pure_dict(shapes, nested)
  return shapes


def _open_tensors(
  folder: pathlib.Path, stack: contextlib.ExitStack, ignored: tuple[str, ...]
) -> dict[str, Any]:
  """Lazy slices of all tensors in a folder's safetensors, by their name."""
  found = {}
  for file in _safetensors_files(folder):
    try:
      opened = stack.enter_context(
        safetensors.safe_open(file, framework="numpy")
      )
    except (OSError, safetensors.SafetensorError) as error:
      raise errors.InputError(
        f"{file} cannot be read as safetensors ({error}); it may be missing "
        "or cut short. Fetch it again."
      ) from error
    for name in opened.keys():  # noqa: SIM118
      ours = names_lib.plain(name)
      if not any(ours.startswith(i) or ours.endswith(i) for i in ignored):
        found[ours] = opened.get_slice(name)
  return found


def _safetensors_files(folder: pathlib.Path) -> list[pathlib.Path]:
  index = folder / "model.safetensors.index.json"
  if index.exists():
    names = set(foreign.read_json(index, dict).get("weight_map", {}).values())
    return [folder / pathlib.PurePath(name).name for name in sorted(names)]
  file = folder / "model.safetensors"
  if file.exists():
    return [file]
  pickles = sorted(path.name for path in folder.glob("*.bin"))
  hint = f" ({pickles[0]} is a pickle, and is never read)" if pickles else ""
  raise errors.InputError(
    f"{folder} has no weights{hint}; allowed: model.safetensors, or "
    "model.safetensors.index.json and its files. Download the whole model, "
    "or convert it to safetensors."
  )


def _check_tensors(
  folder: pathlib.Path,
  found: dict[str, Any],
  wanted: dict[str, Any],
  names: dict[str, str],
) -> None:
  """Compares names, shapes and types before anything is read."""
  shapes = {}
  for path, leaf in wanted.items():
    blocks = path.startswith("blocks/")
    for layer in range(leaf.shape[0] if blocks else 1):
      shape = leaf.shape[:0:-1] if blocks else leaf.shape
      shapes[names[path].format(layer)] = tuple(shape)
  problems = [f"{name} is missing" for name in shapes if name not in found]
  problems += [f"{name} is not known" for name in found if name not in shapes]
  for name in found.keys() & shapes.keys():
    shape = tuple(found[name].get_shape())
    if shape != shapes[name]:
      problems.append(f"{name} is of shape {shape}, not {shapes[name]}")
    if found[name].get_dtype() not in _FLOATS:
      problems.append(f"{name} holds {found[name].get_dtype()}, not floats")
  if problems:
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    raise errors.InputError(
      f"{folder}: the weights are not those that config.json describes: "
      f"{'; '.join(sorted(problems)[:3])}{more}. Use a folder whose "
      "config.json and safetensors belong together."
    )


def _read_weight(
  found: dict[str, Any],
  path: str,
  name: str,
  leaf: Any,
  sharding: NamedSharding | None,
) -> jax.Array:
  host = np.empty(leaf.shape, leaf.dtype)
  for layer, part in enumerate(host if path.startswith("blocks/") else [host]):
    part[...] = _turn(path, found[name.format(layer)][...]).astype(leaf.dtype)
  if sharding is None:
    return jnp.asarray(host)
  return jax.make_array_from_callback(
    host.shape, sharding, lambda index: host[index]
  )
