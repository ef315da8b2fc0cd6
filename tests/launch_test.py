"""What can be launched is launched: scripts dry, the notebook for real."""

import os
import pathlib
import subprocess

import pytest
from packaging import requirements, specifiers, version

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent


def _bash(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    ["bash", *arguments],
    cwd=CHECKOUT,
    env=os.environ | environment,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize(
  "script", sorted(p.name for p in (CHECKOUT / "launch").glob("*.s*"))
)
def test_scripts_parse(script):
  assert _bash("-n", f"launch/{script}").returncode == 0


@pytest.mark.parametrize(
  ("script", "ends"),
  [
    ("gpu.sh", "-m ila_jax --config c.py --workdir w\n"),
    ("slurm.sbatch", "-m ila_jax --distributed --config c.py --workdir w\n"),
  ],
)
def test_dry_run_prints_the_command(script, ends):
  flags = ("--config", "c.py", "--workdir", "w")
  done = _bash(f"launch/{script}", "--dry-run", *flags)
  assert done.returncode == 0
  assert done.stdout.endswith(ends)


def test_tpu_pod_dry_run():
  flags = ("--dry-run", "--config", "c.py", "--workdir", "gs://b/w")
  done = _bash("launch/tpu_pod.sh", *flags, TPU="slice", ZONE="zone")
  assert done.returncode == 0
  copy, ssh = [li for li in done.stdout.splitlines() if "gcloud" in li]
  assert "scp" in copy and "--worker=all" in copy
  assert "--distributed --config c.py --workdir gs://b/w" in ssh


@pytest.mark.parametrize(
  ("flags", "environment", "message"),
  [
    (("--config", "c"), {"TPU": "", "ZONE": "z"}, "TPU is not set"),
    (("--workdir", "/tmp/w"), {"TPU": "t", "ZONE": "z"}, "must be a gs://"),
  ],
)
def test_tpu_pod_refuses(flags, environment, message):
  done = _bash("launch/tpu_pod.sh", "--dry-run", *flags, **environment)
  assert done.returncode == 2
  assert message in done.stderr


def test_scripts_without_arguments_tell_their_use():
  for script in ("gpu.sh", "slurm.sbatch", "tpu_pod.sh"):
    done = _bash(f"launch/{script}")
    assert done.returncode == 2
    assert "--config" in done.stderr


def test_notebook_runs():
  nbformat = pytest.importorskip("nbformat")
  nbclient = pytest.importorskip("nbclient")
  notebook = nbformat.read(
    CHECKOUT / "launch/colab/first_selection.ipynb", as_version=4
  )
  nbclient.NotebookClient(
    notebook, timeout=300, resources={"metadata": {"path": str(CHECKOUT)}}
  ).execute()
  printed = "".join(
    output.get("text", "")
    for cell in notebook.cells
    for output in cell.get("outputs", [])
  )
  assert "coverage_only" in printed


def test_the_constraints_pin_what_is_required_to_versions_that_are_allowed():
  def lines(name):
    text = (CHECKOUT / name).read_text()
    found = (line.split("#")[0].strip() for line in text.splitlines())
    return [requirements.Requirement(line) for line in found if line]

  pins = {line.name: line.specifier for line in lines("constraints.txt")}
  for required in lines("requirements.txt"):
    (pin,) = pins[required.name]
    assert pin.operator == "=="
    assert required.specifier.contains(version.Version(pin.version))
  assert pins["jaxlib"] == pins["jax"] != specifiers.SpecifierSet()
