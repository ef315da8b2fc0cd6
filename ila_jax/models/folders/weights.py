"""Weights are read from Hugging Face folders, and written, one by one.

A device is given the slices that it holds and nothing else, and what is read
goes to its place before more is read: a host needs room for a few tensors,
however large the model is.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, encoder
from ila_jax.models import decoder as decoder_lib
from ila_jax.models.folders import (
  causal_configs,
  encoder_families,
  hub,
  placement,
  safetensors_files,
  tensor_names,
)
from ila_jax.run.disk import files

# Rows of a table that are compared at a time.
_ROWS = 8192


def load_decoder(
  folder: str | os.PathLike[str],
  *,
  dtype: str = "float32",
  param_dtype: str = "float32",
  remat: bool = False,
  attention: str = "auto",
  mesh: Mesh | None = None,
) -> tuple[architecture.DecoderConfig, decoder_lib.Decoder]:
  """Reads a causal language model of one of `causal_families.FAMILIES`.

  Args:
    folder: Hugging Face folder, or a name that `hub.find` knows.
    dtype: compute dtype.
    param_dtype: dtype of the weights, whatever they are in the files.
    remat: recompute blocks in the backward pass.
    attention: kernel, see `attention.choose`.
    mesh: puts each weight where `decoder.shardings` says, one by one, so that
      no device holds the whole; None puts all on the default device.

  Returns:
    (config, decoder).

  Raises:
    errors.InputError: no such folder; no safetensors in it; tensors missing,
      unknown or of another shape; an output head that is not the embedding
      although config.json ties them; anything in config.json that is not
      implemented (named, with what is allowed).

  >>> load_decoder("./nowhere")
  Traceback (most recent call last):
  ila_jax.errors.InputError: the model folder ./nowhere does not exist; give ...
  """
  folder = hub.find(folder)
  config = causal_configs.decoder_config(
    folder,
    dtype=dtype,
    param_dtype=param_dtype,
    remat=remat,
    attention=attention,
  )
  graphdef, shapes = nnx.split(decoder_lib.abstract(config))
  targets = decoder_lib.shardings(shapes, mesh) if mesh else None
  state = _read_state(
    folder,
    shapes,
    causal_configs.family_of(config).tensors,
    shardings=targets,
  )
  return config, nnx.merge(graphdef, state)


def load_encoder(
  folder: str | os.PathLike[str],
  *,
  dtype: str = "float32",
  attention: str = "auto",
  mesh: Mesh | None = None,
) -> tuple[encoder.EncoderConfig, str, encoder.Encoder]:
  """Reads a sentence encoder of one of `encoder_families.FAMILIES`.

  Args:
    folder: Hugging Face or sentence-transformers folder, or such a name.
    dtype: compute dtype.
    attention: kernel, see `attention.choose`.
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
  folder = hub.find(folder)
  config = encoder_families.encoder_config(
    folder, dtype=dtype, attention=attention
  )
  pooling = encoder_families.pooling(folder)
  graphdef, shapes = nnx.split(encoder.abstract(config))
  targets = encoder.shardings(shapes, mesh) if mesh else None
  state = _read_state(
    folder,
    shapes,
    encoder_families.tensors(folder),
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
  max_shard_bytes: int = 5_000_000_000,
) -> None:
  """Writes config.json and safetensors as transformers reads them.

  The tokenizer is not written; save it into the same folder. Every host must
  call it, for what is sharded is gathered from all; the first one writes.

  Args:
    folder: made if absent; each file is replaced when it is whole, and the
      one that makes the folder whole comes last.
    config: its sizes.
    decoder: what to write, in its `param_dtype`.
    bos_token_id: for those who generate with the model.
    eos_token_id: likewise.
    max_shard_bytes: a larger model is written as several files and an index.

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
  ids = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
  files.write_json(folder / "config.json", causal_configs.write(config) | ids)
  names = causal_configs.family_of(config).tensors
  tensors = _tensors(nnx.state(decoder), names.table)
  safetensors_files.save(folder, tensors, max_shard_bytes=max_shard_bytes)


def _flat(state: PyTree) -> dict[str, Any]:
  """Lists arrays, or shapes, by their path, as in `blocks/query`."""
  leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(state))
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in leaves
  }


def _stacked(path: str) -> bool:
  """Says whether files hold a tensor a layer, and matrices as (out, in)."""
  return path.startswith("blocks/")


def _tensors(
  state: PyTree, names: Mapping[str, str]
) -> list[safetensors_files.Tensor]:
  """Lists what the files hold of a model, to be fetched one by one."""
  tensors = []
  for path, leaf in _flat(state).items():
    for layer in range(leaf.shape[0] if _stacked(path) else 1):
      fetch = functools.partial(_fetch, leaf, layer if _stacked(path) else None)
      shape = leaf.shape[:0:-1] if _stacked(path) else leaf.shape
      name = names[path].format(layer)
      tensors.append(safetensors_files.Tensor(name, shape, leaf.dtype, fetch))
  return tensors


def _fetch(array: Array, layer: int | None) -> np.ndarray:
  """Brings an array, or a layer of one, to the host as the files have it."""
  return mesh_lib.fetch(
    array if layer is None else placement.layer_of(array, layer)
  )


def _read_state(
  folder: pathlib.Path,
  shapes: PyTree,
  names: tensor_names.Names,
  *,
  shardings: PyTree | None,
) -> PyTree:
  """Fills the shapes with what the files hold, one weight at a time.

  Args:
    folder: of the files.
    shapes: state of a model, with shapes in the place of weights.
    names: what the files call the weights.
    shardings: as shapes; None for the default device.
  """
  wanted, table = _flat(shapes), names.table
  places = _flat(shardings) if shardings else dict.fromkeys(wanted)
  with contextlib.ExitStack() as stack:
    by_name = {}
    for name, tensor in safetensors_files.open_tensors(folder, stack).items():
      if (plain := names.plain(name)) is not None:
        by_name[plain] = tensor
    if "output_head" in table and "output_head" not in wanted:
      _drop_tied_head(folder, by_name, table)
    _check_tensors(folder, by_name, wanted, table)
    nested: dict[str, Any] = {"blocks": {}}
    for path, leaf in wanted.items():
      *outer, name = path.split("/")
      if _stacked(path):
        tensors = [by_name[table[path].format(i)] for i in range(leaf.shape[0])]
        array = placement.read_stack(tensors, leaf, places[path])
      else:
        array = placement.read_table(by_name[table[path]], leaf, places[path])
      (nested[outer[0]] if outer else nested)[name] = array
  nnx.replace_by_pure_dict(shapes, nested)
  return shapes


def _drop_tied_head(
  folder: pathlib.Path,
  by_name: dict[str, Any],
  names: Mapping[str, str],
) -> None:
  """Leaves out a head that repeats the embedding; refuses any other."""
  table = by_name.get(names["embedding"])
  head = by_name.pop(names["output_head"], None)
  if head is None or table is None:
    return
  same = head.get_shape() == table.get_shape()
  size = table.get_shape()[0]
  for row in range(0, size if same else 0, _ROWS):
    rows = slice(row, min(row + _ROWS, size))
    same = same and np.array_equal(head[rows], table[rows])
  if not same:
    raise errors.InputError(
      f"{folder}: config.json ties the output head to the embedding "
      f"(tie_word_embeddings), but {names['output_head']} in the safetensors "
      "holds other numbers. Set tie_word_embeddings to false to use these, or "
      "remove the tensor."
    )


def _check_tensors(
  folder: pathlib.Path,
  by_name: dict[str, Any],
  wanted: dict[str, Any],
  names: Mapping[str, str],
) -> None:
  """Compares names, shapes and types before anything is read."""
  shapes = {}
  for path, leaf in wanted.items():
    blocks = _stacked(path)
    for layer in range(leaf.shape[0] if blocks else 1):
      shape = leaf.shape[:0:-1] if blocks else leaf.shape
      shapes[names[path].format(layer)] = tuple(shape)
  problems = [f"{name} is missing" for name in shapes if name not in by_name]
  problems += [f"{name} is not known" for name in by_name if name not in shapes]
  for name in by_name.keys() & shapes.keys():
    shape = tuple(by_name[name].get_shape())
    if shape != shapes[name]:
      problems.append(f"{name} is of shape {shape}, not {shapes[name]}")
    if by_name[name].get_dtype() not in safetensors_files.FLOATS:
      problems.append(f"{name} holds {by_name[name].get_dtype()}, not floats")
  if problems:
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    raise errors.InputError(
      f"{folder}: the weights are not those that config.json describes: "
      f"{'; '.join(sorted(problems)[:3])}{more}. Use a folder whose "
      "config.json and safetensors belong together."
    )
