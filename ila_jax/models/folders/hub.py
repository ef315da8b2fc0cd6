"""Model folders: here, or fetched by name from the Hugging Face Hub."""

import fnmatch
import os
import pathlib
import re
from collections.abc import Iterable

from etils import epath

from ila_jax import errors
from ila_jax.models.folders.gguf import container
from ila_jax.run.disk import buckets

# What is read of a folder, by what reads it.
TOKENIZER = (
  *("tokenizer*", "special_tokens_map.json", "added_tokens.json"),
  *("chat_template*", "additional_chat_templates/*", "vocab*", "merges*"),
  *("*.txt", "*.model", "*.jinja", f"*{container.SUFFIX}"),
)
DECODER = (
  *("config.json", "*.safetensors.index.json"),
  *("model.safetensors", "model-*.safetensors", f"*{container.SUFFIX}"),
)
ENCODER = (
  *DECODER,
  *TOKENIZER,
  *("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"),
)
# What a tokenizer and a config.json are kept in, as it is fetched.
_SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "1_Pooling/*")
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
# Folders below hold copies in other formats; a `*` of theirs matches slashes.
_IGNORED = ("[!1]*/*", "consolidated*")
_NAME = re.compile(
  r"(?:hf:)?(?P<name>[\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@(?P<revision>[\w./-]+))?"
)


def find(
  path: str | os.PathLike[str], *, with_weights: bool = True
) -> pathlib.Path:
  """Finds a model's local folder, or GGUF file; a name is fetched from the Hub.

  Args:
    path: a folder; a GGUF file; or a name `org/name`, `hf:org/name` or
      `hf:org/name@revision`. A folder goes before a name of the same spelling
      without `hf:`.
    with_weights: False fetches config and tokenizer only.

  Returns:
    The folder; the GGUF file, for it or for a folder that has one and no
    safetensors; for a name, its snapshot in the cache of huggingface_hub,
    which is also what is used without a network.

  Raises:
    errors.InputError: no such folder or file, a file that is no GGUF, several
      GGUF files in a folder, or the Hub and the cache do not have it.

  >>> find("./nowhere")
  Traceback (most recent call last):
  ila_jax.errors.InputError: the model folder ./nowhere does not exist; give ...
  """
  if os.path.isdir(path):
    folder = pathlib.Path(path)
    return container.find(folder) or folder
  if container.is_gguf(path):
    return container.check(pathlib.Path(path))
  if os.path.isfile(path):
    raise errors.InputError(
      f"the model folder {path} is a file; give its folder, "
      f"{os.path.dirname(path) or '.'}, or a file that ends in "
      f"{container.SUFFIX}."
    )
  allowed = "give a Hugging Face folder, or a name on the Hub (hf:ORG/NAME)."
  match = _NAME.fullmatch(os.fspath(path))
  if not match:
    raise errors.InputError(
      f"the model folder {path} does not exist; {allowed}"
    )
  import huggingface_hub

  try:
    folder = huggingface_hub.snapshot_download(
      match["name"],
      revision=match["revision"],
      allow_patterns=[*_SMALL, *(_WEIGHTS if with_weights else ())],
      ignore_patterns=[*_IGNORED],
    )
  except (OSError, ValueError, RuntimeError) as error:
    offline = isinstance(error, huggingface_hub.errors.LocalEntryNotFoundError)
    reason = str(error).strip().split("\n")[0]
    raise errors.InputError(
      f"{path} is no folder here, and "
      + (_offline(match) if offline else f"the Hub did not give it ({reason})")
      + f"; {allowed}"
    ) from error
  return pathlib.Path(folder)


def files(
  folder: epath.PathLike, patterns: Iterable[str]
) -> dict[str, epath.Path]:
  """Lists the files of a model's folder that one of the patterns names.

  Args:
    folder: local or gs://; what its own name holds is no pattern.
    patterns: of names in it, or in a folder in it (`1_Pooling/*`).

  Returns:
    Name in the folder to path, in the order of the names.
  """
  folder, patterns = epath.Path(folder), tuple(patterns)
  below = {p.rpartition("/")[0] for p in patterns}
  files = {
    f"{inside}/{path.name}" if inside else path.name: path
    for inside in below
    if (folder / inside).exists()
    for path in buckets.inside(folder / inside)
    if not path.is_dir()
  }
  return {
    name: files[name]
    for name in sorted(files)
    if any(
      name.rpartition("/")[0] == p.rpartition("/")[0]
      and fnmatch.fnmatchcase(name, p)
      for p in patterns
    )
  }


def _offline(match: re.Match[str]) -> str:
  """Says what a machine without a network lacks, and how to get it there."""
  import huggingface_hub

  why = "the Hub cannot be reached"
  if huggingface_hub.constants.HF_HUB_OFFLINE:
    why = "HF_HUB_OFFLINE keeps this process offline"
  revision = f" --revision {match['revision']}" if match["revision"] else ""
  return (
    f"{why}, and the local cache does not hold it whole. Where there is a "
    f"network, run `hf download {match['name']}{revision} --local-dir FOLDER`, "
    "and bring that folder here"
  )
