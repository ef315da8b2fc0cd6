"""Data sets of TensorFlow Datasets and of Hugging Face, row by row."""

from collections.abc import Iterator, Mapping
from typing import Any

from ila_jax import errors
from ila_jax.pool.sources import paths


def name(spec: str) -> str:
  """The short name of a data set, without owner and configuration.

  >>> name("hf:openai/gsm8k/main/test"), name("tfds:gsm8k/1.0.0/test")
  ('gsm8k', 'gsm8k')
  """
  kind, _, path = spec.partition(":")
  if kind == "tfds":
    return _tfds_parts(path)[0].split("/")[0]
  return _hf_parts(path)[0].split("/")[-1]


def rows(
  spec: str, *, data_dir: str | None = None
) -> Iterator[Mapping[str, Any]]:
  """The rows of `tfds:NAME/SPLIT`, `hf:NAME/SPLIT` or `hf:NAME/CONFIG/SPLIT`.

  Args:
    spec: what the user named.
    data_dir: where TFDS keeps its data; None: its default, TFDS_DATA_DIR.

  Raises:
    InputError: no such data set, or `datasets` is not installed.
  """
  kind, _, path = spec.partition(":")
  return _tfds_rows(path, data_dir) if kind == "tfds" else _hf_rows(path)


def _tfds_parts(path: str) -> tuple[str, str]:
  dataset, _, split = path.rpartition("/")
  if not (dataset and split):
    raise paths.missing(f"tfds:{path}", "a data set and a split are needed")
  return dataset, split


def _tfds_rows(path: str, data_dir: str | None) -> Iterator[Mapping[str, Any]]:
  import tensorflow_datasets as tfds

  dataset, split = _tfds_parts(path)
  try:
    return iter(
      tfds.data_source(dataset, split=split, data_dir=data_dir, download=False)
    )
  except (ValueError, RuntimeError, OSError, AssertionError) as error:
    raise errors.InputError(
      f"config.pool.source is 'tfds:{path}': {_cause(error)} Allowed: "
      "tfds:NAME/SPLIT of a data set that was prepared with "
      "file_format='array_record' under TFDS_DATA_DIR. Prepare it so, or "
      "correct the name."
    ) from error


def _hf_parts(path: str) -> tuple[str, str | None, str]:
  """Data set, configuration and split."""
  *parts, split = path.split("/")
  if not (all(parts) and parts and split):
    raise paths.missing(f"hf:{path}", "a data set and a split are needed")
  # Names have one or two parts (openai/gsm8k); a third is the configuration.
  return "/".join(parts[:2]), "/".join(parts[2:]) or None, split


def _hf_rows(path: str) -> Iterator[Mapping[str, Any]]:
  dataset, config, split = _hf_parts(path)
  try:
    import datasets
  except ImportError as error:
    raise errors.InputError(
      f"config.pool.source is 'hf:{path}', but the package `datasets` is not "
      "installed. Allowed: any source where it is. Run `pip install "
      "datasets`, or save the data as .parquet or .jsonl and name the file."
    ) from error
  try:
    rows = datasets.load_dataset(dataset, config, split=split, streaming=True)
  except (ValueError, OSError, RuntimeError) as error:
    raise errors.InputError(
      f"config.pool.source is 'hf:{path}': {_cause(error)} Allowed: "
      "hf:NAME/SPLIT or hf:NAME/CONFIG/SPLIT, as the hub names them. Correct "
      "the name."
    ) from error
  return iter(rows)


def _cause(error: Exception) -> str:
  return str(error).splitlines()[0] if str(error) else type(error).__name__
