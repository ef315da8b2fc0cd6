"""Embeddings of a pool in many shards, where few files may be open."""

import os
import resource

import numpy as np
import pytest
from etils import epath

from ila_jax.embed import rows
from ila_jax.run import tables


@pytest.fixture
def few_files():
  """Lets this process have 60 more files open than it has."""
  limits = resource.getrlimit(resource.RLIMIT_NOFILE)
  used = set(map(int, os.listdir("/proc/self/fd")))
  free = [number for number in range(limits[0]) if number not in used]
  resource.setrlimit(resource.RLIMIT_NOFILE, (free[60], limits[1]))
  yield
  resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.skipif(
  not os.path.exists("/proc/self/fd"), reason="files are counted in /proc"
)
def test_more_shards_than_files_may_be_open(tmp_path, few_files):
  workdir = epath.Path(tmp_path)
  shards, width = 150, 2
  held = np.arange(shards * 2 * width, dtype=np.float32).reshape(-1, width)
  for shard, vectors in enumerate(held.reshape(shards, 2, width)):
    path = tables.EMBEDDINGS.path(workdir, shard=shard)
    path.parent.mkdir(exist_ok=True)
    np.save(path, vectors)  # Without a ledger: that would be written each time.
  some = np.random.default_rng(0).permutation(len(held))
  found = rows.Rows(workdir, some)
  np.testing.assert_array_equal(found[np.arange(len(some))], held[some])
  # Those that were let go are mapped again when they are asked for.
  np.testing.assert_array_equal(found[np.arange(9)], held[some[:9]])
