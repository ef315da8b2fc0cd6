"""A GGUF file: metadata by key, and tensors, some of them quantised."""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ila_jax import errors

SUFFIX = ".gguf"
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class File:
  """An open file.

  Attributes:
    path: where it is.
    values: metadata by key, such as `general.architecture`.
    tensors: `gguf.ReaderTensor` by name; their data is a map of the file.
  """

  path: pathlib.Path
  values: Mapping[str, Any]
  tensors: Mapping[str, Any]


def is_gguf(path: str | os.PathLike[str]) -> bool:
  """Says whether a path is that of a GGUF file, by its name.

  >>> is_gguf("SmolLM2.Q4_1.gguf"), is_gguf("SmolLM2")
  (True, False)
  """
  return os.fspath(path).lower().endswith(SUFFIX)


def holds(names: Iterable[str]) -> bool:
  """Says whether a folder of these files is read as GGUF.

  >>> holds(["config.json", "a.gguf"]), holds(["a.gguf", "model.safetensors"])
  (True, False)
  """
  names = [*names]
  has_others = any(".safetensors" in name for name in names)
  return not has_others and any(map(is_gguf, names))


def find(folder: pathlib.Path) -> pathlib.Path | None:
  """Finds the GGUF file of a folder that has no safetensors.

  Returns:
    The file, or None where the folder has safetensors or no GGUF.

  Raises:
    errors.InputError: several files.
  """
  names = sorted(os.listdir(folder))
  if not holds(names):
    return None
  files = [name for name in names if is_gguf(name)]
  if _PART.search(files[0]):
    raise _split(folder / files[0])
  if len(files) > 1:
    raise errors.InputError(
      f"{folder} has {len(files)} GGUF files ({', '.join(files[:3])}, ...); "
      "allowed: one. Give the path of the file itself, such as "
      f"{folder / files[0]}."
    )
  return folder / files[0]


def check(file: pathlib.Path) -> pathlib.Path:
  """Returns the path of a GGUF file that is there, and whole by its name.

  Raises:
    errors.InputError: it is not there, or is one of several parts.

  >>> check(pathlib.Path("nowhere.gguf"))
  Traceback (most recent call last):
  ila_jax.errors.InputError: the GGUF file nowhere.gguf does not exist; ...
  """
  if not file.is_file():
    raise errors.InputError(
      f"the GGUF file {file} does not exist; give the path of a .gguf file, or "
      "of a folder with one."
    )
  if _PART.search(file.name):
    raise _split(file)
  return file


def open_file(file: pathlib.Path) -> File:
  """Opens a GGUF file; its tensors are read when they are asked for.

  Raises:
    errors.InputError: the package `gguf` is not installed; or the file is not
      there, is none of GGUF, is cut short, is one of several parts, or holds
      a type of numbers that `gguf` does not dequantise.

  >>> open_file(pathlib.Path("nowhere.gguf"))
  Traceback (most recent call last):
  ila_jax.errors.InputError: the GGUF file nowhere.gguf does not exist; ...
  """
  stat = check(file).stat()
  return _open(file, stat.st_size, stat.st_mtime_ns)


# The tokenizer, the sizes and the weights each ask; size and time tell whether
# the file is still the same.
@functools.lru_cache(maxsize=2)
def _open(file: pathlib.Path, size: int, mtime: int) -> File:
  del mtime
  with file.open("rb") as stream:
    magic = stream.read(4)
  if magic != b"GGUF":
    raise errors.InputError(
      f"{file} begins with {magic!r}; allowed: b'GGUF', the first bytes of "
      "every GGUF file. Fetch it again, or give another file."
    )
  try:
    reader = _reader()(file)
    values = {key: field.contents() for key, field in reader.fields.items()}
  # Whatever the lengths in a damaged file lead to.
  except (ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
    raise errors.InputError(
      f"{file} ({size:,} bytes) cannot be read as GGUF ({error}); allowed: a "
      "whole file of version 2 or 3. It may be cut short: fetch it again."
    ) from error
  tensors = {tensor.name: tensor for tensor in reader.tensors}
  if reader.byte_order != "I":
    raise errors.InputError(
      f"{file} is of the other byte order; allowed: that of this machine. "
      "Convert it by `gguf-convert-endian`."
    )
  if values.get("split.count", 0) > 1:
    raise _split(file)
  _check_types(file, tensors)
  return File(file, values, tensors)


def _reader() -> type:
  """Returns gguf's reader, which here checks lengths and copies nothing."""
  try:
    import gguf
  except ImportError as error:
    raise errors.InputError(
      "GGUF files are read by the package gguf, which is not installed "
      f"({error}). Run `pip install 'gguf>=0.19'`, or give a Hugging Face "
      "folder with safetensors."
    ) from error

  class Reader(gguf.GGUFReader):
    """Views of a plain array are made faster than those of np.memmap."""

    @property
    def data(self) -> np.ndarray:
      return self._plain

    @data.setter
    def data(self, mapped: np.memmap) -> None:
      self._plain = np.asarray(mapped)

    def _get(
      self, offset: Any, dtype: Any, count: Any = 1, *order: Any, **named: Any
    ) -> np.ndarray:
      end = int(offset) + np.dtype(dtype).itemsize * int(count)
      if end > len(self.data):
        raise ValueError(f"it ends before byte {end:,}")
      return super()._get(offset, dtype, count, *order, **named)

  return Reader


def _check_types(file: pathlib.Path, tensors: Mapping[str, Any]) -> None:
  """Refuses what cannot be dequantised, by a block of each type."""
  import gguf

  first = {t.tensor_type: t.name for t in reversed(tensors.values())}
  known = {}
  for kind in gguf.GGMLQuantizationType:
    block = np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    try:
      gguf.dequantize(block, kind)
    except NotImplementedError:
      continue
    known[kind] = kind.name
  for kind, name in first.items():
    if kind not in known:
      raise errors.InputError(
        f"{file}: {name} is of type {kind.name}; allowed: "
        f"{', '.join(sorted(known.values()))}. Take the model in one of these, "
        "such as Q8_0."
      )


def _split(file: pathlib.Path) -> errors.InputError:
  return errors.InputError(
    f"{file} is one of several parts of a model; allowed: a model in one file. "
    f"Join the parts by `llama-gguf-split --merge FIRST_PART WHOLE{SUFFIX}`, "
    "and give that file."
  )
