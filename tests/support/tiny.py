"""A whole run, small enough for a test: seconds, not minutes."""

import json
import os
import pathlib
from typing import Any

import ml_collections
from etils import epath

from ila_jax import config as config_lib
from ila_jax import config_parsing
from ila_jax.compute import mesh as mesh_lib
from ila_jax.configs import quickstart
from ila_jax.run import context

OVERRIDES = {
  "pool.limit": 240,
  "pool.dev_examples": 20,
  "pool.shard_examples": 100,
  "pool.max_reject_fraction": 0.9,
  "tokens.max_tokens": 256,
  "model.scratch.source": "docstrings:json,csv",
  "model.scratch.vocab": 400,
  "model.scratch.layers": 1,
  "model.scratch.width": 32,
  "model.scratch.heads": 2,
  "model.scratch.kv_heads": 1,
  "model.scratch.mlp_width": 48,
  "model.scratch.epochs": 1.0,
  "encoder.lsa_width": 16,
  "train.batch_tokens": 2048,
  "score.reference_examples": 30,
  "score.reference_seeds": (0, 1),
  "score.epochs": 1.0,
  "landscape.iterations": 300,
  "finetune.epochs": 1.0,
  "scaling.subsets": 6,
  "scaling.held_out": 1,
  "scaling.sizes": (20,),
  "scaling.resamples": 100,
}


def config_dict(
  source: str | pathlib.Path | tuple[str, ...], **overrides: Any
) -> ml_collections.ConfigDict:
  """The tiny config; overrides have `__` for the dots."""
  config = quickstart.get_config()
  config.update_from_flattened_dict(OVERRIDES)
  config.pool.source = source if isinstance(source, tuple) else str(source)
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in overrides.items()}
  )
  return config


def config(
  source: str | pathlib.Path | tuple[str, ...], **overrides: Any
) -> config_lib.Config:
  """The tiny config, checked."""
  return config_parsing.parse(config_dict(source, **overrides))


def run(
  config: config_lib.Config, workdir: str | os.PathLike[str]
) -> context.Run:
  """The run as its stages are given it, on all devices."""
  return context.Run(config, epath.Path(workdir), mesh_lib.make())


def flags(
  source: str | pathlib.Path | tuple[str, ...], **overrides: Any
) -> list[str]:
  """The tiny config as a command line gives it."""
  found = ["--config=configs/quickstart.py"]

  def walk(prefix: str, value: dict[str, Any]) -> None:
    for key, item in value.items():
      if isinstance(item, dict):
        walk(f"{prefix}.{key}", item)
      elif item is not None and item != "":
        found.append(f"--{prefix}.{key}={item}")

  tree = config_dict(source, **overrides).to_dict()
  del tree["pool"]["overrides"]
  walk("config", tree)
  return found


def records(count: int) -> list[dict[str, Any]]:
  """Records with responses of many lengths, some with awkward values."""
  verbs = ("Explain", "Name", "Translate", "Sum up", "Correct", "Continue")
  things = (
    "a river",
    "两只猫",
    "the sine",
    "bread",
    "<b>bold</b>",
    "my sister",
  )
  return [
    {
      "instruction": f"{verbs[i % 6]} <b>{things[i // 6 % 6]}</b>, case {i}.",
      "input": "" if i % 3 else f"Case {i}",
      "output": " ".join(f"word{(i * k) % 17}" for k in range(1, 4 + i % 13)),
      "weight": 10**20 + i,
      "tags": ["a"] * (i % 4),
    }
    for i in range(count)
  ]


def write(path: pathlib.Path, rows: list[dict[str, Any]]) -> pathlib.Path:
  """One record a line."""
  lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
  path.write_text("".join(lines))
  return path
