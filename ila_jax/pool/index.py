"""The pool's index: what is known of every used example, beside its text.

`pool/index.parquet` has a group of rows for each shard of records. Its columns
are numbers; names that many examples share (source, domain, split) are written
as text and held as places in a list of names.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath
from jaxtyping import Bool, Int, Shaped

from ila_jax import errors
from ila_jax.pool import examples as examples_lib
from ila_jax.pool.tokens import encode
from ila_jax.run import tables
from ila_jax.run.disk import files

# The sides of the split.
POOL, DEV = "pool", "dev"
_NUMBERS = {
  "id": np.uint64,
  "prompt_id": np.uint64,
  "n_prompt_tokens": np.int32,
  "n_response_tokens": np.int32,
  "n_labels": np.int32,
  "truncated": np.bool_,
}
_NAMES = ("source", "domain")
# Rows whose ids are hashed at once.
_PART_ROWS = 2**20


class Columns:
  """The index while a pool is read: about 40 bytes an example."""

  def __init__(self) -> None:
    """Begins with no example."""
    self._parts: dict[str, list[np.ndarray]] = {
      name: [] for name in (*_NUMBERS, *_NAMES)
    }
    self._places: dict[str, dict[str, int]] = {name: {} for name in _NAMES}

  def __len__(self) -> int:
    """The examples so far."""
    return sum(map(len, self._parts["id"]))

  def add(
    self, kept: Sequence[tuple[examples_lib.Example, encode.Encoded]]
  ) -> None:
    """Adds the examples of one shard."""
    responses = [int(encoded.is_response.sum()) for _, encoded in kept]
    self.extend(
      {
        "id": [example.id for example, _ in kept],
        "prompt_id": [example.prompt_id for example, _ in kept],
        "n_prompt_tokens": [
          len(encoded.ids) - n
          for (_, encoded), n in zip(kept, responses, strict=True)
        ],
        "n_response_tokens": responses,
        "n_labels": [example.n_labels for example, _ in kept],
        "truncated": [encoded.truncated for _, encoded in kept],
        **{
          name: [getattr(example, name) for example, _ in kept]
          for name in _NAMES
        },
      }
    )

  def extend(self, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Adds examples by their columns.

    Args:
      columns: numbers, and the names of source and domain, of each example.
    """
    for name, kind in _NUMBERS.items():
      self._parts[name].append(np.asarray(columns[name], kind))
    for name in _NAMES:
      place = self._places[name]
      places = [place.setdefault(value, len(place)) for value in columns[name]]
      self._parts[name].append(np.array(places, np.int32))

  def __getitem__(self, name: str) -> np.ndarray:
    """A column of numbers, or the places of names in `names` [n]."""
    parts = self._parts[name]
    if len(parts) > 1:  # They go, so that a column is not held twice.
      parts[:] = [np.concatenate(parts)]
    return parts[0] if parts else np.zeros(0, _NUMBERS.get(name, np.int32))

  def names(self, name: str) -> list[str]:
    """The names in a column, in the order of their first example."""
    return list(self._places[name])

  def write(
    self,
    workdir: epath.PathLike,
    is_dev: Bool[np.ndarray, " n"],
    *,
    shard_rows: int,
  ) -> None:
    """Writes the index, a group of rows for each shard of records."""

    names = {name: pa.array(self.names(name)) for name in _NAMES}

    def shards() -> Iterator[pa.Table]:
      for start in range(0, len(is_dev), shard_rows):
        rows = slice(start, min(start + shard_rows, len(is_dev)))
        split = pa.DictionaryArray.from_arrays(
          is_dev[rows].astype(np.int32), [POOL, DEV]
        )
        columns = {name: self[name][rows] for name in _NUMBERS}
        columns |= {
          name: pa.DictionaryArray.from_arrays(
            self[name][rows], names[name]
          ).cast(pa.string())
          for name in _NAMES
        }
        columns |= {
          "row": np.arange(rows.start, rows.stop),
          "split": split.cast(pa.string()),
        }
        yield pa.table({name: columns[name] for name in tables.INDEX.columns})

    files.write_parts(tables.INDEX.path(workdir), shards())


def check_version(workdir: epath.PathLike) -> None:
  """Refuses a pool that an older version read.

  Raises:
    errors.InputError: its ids are not 64-bit integers; they were text.
  """
  path = tables.INDEX.path(workdir)
  if not path.exists():
    return
  try:
    with path.open("rb") as file:
      kind = pq.read_schema(file).field("id").type
  except (pa.ArrowException, KeyError):
    return  # It is damaged, which its readers tell.
  if kind != pa.uint64():
    raise errors.InputError(
      f"{path} is from an older version of ila_jax, whose ids were text. Use "
      "another --workdir, or add --redo=pool: the pool is read again and what "
      "follows from it made again; the same examples are selected."
    )


def is_dev(workdir: epath.PathLike) -> Bool[np.ndarray, " n"]:
  """Which examples of the pool are held out for the dev loss."""
  names, place = files.read_names(tables.INDEX.path(workdir), "split")
  return (names == DEV)[place]


def column(workdir: epath.PathLike, name: str) -> np.ndarray:
  """One column of numbers, a row an example [n]."""
  return files.read_table(tables.INDEX.path(workdir), [name])[name]


def names(
  workdir: epath.PathLike, name: str
) -> tuple[Shaped[np.ndarray, " k"], Int[np.ndarray, " n"]]:
  """The different texts of a column, and which of them each example has."""
  return files.read_names(tables.INDEX.path(workdir), name)


def lengths(workdir: epath.PathLike) -> Int[np.ndarray, " n"]:
  """Tokens of every example of the pool, prompt and response together."""
  names = ["n_prompt_tokens", "n_response_tokens"]
  prompt, response = files.read_table(
    tables.INDEX.path(workdir), names
  ).values()
  return prompt + response


def fingerprint(workdir: epath.PathLike) -> str:
  """A hash of the ids of all examples, in the order of their rows."""
  digest = hashlib.sha256()
  index = tables.INDEX.path(workdir)
  for part in files.read_parts(index, ["id"], rows=_PART_ROWS):
    digest.update(part.column("id").to_numpy(zero_copy_only=False).tobytes())
  return digest.hexdigest()
