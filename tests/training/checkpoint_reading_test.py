"""Two hosts go on from the newest checkpoint that is whole on both."""

import functools
import hashlib
import itertools
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, decoder
from ila_jax.passes import token_set
from ila_jax.training import checkpoint_reading as reading
from ila_jax.training import loop
from ila_jax.training import recipe as recipe_lib
from tests.support import damage, hosts

_PROGRAM = """
import sys
from tests.support import hosts
host = hosts.join(sys.argv[1:3])
from tests.training import checkpoint_reading_test
checkpoint_reading_test.work(host, sys.argv[3])
"""
_CONFIG = architecture.DecoderConfig(
  vocab=48, layers=1, width=8, heads=2, kv_heads=1, head_dim=4, mlp_width=8
)
# Orbax may say more, of reads that it gave up.
_TOLD = r"^  checkpoint .*?/copies/(.*)$"
_KINDS = ("flip", "cut", "gone")
# One file of arrays may stand for another.
_ON_DISK = {
  "record": "run/metadata",
  "manifest": "state/manifest.ocdbt",
  "arrays": "state/**/d/*",
}


class _Ended(Exception):
  """Raised in the middle of a run, on both hosts."""


def train(folder, on_step=lambda metrics: None) -> dict:
  """The first step that was made, and a hash of weights and history."""
  steps = []

  def note(metrics):
    steps.append(metrics["step"])
    on_step(metrics)

  tuned, history = loop.train(
    decoder.Decoder(_CONFIG, rngs=nnx.Rngs(0)),
    token_set.TokenSet.of_text(
      [np.arange(i, i + 12, dtype=np.int32) for i in range(30)]
    ),
    recipe_lib.Recipe(
      total_steps=6, learning_rate=1e-2, batch_tokens=64, width=16, seed=0
    ),
    # A host has half of each weight.
    mesh=mesh_lib.make(fsdp=4),
    saving=loop.Saving(folder, steps=2),
    on_step=note,
  )
  digest = hashlib.sha256(json.dumps(history).encode())
  for leaf in mesh_lib.fetch(jax.tree.leaves(nnx.state(tuned))):
    digest.update(leaf.tobytes())
  return {"first": steps[0], "found": digest.hexdigest()}


def _end(metrics):
  if metrics["step"] == 5:
    raise _Ended


def _cannot_read(folder, like=None, *, arrays_only):
  if folder.name == "4" and (like is not None or not arrays_only):
    return None, "made up"
  return _READ(folder, like)


def _reads_wrong(folder, like=None):
  content, fault = _READ(folder, like)
  if folder.name == "4" and like is not None:
    content[1]["record"]["history"][0]["loss"] += 1.0
  return content, fault


_READ = reading.read
# What goes wrong on one host, and not on the disk.
_ALONE = {
  "record": functools.partial(_cannot_read, arrays_only=False),
  "arrays": functools.partial(_cannot_read, arrays_only=True),
  "wrong": _reads_wrong,
}


def _damage_copies(ended: pathlib.Path, folder: pathlib.Path) -> None:
  """Copies of a folder of checkpoints, each with one damage of the newest."""
  for what, pattern in _ON_DISK.items():
    for kind in _KINDS:
      copy = shutil.copytree(ended, folder / f"{what}-{kind}")
      files = [path for path in copy.glob(f"4/{pattern}") if path.is_file()]
      assert files, pattern
      for file in files:
        damage.damage(file, kind)
  for host, how in itertools.product(range(2), _ALONE):
    shutil.copytree(ended, folder / f"host{host}-{how}")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
  """What both hosts found, by run, and what the first said of damage."""
  folder = tmp_path_factory.mktemp("hosts")
  answers = hosts.run(_PROGRAM, folder, seconds=500)
  said = [json.loads(stdout.splitlines()[-1]) for stdout, _ in answers]
  lines = [re.findall(_TOLD, stderr, re.M) for _, stderr in answers]
  assert not lines[1]  # The first host speaks for all.
  return said, lines[0]


@pytest.mark.parametrize(
  ("what", "how"),
  [
    *itertools.product(_ON_DISK, _KINDS),
    *itertools.product(("host0", "host1"), _ALONE),
  ],
)
def test_two_hosts_go_on_from_the_newest_that_is_whole(results, what, how):
  said, lines = results
  name = f"{what}-{how}"
  for host in said:
    assert host[name]["first"] == 3
    assert host[name]["found"] == said[0]["whole"]["found"]
  (line,) = [line for line in lines if line.startswith(f"{name}/")]
  assert line.startswith(f"{name}/4 is damaged")
  assert line.endswith("training goes on from step 2")
  # Where the disk is damaged, no host is to blame.
  where = re.findall("damaged .on host (.): ", line)
  assert where == ([what[-1]] if what in ("host0", "host1") else [])


def work(host: int, folder: str) -> None:
  """What a host does; it prints the results of all runs."""
  folder = pathlib.Path(folder)
  said = {"whole": train(folder / "whole")}
  with pytest.raises(_Ended):
    train(folder / "ended", _end)
  mesh_lib.barrier("ended")
  if host == 0:
    _damage_copies(folder / "ended", folder / "copies")
  mesh_lib.barrier("damaged")
  for copy in sorted((folder / "copies").iterdir()):
    which, _, how = copy.name.partition("-")
    reading.read = _ALONE[how] if which == f"host{host}" else _READ
    said[copy.name] = train(copy)
  print(json.dumps(said), flush=True)
