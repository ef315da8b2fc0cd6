"""Whole runs on several hosts: as one host, killed and resumed by others."""

import errno
import json
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
import safetensors.numpy

from ila_jax import errors, pipeline
from ila_jax.command_line import endings
from ila_jax.run.disk import files
from tests.support import forked, hosts, tiny

# A host of some that share devices, which may kill itself in the midst of a
# training, once a checkpoint is there.
_HOST = """
import json, os, signal, sys
from ila_jax import main, pipeline
from ila_jax.training import checkpoint
from tests.support import hosts, tiny

host, count = map(int, sys.argv[2].split("/"))
devices, source, workdir, overrides, stages, dies = sys.argv[3:]
hosts.join(sys.argv[1:3], devices=int(devices) // count)
save = checkpoint.Checkpoints.save

def save_or_die(checkpoints, step, *state):
  if str(host) == dies and checkpoints.folder.name == "checkpoints-ila":
    if checkpoints.latest() is not None:
      os.kill(os.getpid(), signal.SIGKILL)
  save(checkpoints, step, *state)

checkpoint.Checkpoints.save = save_or_die
config = tiny.config(source, **json.loads(overrides))

from absl import flags
flags.FLAGS(["ila_jax"])
main._parse_flags = lambda argv: None
main._run_stages = lambda: pipeline.run(
  config, workdir, stages=stages.split(",")
)
sys.argv = ["ila_jax", "--workdir=w"]
sys.exit(main.main())
"""
# Methods that read signals of their own.
_WITH_SIGNALS = (
  *("ila_contrastive", "ila_marginal", "ila_neyman", "less", "paser"),
  *("rds_plus", "rho_token", "sae_greedy", "superfiltering", "tshirt"),
)
_SMALL = {
  "select__options": {"less": {"share": 0.4, "epochs": 1, "width": 64}},
  "signals__early_examples": 60,
  "sae__latents": 64,
  "sae__k": 4,
  "sae__tokens": 2000,
  "sae__batch_tokens": 256,
}
_ALL = "pool,embed,score,landscape,select,finetune,scaling,report"
_SELECTION = "pool,embed,score,landscape,select"
_OVERRIDES = {
  "pool__fields__labels": "tags",
  "select__cell_weight": "target",
  "select__compare": ["random"],
  "finetune__compare": ["random"],
  "finetune__epochs": 3.0,
  "landscape__projection": "pca",
  "landscape__grid": 6,
  "landscape__duplicate_cosine": None,
  "score__reference_seeds": [0],
  "scaling__subsets": 1,
  "scaling__held_out": 0,
  "train__checkpoint_steps": 2,
  "mesh__fsdp": 2,
}


def _run(
  count, folder, name, stages=_ALL, *, dies="none", devices=4, **overrides
):
  """Exit status and stderr of each host."""
  given = json.dumps(_OVERRIDES | overrides)
  where, words = hosts.address(), (folder / "pool.jsonl", folder / name, given)
  started = [
    forked.start(
      *("-c", _HOST, where, f"{host}/{count}", devices, *words, stages, dies),
      stderr=subprocess.PIPE,
    )
    for host in range(count)
  ]
  found = []
  for process in started:
    with process.stderr as stderr:
      said = stderr.read()
    process.join(300)
    found.append((process.exitcode, said))
  return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A pool, with a reject and a duplicate, and a target set."""
  folder = tmp_path_factory.mktemp("hosts")
  rows = tiny.records(240)
  rows[7]["output"] = ""
  rows[9] = rows[8]
  tiny.write(folder / "pool.jsonl", rows)
  target = tiny.write(folder / "target.jsonl", [*rows[0:90:6], {"bad": 1}])
  _OVERRIDES["select__target"] = str(target)
  return folder


@pytest.fixture(scope="module")
def alone(folder):
  """The run of one host."""
  ((status, said),) = _run(1, folder, "alone")
  assert status == 0, said
  return folder / "alone"


@pytest.fixture(scope="module")
def killed(folder):
  """A run of four hosts of which one is killed; what each of them says."""
  found = _run(4, folder, "killed", dies="3")
  checkpoints = folder / "killed/finetune/checkpoints-ila"
  assert (checkpoints / "2").exists(), found
  return found


@pytest.fixture(scope="module")
def resumed(folder, killed):
  """The same, finished by two hosts."""
  found = _run(2, folder, "killed")
  assert [status for status, _ in found] == [0, 0], found
  return folder / "killed", found


def _table(folder, name):
  return files.read_table(folder / name)


def _same_numbers(ours, theirs, columns, **tolerance):
  for name in columns:
    np.testing.assert_allclose(ours[name], theirs[name], **tolerance)


def _same_scores(ours, theirs):
  """Pool, embeddings and losses; those of the target set, too."""
  for name in ("pool/index.parquet", "beside/target/pool/index.parquet"):
    assert (ours / name).read_bytes() == (theirs / name).read_bytes()
  for at in ("", "beside/target/"):
    for path in sorted((theirs / at / "embed").glob("*.npy")):
      own = files.read_array(ours / at / "embed" / path.name)
      np.testing.assert_allclose(own, files.read_array(path), atol=1e-6)
    scores = [
      _table(one, f"{at}score/scores.parquet") for one in (ours, theirs)
    ]
    np.testing.assert_array_equal(*(one["id"] for one in scores))
    _same_numbers(*scores, ("nll_base", "nll_sft"), rtol=1e-4)


def _same_selection(ours, theirs):
  cells = [_table(one, "landscape/cells.parquet") for one in (ours, theirs)]
  np.testing.assert_array_equal(*(one["cell"] for one in cells))
  places = [_table(one, "select/target.parquet") for one in (ours, theirs)]
  np.testing.assert_array_equal(*(one["nearest_row"] for one in places))
  chosen = [
    (one / "select/selected.jsonl").read_text() for one in (ours, theirs)
  ]
  assert chosen[0] == chosen[1] and chosen[0].count("\n") > 10


def test_a_killed_host_ends_the_other_three(killed):
  assert [status for status, _ in killed] == [errors.LOST] * 3 + [
    -signal.SIGKILL
  ], killed
  for _, said in killed[:3]:
    # A host that finds out by itself says so, and who told of it first.
    lines = [x for x in said.splitlines() if x.startswith("ila_jax:")]
    assert 1 <= len(lines) <= 2
    assert all("start all hosts again" in line for line in lines)


def test_four_hosts_that_two_have_resumed_equal_one(alone, resumed):
  together, found = resumed
  _same_scores(together, alone)
  _same_selection(together, alone)
  # The two went on in the midst of what the four had begun.
  assert "[select]\n  skipped: it is done" in found[0][1]
  steps = files.read_jsonl(together / "finetune/metrics-ila.jsonl")
  assert [step["step"] for step in steps] == [*range(1, len(steps) + 1)]
  for name in ("model", "score/reference-0", "finetune/model"):
    ours, theirs = (
      safetensors.numpy.load_file(one / name / "model.safetensors")
      for one in (together, alone)
    )
    assert ours.keys() == theirs.keys()
    _same_numbers(ours, theirs, ours, rtol=1e-3, atol=1e-4)
  for name, loss in (
    ("finetune/evaluations", "micro"),
    ("scaling/runs", "loss"),
  ):
    ours, theirs = (
      files.read_jsonl(one / f"{name}.jsonl") for one in (together, alone)
    )
    assert [one["name"] for one in ours] == [one["name"] for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
      assert one[loss] == pytest.approx(other[loss], rel=1e-4)
  assert (together / "report/index.html").exists()


_LANDSCAPE_FILES = ("cells.parquet", "duplicates.parquet", "map.json")


def test_two_hosts_equal_one(folder, alone):
  # A step of the map is slow where its devices are not of one host.
  tsne = {"landscape__projection": "tsne", "landscape__iterations": 60}
  tsne |= {"landscape__duplicate_cosine": 0.95}
  found = _run(2, folder, "two", _SELECTION, devices=8, **tsne)
  assert [status for status, _ in found] == [0, 0], found
  two = folder / "two"
  _same_scores(two, alone)
  again = shutil.copytree(two, folder / "again")
  stages = ("landscape", "select")
  config = tiny.config(folder / "pool.jsonl", **_OVERRIDES | tsne)
  pipeline.run(config, again, stages=stages, redo="landscape")
  # From the scores on, as many devices of one host give the bits of two.
  paths = sorted((again / "select").glob("*.parquet"))
  paths += [again / "landscape" / name for name in _LANDSCAPE_FILES]
  for path in paths:
    assert path.read_bytes() == (two / path.relative_to(again)).read_bytes()


def test_signals_and_the_laboratory_of_two_hosts_equal_those_of_one(
  folder, alone
):
  """What methods beyond the published one read, each by its share."""
  fields = {
    "select__compare": [*_WITH_SIGNALS],
    **_SMALL,
    "laboratory__arms": {"ours": {"strategy": "ila"}},
    "laboratory__budgets": [300],
    "laboratory__curve": [1.0],
    "laboratory__draws": 2,
    "laboratory__equal": ["tokens"],
    "laboratory__resamples": 100,
  }
  one, two = folder / "one-signals", folder / "two-signals"
  for place in (one, two):
    shutil.copytree(alone, place)
    for name in ("select", "finetune", "scaling", "report"):
      shutil.rmtree(place / name)
  for count, place in ((1, one), (2, two)):
    found = _run(count, folder, place.name, "select,laboratory", **fields)
    assert [status for status, _ in found] == [0] * count, found
  signals = sorted((one / "signals").rglob("*.npy"))
  assert len({path.parent for path in signals}) >= 8
  for path in signals:
    theirs = files.read_array(two / path.relative_to(one))
    ours = files.read_array(path)
    if ours.dtype.kind in "iub":
      np.testing.assert_array_equal(theirs, ours, str(path))
    else:
      near = {"rtol": 1e-2, "atol": 1e-3 * float(np.nanstd(ours))}
      np.testing.assert_allclose(theirs, ours, **near, err_msg=str(path))
  lines = [
    files.read_jsonl(place / "laboratory/runs.jsonl") for place in (one, two)
  ]
  assert [len(own) for own in lines] == [4, 4]
  for ours, theirs in zip(*lines, strict=True):
    assert (ours["name"], ours["tokens"]) == (theirs["name"], theirs["tokens"])
    assert theirs["micro"] == pytest.approx(ours["micro"], rel=1e-4)


@pytest.mark.parametrize(
  ("stage", "full_at"),
  [
    ("pool", "records-00000.parquet"),
    ("embed", "inputs-00000.parquet"),
    ("beside/target", "stage.json"),
    ("score", "stage.json"),
    ("landscape", "stage.json"),
    ("select", "ranking.parquet"),
    ("finetune", "stage.json"),
    ("scaling", "stage.json"),
    ("report", "index.html"),
  ],
)
def test_a_full_disk_ends_each_stage_in_one_way(
  folder, alone, tmp_path, monkeypatch, stage, full_at
):
  """As `main` then tells all hosts, which wait where `finish` would be."""
  copy = shutil.copytree(alone, tmp_path / "work")
  config = tiny.config(folder / "pool.jsonl", **_OVERRIDES)
  real = files.atomic

  def atomic(path):
    if path == copy / stage / full_at:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
    return real(path)

  shutil.rmtree(copy / stage)
  for after in ("select", "report") if stage == "beside/target" else ():
    shutil.rmtree(copy / after)
  monkeypatch.setattr(files, "atomic", atomic)
  name = "select" if stage == "beside/target" else stage
  with pytest.raises(OSError) as raised:
    pipeline.run(config, copy, stages=[name])
  status, said = endings.explain(raised.value, "ila")
  assert status == errors.BAD_INPUT
  assert f"No space left on device: {copy / stage / full_at}" in said
