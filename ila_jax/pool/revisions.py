"""What a path or a name stands for now: files, version or commit."""

import pathlib
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.models.folders import hub
from ila_jax.pool.sources import docstrings
from ila_jax.run import progress, stage_record
from ila_jax.run.disk import hashes


def of_path(
  path: epath.PathLike,
  *,
  patterns: tuple[str, ...] = ("*",),
  workdir: epath.PathLike | None = None,
) -> dict[str, Any] | None:
  """Tells whether files are what they were: by name, size and whole content.

  Args:
    path: a file, or a folder, whose own files count.
    patterns: of the files of a folder that count, see `hub.files`.
    workdir: folder of the run, which keeps the hashes of large files.

  Returns:
    {name in the folder: {"bytes": size, "sha256": digest}}; None where there
    is nothing.

  Raises:
    errors.InputError: a pipe or a device.

  >>> of_path("no/such/folder") is None
  True
  """
  path = epath.Path(path)
  if not path.exists():
    return None
  named = {path.name: path}
  if path.is_dir():
    named = hub.files(path, patterns)
  signed = hashes.of_files(list(named.values()), workdir=workdir)
  return dict(zip(named, signed, strict=True))


def of_model(
  path: epath.PathLike,
  *,
  patterns: tuple[str, ...] = hub.ENCODER,
  workdir: epath.PathLike | None = None,
) -> dict[str, Any] | str | None:
  """Tells whether a model's files, or the revision of its name, are the same.

  Args:
    path: a folder, or a name that `hub.find` knows.
    patterns: of the files that count: `hub.TOKENIZER`, `DECODER`, `ENCODER`.
    workdir: as `of_path` takes it.

  Returns:
    `of_path` of the folder, or the commit that the name stands for now; None
    on all hosts but the first, which looks for all.

  Raises:
    errors.InputError: a name that neither the Hub nor the cache has.
  """
  if not mesh.is_writer():
    return None
  revision = of_path(path, patterns=patterns, workdir=workdir)
  if revision is None:
    return hub.find(path, with_weights=False).name
  return revision


def of_docstrings(
  packages: list[str], *, workdir: epath.PathLike | None = None
) -> dict[str, Any]:
  """Version and source files of each package that `docstrings:` reads.

  Args:
    packages: names of installed packages.
    workdir: as `hashes.of_files` takes it.

  Raises:
    errors.InputError: a package is not installed, or has no Python source.

  >>> of_docstrings(["json"])["json"]["files"]
  5
  """
  versions = docstrings.versions(packages)
  return {
    package: {"version": versions[package]} | _files_of(package, workdir)
    for package in packages
  }


def _files_of(package: str, workdir: epath.PathLike | None) -> dict[str, Any]:
  files = docstrings.source_files(package)
  signed = hashes.of_files(list(files.values()), workdir=workdir)
  content = stage_record.fingerprint(dict(zip(files, signed, strict=True)))
  return {"files": len(files), "content": content}


def of_tfds(
  name: str,
  *,
  data_dir: str | None = None,
  workdir: epath.PathLike | None = None,
) -> dict[str, Any]:
  """Version and files of a data set that TFDS has prepared.

  Args:
    name: NAME/SPLIT.
    data_dir: where TFDS keeps its data; None: its default.
    workdir: as `hashes.of_files` takes it.

  Raises:
    errors.InputError: it is not there.
  """
  import tensorflow_datasets as tfds

  dataset = name.rpartition("/")[0]
  try:
    builder = tfds.builder(dataset, data_dir=data_dir)
    version, folder = str(builder.version), builder.data_path
  except (ValueError, RuntimeError, OSError, AssertionError) as error:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise errors.InputError(
      f"config.pool.source is 'tfds:{name}': {cause} Allowed: tfds:NAME/SPLIT "
      "of a data set that was prepared under TFDS_DATA_DIR. Prepare it, or "
      "correct the name."
    ) from error
  files = of_path(folder, workdir=workdir)
  return {"version": version, "files": files}


def of_hub(name: str) -> str | None:
  """The commit that the name of a data set on the Hub stands for.

  From the Hub, or where it cannot be reached from the local cache.

  Args:
    name: NAME/SPLIT or NAME/CONFIG/SPLIT.

  Returns:
    The commit; None where neither can tell.
  """
  import huggingface_hub

  # Names have one or two parts (openai/gsm8k); a third is the configuration.
  dataset = "/".join(name.split("/")[:-1][:2])
  try:
    return huggingface_hub.HfApi().dataset_info(dataset).sha
  # Without a network it may be anything, the HTTP client's own included.
  except Exception as error:
    folder = "datasets--" + dataset.replace("/", "--")
    cache = pathlib.Path(huggingface_hub.constants.HF_HUB_CACHE)
    tip = cache / folder / "refs" / "main"
    if tip.exists():
      return tip.read_text().strip()
    progress.say(
      f"  hf:{name}: its revision cannot be told ({type(error).__name__}), and "
      "no change of it will be"
    )
    return None
