"""Sdist and wheel are built, and the wheel runs where no checkout is."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

import pytest

import ila_jax
from tests.support import tiny

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
# What is no part of the project in a folder that someone works in.
_LEFT = (
  *(".git", ".venv*", "runs", "build", "dist", "*.egg-info", "__pycache__"),
  *(".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"),
)
_BUILD = (
  "import sys; from setuptools import build_meta; "
  "print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
)
_EXAMPLE = (
  "import doctest; from ila_jax import api; print(doctest.testmod(api))"
)


def _run(*command: object, cwd: pathlib.Path, status: int = 0) -> str:
  """Runs a program away from the checkout; what it said."""
  hidden = ("GIT_", "PYTHONPATH", "VIRTUAL_ENV")
  done = subprocess.run(
    list(map(str, command)),
    cwd=cwd,
    env={k: v for k, v in os.environ.items() if not k.startswith(hidden)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == status, done.stderr + done.stdout
  return done.stdout if status == 0 else done.stderr


def _build(kind: str, source: pathlib.Path, target: pathlib.Path):
  pytest.importorskip("setuptools", minversion="77")
  target.mkdir(exist_ok=True)
  said = _run(sys.executable, "-c", _BUILD, f"build_{kind}", target, cwd=source)
  return target / said.splitlines()[-1]


def _install(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """An environment with the wheel alone, and with what it asks for; its bin."""
  _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=wheel.parent)
  (site,) = (folder / "lib").glob("*/site-packages")
  # Packages of this environment, without what it imports at its start.
  (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
  _run(
    *(sys.executable, "-m", "pip", "--python", folder / "bin/python"),
    *("install", "--quiet", "--no-deps", "--no-index", wheel),
    cwd=wheel.parent,
  )
  return folder / "bin"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """A repository of these very files: what is built leaves files behind."""
  folder = tmp_path_factory.mktemp("packaging") / "source"
  shutil.copytree(CHECKOUT, folder, ignore=shutil.ignore_patterns(*_LEFT))
  who = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")
  for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "all")):
    _run("git", *who, *words, cwd=folder)
  return folder


@pytest.fixture(scope="module")
def commit(source):
  return _run("git", "rev-parse", "HEAD", cwd=source).strip()


@pytest.fixture(scope="module")
def sdist(source):
  return _build("sdist", source, source.parent / "sdist")


@pytest.fixture(scope="module")
def wheel(sdist):
  """The wheel of the sdist, where git knows nothing of it."""
  with tarfile.open(sdist) as archive:
    archive.extractall(sdist.parent, filter="data")
  unpacked = sdist.parent / sdist.name.removesuffix(".tar.gz")
  return _build("wheel", unpacked, sdist.parent.parent / "wheel")


@pytest.fixture(scope="module")
def installed(wheel):
  """The folder of the programs where only the wheel is installed."""
  return _install(wheel, wheel.parent.parent / "venv")


def test_the_sdist_has_all_that_is_in_the_repository(source, sdist):
  tracked = _run("git", "ls-files", cwd=source).splitlines()
  with tarfile.open(sdist) as archive:
    names = {name.partition("/")[2] for name in archive.getnames()}
  # Dot files tell of the repository, not of the project.
  missing = {name for name in tracked if name[0] != "."} - names
  assert not missing
  assert not [name for name in names if name.endswith(".pyc")]


def test_building_leaves_the_repository_as_it_is(source, sdist, commit):
  assert _run("git", "status", "--porcelain", cwd=source) == ""
  assert "$Format" in (source / "ila_jax/commit.txt").read_text()


def test_the_wheel_has_what_a_run_needs(wheel, commit):
  with zipfile.ZipFile(wheel) as archive:
    content = {name: archive.read(name) for name in archive.namelist()}
  tops = {name.partition("/")[0] for name in content}
  assert tops == {"ila_jax", f"ila_jax-{ila_jax.__version__}.dist-info"}
  for path in CHECKOUT.glob("configs/*.py"):
    assert content[f"ila_jax/configs/{path.name}"] == path.read_bytes()
  for path in CHECKOUT.glob("ila_jax/report/web/*"):
    assert f"ila_jax/report/web/{path.name}" in content
  assert {"ila_jax/py.typed", "ila_jax/constraints.txt"} <= content.keys()
  assert content["ila_jax/commit.txt"].decode() == f"{commit}\n"
  about = content[f"ila_jax-{ila_jax.__version__}.dist-info/METADATA"].decode()
  needed = (CHECKOUT / "requirements.txt").read_text().splitlines()
  needed = [line for line in needed if line and not line.startswith("#")]
  wanted = [li for li in about.splitlines() if li.startswith("Requires-Dist:")]
  assert len([li for li in wanted if "extra ==" not in li]) == len(needed)


def test_the_command_runs_presets_and_copies_of_them(
  installed, commit, tmp_path
):
  ila = installed / "ila"
  said = f"ila_jax {ila_jax.__version__} (commit {commit})\n"
  assert _run(ila, "--version", cwd=tmp_path) == said
  assert _run(installed / "python", "-m", "ila_jax", "--version", cwd=tmp_path)
  helped = _run(ila, "--help", cwd=tmp_path)
  assert "\n  quickstart   The whole pipeline on a laptop" in helped
  assert f"\nPresets, in {installed.parent}" in helped
  said = _run(ila, "--fields", "select.options", cwd=tmp_path)
  assert "select.options.trim.quantile = 0.5\n" in said
  refused = _run(ila, "--config=nothing", "--workdir=w", cwd=tmp_path, status=2)
  assert "neither a preset nor a file. Presets: ila, " in refused
  _run(ila, "--copy-preset=quickstart", "my.py", cwd=tmp_path)
  tiny.write(tmp_path / "pool.jsonl", tiny.records(240))
  small = {"scaling.subsets": 0, "scaling.held_out": 0}
  small |= {"score.reference_seeds": (0,), "finetune.compare": ()}
  flags = [
    f"--config.{name}={value}"
    for name, value in (tiny.OVERRIDES | small).items()
  ]
  flags += ["--config.pool.source=pool.jsonl", "--workdir=run"]
  _run(ila, "--config", "quickstart", *flags, "--stages=pool", cwd=tmp_path)
  # The copy is the same config, so the run goes on with it.
  _run(ila, "--config=my.py", *flags, cwd=tmp_path)
  manifest = json.loads((tmp_path / "run/manifest.json").read_text())
  assert manifest["commit"] == commit
  assert len(manifest["stages"]) >= 7
  page = (tmp_path / "run/report/index.html").read_text()
  assert "<style>" in page and (tmp_path / "run/report/map.html").exists()


def test_the_example_of_select_runs(installed, tmp_path):
  said = _run(installed / "python", "-c", _EXAMPLE, cwd=tmp_path)
  failed, attempted = re.search(
    r"TestResults\(failed=(\d+), attempted=(\d+)\)\n$", said
  ).groups()
  assert failed == "0" and int(attempted) >= 3, said


def test_an_editable_installation_reads_the_checkout(source, commit, tmp_path):
  wheel = _build("editable", source, tmp_path / "editable")
  programs = _install(wheel, tmp_path / "venv")
  said = _run(programs / "ila", "--version", cwd=tmp_path)
  assert said.endswith(f"(commit {commit})\n")
  helped = _run(programs / "ila", "--help", cwd=tmp_path)
  assert f"\nPresets, in {source / 'configs'}:\n" in helped
