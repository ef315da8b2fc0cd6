"""Safetensors files: one or many, read by slices and written as a stream.

Only safetensors are read: a pickle runs code, and is refused.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import safetensors
from etils import epath

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.models.folders import hub, json_fields
from ila_jax.models.folders.gguf import container
from ila_jax.run.disk import buckets
from ila_jax.run.disk import files as files_lib

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PART = re.compile(r"model-\d+-of-\d+\.safetensors")
FLOATS = ("F64", "F32", "F16", "BF16")
_FORMATS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def open_tensors(
  folder: pathlib.Path, stack: contextlib.ExitStack
) -> dict[str, Any]:
  """Opens all tensors in a folder's safetensors, as lazy slices by name.

  Args:
    folder: holds model.safetensors, or its index and parts.
    stack: closes the files.

  Raises:
    errors.InputError: no safetensors, or a file that is cut or missing.
  """
  slices = {}
  for file in _files(epath.Path(folder)):
    try:
      opened = stack.enter_context(
        safetensors.safe_open(os.fspath(file), framework="numpy")
      )
    except (OSError, safetensors.SafetensorError) as error:
      raise errors.InputError(
        f"{file} cannot be read as safetensors ({error}); it may be missing "
        "or cut short. Fetch it again."
      ) from error
    slices |= {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
  return slices


def check(folder: epath.PathLike) -> None:
  """Refuses a model's folder without all of its weights, and opens none.

  Args:
    folder: here or gs://; a GGUF file, or a folder that is read as one, is no
      matter of this, and the weights of a name on the Hub are fetched later.

  Raises:
    errors.InputError: no safetensors, or a file that their index names is not
      there.

  >>> check("/")
  Traceback (most recent call last):
  ila_jax.errors.InputError: / has no weights; allowed: model.safetensors, or...
  """
  folder = epath.Path(folder)
  if not folder.is_dir() or container.holds(hub.files(folder, ("*",))):
    return
  for file in _files(folder):
    if not file.exists():
      raise errors.InputError(
        f"{file} does not exist, and {INDEX} beside it names it. Fetch the "
        "whole model."
      )


def _files(folder: epath.Path) -> list[epath.Path]:
  # As transformers: an index beside the whole file is what an older save left.
  file = folder / WHOLE
  if file.exists():
    return [file]
  index = folder / INDEX
  if index.exists():
    names = json_fields.read_json(index, dict).get("weight_map")
    if not isinstance(names, dict) or not all(
      isinstance(name, str) for name in names.values()
    ):
      raise errors.InputError(
        f"{index} has no weight_map, which names the file of each tensor. "
        "Fetch it again."
      )
    return [
      folder / pathlib.PurePath(name).name
      for name in sorted(set(names.values()))
    ]
  pickles = sorted(p.name for p in buckets.inside(folder) if p.suffix == ".bin")
  hint = f" ({pickles[0]} is a pickle, and is never read)" if pickles else ""
  raise errors.InputError(
    f"{folder} has no weights{hint}; allowed: {WHOLE}, or {INDEX} and its "
    "files. Download the whole model, or convert it to safetensors."
  )


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor to be written.

  Attributes:
    name: in the file.
    shape: of what `fetch` returns.
    dtype: likewise.
    fetch: brings it to the host; every host calls it.
  """

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype
  fetch: Callable[[], np.ndarray]

  @property
  def nbytes(self) -> int:
    """Counts its bytes in the file."""
    return math.prod(self.shape) * self.dtype.itemsize


def save(
  folder: epath.PathLike, tensors: Sequence[Tensor], *, max_shard_bytes: int
) -> None:
  """Writes tensors into one file, or into several and their index.

  Each file is renamed when it is whole, and what makes the folder whole comes
  last: model.safetensors, or the index. The host holds one tensor at a time.

  Args:
    folder: made if absent; weights that it held are replaced.
    tensors: in the order in which they are written.
    max_shard_bytes: of a file; a larger tensor gets a file of its own.

  >>> import tempfile
  >>> ones = np.ones((2, 3), np.float32)
  >>> tensor = Tensor("ones", ones.shape, ones.dtype, lambda: ones)
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   save(folder, [tensor], max_shard_bytes=100)
  ...   print(sorted(path.name for path in epath.Path(folder).iterdir()))
  ['checksums.json', 'model.safetensors']
  """
  folder = epath.Path(folder)
  shards = _split(tensors, max_shard_bytes)
  many = len(shards)
  names = [f"model-{i + 1:05}-of-{many:05}.safetensors" for i in range(many)]
  if many == 1:
    names = [WHOLE]
  # A folder must not seem whole while its files are of two models.
  _remove(folder / name for name in (INDEX, WHOLE)[: 2 if many > 1 else 1])
  for name, shard in zip(names, shards, strict=True):
    files_lib.write_chunks(folder / name, _chunks(shard))
  if many > 1:
    files = {t.name: n for n, s in zip(names, shards, strict=True) for t in s}
    size = sum(tensor.nbytes for tensor in tensors)
    index = {"metadata": {"total_size": size}, "weight_map": files}
    files_lib.write_json(folder / INDEX, index)
  if mesh.is_writer():  # To others the folder may not be there yet.
    parts = [path for path in folder.iterdir() if _PART.fullmatch(path.name)]
    _remove(path for path in parts if path.name not in names)


def _split(tensors: Sequence[Tensor], limit: int) -> list[list[Tensor]]:
  """Splits tensors over files: one begins where the last would be too large."""
  shards: list[list[Tensor]] = [[]]
  room = limit
  for tensor in tensors:
    if shards[-1] and tensor.nbytes > room:
      shards.append([])
      room = limit
    shards[-1].append(tensor)
    room -= tensor.nbytes
  return shards


def _chunks(tensors: Sequence[Tensor]) -> Iterator[bytes]:
  """Yields a safetensors file: length of the header, header (JSON), tensors."""
  header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
  end = 0
  for tensor in tensors:
    begin, end = end, end + tensor.nbytes
    header[tensor.name] = {
      "dtype": _FORMATS[str(tensor.dtype)],
      "shape": tensor.shape,
      "data_offsets": (begin, end),
    }
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)
  yield len(text).to_bytes(8, "little") + text
  for tensor in tensors:
    yield tensor.fetch().tobytes()


def _remove(paths: Iterable[epath.Path]) -> None:
  if mesh.is_writer():
    for path in paths:
      files_lib.remove(path)
