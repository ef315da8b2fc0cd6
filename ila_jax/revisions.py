"""What the name of a data set stands for now: version, files or commit."""

import pathlib
from typing import Any

from etils import epath

from ila_jax import docstrings, errors, hashes, metrics, provenance


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
  content = provenance.fingerprint(dict(zip(files, signed, strict=True)))
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
  files = provenance.signature(folder, workdir=workdir)
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
    metrics.say(
      f"  hf:{name}: its revision cannot be told ({type(error).__name__}), and "
      "no change of it will be"
    )
    return None
