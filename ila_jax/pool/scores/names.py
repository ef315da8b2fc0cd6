"""Names of scores: what config.pool.fields.scores says.

A score has a name that `select.where` can say, and a dotted path at which
records, or files that are joined to them, hold its numbers.
"""

import keyword
import re
from collections.abc import Iterable, Mapping

from ila_jax import errors

FIELD = "config.pool.fields.scores"
# What candidates have besides, and `select.where` can say: no score is called
# so. Texts are the last two.
COLUMNS = (
  *("depth", "relative_depth", "n_prompt_tokens", "n_response_tokens"),
  *("n_labels", "domain", "source"),
)
# The word by which `select.where` asks whether there is a score.
KNOWN = "known"
_RESERVED = frozenset((*COLUMNS, KNOWN, "True", "False", "None"))


def is_name(text: str) -> bool:
  """Whether a score may be called so.

  >>> is_name("ifd"), is_name("my-score"), is_name("depth"), is_name("in")
  (True, False, False, False)
  """
  fits = text.isascii() and text.isidentifier() and not keyword.iskeyword(text)
  return fits and text not in _RESERVED


def of_path(path: str) -> str:
  """The name of a score that is given none: the last part of its path.

  >>> of_path("scores.Deita-Quality"), of_path("meta.depth"), of_path("a.0")
  ('Deita_Quality', 'score_depth', 'score_0')
  """
  name = re.sub(r"\W+", "_", path.rpartition(".")[2], flags=re.ASCII).strip("_")
  return name if is_name(name) else f"score_{name}"


def parse(text: str) -> dict[str, str]:
  """The path of each score, by its name, in their order.

  Args:
    text: such as 'quality, ifd=scores.ifd': paths with commas between, and
      before some a name of their own.

  Raises:
    errors.InputError: an item without a path, a name that `select.where`
      cannot say, or two of one name.

  >>> parse("quality, ifd=scores.IFD, judge.score"), parse("")
  ({'quality': 'quality', 'ifd': 'scores.IFD', 'score': 'judge.score'}, {})
  """
  paths: dict[str, str] = {}
  for item in text.split(",") if text.strip() else ():
    given, equals, path = (part.strip() for part in item.rpartition("="))
    if not path:
      raise errors.InputError(
        f"{FIELD} is {text!r}, which has {item!r} in it; allowed: dotted names "
        "of fields with commas between, such as 'quality, ifd=scores.ifd'."
      )
    if equals and not is_name(given):
      raise errors.InputError(
        f"{FIELD} calls the field {path!r} {given!r}; allowed: a name of "
        "letters, digits and underscores that begins with a letter, and none "
        f"of {', '.join((*COLUMNS, KNOWN))}. Call it {of_path(given)!r}."
      )
    _add(paths, given or of_path(path), path)
  return paths


def named(found: Iterable[str]) -> dict[str, str]:
  """The path of each score of a file, where nobody names them.

  Raises:
    errors.InputError: two would have one name.

  >>> named(["judge.score", "ppl"])
  {'score': 'judge.score', 'ppl': 'ppl'}
  """
  paths: dict[str, str] = {}
  for path in found:
    _add(paths, of_path(path), path)
  return paths


def roots(paths: Mapping[str, str]) -> list[str]:
  """The fields of a record that hold scores, as far as the first dot.

  >>> roots({"ifd": "scores.IFD", "quality": "quality"})
  ['scores', 'quality']
  """
  return [path.partition(".")[0] for path in paths.values()]


def _add(paths: dict[str, str], name: str, path: str) -> None:
  if name in paths:
    raise errors.InputError(
      f"{FIELD}: the fields {paths[name]!r} and {path!r} are both called "
      f"{name!r}; allowed: a name once. Give one of them another, such as "
      f"--{FIELD}={name}={paths[name]},{name}_2={path}"
    )
  paths[name] = path
