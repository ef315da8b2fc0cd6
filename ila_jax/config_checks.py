"""What the values of a config may be together; each alone: `sections`."""

from typing import Any

from ila_jax import errors
from ila_jax.landscape import depth, ordering
from ila_jax.landscape import grid as grid_lib
from ila_jax.landscape.maps import projections
from ila_jax.landscape.trust import variants
from ila_jax.methods import table
from ila_jax.methods.variants import ila_two_round
from ila_jax.models import lora
from ila_jax.pool.scores import names as names_lib
from ila_jax.sections import checked
from ila_jax.selection import filters, needs, where
from ila_jax.training import metrics


def check(config: Any) -> None:
  """Checks how the values of an `ila_jax.config.Config` go together.

  Raises:
    errors.InputError: names the field, its value, and what is allowed.
  """
  _check_paths(config)
  _check_across(config)
  _check_duplicates(config)
  _check_scores(config)
  _check_options(config.select.options)
  _check_budget(config.select)
  _check_cell_weight(config.select)
  _check_methods(config)
  ila_two_round.check(
    tuple(name for name, _ in needs.choices(config)),
    exclude_reference=config.score.exclude_reference,
  )
  _check_beside(config)


def _check_paths(config: Any) -> None:
  for one in checked.walk(type(config)):
    kind, value = one.field.metadata["path"], _field(config, one.name)
    if kind == checked.MODEL and not (value or "").strip():
      raise errors.InputError(
        f"config.{one.name} is not set; it has no default. Set "
        f"--config.{one.name} to a Hugging Face folder or name"
        + (", or 'lsa' or 'base'." if one.name == "encoder.path" else ".")
      )
    for path in value if isinstance(value, tuple) else (value,):
      if kind and path is not None and not path.strip():
        raise errors.InputError(
          f"config.{one.name} is {value!r}, which is empty: a shell variable "
          "that is not set? Allowed: the name of a file, a folder or a source. "
          f"Set --config.{one.name} to one."
        )


def _check_across(config: Any) -> None:
  if not config.pool.sources:
    raise errors.InputError(
      "config.pool.source is empty. Set it to a file, a folder, "
      "tfds:NAME/SPLIT, hf:NAME/SPLIT or docstrings:PACKAGE,..."
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
  metrics.check(config.train.metrics)
  scratch = config.model.scratch
  if scratch.width % (2 * scratch.heads) or scratch.heads % scratch.kv_heads:
    raise errors.InputError(
      f"config.model.scratch has width {scratch.width}, heads {scratch.heads} "
      f"and kv_heads {scratch.kv_heads}; allowed: a width that twice the heads "
      "divide, and heads that kv_heads divide."
    )
  _check_autoencoder(config.sae)
  _check_grid(config.landscape)
  if config.landscape.map is None:  # Else what is joined tells what it can be.
    projections.check_dimensions(
      config.landscape.projection, config.landscape.dimensions
    )
    variants.check_stability(config)
  _check_laboratory(config)
  if len(config.scaling.mixture_tokens) != 2:
    raise errors.InputError(
      f"config.scaling.mixture_tokens is {config.scaling.mixture_tokens}; "
      "allowed: two numbers, the fewest and the most response tokens."
    )
  if not config.scaling.sizes:
    raise errors.InputError(
      f"config.scaling.sizes is {config.scaling.sizes}; allowed: one or more "
      "numbers of examples, such as (500, 1000)."
    )
  alone = {
    "finetune.stop_patience": config.finetune.stop_patience,
    "train.micro_batch_tokens": config.train.micro_batch_tokens,
  }
  for name, value in alone.items():
    if config.train.runs_a_device is not None and value is not None:
      raise errors.InputError(
        f"config.train.runs_a_device is {config.train.runs_a_device} and "
        f"config.{name} is {value}; allowed: one of them. Set "
        "--config.train.runs_a_device=None."
      )


def _check_laboratory(config: Any) -> None:
  """Arms choose as config.select can, and are measured against arms."""
  settings = config.laboratory
  for name in ("budgets", "equal", "curve", "rivals"):
    values = getattr(settings, name)
    if not values or len(set(values)) < len(values):
      raise errors.InputError(
        f"config.laboratory.{name} is {values}; allowed: one or more, each "
        "once."
      )
  arms = settings.choices(config.select)
  for name, arm in arms.items():
    if arm.strategy not in table.METHODS:
      raise errors.InputError(
        f"config.laboratory.arms.{name}.strategy is {arm.strategy!r}; allowed: "
        f"{', '.join(table.METHODS)}."
        f"{errors.did_you_mean(arm.strategy, table.METHODS)}"
      )
    _check_options(arm.options)
    if "cell_weight" in settings.arms.get(name, {}):  # One of its own.
      _check_cell_weight(arm, f"config.laboratory.arms.{name}")
  others = [name for name in settings.rivals if name not in arms]
  if others and settings.arms:
    raise errors.InputError(
      f"config.laboratory.rivals names {others[0]!r}, which is no arm; "
      f"allowed: {', '.join(arms)}."
    )


def _check_autoencoder(sae: Any) -> None:
  """Eight latents are held in a byte."""
  if sae.latents % 8:
    raise errors.InputError(
      f"config.sae.latents is {sae.latents}; allowed: multiples of 8, such as "
      f"{-(-sae.latents // 8) * 8}."
    )
  if sae.k is not None and sae.k > sae.latents:
    raise errors.InputError(
      f"config.sae.k is {sae.k} and config.sae.latents is {sae.latents}; "
      f"allowed: at most as many at a token as there are. Set --config.sae.k "
      f"to {sae.latents} or less."
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


def _check_budget(select: Any) -> None:
  """A share of the candidates is at most what the method orders of them."""
  if select.unit != "fraction":
    return
  if select.budget > 1:
    raise errors.InputError(
      f"config.select.budget is {select.budget} and config.select.unit "
      "is 'fraction'; allowed: above 0 and up to 1. For a number of examples "
      "set --config.select.unit=examples."
    )
  name = select.strategy
  share = table.METHODS[name].share(table.options(name, select.options))
  if select.budget > share:
    raise errors.InputError(
      f"config.select.budget is {select.budget:g} of the candidates, and "
      f"{name} chooses from at most {share:g} of them; allowed: up to that. "
      f"Lower the budget, or raise --config.select.options.{name}.share."
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


def _check_cell_weight(select: Any, place: str = "config.select") -> None:
  """Cells that are weighed must be weighed by the method."""
  if select.cell_weight == 0:
    return
  by_target = select.cell_weight == ordering.TARGET
  weighs = [n for n, m in table.METHODS.items() if m.weighs(by_target)]
  if select.strategy not in weighs:
    raise errors.InputError(
      f"{place}.cell_weight is {select.cell_weight!r}, and the strategy is "
      f"{select.strategy!r}, which does not weigh cells so; allowed with it: "
      f"{', '.join(weighs)}. Choose one of them, or set {place}.cell_weight to "
      "0."
    )


def _check_methods(config: Any) -> None:
  """What a chosen method compares must be there, and differ."""
  settings, seeds = config.landscape, config.score.reference_seeds
  for name, options in needs.choices(config):
    needed = table.needed(name, options)
    if "nll_by_reference" in needed and len(seeds) < 2:
      raise errors.InputError(
        f"config.score.reference_seeds is {seeds}, and the method {name!r} "
        "asks how far several reference sets agree; allowed with it: two or "
        'more. Set --config.score.reference_seeds="(0,1,2)", or leave out '
        f"{name!r}."
      )
    if "other_cells" not in needed:
      continue
    if settings.map is not None:
      raise errors.InputError(
        f"config.landscape.map is {settings.map!r}, and the method {name!r} "
        "takes the mean over maps of other seeds, which a map that is joined "
        f"does not have; allowed with it: None. Leave out the map, or {name!r}."
      )
    if settings.cells == "grid" and settings.projection == "pca":
      seeded = [one for one in projections.PROJECTIONS if one != "pca"]
      raise errors.InputError(
        f"config.landscape.projection is 'pca', and the method {name!r} takes "
        "the mean over maps of other seeds, which would be the same map again; "
        f"allowed with it: {', '.join(seeded)}, or config.landscape.cells="
        f"kmeans. Choose one of them, or leave out {name!r}."
      )


def _check_beside(config: Any) -> None:
  """What wants a target set or an evaluation set must have one."""
  select, arms = config.select, needs.laboratory_of(config)
  weights = [select.cell_weight, *(arm.cell_weight for arm in arms.values())]
  wanting = ["config.select.cell_weight"] * (ordering.TARGET in weights)
  chosen = [name for name, _ in needs.choices(config)]
  wanting += [
    f"the method {name!r}"
    for name in dict.fromkeys(chosen)
    if table.METHODS[name].wants_target
  ]
  if wanting and not select.targets:
    raise errors.InputError(
      f"config.select.target is empty, and {wanting[0]} needs it; allowed: a "
      "file, a folder or another source, as config.pool.source has them. Set "
      "--config.select.target=FILE, with examples of what the model shall be "
      "good at."
    )
  limit = select.exclude_near_evaluation
  if limit is not None and not config.pool.evaluations:
    raise errors.InputError(
      f"config.select.exclude_near_evaluation is {limit:g}, and "
      "config.pool.decontaminate names no evaluation set. Set "
      "--config.pool.decontaminate=FILE, or leave out the cosine."
    )


def _check_scores(config: Any) -> None:
  """Scores that are asked for are named, as far as a file does not tell."""
  named = names_lib.parse(config.pool.fields.scores)
  score = depth.score_name(config.landscape.depth)
  select = config.select
  if named or not config.pool.score_files:
    for field, names in filters.asked(select).items():
      where.check_names(names, named, field)
    for field, name in needs.method_scores(config).items():
      where.check_names([name], named, field, columns=())
    if score or config.landscape.depth == depth.SCORE:
      field = "config.landscape.depth"
      where.check_names([score], named, field, columns=())
  if select.tie_break in where.TEXTS:
    raise errors.InputError(
      f"{filters.TIE_BREAK} is {select.tie_break!r}, which is a text; allowed: "
      "a score, or a column of numbers."
    )
  if (
    not depth.is_of_tuned(config.landscape.depth)
    and "reference_seed" in config.landscape.stability
  ):
    raise errors.InputError(
      "config.landscape.stability has 'reference_seed' in it, and "
      f"config.landscape.depth is {config.landscape.depth!r}, which no "
      "reference set changes. Leave it out."
    )


def _check_grid(settings: Any) -> None:
  """Cells are numbered in int32."""
  grid, finest = settings.grid, grid_lib.finest_grid(settings.dimensions)
  if grid != "auto" and grid > finest:
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
