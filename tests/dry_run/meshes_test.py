"""The mesh that a dry run advises is the best of those that it has tried."""

import dataclasses
import re
import sys

import pytest

from ila_jax import errors
from ila_jax.dry_run import dry_run, meshes, plans, printed
from ila_jax.forecast import elsewhere, shapes
from ila_jax.models import architecture
from ila_jax.score.gradients import features
from ila_jax.training import trial
from tests.compute import topologies_test
from tests.support import model_folders, planned, tiny

_LARGE = architecture.DecoderConfig(
  **{"vocab": 152_064, "layers": 28, "width": 3584, "heads": 28},
  **{"kv_heads": 4, "head_dim": 128, "mlp_width": 18_944, "remat": True},
  **{"dtype": "bfloat16", "param_dtype": "bfloat16", "tied": False},
)


def _run(topology="h100:8", decoder=_LARGE, **fields):
  run = planned.run(decoder, train__batch_tokens=16_384, **fields)
  machine = elsewhere.Elsewhere(topology, meshes.along_fsdp(8), compiles=False)
  return dataclasses.replace(run, machine=machine)


def _search(run, tries=None):
  tries = tries or list(meshes.candidates(8, run.decoder))
  wanted = plans.in_order(run.config, ("score",))
  return meshes.search(run, {"score": wanted["score"]}, tries, compiles=False)


def test_the_best_mesh_is_the_fastest_that_fits():
  found = _search(_run())
  tried = {str(one.machine.axes) for one in found}
  every = {str(axes) for axes in meshes.candidates(8, _LARGE)}
  assert tried == every and len(every) == 9
  fitting = [one for one in found if one.fits]
  assert 0 < len(fitting) < len(found)
  assert found[0] in fitting
  assert found[0].seconds <= 1.001 * min(one.seconds for one in fitting)
  for one in found:
    assert one.seconds > 0 and one.machine.axes.count == 8
    assert one.fits == (one.verdict == "")


def test_where_none_fits_the_smallest_is_named(capsys):
  # 8 bytes of state a weight, of 7.6e9, do not fit in 8 × 18 GB.
  found = _search(_run("l4:8"))
  assert not any(one.fits for one in found)
  assert found[0].memory == min(one.memory for one in found)
  printed.advice(found)
  said = capsys.readouterr().err
  assert "warning" in said and "--config.train.method=lora" in said


def test_a_larger_mesh_costs_less_time_and_no_trial_runs(monkeypatch):
  for name in ("scoring_pass", "training"):
    monkeypatch.setattr(
      f"ila_jax.forecast.trials.{name}", lambda *_, **__: pytest.fail("tried")
    )
  cost = {}
  for count in (1, 8):
    run = _run(f"h200:{count}", pool__shard_examples=20_000)
    axes = shapes.Axes(1, count, 1)
    machine = run.machine.with_axes(axes, compiles=False)
    run = dataclasses.replace(run, machine=machine)
    cost[count] = run.scoring(run.sample.data, examples=100_000)
  assert cost[8].flops == cost[1].flops
  assert 4 < cost[1].seconds / cost[8].seconds < 8.5
  # By hand: half of 989 TFLOP/s, and rows of 128 tokens hold some padding.
  floor = cost[1].flops / (0.5 * 989e12)
  assert floor < cost[1].seconds < 2 * floor
  assert not cost[1].tried


def test_side_by_side_each_chip_has_whole_runs():
  run = _run(decoder=planned.SMALL)
  recipe = trial.tuning(run.config)
  about = {"examples": 500, "runs": 33}

  def cost(turns, axes):
    machine = run.machine.with_axes(shapes.Axes(*axes), compiles=False)
    one = dataclasses.replace(run, machine=machine)
    return one.training(run.sample.data, recipe, turns=turns, **about)

  # 32 and one, on eight chips; and four times eight and one.
  four = cost([(4, 500.0), (1, 500.0)], (1, 8, 1))
  one = cost([(1, 500.0)] * 5, (1, 8, 1))
  assert four.seconds == pytest.approx(one.seconds)
  weights = run.machine._weights(shapes.of(run.decoder))
  held = [c.device_bytes - weights for c in (four, one)]
  assert held[0] == pytest.approx(4 * held[1], rel=1e-3)
  assert one.flops == four.flops == cost([], (1, 8, 1)).flops


def test_passes_of_one_model_that_do_other_things_have_their_own_memory():
  """Gradients hold more than losses do, at the same width of a batch."""
  run = _run(decoder=planned.SMALL, score__batch_tokens=4096)
  scored = run.scoring(run.sample.data, examples=1000)
  with run.machine.target():
    gradients = features.cost(run)
  assert gradients.device_bytes > scored.device_bytes > 0
  assert run.scoring(run.sample.data, examples=1000) == scored


def test_axes_of_the_config_are_kept_or_refused():
  run = _run(mesh__fsdp=4)
  assert meshes.axes_of(run.config, 8) == shapes.Axes(2, 4, 1)
  assert meshes.axes_of(_run().config, 8) is None
  with pytest.raises(errors.InputError, match=r"--topology has 6"):
    meshes.axes_of(run.config, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A pool and a Llama without weights."""
  folder = tmp_path_factory.mktemp("meshes")
  rows = tiny.records(60)
  tiny.write(folder / "pool.jsonl", rows)
  model_folders.llama(folder / "llama", [row["instruction"] for row in rows])
  (folder / "llama/model.safetensors").unlink()
  return folder


def _config(folder, **fields):
  path = str(folder / "llama")
  return tiny.config(folder / "pool.jsonl", model__path=path, **fields)


def test_a_dry_run_for_gpus_needs_none(folder, capsys):
  before = sorted(folder.rglob("*"))
  found = dry_run.run(
    _config(folder),
    folder / "work",
    stages=("pool", "score", "select"),
    topology="h100:8",
  )
  assert sorted(folder.rglob("*")) == before
  assert list(found) == ["pool", "score", "select"]
  assert found["score"].device_bytes > 0 and found["pool"].device_bytes == 0
  said = capsys.readouterr().err
  for part in ("by shapes", "chip-hours", "Nothing was tried", "Fits with --"):
    assert part in said
  assert "a host" in said and "on each of" not in said


@topologies_test.needs_libtpu
def test_a_dry_run_for_tpus_asks_their_compiler_once(
  folder, capsys, monkeypatch, tmp_path
):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  config = _config(folder, mesh__fsdp=2, mesh__data=2, encoder__path="base")

  def memory():
    costs = dry_run.run(
      config, folder / "work", stages=("embed",), topology="v5e:2x2"
    )
    return costs["embed"].device_bytes

  first = memory()
  said = capsys.readouterr().err
  assert "compiling a pass that embeds for v5e:2x2 as 2 × 2 × 1" in said
  assert "by its compiler" in said
  monkeypatch.setattr(
    "ila_jax.compute.topologies.uncached", lambda: pytest.fail("compiled")
  )
  assert memory() == first > 0


def test_without_libtpu_it_is_told_how_to_get_it(folder, monkeypatch):
  topology = "v5e:4x8"  # Not looked up before.
  monkeypatch.setitem(sys.modules, "libtpu", None)
  monkeypatch.setattr(
    "ila_jax.compute.topologies.jax_topologies.get_topology_desc",
    lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no libtpu")),
  )
  with pytest.raises(errors.InputError, match=r"tpu-compile.*--by-shapes"):
    dry_run.run(_config(folder), folder / "work", topology=topology)
  found = dry_run.run(
    _config(folder),
    folder / "work",
    stages=("score",),
    topology=topology,
    by_shapes=True,
  )
  assert found["score"].seconds > 0


def test_too_little_memory_here_is_told(folder, capsys, monkeypatch):
  here = dry_run.here
  monkeypatch.setattr(here, "_MOST_SECONDS", 0.0)
  monkeypatch.setattr(here.hardware, "matrix_rate", lambda mesh, dtype: 1e9)
  monkeypatch.setattr(here.memory_lib, "training_bytes", lambda *_: 10**8)
  monkeypatch.setattr(here.hardware, "device_bytes", lambda: 4 * 10**7)
  dry_run.run(_config(folder), folder / "work", stages=("score",))
  said = capsys.readouterr().err
  assert re.search(r"warning: score needs 100 MB a device, .*not fit", said)
  assert "Try --config.mesh.fsdp=4" in said
