"""What a method is shown of its candidates: what it has named, and no more."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from ila_jax.methods import candidates


@dataclasses.dataclass(frozen=True)
class _Reader:
  """A method that reads, and what it has named."""

  method: str
  needs: tuple[str, ...]

  def refuse(self, kind: str, name: str) -> NoReturn:
    """Tells the author of the method what to add."""
    raise ValueError(
      f"the method {self.method!r} reads the {kind} {name!r}, but its `needs` "
      f"names {', '.join(self.needs) or 'nothing'}; add {name!r} to `needs`"
    )


class _Named(candidates.Candidates):
  """Candidates with the columns that a method has named, and no others."""

  # The one of a dataclass would read all columns.
  __repr__ = object.__repr__
  # Draws are made once, by the candidates of all methods.
  uniform = property(lambda self: self._whole_column("uniform"))
  uniform_across = property(lambda self: self._whole_column("uniform_across"))
  # A default of the class would be found before `__getattr__` is asked.
  cell_weight = property(lambda self: self._whole_column("cell_weight"))
  cell_power = property(lambda self: self._whole_column("cell_power"))
  cell_mass = property(lambda self: self._whole_column("cell_mass"))

  def _whole_column(self, name: str) -> Any:
    if name in self._hidden:
      self._hidden[name].refuse("column", name)
    return getattr(self._whole, name)

  def __getattr__(self, name: str) -> Any:
    """Refuses a column that the method has not named."""
    if reader := self.__dict__.get("_hidden", {}).get(name):
      reader.refuse("column", name)
    raise AttributeError(name)


class _NamedInputs(Mapping[str, Any]):
  """The inputs that a method has named; others are refused."""

  def __init__(self, inputs: Mapping[str, Any], reader: _Reader) -> None:
    self._inputs, self._reader = inputs, reader

  def __getitem__(self, name: str) -> Any:
    if name not in self._reader.needs:
      self._reader.refuse("input", name)
    return self._inputs[name]

  def __contains__(self, name: object) -> bool:
    return any(name == one for one in self)

  def __iter__(self) -> Iterator[str]:
    return (name for name in self._inputs if name in self._reader.needs)

  def __len__(self) -> int:
    return sum(1 for _ in self)


def named(
  c: candidates.Candidates, method: str, needs: tuple[str, ...]
) -> candidates.Candidates:
  """Shows candidates to a method: no more than it has named.

  Nothing is copied. Ids, candidates and the number that is wanted are for all.

  Args:
    c: the candidates, or what another method was shown of them.
    method: name of the method that reads.
    needs: its columns and inputs.

  Returns:
    Candidates whose other columns and inputs raise a ValueError when read.
  """
  reader = _Reader(method, needs)
  seen = object.__new__(_Named)
  hidden = dict.fromkeys(set(candidates.COLUMNS) - set(needs), reader)
  hidden |= vars(c).get("_hidden", {})
  seen.__dict__.update(
    {name: value for name, value in vars(c).items() if name not in hidden}
  )
  seen.__dict__.update(
    inputs=_NamedInputs(c.inputs, reader), _hidden=hidden, _whole=c
  )
  return seen
