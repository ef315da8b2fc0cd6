"""The ConfigDict becomes frozen dataclasses here, and goes no further.

The dataclasses of the sections stand in `ila_jax.sections`: each field with its
default, its meaning and what it may be. All is checked before anything is
read, compiled or written.
"""

import dataclasses
from typing import Any

from ila_jax.sections import checked, data, models, ranges, selection, training
from ila_jax.sections import laboratory as laboratory_lib
from ila_jax.sections import landscape as landscape_lib
from ila_jax.sections import sae as sae_lib
from ila_jax.sections import signals as signals_lib

SCRATCH = "scratch"

# Fields of older versions, and where they stand now.
MOVED = {"config.select.trim_quantile": "config.select.options.trim.quantile"}
# Fields of older versions that are gone, and what holds now.
REMOVED = {
  "config.select.kept_per_cell": "a pool of any size is held as numbers",
  "config.landscape.exact_examples": "relative depth is always exact",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(checked.Checked):
  """One run, whole and checked."""

  seed: int = checked.field(
    0,
    "seed of every draw; draws are keyed by it and by example ids",
    **ranges.SEED,
  )
  pool: data.Pool = dataclasses.field(default_factory=data.Pool)
  tokens: data.Tokens = dataclasses.field(default_factory=data.Tokens)
  model: models.Model = dataclasses.field(default_factory=models.Model)
  encoder: models.Encoder = dataclasses.field(default_factory=models.Encoder)
  mesh: models.Mesh = dataclasses.field(default_factory=models.Mesh)
  train: training.Train = dataclasses.field(default_factory=training.Train)
  score: training.Score = dataclasses.field(default_factory=training.Score)
  sae: sae_lib.Sae = dataclasses.field(default_factory=sae_lib.Sae)
  signals: signals_lib.Signals = dataclasses.field(
    default_factory=signals_lib.Signals
  )
  landscape: landscape_lib.Landscape = dataclasses.field(
    default_factory=landscape_lib.Landscape
  )
  select: selection.Select = dataclasses.field(default_factory=selection.Select)
  finetune: training.Finetune = dataclasses.field(
    default_factory=training.Finetune
  )
  scaling: training.Scaling = dataclasses.field(
    default_factory=training.Scaling
  )
  laboratory: laboratory_lib.Laboratory = dataclasses.field(
    default_factory=laboratory_lib.Laboratory
  )

  def plain(self) -> dict[str, Any]:
    """All fields, as nested dicts of plain values."""
    return dataclasses.asdict(self)

  def section(self, *names: str) -> dict[str, Any]:
    """What a stage is made from: sections without what changes no result.

    >>> from ila_jax import config_parsing, presets
    >>> config_parsing.parse(presets.load("quickstart")).section("tokens")
    {'tokens': {'max_tokens': 512, 'overflow': 'truncate_prompt'}}
    """
    whole = self.plain()
    if self.train.method == "full":
      train = whole["train"].items()
      whole["train"] = {k: v for k, v in train if not k.startswith("lora_")}
    return {name: _results(getattr(self, name), whole[name]) for name in names}


def _results(section: checked.Checked, plain: dict[str, Any]) -> dict[str, Any]:
  """Those of a section's plain values that change what its stages write."""
  kept = {}
  for one in dataclasses.fields(section):
    changes = one.metadata.get("changes", checked.RESULTS)
    if one.name in plain and changes == checked.RESULTS:
      value, held = getattr(section, one.name), plain[one.name]
      is_section = isinstance(value, checked.Checked)
      kept[one.name] = _results(value, held) if is_section else held
  return kept
