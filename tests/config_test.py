"""Every config loads; every wrong value is refused by name."""

import copy
import dataclasses
import importlib
import itertools
import math
import typing

import ml_collections
import pytest

from ila_jax import config as config_lib
from ila_jax import config_fields, config_parsing, errors, presets
from ila_jax.configs import quickstart
from ila_jax.methods import table
from ila_jax.pool.shapes import fields as pool_fields
from ila_jax.sections import checked
from tests.support import field_table

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
      "options.trim.quantile is 'much', of type str; allowed: a number",
    ),
    ("select__unit", "bytes", "'bytes'; allowed: examples, tokens, fraction"),
    ("select__compare", ("ila", "nope"), "config.select.compare is 'nope'"),
    ("landscape__depth", "deep", "config.landscape.depth is 'deep'"),
    ("landscape__projection", "umap", "'umap'; allowed: .*pca"),
    ("landscape__dimensions", 3, "is 3; allowed with projection 'tsne': 2"),
    ("landscape__grid", "many", "'many'; allowed: 'auto' or a whole number"),
    ("landscape__grid", 1, "config.landscape.grid is 1"),
    ("landscape__grid", 46341, "grid is 46341; .* 2 dimensions, at most 46340"),
    ("landscape__domain_blocks", 1025, "blocks is 1025; allowed: 1 to 1024"),
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
    (
      "laboratory__arms",
      {"far": {"strategy": "kcenter", "cell_weight": 0.5}},
      r"arms\.far\.cell_weight is 0\.5, and the strategy is 'kcenter', which",
    ),
  ],
)
def test_wrong_values_are_named(field, value, message):
  with pytest.raises(errors.InputError, match=message):
    config_parsing.parse(_with(**{field: value}))


@pytest.mark.parametrize(
  "fields",
  [
    {"landscape__perplexity": 1.0},
    {"landscape__grid": 46340, "landscape__domain_blocks": 1024},
    # Of a map that is joined, the run that fitted it knows.
    {"landscape__map": "old", "landscape__dimensions": 3},
  ],
)
def test_the_bounds_themselves_are_allowed(fields):
  config_parsing.parse(_with(**fields))


def test_missing_fields_are_defaults_and_unknown_ones_are_named():
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  del config["select"]["unit"]
  config.select.budget = 100.0
  config.pool.fields = ml_collections.ConfigDict({"labels": "tags"})
  parsed = config_parsing.parse(config)
  assert parsed.select.unit == config_lib.Config().select.unit == "examples"
  assert parsed.pool.fields == type(parsed.pool.fields)(labels="tags")
  for section, name, near in (
    (config.select, "select.budgets", "budget"),
    (config.pool.fields, "pool.fields.label", "labels"),
  ):
    leaf = name.rpartition(".")[2]
    section[leaf] = 1
    with pytest.raises(
      errors.InputError,
      match=rf"config.{name} is 1, and there is no such field; allowed: .* "
      f"Did you mean '{near}'",
    ):
      config_parsing.parse(config)
    del section[leaf]


def test_a_section_is_no_value():
  config = quickstart.get_config().to_dict() | {"landscape": 3}
  with pytest.raises(
    errors.InputError,
    match=r"config.landscape is 3; allowed: a section with the fields projecti",
  ):
    config_parsing.build(config)


def test_a_field_that_has_moved_says_where_to():
  config = ml_collections.ConfigDict(quickstart.get_config().to_dict())
  config.select.trim_quantile = 0.3  # As a config of an older version.
  with pytest.raises(
    errors.InputError,
    match=r"config.select.trim_quantile is 0.3, and that field is now "
    r"config.select.options.trim.quantile: set it there",
  ):
    config_parsing.parse(config)


@pytest.mark.parametrize("name", config_lib.REMOVED)
def test_a_field_that_is_gone_says_so(name):
  values = quickstart.get_config().to_dict()
  _, section, field = name.split(".")
  values[section][field] = 4
  with pytest.raises(
    errors.InputError, match=f"{name} is 4, and that field is gone: .* Leave it"
  ):
    config_parsing.build(values)


def test_several_choices_may_stand_in_one_text():
  """As a command line has them: --config.select.compare=random,longest."""
  values = quickstart.get_config().to_dict()
  for given in (("random,longest",), ("random", "longest"), ["random,longest"]):
    values["select"]["compare"] = given
    found = config_parsing.build(values)
    assert found.select.compare == ("random", "longest")
  values["laboratory"]["rivals"] = ("random, ours",)
  values["laboratory"]["arms"] = {"ours": {"strategy": "ila"}}
  assert config_parsing.build(values).laboratory.rivals == ("random", "ours")
  # A comma may be a part of a path.
  values["pool"]["source"] = ("docstrings:json,csv",)
  assert config_parsing.build(values).pool.source == ("docstrings:json,csv",)


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


_FIELDS = {one.name: one for one in config_fields.every()}


def _kinds(hint) -> set:
  """The plain types in a type."""
  inner = [_kinds(one) for one in typing.get_args(hint)]
  return set().union(*inner) if inner else {hint}


# Pairs of numbers have a check of their own.
_NUMERIC = {
  name: one
  for name, one in _FIELDS.items()
  if {int, float} & _kinds(one.hint) and not name.endswith(".tiers")
}


def test_every_field_says_what_it_is():
  for one in _FIELDS.values():
    assert one.field.metadata["meaning"].strip(), one.name
    assert checked.fits(one.hint, one.default), one.name
    assert config_fields.allowed(one), one.name
  names = {one.name for one in checked.walk(config_lib.Config)}
  assert {n for n in _FIELDS if "options" not in n} == names - {
    "select.options"
  }


def test_the_general_config_is_the_defaults():
  """Also after a look at each type: None and numbers go where they may."""
  config = config_fields.defaults()
  plain = config_lib.Config().plain()
  plain["select"]["options"] = {
    name: dataclasses.asdict(method.options())
    for name, method in table.METHODS.items()
    if dataclasses.fields(method.options)
  }
  assert config.to_dict() == plain
  config.pool.limit = 3
  config.landscape.duplicate_cosine = 1  # It is a float, and takes this.
  config.pool.limit = None
  with pytest.raises(TypeError, match="many"):
    config.pool.limit = "many"
  values = config.to_dict() | {"model": {"path": "m"}, "encoder": {"path": "e"}}
  values["pool"]["source"] = "a.jsonl"
  parsed = config_parsing.parse(ml_collections.ConfigDict(values))
  assert parsed.landscape.duplicate_cosine == 1.0
  assert type(parsed.landscape.duplicate_cosine) is float
  assert copy.deepcopy(config).to_dict() == config.to_dict()


def test_the_fields_of_records_are_those_of_the_reader():
  names = [name for name in _FIELDS if name.startswith("pool.fields.")]
  assert names.pop() == "pool.fields.scores"  # No text; a signal reads them.
  assert [name.rpartition(".")[2] for name in names] == list(
    pool_fields.Fields._fields
  )


def test_every_number_has_bounds():
  for name, one in _NUMERIC.items():
    bounds = one.field.metadata["bounds"]
    assert bounds is not None, name
    if "options" not in name:
      assert 0 <= bounds.low < bounds.high < math.inf, name


@pytest.mark.parametrize("name", [n for n in _NUMERIC if "options" not in n])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -1, 1e18])
def test_no_number_is_absurd(name, value):
  hint = _NUMERIC[name].hint
  if float not in _kinds(hint) and math.isfinite(value):
    value = int(value)
  if typing.get_origin(hint) is tuple:
    value = (value,)
  config = ml_collections.ConfigDict(
    quickstart.get_config().to_dict(), type_safe=False
  )
  config.update_from_flattened_dict({name: value})
  with pytest.raises(
    errors.InputError, match=rf"config\.{name} is .*allowed: "
  ):
    config_parsing.parse(config)


@pytest.mark.parametrize("name", _NUMERIC)
def test_the_ends_of_the_bounds(name):
  """What is allowed is accepted, and the next number is not."""
  one = _NUMERIC[name]
  bounds = one.field.metadata["bounds"]
  is_tuple = typing.get_origin(one.hint) is tuple

  def build(value):
    *sections, field = name.split(".")
    values = {field: (value,) if is_tuple else value}
    kind = config_lib.Config
    if "options" in sections:
      kind, sections = table.METHODS[sections[-1]].options, []
    for section in reversed(sections):
      values = {section: values}
    return checked.build(kind, values, "config")

  is_whole = float not in _kinds(one.hint)

  def after(value, towards):
    if is_whole:
      return value + (1 if towards > value else -1)
    return math.nextafter(value, towards)

  if bounds.low is not None:
    wrong = bounds.low if bounds.above else after(bounds.low, -math.inf)
    wrong = wrong if is_whole else float(wrong)
    build(after(bounds.low, math.inf) if bounds.above else bounds.low)
    with pytest.raises(errors.InputError, match=rf"^config\..* is {wrong}; al"):
      build(wrong)
  if bounds.high is not None:
    build(bounds.high)
    with pytest.raises(errors.InputError, match=r"^config\..* is .*; allowed"):
      build(after(bounds.high, math.inf))


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("seed", "a whole number, 0 to 4294967295"),
    ("pool.source", "a text; or texts"),
    ("pool.limit", "a whole number, 1 to 10000000000; or None"),
    ("pool.overrides", "a dict"),
    ("model.path", "a text"),
    ("model.dtype", "float32, bfloat16"),
    ("score.epochs", "a number above 0, up to 10000"),
    ("score.reference_seeds", "whole numbers, each 0 to 4294967295"),
    ("score.exclude_reference", "True, False"),
    ("landscape.grid", "a whole number, 2 to 2147483647; or auto"),
    ("landscape.duplicate_cosine", "a number above 0, up to 1; or None"),
    ("finetune.compare", f"any of {', '.join(table.METHODS)}"),
    ("select.options.trim.quantile", "a number, 0 to 1"),
  ],
)
def test_what_is_allowed_is_said_in_words(name, said):
  assert config_fields.allowed(_FIELDS[name]) == said


def test_fields_are_listed_by_section_and_by_name():
  whole = config_fields.lines()
  for name in _FIELDS:
    assert f"{name} = " in whole
  assert max(map(len, whole.splitlines())) <= 120
  some = config_fields.lines(["config.mesh", "select.options.trim"])
  assert some.count(" = ") == 5
  assert "select.options.trim.quantile = 0.5\n  share of each cell" in some
  assert "mesh.fsdp = 1\n" in some and "(changes no result)" in some
  with pytest.raises(
    errors.InputError,
    match=r"--fields is 'landscap'; allowed: seed, pool, .*mean 'landscape'",
  ):
    config_fields.lines(["landscap"])


def test_values_of_a_config_stand_beside_the_defaults():
  config = presets.load("quickstart")
  config.landscape.cells = "kmeans"
  text = config_fields.lines(["landscape.cells", "landscape.grid"], config)
  assert "landscape.cells = 'kmeans'  # default: 'grid'\n" in text
  assert "landscape.grid = 'auto'\n" in text


def test_the_guide_s_table_is_of_these_fields():
  text = field_table.PAGE.read_text()
  assert text == field_table.renewed(text), f"run {field_table.COMMAND}"
  for name in _FIELDS:
    assert text.count(f"\n| `{name}` | `") == 1


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
