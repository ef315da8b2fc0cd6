"""A watch for configured fields that no record of a source has."""

from collections.abc import Iterable, Mapping

from ila_jax import errors
from ila_jax.pool import records
from ila_jax.pool.shapes import fields as fields_lib
from ila_jax.pool.splits import index_watch

# Records of a source in which each configured field must be found.
_PATIENCE_RECORDS = 1000


class FieldWatch:
  """Finds configured fields that no record of a source has: a wrong name.

  Attributes:
    found: configured field -> records of the source before the first with it.
    names: fields of the records that were looked at.
    indices: the watch for answers that are numbers of choices.

  >>> watch = FieldWatch("a", fields_lib.Fields(prompt="q"))
  >>> watch.see({"question": "1 + 1?"})
  >>> watch.check()  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.pool.fields.prompt is 'q', but none of ...
  """

  def __init__(self, source: str, fields: fields_lib.Fields):
    """Begins with no record of a source."""
    self._source, self._n_seen = source, 0
    self._paths = {n: p for n, p in fields._asdict().items() if p}
    self._missing = dict(self._paths)
    self.found: dict[str, int] = {}
    self.names: dict[str, None] = {}
    self.indices = index_watch.IndexWatch(source)

  def see(self, record: Mapping, *, may_end: bool = True) -> None:
    """Looks at the next record.

    Args:
      record: of the source.
      may_end: whether to check at the last that counts: no other reader has
        seen records of the source before.
    """
    if not self._missing:
      return
    self._n_seen += 1
    self.names.update(dict.fromkeys(list(record)[:50]))
    for name, path in list(self._missing.items()):
      paths = [path]
      if name in fields_lib.SEVERAL:
        paths = records.paths(record, path)
      if any(records.lookup(record, p) is not records.MISSING for p in paths):
        del self._missing[name]
        self.found[name] = self._n_seen - 1
    if may_end and self._n_seen >= _PATIENCE_RECORDS:
      self.check()

  def follow(
    self, n_seen: int, found: Mapping[str, int], names: Iterable[str]
  ) -> None:
    """Goes on with what another watch has seen of the next records.

    Args:
      n_seen: how many records.
      found: of that watch.
      names: of that watch.
    """
    patience = max(_PATIENCE_RECORDS - self._n_seen, 0)
    for name in list(self._missing):
      if found.get(name, patience) < min(patience, n_seen):
        del self._missing[name]
    self.names.update(dict.fromkeys(names))
    self._n_seen = min(self._n_seen + n_seen, _PATIENCE_RECORDS)
    if self._n_seen == _PATIENCE_RECORDS:
      self.check()

  def check(self) -> None:
    """Refuses a field that no record had.

    Raises:
      InputError: names it, and the fields that there are.
    """
    if not (self._missing and self._n_seen):
      return
    name, path = next(iter(self._missing.items()))
    raise errors.InputError(
      f"config.pool.fields.{name} is {path!r}, but none of the first "
      f"{self._n_seen} records of {self._source} has that field. Allowed: "
      f"{', '.join(list(self.names)[:50])}. Correct the name, name none with "
      f"--config.pool.fields.{name}=, or set it for one source only with "
      "config.pool.overrides."
    )
