"""The ConfigDict becomes frozen dataclasses here, and goes no further.

Every field is checked by type against these classes, then its value
(`config_checks`), before anything is read, compiled or written. What each
field means stands beside its value in `configs/`.
"""

import dataclasses
from typing import Any

# Fields that change how fast a run is, or what is let pass, and no artifact.
_CHANGES_NOTHING = {
  "pool.max_reject_fraction",
  "encoder.batch_tokens",
  "encoder.layout",
  "encoder.attention",
  "score.batch_tokens",
  "landscape.stability",
  "score.layout",
  "model.attention",
  "train.remat",
  "train.checkpoint_steps",
  "train.checkpoint_minutes",
}
# Fields that stages name on their own, where they count: which examples are
# candidates once all are scored, and what lies where a map is joined.
_NAMED_APART = {"score.exclude_reference", "landscape.map"}
# Fields that name sources, and those that name a folder.
SOURCES = {"config.pool.source", "config.model.scratch.source"}
FOLDERS = {"config.model.path", "config.encoder.path", "config.landscape.map"}

# Fields of older versions, and where they stand now.
MOVED = {"config.select.trim_quantile": "config.select.options.trim.quantile"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
  """Where the records come from, and which fields of them mean what."""

  source: str | tuple[str, ...]
  limit: int | None
  max_reject_fraction: float
  dev_examples: int
  shard_examples: int
  fields: dict[str, str]
  overrides: dict[str, dict[str, str]]
  answers: str

  @property
  def sources(self) -> tuple[str, ...]:
    """The sources, also when there is only one."""
    return (self.source,) if isinstance(self.source, str) else self.source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
  """How long an example may be."""

  max_tokens: int
  overflow: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scratch:
  """The small base model made on the spot when model.path is 'scratch'."""

  source: str
  vocab: int
  layers: int
  width: int
  heads: int
  kv_heads: int
  mlp_width: int
  epochs: float
  learning_rate: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  """The base causal language model."""

  path: str | None
  dtype: str
  attention: str
  scratch: Scratch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
  """The sentence encoder of the map."""

  path: str | None
  dtype: str
  attention: str
  prefix: str
  system: bool
  max_tokens: int
  batch_tokens: int
  layout: str
  lsa_width: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
  """How the devices are arranged."""

  data: int | None
  fsdp: int
  tensor: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  """What the reference, the check and the laboratory train with."""

  batch_tokens: int
  warmup_fraction: float
  weight_decay: float
  clip_norm: float
  checkpoint_steps: int
  checkpoint_minutes: float
  remat: bool
  method: str
  lora_rank: int
  lora_alpha: float
  lora_targets: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """Losses under the base and the reference-tuned model."""

  reference_examples: int
  reference_seeds: tuple[int, ...]
  exclude_reference: bool
  epochs: float
  learning_rate: float
  batch_tokens: int
  layout: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landscape:
  """The map, its cells, and depth."""

  projection: str
  dimensions: int
  map: str | None
  perplexity: float
  iterations: int
  fit_examples: int
  cells: str
  grid: int | str
  clusters: int | None
  depth: str
  domain_blocks: int
  duplicate_cosine: float | None
  duplicate_search: str
  stability: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Select:
  """Which examples, and how many."""

  strategy: str
  budget: float
  unit: str
  options: dict[str, Any]  # by method and field
  drop_duplicates: bool
  exclude_near_reference: float | None
  compare: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune:
  """The check: the base tuned on the selection and on its rivals."""

  epochs: float
  learning_rate: float
  compare: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaling:
  """The laboratory of many small subsets."""

  subsets: int
  held_out: int
  sizes: tuple[int, ...]
  min_cell_share: float
  depth_band: float
  resamples: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """One run, whole and checked."""

  seed: int
  pool: Pool
  tokens: Tokens
  model: Model
  encoder: Encoder
  mesh: Mesh
  train: Train
  score: Score
  landscape: Landscape
  select: Select
  finetune: Finetune
  scaling: Scaling

  def plain(self) -> dict[str, Any]:
    """All fields, as nested dicts of plain values."""
    return dataclasses.asdict(self)

  def section(self, *names: str) -> dict[str, Any]:
    """What a stage is made from: sections without what changes only speed.

    >>> from ila_jax import config_parsing, presets
    >>> config_parsing.parse(presets.load("quickstart")).section("tokens")
    {'tokens': {'max_tokens': 512, 'overflow': 'truncate_prompt'}}
    """
    whole = self.plain()
    if self.train.method == "full":
      train = whole["train"].items()
      whole["train"] = {k: v for k, v in train if not k.startswith("lora_")}
    return {
      name: {
        field: value
        for field, value in whole[name].items()
        if f"{name}.{field}" not in _CHANGES_NOTHING | _NAMED_APART
      }
      for name in names
    }


SCRATCH = "scratch"
