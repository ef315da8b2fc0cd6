"""What the values of a config may be, field by field and together."""

from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.landscape import depth
from ila_jax.landscape import grid as grid_lib
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import variants
from ila_jax.methods import table
from ila_jax.models import attention, lora
from ila_jax.passes import layouts
from ila_jax.pool.shapes import responses
from ila_jax.pool.tokens import encode
from ila_jax.selection import budget


def check(config: Any) -> None:
  """Checks the values of an `ila_jax.config.Config` and how they go together.

  Raises:
    errors.InputError: names the field, its value, and what is allowed.
  """
  _check_choices(config)
  _check_numbers(config)
  _check_paths(config)
  _check_across(config)
  _check_duplicates(config)
  _check_options(config.select.options)


def _check_choices(config: Any) -> None:
  from_registry = {
    "pool.answers": responses.RULES,
    "select.strategy": table.METHODS,
    "landscape.depth": depth.DEPTHS,
    "landscape.projection": projections.PROJECTIONS,
    "landscape.cells": ("grid", "kmeans"),
    "landscape.duplicate_search": ("cells", "all"),
    "select.unit": budget.UNITS,
    "tokens.overflow": encode.OVERFLOWS,
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
    ("select.compare", table.METHODS),
    ("finetune.compare", table.METHODS),
    ("train.lora_targets", lora.TARGETS),
    ("landscape.stability", variants.AXES),
  ):
    for value in _field(config, name):
      _require_in(name, value, allowed)


def _require_in(name: str, value: Any, allowed: Any) -> None:
  if value not in allowed:
    raise errors.InputError(
      f"config.{name} is {value!r}; allowed: {', '.join(allowed)}."
      f"{errors.did_you_mean(value, allowed)}"
    )


class Bounds(NamedTuple):
  """What a number may be: `low` to `high`; so infinity and NaN are not.

  Attributes:
    low: the smallest value.
    high: the largest value.
    above: whether only what is above `low` is allowed.
  """

  low: float | int
  high: float | int
  above: bool = False

  def __str__(self) -> str:
    if self.above:
      return f"a number above {self.low:g}, up to {self.high:.12g}"
    return f"{self.low:g} to {self.high:.12g}"


_EPOCHS = Bounds(0, 10_000, above=True)
_RATE = Bounds(0, 10, above=True)
_SHARE = Bounds(0, 1)
_PART = Bounds(0, 1, above=True)
# Examples: ten billion are more than any pool that is known.
_MANY = 10**10
# A program's shapes are whole numbers of 32 bits; a batch stays well below.
_BATCH = Bounds(1, 2**26)
# Every number of a config, once; a test walks them all. The upper ends are
# beyond any use that is known: what lies above is a slip of the keyboard, and
# would end in memory, hours later.
BOUNDS = {
  "seed": Bounds(0, 2**32 - 1),
  "pool.limit": Bounds(1, _MANY),
  "pool.max_reject_fraction": _SHARE,
  "pool.dev_examples": Bounds(1, _MANY),
  "pool.shard_examples": Bounds(1, 2**24),  # which are held at once
  # No model of these families reads more than a million tokens.
  "tokens.max_tokens": Bounds(8, 2**20),
  "model.scratch.vocab": Bounds(259, 2**20),  # bytes and three marks
  "model.scratch.layers": Bounds(1, 1000),
  "model.scratch.width": Bounds(1, 2**16),
  "model.scratch.heads": Bounds(1, 2**12),
  "model.scratch.kv_heads": Bounds(1, 2**12),
  "model.scratch.mlp_width": Bounds(1, 2**18),
  "model.scratch.epochs": _EPOCHS,
  "model.scratch.learning_rate": _RATE,
  "encoder.max_tokens": Bounds(4, 2**20),
  "encoder.batch_tokens": _BATCH,
  "encoder.lsa_width": Bounds(2, 2**14),
  "mesh.data": Bounds(1, 2**16),
  "mesh.fsdp": Bounds(1, 2**16),
  "mesh.tensor": Bounds(1, 2**16),
  "train.batch_tokens": _BATCH,
  "train.warmup_fraction": _SHARE,
  "train.weight_decay": Bounds(0, 100),
  "train.clip_norm": Bounds(0, 1e6, above=True),  # 1e6 clips nothing
  "train.checkpoint_steps": Bounds(1, 10**9),
  "train.checkpoint_minutes": Bounds(0, 1e6, above=True),
  "train.lora_rank": Bounds(1, 2**12),
  "train.lora_alpha": Bounds(0, 2**16, above=True),
  "score.reference_examples": Bounds(1, _MANY),
  "score.reference_seeds": Bounds(0, 2**32 - 1),
  "score.epochs": _EPOCHS,
  "score.learning_rate": _RATE,
  "score.batch_tokens": _BATCH,
  "landscape.dimensions": Bounds(2, 2**10),
  "landscape.perplexity": Bounds(1, 10_000),
  "landscape.iterations": Bounds(1, 10**6),
  "landscape.fit_examples": Bounds(4, _MANY),
  # Cells are numbered in 32 bits; `_check_grid` knows the dimensions.
  "landscape.grid": Bounds(1, 2**31 - 1),
  "landscape.clusters": Bounds(1, 2**31 - 1),
  "landscape.domain_blocks": Bounds(1, 46340),  # squared, in 32 bits
  "landscape.duplicate_cosine": _PART,
  "select.budget": Bounds(0, 1e15, above=True),  # also of tokens
  "select.exclude_near_reference": _PART,
  "finetune.epochs": _EPOCHS,
  "finetune.learning_rate": _RATE,
  "scaling.subsets": Bounds(0, 10_000),
  "scaling.held_out": Bounds(0, 10_000),
  "scaling.sizes": Bounds(1, _MANY),
  "scaling.min_cell_share": _PART,
  "scaling.depth_band": _PART,
  "scaling.resamples": Bounds(100, 10**6),
}


def check_number(name: str, value: float | int) -> None:
  """Refuses a number that is out of its `BOUNDS`, NaN among them.

  >>> check_number("score.epochs", float("inf"))
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.score.epochs is inf; allowed: a number ...
  """
  bounds = BOUNDS[name]
  is_above = value > bounds.low if bounds.above else value >= bounds.low
  if not (is_above and value <= bounds.high):
    raise errors.InputError(f"config.{name} is {value}; allowed: {bounds}.")


def _check_numbers(config: Any) -> None:
  for name in BOUNDS:
    value = _field(config, name)
    for number in value if isinstance(value, tuple) else (value,):
      if isinstance(number, int | float):
        check_number(name, number)


def _check_paths(config: Any) -> None:
  for name in ("pool.source", "model.scratch.source", "landscape.map"):
    value = _field(config, name)
    for path in value if isinstance(value, tuple) else (value,):
      if path is not None and not path.strip():
        raise errors.InputError(
          f"config.{name} is {value!r}, which is empty: a shell variable that "
          "is not set? Allowed: the name of a file, a folder or a source. Set "
          f"--config.{name} to one."
        )


def _check_across(config: Any) -> None:
  if not config.pool.sources:
    raise errors.InputError(
      "config.pool.source is empty. Set it to a file, a folder, "
      "tfds:NAME/SPLIT, hf:NAME/SPLIT or docstrings:PACKAGE,..."
    )
  for name in ("model.path", "encoder.path"):
    if not (_field(config, name) or "").strip():
      raise errors.InputError(
        f"config.{name} is not set; it has no default. Set --config.{name} to "
        "a Hugging Face folder or name"
        + (", or 'lsa' or 'base'." if name == "encoder.path" else ".")
      )
  seeds = config.score.reference_seeds
  if not seeds or len(set(seeds)) < len(seeds):
    raise errors.InputError(
      f"config.score.reference_seeds is {seeds}; allowed: one number or more, "
      "none twice, such as (0, 1, 2)."
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
  if config.landscape.map is None:  # Else what is joined tells what it can be.
    projections.check_dimensions(
      config.landscape.projection, config.landscape.dimensions
    )
    variants.check_stability(config)
  if not config.scaling.sizes:
    raise errors.InputError(
      f"config.scaling.sizes is {config.scaling.sizes}; allowed: one or more "
      "numbers of examples, such as (500, 1000)."
    )


def _check_options(options: dict[str, Any]) -> None:
  """Options of methods stand by method, and by field of its own."""
  for name, values in options.items():
    if name not in table.METHODS:
      having = [
        f"config.select.options.{method.name}.{name}"
        for method in table.METHODS.values()
        if name in method.options.__dataclass_fields__
      ]
      remedy = f"Set {' or '.join(having)}." if having else ""
      raise errors.InputError(
        f"config.select.options.{name} is {values!r}, and no method is called "
        f"{name!r}; allowed: {', '.join(table.METHODS)}. "
        f"{remedy or errors.did_you_mean(name, table.METHODS).strip()}".rstrip()
      )
    if not isinstance(values, dict):
      raise errors.InputError(
        f"config.select.options.{name} is {values!r}; allowed: a section with "
        f"fields of {name!r}, such as {table.METHODS[name].options()}."
      )
    table.options(name, options)


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
  grid, finest = settings.grid, grid_lib.finest_grid(settings.dimensions)
  if not (grid == "auto" or (isinstance(grid, int) and 1 <= grid <= finest)):
    raise errors.InputError(
      f"config.landscape.grid is {grid!r}; allowed: 'auto' or a whole number "
      f"of at least 1 and, in {settings.dimensions} dimensions, at most "
      f"{finest}."
    )


def _field(config: Any, dotted: str) -> Any:
  value = config
  for part in dotted.split("."):
    value = getattr(value, part)
  return value
