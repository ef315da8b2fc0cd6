"""Tensors of a GGUF file as lazy slices of floats, as safetensors are read.

What llama.cpp's converter changes is undone: in Llama's files the rows of
queries and keys are in another order, and in Gemma's the norms are 1 larger.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from ila_jax.models.folders import json_fields
from ila_jax.models.folders.gguf import container, gguf_config

# Rows that are dequantised at a time; the steps between need some times more.
_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor that is dequantised by slices, with safetensors' methods.

  Attributes:
    data: what the file holds: rows of numbers, or of the bytes of blocks.
    kind: `gguf.GGMLQuantizationType` of these.
    shape: of the floats.
    order: rows of the file in the order in which they are given; None: as they
      are.
    shift: added to what is in the file.
  """

  data: np.ndarray
  kind: Any
  shape: tuple[int, ...]
  order: np.ndarray | None = None
  shift: float = 0.0

  def get_shape(self) -> tuple[int, ...]:
    """Returns the shape."""
    return self.shape

  def get_dtype(self) -> str:
    """Returns safetensors' name of the type of what is given."""
    return "F32"

  def __getitem__(self, index: Any) -> np.ndarray:
    """Returns a slice, as float32."""
    index = index if isinstance(index, tuple) else (index,)
    index += (slice(None),) * (len(self.shape) - len(index))
    if len(self.shape) == 1:
      # A vector is a row.
      whole = self._rows(self.data[None], slice(None))[0]
      whole = whole if self.order is None else whole[self.order]
      return whole[index[0]]
    rows = index[0] if self.order is None else self.order[index[0]]
    return self._rows(self.data[rows], index[1])

  def _rows(self, packed: np.ndarray, columns: slice) -> np.ndarray:
    import gguf

    width = len(range(*columns.indices(self.shape[-1])))
    out = np.empty((len(packed), width), np.float32)
    for first in range(0, len(packed), _ROWS):
      some = np.ascontiguousarray(packed[first : first + _ROWS])
      out[first : first + _ROWS] = gguf.dequantize(some, self.kind)[:, columns]
    return out if not self.shift else out + np.float32(self.shift)


def open_tensors(path: pathlib.Path) -> dict[str, Tensor]:
  """Opens all tensors of a GGUF file, as lazy slices by their name in it.

  Raises:
    errors.InputError: as `container.open_file` and `gguf_config.read`.
  """
  file = container.open_file(path)
  kind = gguf_config.ARCHITECTURES[gguf_config.architecture(file)]
  raw = gguf_config.read(path)
  return {
    name: _tensor(tensor, kind, raw) for name, tensor in file.tensors.items()
  }


def _tensor(
  tensor: Any, kind: gguf_config.Architecture, raw: json_fields.Fields
) -> Tensor:
  order, shift, part = None, 0.0, tensor.name.split(".")[-2]
  heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
  shape = tuple(int(size) for size in reversed(tensor.shape))
  if kind.turned and part in heads:
    order = _halves(shape[0], raw.integer(heads[part]))
  if part.endswith("norm"):
    shift = kind.norm_shift
  return Tensor(tensor.data, tensor.tensor_type, shape, order, shift)


def _halves(rows: int, heads: int) -> np.ndarray:
  """Orders rows as Hugging Face does: llama.cpp sets turned pairs side by side.

  >>> _halves(8, 2)
  array([0, 2, 1, 3, 4, 6, 5, 7])
  """
  # Rows that the heads do not divide are refused later, by their shape.
  pairs = rows // (2 * heads) * 2 * heads
  order = np.arange(pairs).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
  return np.concatenate([order, np.arange(pairs, rows)])
