"""Files that are whole or absent, and stages that know what made them.

Every file is written under a temporary name and renamed when it is whole.
Every stage folder holds `stage.json`: the inputs that made it (config fields,
fingerprints of the parents), whether it is done, and what it cost. A stage
whose record matches its inputs is skipped or resumed; one that does not match
belongs to another run, and is refused.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from ila_jax import errors, mesh, metrics

RECORD = "stage.json"


@contextlib.contextmanager
def atomic(path: epath.PathLike) -> Iterator[epath.Path]:
  """Yields a temporary name beside `path`, renamed when the block is done.

  If the block raises, the temporary file goes and `path` is as it was.
  """
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def write_bytes(path: epath.PathLike, content: bytes) -> None:
  """Writes a whole file atomically, on the first host only."""
  if mesh.is_writer():
    with atomic(path) as temporary:
      temporary.write_bytes(content)


def write_json(path: epath.PathLike, value: Any) -> None:
  """Writes one JSON value, indented, atomically."""
  text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
  write_bytes(path, (text + "\n").encode())


def read_json(path: epath.PathLike) -> Any:
  """Reads one JSON value.

  Raises:
    errors.InputError: the file is not JSON.
  """
  try:
    return json.loads(epath.Path(path).read_text())
  except json.JSONDecodeError as error:
    raise errors.InputError(
      f"{path} is damaged: it is not JSON ({error}). Remove it, or use "
      "another --workdir."
    ) from error


def write_lines(path: epath.PathLike, lines: Iterable[str]) -> None:
  """Writes lines of text, each with its own end, as they come, atomically."""
  if not mesh.is_writer():
    return
  with atomic(path) as temporary, temporary.open("w") as file:
    for line in lines:
      file.write(line)


def json_line(value: Any) -> str:
  """One JSON value as a line of a JSON-lines file.

  >>> json_line({"a": "ü"})
  '{"a": "ü"}\\n'
  """
  text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  if any("\ud800" <= character <= "\udfff" for character in text):
    # Half a surrogate pair has no UTF-8; escaped it is JSON all the same.
    text = json.dumps(value, allow_nan=False)
  return text + "\n"


def write_jsonl(path: epath.PathLike, records: Iterable[Any]) -> None:
  """Writes one JSON value a line, atomically."""
  write_lines(path, map(json_line, records))


def append_jsonl(path: epath.PathLike, record: Any) -> None:
  """Adds one line, by writing the file anew: for files of few lines."""
  write_jsonl(path, [*read_jsonl(path), record])


def read_jsonl(path: epath.PathLike) -> list[Any]:
  """Reads one JSON value a line; nothing where there is no file."""
  path = epath.Path(path)
  if not path.exists():
    return []
  with path.open() as file:
    return [json.loads(line) for line in file]


def write_table(
  path: epath.PathLike, columns: dict[str, Any] | pa.Table
) -> None:
  """Writes columns of equal length as one Parquet file, atomically."""
  if not mesh.is_writer():
    return
  table = columns if isinstance(columns, pa.Table) else pa.table(columns)
  with atomic(path) as temporary, temporary.open("wb") as file:
    pq.write_table(table, file, compression="zstd")


def read_table(
  path: epath.PathLike, columns: list[str] | None = None
) -> dict[str, np.ndarray]:
  """Reads a Parquet file as NumPy columns (strings as `str` arrays)."""
  with epath.Path(path).open("rb") as file:
    table = pq.read_table(file, columns=columns)
  return {name: _column(table.column(name)) for name in table.column_names}


def _column(column: pa.ChunkedArray) -> np.ndarray:
  if pa.types.is_string(column.type):
    return np.asarray(column.to_pylist(), dtype=np.str_)
  return column.to_numpy()


def write_array(path: epath.PathLike, array: np.ndarray) -> None:
  """Writes one array as .npy, atomically."""
  buffer = io.BytesIO()
  np.save(buffer, array, allow_pickle=False)
  write_bytes(path, buffer.getvalue())


def read_array(path: epath.PathLike) -> np.ndarray:
  """Reads one .npy array; pickled objects are refused."""
  with epath.Path(path).open("rb") as file:
    return np.load(file, allow_pickle=False)


def fingerprint(value: Any) -> str:
  """A short hash of a JSON value: equal values have equal fingerprints.

  >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
  True
  """
  text = json.dumps(value, sort_keys=True, ensure_ascii=False)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


class Stage:
  """One stage's folder and record, from `open` to `finish`.

  Attributes:
    folder: where the stage writes.
    account: seconds, FLOPs and tokens, added up while it runs.
  """

  def __init__(
    self, workdir: epath.PathLike, name: str, inputs: dict[str, Any]
  ):
    self.name = name
    self.folder = epath.Path(workdir) / name
    self.account = metrics.Account()
    self._inputs = json.loads(json.dumps(inputs))
    self._record = self.folder / RECORD

  def open(self) -> bool:
    """Returns whether the stage is done; otherwise claims its folder.

    Raises:
      errors.InputError: the folder was made from other inputs.
    """
    record = self._inspect()
    # Every host has looked before the first one writes.
    mesh.barrier(f"{self.name} inspected")
    if record is None:
      self._write(done=False, extra={})
    return record is not None and record["done"]

  def _inspect(self) -> dict[str, Any] | None:
    held = set(self.folder.iterdir()) if self.folder.exists() else set()
    if held == {self._record} and not read_json(self._record)["done"]:
      return None  # Claimed by a run that made nothing: free to be claimed.
    if self._record in held:
      record = read_json(self._record)
      self._refuse_other_run(record["inputs"])
      return record
    if held:
      raise errors.InputError(
        f"--workdir: {self.folder} holds files that no run of ila_jax "
        f"recorded (there is no {RECORD}). Use another --workdir; nothing "
        "was changed."
      )
    return None

  def finish(self, output: str | None = None, **extra: Any) -> None:
    """Marks the stage done; `output` is the fingerprint of what it made."""
    mesh.barrier(f"{self.name} written")
    totals = self.account.totals() | {"bytes": _bytes_in(self.folder)}
    output = output or fingerprint(self._inputs)
    self._write(done=True, extra={"output": output, **totals, **extra})
    mesh.barrier(f"{self.name} recorded")

  def _write(self, *, done: bool, extra: dict[str, Any]) -> None:
    write_json(
      self._record,
      {"stage": self.name, "done": done, "inputs": self._inputs, **extra},
    )

  def _refuse_other_run(self, found: dict[str, Any]) -> None:
    changed = list(_differences(found, self._inputs))
    if not changed:
      return
    what = "; ".join(
      f"{name} was {old!r} and is now {new!r}" for name, old, new in changed[:3]
    )
    more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
    raise errors.InputError(
      f"--workdir: {self.folder} was made by another run: {what}{more}. Use "
      f"another --workdir, or add --redo={self.name} to replace this stage "
      "and those after it; nothing was changed."
    )


def _bytes_in(folder: epath.Path) -> int:
  return sum(
    _bytes_in(path) if path.is_dir() else path.stat().length
    for path in folder.iterdir()
  )


def _differences(
  old: Any, new: Any, name: str = ""
) -> Iterator[tuple[str, Any, Any]]:
  """Yields (dotted name, old, new) where two JSON values differ."""
  if isinstance(old, dict) and isinstance(new, dict):
    for key in sorted(old.keys() | new.keys()):
      dotted = f"{name}.{key}" if name else key
      yield from _differences(old.get(key), new.get(key), dotted)
  elif old != new:
    yield name, old, new


def output(workdir: epath.PathLike, stage: str) -> str:
  """The fingerprint of what a finished stage made, for its children.

  Raises:
    errors.InputError: the stage has not been run to its end.
  """
  path = epath.Path(workdir) / stage / RECORD
  record = read_json(path) if path.exists() else {"done": False}
  if not record["done"]:
    raise errors.InputError(
      f"--stages: stage {stage!r} is needed and has not finished in "
      f"{workdir}. Add it to --stages, or leave --stages out to run all."
    )
  return record["output"]
