"""Every field of a config, with the options of the methods, to be listed.

`ila --fields` prints them, the guide has them as a table, and the presets begin
with their defaults.
"""

import dataclasses
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from ml_collections import config_dict

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.methods import table
from ila_jax.sections import checked

_OPTIONS = "select.options"
_FIXED = {types.NoneType: "None", bool: "True, False"}
_SEVERAL = {int: "whole numbers", float: "numbers", str: "texts"}
# Of a default that is longer, its beginning is shown.
_DEFAULT_CHARACTERS = 72


def every() -> list[checked.Entry]:
  """Returns all fields; an option is called select.options.METHOD.OPTION.

  >>> [one.name for one in every()][:2]
  ['seed', 'pool.source']
  """
  entries: list[checked.Entry] = []
  for one in checked.walk(config_lib.Config):
    if one.name != _OPTIONS:
      entries.append(one)
      continue
    for name, method in table.METHODS.items():
      entries += checked.walk(method.options, f"{_OPTIONS}.{name}.")
  return entries


def defaults() -> ml_collections.ConfigDict:
  """Returns a config of all fields with their defaults, as presets begin.

  >>> defaults().select.options.trim.quantile
  0.5
  """
  config = ml_collections.ConfigDict()
  for one in every():
    section, (*above, field) = config, one.name.split(".")
    for name in above:
      if name not in section:
        section[name] = ml_collections.ConfigDict()
      section = section[name]
    section[field] = _typed(one)
  return config


def _typed(one: checked.Entry) -> Any:
  """A default, and which values may replace it where that does not tell."""
  kinds = typing.get_args(one.hint)
  if types.NoneType in kinds:
    return config_dict.FieldReference(
      one.default, field_type=checked.none_or(kinds[0])
    )
  if isinstance(one.default, dict) or isinstance(one.hint, types.UnionType):
    return config_dict.FieldReference(one.default, field_type=object)
  return one.default


def allowed(one: checked.Entry) -> str:
  """Returns what a field may be, in words.

  >>> words = {one.name: allowed(one) for one in every()}
  >>> words["landscape.cells"], words["pool.limit"]
  ('grid, kmeans', 'a whole number, 1 to 10000000000; or None')
  """
  is_union = isinstance(one.hint, types.UnionType)
  kinds = typing.get_args(one.hint) if is_union else (one.hint,)
  if _must_be_set(one):
    kinds = [kind for kind in kinds if kind is not types.NoneType]
  return "; or ".join(_words(kind, one.field) for kind in kinds)


def _must_be_set(one: checked.Entry) -> bool:
  """Whether the default is none at all: pool and models are the user's."""
  whose = one.field.metadata["path"]
  return whose in (checked.SOURCE, checked.MODEL) and not one.default


def _words(kind: Any, field: dataclasses.Field) -> str:
  """What a field may be, if it is of one kind among several."""
  choices, bounds = checked.choices(field), field.metadata["bounds"]
  if kind in _FIXED:
    return _FIXED[kind]
  if typing.get_origin(kind) is dict:
    return "a dict"
  if typing.get_origin(kind) is tuple:
    words = _several(typing.get_args(kind)[0])
    words += f", each {bounds}" if bounds else ""
    return f"any of {', '.join(choices)}" if choices else words
  if kind is str:
    return ", ".join(choices) or "a text"
  if bounds and bounds.above and kind is float:
    return str(bounds)  # Which begins with "a number".
  words = "a whole number" if kind is int else "a number"
  return f"{words}, {bounds}" if bounds else words


def _several(kind: Any) -> str:
  inner = typing.get_args(kind)
  return f"tuples of {_several(inner[0])}" if inner else _SEVERAL[kind]


def meaning(one: checked.Entry) -> str:
  """Returns what a field means, and says so where it changes no result."""
  said = one.field.metadata["meaning"]
  if one.field.metadata["changes"] == checked.NOTHING:
    said += " (changes no result)"
  return said


def default(one: checked.Entry) -> str:
  """Returns the default as Python has it, the beginning of a long one.

  >>> {one.name: default(one) for one in every()}["model.path"]
  '(to be set)'
  """
  if _must_be_set(one):
    return "(to be set)"
  return _short(one.default)


def _short(value: Any) -> str:
  text = repr(value)
  if len(text) <= _DEFAULT_CHARACTERS:
    return text
  return f"{text[: _DEFAULT_CHARACTERS - 4]} ..."


def remedy(name: str, *, is_there: bool) -> str:
  """Returns what to write where a config has refused a field or its value.

  Args:
    name: of the field, or the last part of it.
    is_there: the config has the field, and refused its value.

  Returns:
    A sentence or two.

  >>> remedy("score.epochs", is_there=True)
  'allowed for config.score.epochs: a number above 0, up to 10000.'
  >>> remedy("budget", is_there=False)
  "config has no such field; the field is 'select.budget'."
  >>> remedy("gird", is_there=False)
  "config has no such field. Did you mean 'grid'?"
  """
  fields = every()
  if is_there:
    said = "; ".join(
      f"allowed for config.{one.name}: {allowed(one)}"
      for one in fields
      if f".{one.name}".endswith(f".{name}")
    )
    return f"{said or 'it is a section: set one of its fields'}."
  # In another section than that which was named.
  last = name.rpartition(".")[2]
  same = [one.name for one in fields if one.name.rpartition(".")[2] == last]
  if same:
    found = " or ".join(map(repr, same[:3]))
    return f"config has no such field; the field is {found}."
  known = {one.name for one in fields}
  if "." not in name:
    known = {part for whole in known for part in whole.split(".")}
  near = errors.did_you_mean(name, known)
  return f"config has no such field.{near}"


def options_of(name: str) -> str:
  """Tells the options of the method in a name that no option has.

  >>> options_of("select.options.ila.rank")
  'ila has rank_by'
  >>> options_of("select.options.rank")
  'they stand by method, as select.options.METHOD.FIELD'
  """
  method = name.removeprefix(f"{_OPTIONS}.").partition(".")[0]
  if method not in table.METHODS:
    return f"they stand by method, as {_OPTIONS}.METHOD.FIELD"
  own = checked.walk(table.METHODS[method].options)
  return f"{method} has {', '.join(one.name for one in own) or 'none'}"


def lines(
  names: Sequence[str] = (), config: ml_collections.ConfigDict | None = None
) -> str:
  """Returns fields with default, meaning and what is allowed, to be printed.

  Args:
    names: of sections or of single fields, or their last parts; none: all.
    config: whose values are shown, where they are not the defaults.

  Raises:
    errors.InputError: a name of neither.

  >>> print(lines(["landscape.cells"]))
  landscape.cells = 'grid'
    a grid over the map, or clusters of the embeddings
    allowed: grid, kmeans
  """
  fields = every()
  values = {} if config is None else _flat(config)
  known: dict[str, None] = {}
  for one in fields:
    parts = one.name.split(".")
    known |= {".".join(parts[: n + 1]): None for n in range(len(parts))}
  shown = []
  for name in names:
    name = name.removeprefix("config.")
    # Or by the last part of it, such as 'grid' or 'trim'.
    matches = [k for k in known if k == name or k.endswith(f".{name}")]
    shown += [name] if name in known else matches
    if not matches:
      sections = ", ".join(k for k in known if "." not in k)
      raise errors.InputError(
        f"--fields is {name!r}; allowed: {sections}, or a field of these such "
        f"as landscape.grid.{errors.did_you_mean(name, known)}"
      )
  return "\n".join(
    _told(one, values)
    for one in fields
    if not shown or any(f"{one.name}.".startswith(f"{n}.") for n in shown)
  )


def _flat(config: ml_collections.ConfigDict, above: str = "") -> dict[str, Any]:
  """Values by their dotted names."""
  flat: dict[str, Any] = {}
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      flat |= _flat(value, f"{above}{name}.")
    else:
      flat[above + name] = value
  return flat


def _told(one: checked.Entry, values: Mapping[str, Any]) -> str:
  def indented(text: str) -> str:
    return textwrap.fill(
      text,
      79,
      initial_indent="  ",
      subsequent_indent="    ",
      break_long_words=False,
    )

  value, text = values.get(one.name, one.default), default(one)
  if value != one.default:
    text = f"{_short(value)}  # default: {text}"
  return (
    f"{one.name} = {text}\n{indented(meaning(one))}\n"
    f"{indented(f'allowed: {allowed(one)}')}"
  )


def markdown() -> str:
  """Returns the table of all fields for the guide."""
  rows = ["| field | default | meaning | allowed |", "|---|---|---|---|"]
  for one in every():
    cells = meaning(one), allowed(one)
    said = " | ".join(cell.replace("|", "\\|") for cell in cells)
    rows.append(f"| `{one.name}` | `{default(one)}` | {said} |")
  return "\n".join(rows) + "\n"
