"""Adapters are read from folders of the peft library, and written."""

import os
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from jax.sharding import Mesh

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture
from ila_jax.models import lora as lora_lib
from ila_jax.models.folders import hub, json_fields, tensor_names
from ila_jax.run.disk import files

_CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

# Fields of adapter_config.json that do not change what an adapter computes;
# the modules and their shapes are read from the tensors.
_HARMLESS = (
  *("auto_mapping", "base_model_name_or_path", "revision", "task_type"),
  *("peft_version", "inference_mode", "lora_dropout", "eva_config"),
  *("target_modules", "exclude_modules", "qalora_group_size", "megatron_core"),
)
# Fields with one or more values that we know; other starts, such as pissa,
# change the base weights too.
_KNOWN = {
  "peft_type": ("LORA",),
  "bias": ("none",),
  "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
}
_READ = ("r", "lora_alpha", "use_rslora")


def save(
  folder: str | os.PathLike[str],
  lora: lora_lib.LoraConfig,
  adapter: lora_lib.Adapter,
  *,
  base_name: str,
) -> None:
  """Writes adapter_config.json and adapter_model.safetensors as peft does.

  Every host must call it: sharded factors are gathered from all of them.

  Args:
    folder: local or remote, made if absent; each file is replaced when whole.
    lora: of the adapter.
    adapter: what to write, in float32.
    base_name: folder or Hub name of the model that it belongs to.

  >>> import tempfile
  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> lora = lora_lib.LoraConfig(rank=1, alpha=2, targets=("query",))
  >>> adapter = lora_lib.init(config, lora, jax.random.key(0))
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   save(folder, lora, adapter, base_name="mine")
  ...   sorted(path.name for path in pathlib.Path(folder).iterdir())
  ['adapter_config.json', 'adapter_model.safetensors', 'checksums.json']
  """
  folder = epath.Path(folder)
  tensors = {}
  for target, factors in adapter.items():
    for factor, stacked in factors.items():
      for layer, matrix in enumerate(mesh_lib.fetch(stacked)):
        name = _name(target, factor, layer)
        tensors[name] = np.ascontiguousarray(matrix.T, np.float32)
  fields = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": base_name,
    "r": lora.rank,
    "lora_alpha": lora.alpha,
    "use_rslora": lora.rank_stabilized,
    "target_modules": [_module(target).split(".")[-1] for target in adapter],
    "lora_dropout": 0.0,
    "bias": "none",
    "fan_in_fan_out": False,
    "init_lora_weights": True,
    "inference_mode": True,
  }
  files.write_json(folder / _CONFIG, fields)
  # The weights come last: a folder that has them is whole.
  content = safetensors.numpy.save(tensors, metadata={"format": "pt"})
  files.write_bytes(folder / WEIGHTS, content)


def load(
  folder: str | os.PathLike[str],
  config: architecture.DecoderConfig,
  *,
  mesh: Mesh | None = None,
) -> tuple[lora_lib.LoraConfig, lora_lib.Adapter]:
  """Reads an adapter that `save` or the peft library wrote.

  Args:
    folder: local folder, or a name on the Hub.
    config: sizes of the decoder that it belongs to.
    mesh: puts the factors where `lora.shardings` says; None puts them on the
      default device.

  Returns:
    (its configuration, the adapter in float32).

  Raises:
    errors.InputError: no such folder, files missing or damaged, tensors that
      do not fit the decoder, or a variant of LoRA that is not implemented
      (named, with what is allowed).

  >>> import tempfile
  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = architecture.DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> lora = lora_lib.LoraConfig(rank=1, alpha=2, targets=("query",))
  >>> adapter = lora_lib.init(config, lora, jax.random.key(0))
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   save(folder, lora, adapter, base_name="mine")
  ...   load(folder, config)[0] == lora
  True
  """
  folder = hub.find(folder)
  file = folder / _CONFIG
  fields = json_fields.read_json(file, dict)
  _check_fields(file, fields)
  tensors = _read_tensors(folder / WEIGHTS)
  targets = [t for t in lora_lib.TARGETS if _name(t, "a", 0) in tensors]
  lora = lora_lib.LoraConfig(
    rank=fields["r"],
    alpha=fields["lora_alpha"],
    # Where nothing is known, all are wanted: the check tells what there is.
    targets=tuple(targets) or lora_lib.TARGETS,
    rank_stabilized=bool(fields.get("use_rslora")),
  )
  wanted = lora_lib.shapes(config, lora)
  _check_tensors(folder / WEIGHTS, tensors, wanted)
  adapter = {
    target: {
      factor: np.stack(
        [
          tensors[_name(target, factor, layer)].T.astype(np.float32)
          for layer in range(config.layers)
        ]
      )
      for factor in factors
    }
    for target, factors in wanted.items()
  }
  places = lora_lib.shardings(adapter, mesh) if mesh else None
  return lora, jax.device_put(adapter, places)


def _module(target: str) -> str:
  """Returns peft's name of a matrix's module; {} is the layer."""
  # Families differ in their norms' names; matrices are called as in Llama.
  return tensor_names.DECODER[f"blocks/{target}"].removesuffix(".weight")


def _name(target: str, factor: str, layer: int) -> str:
  module = _module(target).format(layer)
  return tensor_names.PEFT.format(module=module, factor=factor.upper())


def _check_fields(file: pathlib.Path, fields: dict[str, Any]) -> None:
  """Refuses what would be read as something that it is not."""

  def reject(name: str, allowed: str) -> errors.InputError:
    return errors.InputError(
      f"{file}: {name} is {fields.get(name)!r}; allowed: {allowed}. Use an "
      "adapter that has it so; others are not implemented."
    )

  for name, values in _KNOWN.items():
    if name in fields and fields[name] not in values:
      raise reject(name, " or ".join(map(repr, values)))
  for name, value in fields.items():
    if value and name not in (*_READ, *_KNOWN, *_HARMLESS):
      raise reject(name, "null, false or empty")
  for name, kinds in (("r", int), ("lora_alpha", (int, float))):
    value = fields.get(name)
    if not isinstance(value, kinds) or isinstance(value, bool) or value <= 0:
      raise reject(name, "a number above 0")


def _read_tensors(file: pathlib.Path) -> dict[str, np.ndarray]:
  if not file.exists():
    pickle = file.with_suffix(".bin")
    hint = f" ({pickle.name} is a pickle, and is never read)"
    raise errors.InputError(
      f"{file} is missing{hint if pickle.exists() else ''}. Save the adapter "
      "as safetensors, as peft does by default."
    )
  try:
    with safetensors.safe_open(file, framework="numpy") as opened:
      return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
  except (OSError, safetensors.SafetensorError) as error:
    raise errors.InputError(
      f"{file} cannot be read as safetensors ({error}). Fetch it again."
    ) from error


def _check_tensors(
  file: pathlib.Path,
  tensors: dict[str, np.ndarray],
  wanted: dict[str, dict[str, tuple[int, int, int]]],
) -> None:
  """Compares names and shapes with those that fit the decoder."""
  allowed = {
    _name(target, factor, layer): shape[:0:-1]
    for target, factors in wanted.items()
    for factor, shape in factors.items()
    for layer in range(shape[0])
  }
  problems = [f"{name} is missing" for name in allowed if name not in tensors]
  problems += [f"{name} is not known" for name in tensors.keys() - allowed]
  for name in allowed.keys() & tensors.keys():
    shape = tensors[name].shape
    if shape != allowed[name]:
      problems.append(f"{name} is of shape {shape}, not {allowed[name]}")
    # Rows of other adapters meet them too, times 0.
    if not np.isfinite(tensors[name].astype(np.float32)).all():
      problems.append(f"{name} holds numbers that are not finite")
  if problems:
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    raise errors.InputError(
      f"{file} does not fit {_CONFIG} and this decoder: "
      f"{'; '.join(sorted(problems)[:3])}{more}. Use the adapter's own base "
      "model; an adapter is on whole layers of the attention and MLP matrices."
    )
