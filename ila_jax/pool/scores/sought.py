"""Whether any record has the scores that are named, before any are read."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ila_jax import errors
from ila_jax.pool.contamination import evaluation
from ila_jax.pool.scores import joined, names, numeric
from ila_jax.pool.sources import sources

# Records whose fields with numbers are told where a score is in none.
_SHOWN_OF = 1000


def refusal(
  name: str, path: str, found: Iterable[str], files: Sequence[str]
) -> errors.InputError:
  """What to say where no example has a score.

  Args:
    name: of the score.
    path: where its numbers were sought.
    found: fields that hold numbers.
    files: of scores that were looked into as well.

  >>> str(refusal("q", "q", ["ppl"], []))[:60]
  "config.pool.fields.scores names 'q' as the score 'q', and no"
  """
  where = "no record of the pool"
  if files:
    where += f" and none of {', '.join(files)} that is joined"
  found = list(dict.fromkeys(found))
  return errors.InputError(
    f"{names.FIELD} names {path!r} as the score {name!r}, and {where} has a "
    f"number there; fields with numbers: {', '.join(found) or 'none'}. Correct "
    f"the name.{errors.did_you_mean(path, found)}"
  )


class Sought:
  """The scores that no record had yet: once all are found, none is parsed.

  >>> sought = Sought({"quality": "quality", "ifd": "judge.ifd"})
  >>> sought.look('{"quality": 3, "judge": {"ifd": null}}')
  >>> sought.left
  {'ifd': 'judge.ifd'}
  """

  def __init__(self, paths: Mapping[str, str]):
    """Seeks the scores of these paths, by their names."""
    self.left = dict(paths)
    self._held: list[Mapping[str, Any]] = []

  def look(self, text: str) -> None:
    """Looks into the JSON of one record."""
    if self.left:
      self._look(json.loads(text))

  def _look(self, record: Mapping[str, Any]) -> None:
    if len(self._held) < _SHOWN_OF:
      self._held.append(record)
    for name, path in list(self.left.items()):
      found, _ = numeric.at(record, path)
      if found == found:
        del self.left[name]

  def check(self, files: Sequence[str] = ()) -> None:
    """Looks into files beside the pool, and refuses what is left.

    Raises:
      errors.InputError: no record has one of the scores.
    """
    for spec in files if self.left else ():
      with evaluation.names_field(joined.FIELD):
        read = sources.open_source(spec)
        for raw in itertools.takewhile(lambda _: bool(self.left), read):
          self._look(raw.record or {})
    for name, path in self.left.items():
      raise refusal(name, path, numeric.paths(self._held), files)
