"""What the values of a config may be, field by field and together."""

from typing import Any

from ila_jax import (
  depth,
  errors,
  landscape,
  layouts,
  projection,
  responses,
  selection,
  tokens,
  variants,
)
from ila_jax.models import attention, lora


def check(config: Any) -> None:
  """Checks the values of an `ila_jax.config.Config` and how they go together.

  Raises:
    errors.InputError: names the field, its value, and what is allowed.
  """
  _check_choices(config)
  _check_numbers(config)
  _check_across(config)
  _check_duplicates(config)


def _check_choices(config: Any) -> None:
  from_registry = {
    "pool.answers": responses.RULES,
    "select.strategy": selection.STRATEGIES,
    "landscape.depth": depth.DEPTHS,
    "landscape.projection": projection.PROJECTIONS,
    "landscape.cells": ("grid", "kmeans"),
    "landscape.duplicate_search": ("cells", "all"),
    "select.unit": selection.UNITS,
    "tokens.overflow": tokens.OVERFLOWS,
    "model.dtype": ("float32", "bfloat16"),
    "encoder.dtype": ("float32", "bfloat16"),
    "model.attention": ("auto", *attention.KERNELS),
    "encoder.attention": ("auto", *attention.KERNELS),
    "score.layout": layouts.LAYOUTS,
    "encoder.layout": layouts.LAYOUTS,
    "train.method": ("full", "lora"),
  }
  for name, allowed in from_registry.items():
    _require_in(name, _field(config, name), allowed)
  for name, allowed in (
    ("select.compare", selection.STRATEGIES),
    ("finetune.compare", selection.STRATEGIES),
    ("train.lora_targets", lora.TARGETS),
    ("landscape.stability", variants.AXES),
  ):
    for value in _field(config, name):
      _require_in(name, value, allowed)


def _require_in(name: str, value: Any, allowed: Any) -> None:
  if value not in allowed:
    raise errors.InputError(
      f"config.{name} is {value!r}; allowed: {', '.join(allowed)}."
    )


# (field, smallest value, whether the smallest itself is allowed)
_LOWER_BOUNDS = (
  ("seed", 0, True),
  ("pool.limit", 1, True),
  ("pool.max_reject_fraction", 0, True),
  ("pool.dev_examples", 1, True),
  ("pool.shard_examples", 1, True),
  ("tokens.max_tokens", 8, True),
  ("encoder.max_tokens", 4, True),
  ("encoder.batch_tokens", 1, True),
  ("encoder.lsa_width", 2, True),
  ("mesh.data", 1, True),
  ("mesh.fsdp", 1, True),
  ("mesh.tensor", 1, True),
  ("train.batch_tokens", 1, True),
  ("train.warmup_fraction", 0, True),
  ("train.weight_decay", 0, True),
  ("train.clip_norm", 0, False),
  ("train.checkpoint_steps", 1, True),
  ("train.lora_rank", 1, True),
  ("train.lora_alpha", 0, False),
  ("score.reference_examples", 1, True),
  ("score.epochs", 0, False),
  ("score.learning_rate", 0, False),
  ("score.batch_tokens", 1, True),
  ("landscape.dimensions", 2, True),
  ("landscape.perplexity", 1, True),
  ("landscape.iterations", 1, True),
  ("landscape.fit_examples", 4, True),
  ("landscape.clusters", 1, True),
  ("landscape.domain_blocks", 1, True),
  ("landscape.exact_examples", 0, True),
  ("landscape.duplicate_cosine", 0, False),
  ("select.exclude_near_reference", 0, False),
  ("select.budget", 0, False),
  ("select.kept_per_cell", 1, True),
  ("select.trim_quantile", 0, True),
  ("finetune.epochs", 0, False),
  ("finetune.learning_rate", 0, False),
  ("scaling.subsets", 0, True),
  ("scaling.held_out", 0, True),
  ("model.scratch.vocab", 259, True),
  ("model.scratch.layers", 1, True),
  ("model.scratch.width", 1, True),
  ("model.scratch.heads", 1, True),
  ("model.scratch.kv_heads", 1, True),
  ("model.scratch.mlp_width", 1, True),
  ("model.scratch.epochs", 0, False),
  ("model.scratch.learning_rate", 0, False),
  ("scaling.min_cell_share", 0, False),
  ("scaling.depth_band", 0, False),
  ("scaling.resamples", 100, True),
)


def _check_numbers(config: Any) -> None:
  for name, low, closed in _LOWER_BOUNDS:
    value = _field(config, name)
    if value is None:
      continue
    if not (value >= low if closed else value > low):
      raise errors.InputError(
        f"config.{name} is {value}; allowed: a number "
        f"{'of at least' if closed else 'above'} {low}."
      )
  for name in (
    "pool.max_reject_fraction",
    "train.warmup_fraction",
    "select.trim_quantile",
    "landscape.duplicate_cosine",
    "select.exclude_near_reference",
    "scaling.min_cell_share",
    "scaling.depth_band",
  ):
    if (_field(config, name) or 0) > 1:
      raise errors.InputError(
        f"config.{name} is {_field(config, name)}; allowed: 0 to 1."
      )


def _check_across(config: Any) -> None:
  if not config.pool.sources:
    raise errors.InputError(
      "config.pool.source is empty. Set it to a file, a folder, "
      "tfds:NAME/SPLIT, hf:NAME/SPLIT or docstrings:PACKAGE,..."
    )
  for seed in (config.seed, *config.score.reference_seeds):
    if seed >= 2**32:
      raise errors.InputError(
        f"config.seed or config.score.reference_seeds is {seed}; allowed: "
        f"below 2³², which is {2**32}."
      )
  for name in ("model.path", "encoder.path"):
    if not _field(config, name):
      raise errors.InputError(
        f"config.{name} is not set; it has no default. Set --config.{name} to "
        "a Hugging Face folder or name"
        + (", or 'lsa' or 'base'." if name == "encoder.path" else ".")
      )
  seeds = config.score.reference_seeds
  if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
    raise errors.InputError(
      f"config.score.reference_seeds is {seeds}; allowed: one number or more, "
      "none below 0 and none twice, such as (0, 1, 2)."
    )
  targets = config.train.lora_targets
  if not targets or len(set(targets)) < len(targets):
    raise errors.InputError(
      f"config.train.lora_targets is {targets}; allowed: one or more of "
      f"{', '.join(lora.TARGETS)}, each once."
    )
  scratch = config.model.scratch
  if scratch.width % (2 * scratch.heads) or scratch.heads % scratch.kv_heads:
    raise errors.InputError(
      f"config.model.scratch has width {scratch.width}, heads {scratch.heads} "
      f"and kv_heads {scratch.kv_heads}; allowed: a width that twice the heads "
      "divide, and heads that kv_heads divide."
    )
  if config.select.unit == "fraction" and config.select.budget > 1:
    raise errors.InputError(
      f"config.select.budget is {config.select.budget} and config.select.unit "
      "is 'fraction'; allowed: above 0 and up to 1. For a number of examples "
      "set --config.select.unit=examples."
    )
  _check_grid(config.landscape)
  _check_kept(config.select)
  if config.landscape.map is None:  # Else what is joined tells what it can be.
    projection.check_dimensions(
      config.landscape.projection, config.landscape.dimensions
    )
    check_stability(config)
  if not config.scaling.sizes or min(config.scaling.sizes) < 1:
    raise errors.InputError(
      f"config.scaling.sizes is {config.scaling.sizes}; allowed: one or more "
      "numbers of examples, such as (500, 1000)."
    )


def _check_duplicates(config: Any) -> None:
  if config.landscape.duplicate_cosine is None and (
    config.select.drop_duplicates
    or config.select.exclude_near_reference is not None
  ):
    raise errors.InputError(
      "config.landscape.duplicate_cosine is None, and "
      "config.select.drop_duplicates or config.select.exclude_near_reference "
      "needs near-duplicates. Set --config.landscape.duplicate_cosine=0.95."
    )


def _check_grid(settings: Any) -> None:
  """Cells are numbered in int32."""
  grid, finest = settings.grid, landscape.finest_grid(settings.dimensions)
  if not (grid == "auto" or (isinstance(grid, int) and 1 <= grid <= finest)):
    raise errors.InputError(
      f"config.landscape.grid is {grid!r}; allowed: 'auto' or a whole number "
      f"of at least 1 and, in {settings.dimensions} dimensions, at most "
      f"{finest}."
    )
  if settings.domain_blocks > landscape.finest_grid(2):
    raise errors.InputError(
      f"config.landscape.domain_blocks is {settings.domain_blocks}; allowed: 1 "
      f"to {landscape.finest_grid(2)}. 8 is usual."
    )


def check_stability(config: Any) -> None:
  """Axes that would vary nothing are refused: they would look like a result.

  Raises:
    errors.InputError: names the axis.
  """
  found = config.landscape
  on_grid = found.cells == "grid"
  vain = {
    "reference_seed": len(config.score.reference_seeds) < 2
    and "config.score.reference_seeds names one set; give two or more",
    "perplexity": not (
      on_grid and projection.PROJECTIONS[found.projection].by_tsne
    )
    and "no cells come from t-SNE",
    "map_seed": (on_grid and found.projection == "pca")
    and "the principal components know no seed",
  }
  for axis in found.stability:
    if vain.get(axis):
      raise errors.InputError(
        f"config.landscape.stability is {found.stability}, and {axis!r} would "
        f"vary nothing: {vain[axis]}. Leave it out."
      )


def _check_kept(select: Any) -> None:
  whole = {
    name: None
    for name in (select.strategy, *select.compare)
    if name not in selection.STREAMED
  }
  if select.kept_per_cell is None or not whole:
    return
  raise errors.InputError(
    f"config.select.kept_per_cell is {select.kept_per_cell}, and "
    f"config.select.strategy or config.select.compare asks for "
    f"{', '.join(whole)}, which must order the pool as a whole; allowed: "
    f"{', '.join(selection.STREAMED)}. Set --config.select.compare="
    "\"('coverage_only',)\", or --config.select.kept_per_cell=None."
  )


def _field(config: Any, dotted: str) -> Any:
  value = config
  for part in dotted.split("."):
    value = getattr(value, part)
  return value
