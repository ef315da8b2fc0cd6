"""A sorted list for each cell; an entry is a tuple of integers.

An entry is a tuple of int32 fields; the entries of a cell ascend by them, the
first field decides. Rows enter by segment reductions, a field at a time, and
never by a sort: on CPUs a sort takes sixty times as long.
"""

import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Int, UInt

# No entry; every field of a real one is below.
NONE = np.iinfo(np.int32).max
# Once no more than this share of the rows is left, it is worth to set it apart.
_FEW = 1 / 8

Fields = tuple[Int[Array, "c k"], ...]
Entry = tuple[Int[Array, " c"], ...]
Rows = tuple[Int[Array, " n"], ...]


def take_in(
  fields: Fields, cell: Int[Array, " n"], rows: Rows, alive: Bool[Array, " n"]
) -> Fields:
  """Adds rows to the list of their cell; its first k stay.

  Args:
    fields: the lists, ascending [c, k] each.
    cell: cell of each row, in [0, c) also where it is not alive [n].
    rows: the fields of each row; the last is distinct [n].
    alive: rows that may enter [n].

  >>> full = jnp.full((2, 1), NONE)
  >>> rows = jnp.array([7, 3]), jnp.array([0, 1])
  >>> found = take_in((full, full), jnp.array([1, 1]), rows, rows[0] > 0)
  >>> [field.tolist() for field in found]
  [[[2147483647], [3]], [[2147483647], [1]]]
  """
  cells, keep = fields[0].shape
  # Gathers and scatters trust indices that have no sign.
  cell = cell.astype(jnp.uint32)
  if keep == 1:
    first = _first(tuple(f[:, 0] for f in fields), cell, rows, alive)
    return tuple(f[:, None] for f in first)
  n = len(cell)
  few = min(n, max(int(n * _FEW), 1))

  def turn(cell, rows, carry):
    """The best row of every cell enters, and leaves the rows."""
    fields, alive, turns = carry
    none = (jnp.full(cells, NONE),) * len(fields)
    best = _first(none, cell, rows, alive)
    fields = insert(fields, best)
    alive &= rows[-1] != _at(best[-1], cell)
    return fields, alive & (rows[0] <= _at(fields[0][:, -1], cell)), turns + 1

  def several(most):
    # After k turns no row that is left can be among the first k.
    return lambda carry: (carry[1].sum() > most) & (carry[2] < keep)

  alive &= rows[0] <= _at(fields[0][:, -1], cell)
  fields, alive, turns = lax.while_loop(
    several(few),
    lambda carry: turn(cell, rows, carry),
    (fields, alive, jnp.int32(0)),
  )
  left = jnp.nonzero(alive, size=few, fill_value=0)[0]
  cell, rows = cell[left], tuple(row[left] for row in rows)
  alive = jnp.arange(few) < alive.sum()
  fields, _, _ = lax.while_loop(
    several(0), lambda carry: turn(cell, rows, carry), (fields, alive, turns)
  )
  return fields


def insert(fields: Fields, entry: Entry) -> Fields:
  """Puts one entry into the list of each cell; one that is there stays one.

  >>> lists = jnp.array([[1, 5, 9], [3, 5, 9]])
  >>> insert((lists,), (jnp.array([4, 3]),))[0].tolist()
  [[1, 4, 5], [3, 5, 9]]
  """
  entry = tuple(part[:, None] for part in entry)
  before = jnp.zeros(fields[0].shape, bool)
  same = ~before
  for field, part in zip(fields[::-1], entry[::-1], strict=True):
    before = (field < part) | ((field == part) & before)
    same &= field == part
  slot = jnp.arange(fields[0].shape[1])[None]
  place = before.sum(axis=1, keepdims=True)
  place = jnp.where(same.any(axis=1, keepdims=True), NONE, place)
  return tuple(
    jnp.where(
      slot < place,
      field,
      jnp.where(slot == place, part, jnp.roll(field, 1, axis=1)),
    )
    for field, part in zip(fields, entry, strict=True)
  )


def merge(a: Fields, b: Fields) -> Fields:
  """The first k of the entries of both lists, cell by cell.

  >>> merge((jnp.array([[1, 5]]),), (jnp.array([[2, 5]]),))[0].tolist()
  [[1, 2]]
  """
  return lax.fori_loop(
    0,
    b[0].shape[1],
    lambda slot, a: insert(a, tuple(field[:, slot] for field in b)),
    a,
  )


def _first(
  tables: Entry, cell: UInt[Array, " n"], rows: Rows, alive: Bool[Array, " n"]
) -> Entry:
  """The first of the entry of each cell and its rows, field by field."""
  changed = jnp.zeros(tables[0].shape, bool)
  found = []
  for table, row in zip(tables, rows, strict=True):
    # Where an earlier field went down, the rest of the old entry is void.
    table = jnp.where(changed, NONE, table)
    least = table.at[cell].min(
      jnp.where(alive, row, NONE), mode="promise_in_bounds"
    )
    changed |= least < table
    alive &= row == _at(least, cell)
    found.append(least)
  return tuple(found)


def _at(table: Int[Array, " c"], cell: UInt[Array, " n"]) -> Int[Array, " n"]:
  return table.at[cell].get(mode="promise_in_bounds")
