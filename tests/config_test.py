"""Every config loads; every wrong value is refused by name."""

import dataclasses
import importlib
import itertools
import math
import typing

import ml_collections
import pytest

from ila_jax import config as config_lib
from ila_jax import config_checks, config_parsing, errors, presets
from ila_jax.configs import quickstart
from ila_jax.methods import table

NAMES = presets.names()
# What the general configs leave to the command line.
_USERS = {
  "pool.source": "pool.jsonl",
  "model.path": "model",
  "encoder.path": "encoder",
}


def _load(name: str) -> ml_collections.ConfigDict:
  config = importlib.import_module(f"ila_jax.configs.{name}").get_config()
  assert config.is_locked
  for field, value in _USERS.items():
    section, leaf = field.split(".")
    if not config[section][leaf]:
      config[section][leaf] = value
  return config


def _with(**fields) -> ml_collections.ConfigDict:
  config = quickstart.get_config()
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


@pytest.mark.parametrize("name", NAMES)
def test_config_loads_and_is_valid(name):
  config = _load(name)
  parsed = config_parsing.parse(config).plain()
  # Nothing is lost, added or changed on the way to the dataclasses.
  assert parsed == config.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_sweeps_give_valid_configs(name):
  module = importlib.import_module(f"ila_jax.configs.{name}")
  sweeps = [
    getattr(module, sweep)
    for sweep in dir(module)
    if sweep.startswith("sweep_")
  ]
  for point in itertools.chain.from_iterable(sweep() for sweep in sweeps):
    config = _load(name)
    config.update_from_flattened_dict(point)
    parsed = config_parsing.parse(config).plain()
    for field, value in point.items():
      section, leaf = field.split(".")
      assert parsed[section][leaf] == value


@pytest.mark.parametrize("name", NAMES)
def test_docstring_tells_the_command(name):
  text = importlib.import_module(f"ila_jax.configs.{name}").__doc__
  assert f"Command: ila --config {name} " in text
  assert "easured" in text or "seconds" in text or "minutes" in text


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("select__budget", -5.0, r"config.select.budget is -5.0; allowed: .* 0"),
    ("select__budget", 2.0, "'fraction'; allowed: above 0 and up to 1"),
    ("select__strategy", "best", r"'best'; allowed: coverage_only, .*trim"),
    ("select__options", {"tirm": {}}, "tirm is .* allowed.*Did you mean 'trim"),
    (
      "select__options",
      {"quantile": 0.5},
      "quantile is 0.5, .*Set config.select.options.trim.quantile",
    ),
    (
      "select__options",
      {"trim": 0.5},
      r"trim is 0.5; allowed: a section .*qua",
    ),
    (
      "select__options",
      {"trim": {"quantil": 0.5}},
      "trim.quantil is 0.5, .*allowed: rank_by, quantile. Did you mean 'q",
    ),
    (
      "select__options",
      {"trim": {"quantile": "much"}},
      "options.trim.quantile is 'much', of type str; allowed: float",
    ),
    ("select__unit", "bytes", "'bytes'; allowed: examples, tokens, fraction"),
    ("select__compare", ("ila", "nope"), "config.select.compare is 'nope'"),
    ("landscape__depth", "deep", "config.landscape.depth is 'deep'"),
    ("landscape__projection", "umap", "'umap'; allowed: .*pca"),
    ("landscape__dimensions", 3, "is 3; allowed with projection 'tsne': 2"),
    ("landscape__grid", "many", "'many'; allowed: 'auto' or a whole number"),
    ("landscape__grid", 0, "config.landscape.grid is 0"),
    ("landscape__grid", 46341, "grid is 46341; .* 2 dimensions, at most 46340"),
    ("landscape__domain_blocks", 46341, "blocks is 46341; allowed: 1 to 46340"),
    ("landscape__dimensions", 1, "dimensions is 1; allowed: 2 to 1024"),
    ("landscape__perplexity", 0.5, "perplexity is 0.5; allowed: 1 to 10000"),
    ("pool__source", (), "config.pool.source is empty"),
    ("pool__max_reject_fraction", 1.5, "1.5; allowed: 0 to 1"),
    ("pool__limit", 0, "config.pool.limit is 0"),
    ("model__path", None, "config.model.path is not set"),
    ("encoder__path", "", "config.encoder.path is not set.*'lsa' or 'base'"),
    ("score__reference_seeds", (), r"reference_seeds is \(\)"),
    ("score__reference_seeds", (0, -1), "reference_seeds is -1; allowed: 0 to"),
    ("pool__source", "", "config.pool.source is '', which is empty: a shell"),
    (
      "pool__source",
      ("a.jsonl", " "),
      r"config.pool.source is \('a.jsonl', ' ",
    ),
    ("landscape__map", "", "config.landscape.map is '', which is empty"),
    ("model__scratch__source", "", "config.model.scratch.source is ''"),
    ("score__reference_seeds", (1, 1), r"reference_seeds is \(1, 1\)"),
    ("model__scratch__heads", 5, "config.model.scratch has width 96, heads 5"),
    ("score__learning_rate", 0.0, "allowed: a number above 0"),
    ("tokens__overflow", "cut", "'cut'; allowed: reject, truncate_prompt"),
    ("model__dtype", "float16", "'float16'; allowed: float32, bfloat16"),
    ("scaling__sizes", (), "config.scaling.sizes"),
    ("seed", -1, "config.seed is -1"),
  ],
)
def test_wrong_values_are_named(field, value, message):
  with pytest.raises(errors.InputError, match=message):
    config_parsing.parse(_with(**{field: value}))


@pytest.mark.parametrize(
  "fields",
  [
    {"landscape__perplexity": 1.0},
    {"landscape__grid": 46340, "landscape__domain_blocks": 46340},
    # Of a map that is joined, the run that fitted it knows.
    {"landscape__map": "old", "landscape__dimensions": 3},
  ],
)
def test_the_bounds_themselves_are_allowed(fields):
  config_parsing.parse(_with(**fields))


def test_missing_and_unknown_fields_are_named():
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  del config["select"]["unit"]
  with pytest.raises(errors.InputError, match=r"config.select.unit is missing"):
    config_parsing.parse(config)
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  config.select.extra = 1
  with pytest.raises(errors.InputError, match=r"config.select.extra is not a"):
    config_parsing.parse(config)


def test_a_field_that_has_moved_says_where_to():
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  config.select.trim_quantile = 0.3  # As a config of an older version.
  with pytest.raises(
    errors.InputError,
    match=r"config.select.trim_quantile is 0.3, and that field is now "
    r"config.select.options.trim.quantile: set it there",
  ):
    config_parsing.parse(config)


def test_options_that_are_not_set_are_defaults():
  """A config may hold the options of some methods, or of none."""
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  whole = config_parsing.parse(config).select.options
  config.select.options = ml_collections.ConfigDict({"trim": {}})
  some = config_parsing.parse(config).select.options
  for name in table.METHODS:
    assert table.options(name, whole) == table.options(name, some)


def test_types_are_checked():
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  config.score.reference_seeds = ("a",)
  with pytest.raises(errors.InputError, match=r"reference_seeds is .*'a'"):
    config_parsing.parse(config)
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  config.unlock()
  config["seed"] = True
  with pytest.raises(errors.InputError, match=r"config.seed is True, of type"):
    config_parsing.parse(config)


def test_one_source_or_several():
  one = config_parsing.parse(_with(pool__source="a.jsonl"))
  several = config_parsing.parse(_with(pool__source=("a.jsonl", "b.jsonl")))
  assert one.pool.sources == ("a.jsonl",)
  assert several.pool.sources == ("a.jsonl", "b.jsonl")


def _numeric_fields(cls=config_lib.Config, prefix=""):
  """(dotted name, whether whole, whether a tuple) of every number."""
  for name, hint in typing.get_type_hints(cls).items():
    if dataclasses.is_dataclass(hint):
      yield from _numeric_fields(hint, f"{prefix}{name}.")
    elif {int, float} & {hint, *typing.get_args(hint)}:
      is_whole = float not in (hint, *typing.get_args(hint))
      yield prefix + name, is_whole, typing.get_origin(hint) is tuple


_NUMERIC = list(_numeric_fields())


def test_every_number_has_bounds():
  assert sorted(name for name, *_ in _NUMERIC) == sorted(config_checks.BOUNDS)
  for bounds in config_checks.BOUNDS.values():
    assert 0 <= bounds.low < bounds.high < math.inf


@pytest.mark.parametrize(("name", "is_whole", "is_tuple"), _NUMERIC)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -1, 1e18])
def test_no_number_is_absurd(name, is_whole, is_tuple, value):
  if is_whole and math.isfinite(value):
    value = int(value)
  config = ml_collections.ConfigDict(
    quickstart.get_config().to_dict(), type_safe=False
  )
  config.update_from_flattened_dict({name: (value,) if is_tuple else value})
  with pytest.raises(
    errors.InputError, match=rf"config\.{name} is .*allowed: "
  ):
    config_parsing.parse(config)


@pytest.mark.parametrize("name", config_checks.BOUNDS)
def test_the_ends_of_the_bounds(name):
  """What is allowed is accepted, and the next number is not."""
  bounds = config_checks.BOUNDS[name]
  check = config_checks.check_number
  if not bounds.above:
    check(name, bounds.low)
  check(name, bounds.high)
  for value in (
    bounds.low if bounds.above else math.nextafter(bounds.low, -1),
    math.nextafter(bounds.high, math.inf),
  ):
    with pytest.raises(errors.InputError, match=f"config.{name} is "):
      check(name, value)


def test_home_folders_are_found(monkeypatch):
  monkeypatch.setenv("HOME", "/home/anna")
  config = config_parsing.parse(
    _with(
      pool__source=("~/a.jsonl", "docstrings:json"),
      model__path="~/base",
      model__scratch__source="~/prose.jsonl",
      encoder__path="~/encoder",
      landscape__map="~/old/landscape",
    )
  )
  assert config.pool.source == ("/home/anna/a.jsonl", "docstrings:json")
  assert config.model.path == "/home/anna/base"
  assert config.model.scratch.source == "/home/anna/prose.jsonl"
  assert config.encoder.path == "/home/anna/encoder"
  assert config.landscape.map == "/home/anna/old/landscape"
