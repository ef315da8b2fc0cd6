"""Each benchmark in a trial: that it runs, not how fast."""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pytest

from tests import conftest
from tests.benchmarks import device_check, placing, swapped_answers
from tests.support import forked

_CHECKOUT = conftest.__file__.rpartition("/tests/")[0]


# They measure processes, or fork theirs before JAX has devices.
_APART = ("dry_run", "host_batches", "loading", "pool_scale")


@pytest.fixture(name="trial")
def _trial(monkeypatch, capsys):
  """Runs a benchmark, most of them here, where JAX and torch are imported."""

  def run(name, *flags):
    monkeypatch.setattr(sys, "argv", [name, "--tiny", *flags])
    if name in _APART:
      done = forked.run("-m", f"tests.benchmarks.{name}", *sys.argv[1:])
      assert not done.returncode, done.stderr
      printed = done.stdout
    else:
      # It reads the environment once, which the benchmark sets for itself.
      importlib.import_module("huggingface_hub.constants")
      monkeypatch.setattr(os, "environ", os.environ.copy())
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Those of rivals.
        importlib.import_module(f"tests.benchmarks.{name}").main()
      printed = capsys.readouterr().out
    return printed, json.loads(printed.splitlines()[-1])

  return run


@pytest.mark.parametrize("name", ["score", "embed", "train_step"])
def test_a_trial_ends_in_one_json_line(trial, name, request):
  pytest.importorskip("torch")
  if name == "embed":
    request.getfixturevalue("minilm")
  # The export to ONNX takes longer than all the rest.
  printed, found = trial(name, "--only=^(?!onnx)")
  assert list(found) == ["benchmark", "ours", "rivals", "quality", "work"]
  assert found["benchmark"] == name
  seconds = [found["ours"], *found["rivals"].values()]
  assert all(isinstance(s, float) and s > 0 for s in seconds)
  # Who is not there is named, with the package that is missing.
  absent = [line for line in printed.splitlines() if line.startswith("skipped")]
  assert absent == found["work"]["skipped"]
  assert len(found["rivals"]) + len(absent) == (3 if name == "score" else 2)
  agreement = {
    "score": lambda q: max(q["largest_relative_difference"].values()) < 1e-5,
    "embed": lambda q: min(q["least_cosine"].values(), default=1) > 0.99999,
    "train_step": lambda q: q["largest_difference"] < 1e-4,
  }
  assert agreement[name](found["quality"])


def test_a_trial_of_runs_together_ends_with_the_same_losses(trial):
  _, found = trial("together")
  assert found["quality"]["largest_difference"] < 1e-3
  assert found["quality"]["ratio"] > 0


def test_a_trial_of_kmeans_ends_where_sklearn_does(trial):
  _, found = trial("kmeans")
  quality = found["quality"]
  assert min(quality["same_cells"].values()) > 0.99
  for inertia in quality["inertia_of_rivals"].values():
    assert abs(inertia / quality["inertia"] - 1) < 1e-4


def test_a_trial_of_methods_finds_the_rows_of_numpy(trial):
  _, found = trial("methods", "--methods", "kcenter", "--only=NumPy")
  quality = found["quality"]
  assert quality["same_head"] == {"ours": 20, "NumPy": 20}
  assert len({*map(str, quality["quality"].values())}) == 1


def test_a_trial_of_maps_tells_what_each_keeps(trial):
  _, found = trial("maps")
  kept = found["quality"]["kept"]
  assert set(kept) == {"parametric", "pca", "random", "tsne"}
  assert 1 > kept["tsne"]["kept_fitted"] > kept["pca"]["kept_fitted"] > 0


def test_a_trial_of_tsne_is_judged_by_a_witness(trial):
  printed, found = trial("tsne")
  assert list(found) == ["benchmark", "ours", "rivals", "quality", "work"]
  absent = [line for line in printed.splitlines() if line.startswith("skipped")]
  assert absent == found["work"]["skipped"]
  assert len(found["rivals"]) + len(absent) == 2
  quality = found["quality"]["300"]
  ours = quality.pop("ours")
  assert found["ours"] == ours["seconds"] > ours["seconds_again"] > 0
  assert abs(ours["kl_reported"] / ours["kl"] - 1) < 1e-4
  # The maps of all describe the same embeddings about as well.
  for rival, seconds in found["rivals"].items():
    assert seconds == quality[rival]["seconds"] > 0
    assert abs(quality[rival]["kl"] / ours["kl"] - 1) < 0.2
    assert abs(quality[rival]["kept"] - ours["kept"]) < 0.1


def test_a_trial_of_placing_tells_what_each_keeps(trial):
  _, found = trial("placing")
  assert list(found) == ["benchmark", "ours", "rivals", "quality", "work"]
  assert len(found["rivals"]) + len(found["work"]["skipped"]) == 2
  kept = found["quality"]["kept"]
  fitted = kept.pop("fitted")
  assert set(kept) == {"ours", *found["rivals"]}
  assert all(abs(share - fitted) < 0.1 for share in kept.values())


def test_placing_by_opentsne_is_in_the_coordinates_of_the_map():
  # It moves the fitted map to the middle of a grid.
  pytest.importorskip("openTSNE")
  rng = np.random.default_rng(0)
  positions = (10 * rng.normal(size=(90, 2)) + 50).astype(np.float32)
  points = np.pad(positions, ((0, 0), (0, 3)))
  task = placing.opentsnes(points, points, positions, threads=1, seed=0)
  for _ in range(2):
    away = np.linalg.norm(task("")["xy"] - positions, axis=1)
    assert np.median(away) < 3


@pytest.mark.parametrize("name", ["loss_memory", "attention", "loading"])
def test_a_trial_of_a_part_ends_in_one_json_line(trial, name):
  pytest.importorskip("torch")
  _, found = trial(name)
  assert list(found) == ["benchmark", "ours", "rivals", "quality", "work"]
  assert found["benchmark"] == name
  assert len(found["rivals"]) == 3
  assert all(s > 0 for s in [found["ours"], *found["rivals"].values()])
  quality = found["quality"]
  agreement = {
    "loss_memory": lambda: quality["max_abs_error"] < 1e-4,
    "attention": lambda: quality["largest_difference_from_torch"] < 1e-3,
    "loading": lambda: quality["largest_tensor_bytes"] > 0,
  }
  assert agreement[name]()


@pytest.mark.parametrize("name", ["argmax", "pool_scale"])
def test_a_trial_of_selection_ends_in_one_json_line(trial, name):
  _, found = trial(name)
  assert list(found) == ["benchmark", "ours", "rivals", "quality", "work"]
  assert all(s > 0 for s in [found["ours"], *found["rivals"].values()])
  if name == "argmax":
    assert len(found["rivals"]) + len(found["work"]["skipped"]) == 8
    assert not any(found["quality"]["cells_that_differ"].values())
  else:
    assert list(found["quality"]) == ["landscape", "select"]
    assert all(q["peak_bytes"] > 0 for q in found["quality"].values())


def test_the_check_of_a_device_runs_the_parts_that_it_is_given(tmp_path):
  done = subprocess.run(
    ["bash", "launch/device_check.sh", "--tiny", "--out", tmp_path, "argmax"],
    capture_output=True,
    text=True,
    cwd=_CHECKOUT,
    env=os.environ | {"PYTHON": sys.executable},
  )
  assert not done.returncode, done.stdout + done.stderr
  (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
  found = json.loads(line)
  assert found["part"] == "argmax" and found["exit"] == 0
  assert found["quality"]["cells_that_differ"] == 0
  assert found["wall_seconds"] > found["ours"] > 0


def test_a_part_of_the_check_ends_when_its_time_is_over(tmp_path):
  part = device_check.PARTS[0]
  log = tmp_path / "log"
  found = device_check.run(part, seconds=0.1, tiny=True, log=log)
  assert found["exit"].startswith("out of time")
  assert "benchmark" not in found


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_parts_of_the_check_share_its_time(
  tmp_path, monkeypatch, capsys, share
):
  """Where each takes a share of its limit."""
  clock, given = [0.0], {}

  def run(part, *, seconds, tiny, log):
    given[part.name] = seconds
    clock[0] += share * seconds
    log.write_text("")
    return {"part": part.name, "exit": 0, "wall_seconds": share * seconds}

  monkeypatch.setattr(device_check, "run", run)
  monkeypatch.setattr(device_check.time, "perf_counter", lambda: clock[0])
  monkeypatch.setattr(sys, "argv", ["device_check", "--out", str(tmp_path)])
  names = [part.name for part in device_check.PARTS]
  status = device_check.main()
  last = capsys.readouterr().out.splitlines()[-1]
  assert list(given) == names[: len(given)]
  assert clock[0] <= 520
  if share == 1.0:
    assert status == 1 and len(given) < len(names)
    left = " ".join(names[len(given) :])
    assert last == f"Not begun: bash launch/device_check.sh {left}"
  else:
    assert status == 0 and len(given) == len(names)
    assert given == {part.name: part.seconds for part in device_check.PARTS}


def test_every_part_of_the_check_fits_and_is_a_program():
  assert device_check.PARTS[0].name == "score_7b"
  folder = pathlib.Path(device_check.__file__).parent
  for part in device_check.PARTS:
    assert part.seconds < 540
    if part.module != "pytest":
      assert (folder / f"{part.module}.py").is_file()


def test_a_trial_of_the_dry_run_sets_it_beside_the_run(trial):
  printed, found = trial("dry_run")
  for stage in ("pool", "model", "embed", "score", "landscape", "scaling"):
    assert f"| {stage} |" in printed
  assert found["quality"]["promised"] == 1.5
  assert found["ours"] > 0 and found["rivals"]["the run itself"] > 0


def test_a_trial_of_hosts_tells_what_each_lays_out(trial):
  _, found = trial("host_batches")
  one, two = (found["ours"][count] for count in ("1", "2"))
  for case in ("batch", "rows"):
    assert two[case]["bytes"] == one[case]["bytes"] / 2 > 0
  for case in ("whole batch", "all rows"):
    assert two[case]["bytes"] == one[case]["bytes"]


def test_a_trial_of_decontamination_finds_what_was_planted(trial):
  _, found = trial("decontamination")
  counts = found["quality"]["tiny"]["counts"]
  for kind in ("verbatim", "reworded", "embedded"):
    assert counts[f"{kind} leak"] == [10, 10]
    assert counts[f"{kind} other"] == [0, 10]
  assert counts["pool other"] == [0, 90]


def test_a_trial_of_cosines_tells_leaks_from_others(trial):
  _, found = trial("near_evaluation")
  counts = found["quality"]["tiny"]["counts"]
  for kind in ("reworded", "paraphrased", "embedded"):
    leak, other = counts[f"{kind} leak"], counts[f"{kind} other"]
    assert leak["all"] == other["all"] == 10
    reached = [leak[t] for t in ("0.5", "0.7", "0.9", "0.95")]
    assert reached == sorted(reached, reverse=True)
  assert counts["reworded leak"]["0.9"] > counts["pool other"]["0.9"] == 0


def test_swapped_answers_are_planted_as_it_says():
  rows = [
    {"prompt": f"p{i}", "response": f"a{i} b c d e", "source": f"s{i % 2}"}
    for i in range(100)
  ]
  for swap in ("pool", "source"):
    made = swapped_answers.plant(rows, swap, seed=1)
    pairs = list(zip(rows, made, strict=True))
    swapped = [pair for pair in pairs if pair[1]["planted"] == "swapped"]
    salad = [pair for pair in pairs if pair[1]["planted"] == "salad"]
    assert (len(swapped), len(salad)) == (15, 5)
    for before, after in pairs:
      assert after["prompt"] == before["prompt"]
      is_same = after["response"] == before["response"]
      assert is_same or after["planted"]
    origin = {row["response"]: row["source"] for row in rows}
    crossed = [a["source"] != origin[a["response"]] for _, a in swapped]
    assert any(crossed) == (swap == "pool")
    for before, after in salad:
      words = (sorted(row["response"].split()) for row in (before, after))
      assert len({*map(tuple, words)}) == 1


def test_the_area_is_that_of_sklearn():
  sklearn = pytest.importorskip("sklearn.metrics")
  rng = np.random.default_rng(0)
  score, is_good = rng.integers(0, 9, 60) / 4, rng.random(60) < 0.6
  wanted = sklearn.roc_auc_score(is_good, score)
  assert swapped_answers.auc(score, is_good) == pytest.approx(wanted)
