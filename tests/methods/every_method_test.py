"""What is asked of every method, whatever it does; a new one is found here."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from ila_jax.compute import mesh
from ila_jax.methods import candidates, table
from ila_jax.score.signals import table as signals_table
from ila_jax.selection import inputs
from tests.support import reference_selection as reference

_N = 24
_DRAWS = "uniform", "uniform_across"
every_method = pytest.mark.parametrize("name", table.METHODS)


def _pool(name, seed, n=_N):
  """A pool with ties, and what the method needs of it beside columns."""
  pool = reference.pool(n, seed)
  return pool, reference.inputs(table.needed(name, {}), n, seed)


def _candidates(pool, inputs, seed=0, **more):
  """Candidates; cells weigh alike, as they say, or by a power of their size."""
  made = candidates.candidates(**pool, seed=seed)
  made = dataclasses.replace(made, inputs=inputs, **more)
  if seed % 3 == 2:
    return candidates.with_power(made, 0.5)
  weight = 1.0 + (pool["cell"] * 7 + seed) % 5 if seed % 3 else None
  return candidates.with_weights(made, weight, mass=weight)


@functools.cache
def _whole(name, seed):
  """What a method makes of a whole pool, which many tests compare with."""
  return table.METHODS[name](_candidates(*_pool(name, seed), seed))


def _ids(pool, ranking):
  return list(
    zip(pool["ids"][ranking.order].tolist(), ranking.round, strict=True)
  )


@every_method
def test_it_says_who_it_is(name):
  method = table.METHODS[name]
  assert method.name == name and name.isidentifier()
  assert re.fullmatch("#[0-9a-f]{6}", method.colour)
  colours = [other.colour for other in table.METHODS.values()]
  assert colours.count(method.colour) == 1
  for field in dataclasses.fields(method.options):
    assert field.metadata["meaning"]
  method.options()  # All have defaults that are allowed.


@every_method
def test_it_orders_candidates_and_each_once(name):
  for seed in range(25):
    pool, _ = _pool(name, seed)
    got = _whole(name, seed)
    assert len(set(got.order.tolist())) == len(got.order) == len(got.round)
    assert pool["candidate"][got.order].all()
    assert (got.round >= 1).all()
    assert bool(got.rest) == (len(got.order) < pool["candidate"].sum())


@every_method
def test_no_rows_at_all(name):
  got = table.METHODS[name](_candidates(*_pool(name, 0, n=0)))
  assert got.order.shape == got.round.shape == (0,)


@every_method
def test_one_candidate_on_one_device(name):
  pool, more = _pool(name, 0)
  pool |= {"candidate": np.arange(_N) == 4, "depth": np.zeros(_N)}
  with jax.set_mesh(mesh.make(devices=jax.devices()[:1])):
    got = table.METHODS[name](_candidates(pool, more))
  assert got.order.tolist() == [4] or got.rest
  assert set(got.order) <= {4}


@every_method
def test_a_permuted_pool_selects_the_same_ids(name):
  for seed in range(25):
    pool, more = _pool(name, seed)
    mix = np.random.default_rng(seed).permutation(_N)
    mixed, more_mixed = (
      {
        field: held if field in candidates.OF_TAGS else held[mix]
        for field, held in values.items()
      }
      for values in (pool, more)
    )
    two = table.METHODS[name](_candidates(mixed, more_mixed, seed))
    assert _ids(pool, _whole(name, seed)) == _ids(mixed, two)


@every_method
def test_ties_go_to_the_lower_id(name):
  """Nothing tells the examples apart but their ids."""
  pool, more = _pool(name, 3)
  same = {
    field: np.repeat(values[:1], _N, axis=0) for field, values in pool.items()
  }
  same |= {"ids": pool["ids"], "candidate": np.ones(_N, bool)}
  same["depth"] = np.zeros(_N)
  more = {
    key: np.repeat(values[:1], _N, axis=0) for key, values in more.items()
  }
  c = _candidates(same, more)
  for draw in _DRAWS:
    vars(c)[draw] = np.full(_N, 0.5, np.float32)
  got = table.METHODS[name](c).order
  ids = pool["ids"][got].tolist()
  assert ids == sorted(pool["ids"].tolist())[: len(ids)]


@every_method
def test_a_smaller_budget_gets_the_head_of_the_order(name):
  """Also a method that orders no more rows than are wanted."""
  for seed in range(10):
    pool, more = _pool(name, seed)
    whole = _whole(name, seed)
    for wanted in (0, 1, 5):
      got = table.METHODS[name](_candidates(pool, more, seed, wanted=wanted))
      k = min(wanted, len(whole.order))
      assert len(got.order) >= k
      if table.METHODS[name].is_nested:
        assert _ids(pool, got)[:k] == _ids(pool, whole)[:k]


@every_method
def test_one_device_is_eight(name):
  pool, more = _pool(name, 7)
  found = []
  for devices in (1, 8):
    devices = jax.make_mesh(
      (devices, 1, 1),
      mesh.AXES,
      axis_types=(jax.sharding.AxisType.Auto,) * 3,
      devices=jax.devices()[:devices],
    )
    with jax.set_mesh(devices):
      c = _candidates(pool, more, seed=7)
      found.append(_ids(pool, table.METHODS[name](c)))
  assert found[0] == found[1]


@every_method
def test_it_reads_nothing_that_it_does_not_name(name):
  """Other columns are dealt anew; other inputs are not there at all."""
  for seed in range(10):
    pool, more = _pool(name, seed)
    c = _candidates(pool, more, seed)
    for field in ("cell_weight", "cell_mass"):
      if getattr(c, field) is None:
        c = dataclasses.replace(c, **{field: np.ones(_N)})
    deal = np.random.default_rng(seed).permutation(_N)
    finite = {
      f: np.nan_to_num(getattr(c, f)) for f in ("depth", "relative_depth")
    }
    others = {
      field: (finite.get(field, np.broadcast_to(getattr(c, field), _N)))[deal]
      for field in candidates.COLUMNS
      if field not in table.needed(name, {})
    }
    drawn = {d: others.pop(d) for d in _DRAWS if d in others}
    if "cell_power" in others:  # One number.
      others["cell_power"] = 1.0 - c.cell_power
    other = dataclasses.replace(c, **others)
    vars(other).update(drawn)
    got = table.METHODS[name](other)
    assert _ids(pool, got) == _ids(pool, table.METHODS[name](c))


def test_an_order_that_leaves_rows_out_without_a_word_is_a_bug():
  pool, _ = _pool("ila", 1)
  pool["candidate"] = np.ones(_N, bool)

  def rank(c, _):
    return candidates.ranking(c, (c.uniform,), among=c.uniform < 0.5)

  method = dataclasses.replace(table.METHODS["random"], rank=rank)
  with pytest.raises(ValueError, match="does not say why"):
    method(_candidates(pool, {}))


@pytest.mark.parametrize(
  ("read", "message"),
  [
    (lambda c: c.cell, "'random' reads the column 'cell', but its `needs` nam"),
    (lambda c: candidates.place(c, c.uniform), "reads the column 'cell'"),
    (lambda c: candidates.depth(c, "depth"), "reads the column 'depth'"),
    (lambda c: c.inputs["turns"], "reads the input 'turns', .* nll_base; add"),
    (lambda c: c.inputs.get("turns"), "reads the input 'turns'"),
    # Another method, which names it itself, reads it for this one.
    (lambda c: table.METHODS["longest"](c), "'random' reads the column 'n_to"),
    (lambda c: table.METHODS["davir"](c), "'random' reads the input 'nll_sft"),
  ],
)
def test_what_a_method_does_not_name_it_cannot_read(read, message):
  pool, _ = _pool("random", 2)
  given = {"nll_base": pool["depth"], "turns": None, "nll_sft": 1}

  def rank(c, _):
    read(c)
    return candidates.ranking(c, (c.uniform,))

  method = dataclasses.replace(
    table.METHODS["random"], rank=rank, needs=("uniform", "nll_base")
  )
  with pytest.raises(ValueError, match=message):
    method(_candidates(pool, given))


def test_what_a_method_names_it_reads_uncopied():
  pool, _ = _pool("random", 2)
  c = _candidates(pool, {"nll_base": pool["depth"], "turns": None}, wanted=3)

  def rank(seen, _):
    assert seen.uniform is c.uniform and seen.id_rank is c.id_rank
    assert seen.candidate is c.candidate and seen.wanted == 3
    assert seen.inputs["nll_base"] is pool["depth"]
    assert [*seen.inputs] == ["nll_base"] and len(seen.inputs) == 1
    assert "nll_base" in seen.inputs and "turns" not in seen.inputs
    assert isinstance(seen, candidates.Candidates) and "cell" not in repr(seen)
    with pytest.raises(AttributeError, match="cells"):
      _ = seen.cells
    return candidates.ranking(seen, (seen.uniform,))

  method = dataclasses.replace(
    table.METHODS["random"], rank=rank, needs=("uniform", "nll_base")
  )
  assert _ids(pool, method(c)) == _ids(pool, table.METHODS["random"](c))


def test_a_need_that_nothing_satisfies_is_refused():
  named = {*candidates.INPUTS, *candidates.OF_TAGS, *candidates.OF_TARGET}
  assert named == {*inputs.READERS}
  with pytest.raises(
    ValueError,
    match=r"'ila' needs 'dept'; .* cell, depth, .* turns, .* nll_without_promp"
    r"t.*\. Did you mean 'depth'",
  ):
    dataclasses.replace(table.METHODS["ila"], needs=("cell", "dept"))
  for need in (*candidates.COLUMNS, *inputs.READERS, *signals_table.SIGNALS):
    dataclasses.replace(table.METHODS["ila"], needs=(need,))
