"""Signals: computed once, shard by shard, and gone on with after a kill."""

import contextlib

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.compute import mesh
from ila_jax.forecast import costs
from ila_jax.pool import index as index_lib
from ila_jax.pool import shards
from ila_jax.run import context, progress, status
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal
from tests.support import tiny


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
  """A pool of three shards: (config, workdir)."""
  folder = tmp_path_factory.mktemp("pool")
  source = tiny.write(folder / "pool.jsonl", tiny.records(240))
  config = tiny.config(source)
  pipeline.run(config, folder / "work", stages=["pool"])
  assert shards.count(folder / "work") == 3
  return config, folder / "work"


@pytest.fixture
def workdir(pool, tmp_path):
  """Another run on the same pool."""
  (tmp_path / "pool").symlink_to(pool[1] / "pool")
  files.write_json(tmp_path / "manifest.json", {"ila_jax": "0"})
  return epath.Path(tmp_path)


class _Toy:
  """Counts of tokens and of targets; stops before a shard, if it is told to."""

  def __init__(self, *, width=2, made_from=None, stop=None):
    self.loaded, self.computed, self._stop = 0, [], stop
    self.signal = example_signal.Signal(
      name="toy",
      width=width,
      made_from=lambda run: made_from or {},
      compute=self._compute,
      cost=lambda run: costs.Cost(0.0),
    )

  def _compute(self, run, account, advance):
    self.loaded += 1

    def of_shard(table):
      if len(self.computed) == self._stop:
        raise KeyboardInterrupt
      self.computed.append(len(table))
      advance(2)  # And not the others of the shard.
      counts = [
        [len(mask), sum(mask)] for mask in table["is_response"].to_pylist()
      ]
      return np.array(counts, np.float64)

    return of_shard


def _run(toy, pool, workdir):
  example_signal.run(toy.signal, context.Run(pool[0], workdir, mesh.make()))


def test_values_are_those_of_every_example_in_any_order(pool, workdir):
  toy = _Toy()
  _run(toy, pool, workdir)
  index = files.read_table(workdir / "pool/index.parquet")
  n = len(index["id"])
  wanted = np.stack([index_lib.lengths(workdir), index["n_response_tokens"]], 1)
  rows = np.random.default_rng(0).permutation(n)[: n // 2]
  found = example_signal.read(workdir, "toy", rows)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, wanted[rows])
  assert toy.loaded == 1 and sum(toy.computed) == n
  _run(toy, pool, workdir)  # It is done.
  assert toy.loaded == 1


def test_a_killed_one_goes_on_where_it_was(pool, workdir):
  with pytest.raises(KeyboardInterrupt):
    _run(_Toy(stop=2), pool, workdir)
  found = status.find(workdir)["stages"]["signals/toy"]
  assert (found["state"], found["done"], found["total"]) == ("begun", 2, 3)
  first = workdir / "signals/toy/values-00000.npy"
  written = first.stat().mtime
  with pytest.raises(errors.InputError, match="'toy' is needed and has not"):
    example_signal.read(workdir, "toy", np.arange(3))
  toy = _Toy()
  _run(toy, pool, workdir)
  assert len(toy.computed) == 1
  assert first.stat().mtime == written
  found = status.find(workdir)
  assert found["stages"]["signals/toy"]["state"] == "done"
  assert "  signals/toy done" in status.told(found)
  names = list(found["stages"])
  assert (
    names.index("score") < names.index("signals/toy") < (names.index("select"))
  )


def test_how_far_it_is_is_told_within_a_shard(pool, workdir, monkeypatch):
  first, told = _Toy(stop=1), []
  with pytest.raises(KeyboardInterrupt):
    _run(first, pool, workdir)

  @contextlib.contextmanager
  def counter(total, **_):
    yield told.append
    assert sum(told) == total

  monkeypatch.setattr(progress, "counter", counter)
  toy = _Toy()
  _run(toy, pool, workdir)
  within = [n for rows in toy.computed for n in (2, rows - 2)]
  assert told == [*first.computed, *within]


def test_a_damaged_shard_is_computed_again(pool, workdir):
  _run(_Toy(), pool, workdir)
  path = workdir / "signals/toy/values-00001.npy"
  whole = path.read_bytes()
  path.write_bytes(whole[:-1] + b"x")
  toy = _Toy()
  _run(toy, pool, workdir)
  assert len(toy.computed) == 1 and path.read_bytes() == whole


def test_another_signal_is_refused(pool, workdir):
  _run(_Toy(made_from={"model": "a"}), pool, workdir)
  with pytest.raises(
    errors.InputError, match=r"toy was made .*model was 'a'.*--redo=toy"
  ):
    _run(_Toy(made_from={"model": "b"}), pool, workdir)


def test_numbers_of_another_shape_are_a_bug(pool, workdir):
  with pytest.raises(ValueError, match=r"signal toy is \(\d+, 2\)"):
    _run(_Toy(width=1), pool, workdir)
