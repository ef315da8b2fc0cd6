"""What others run on GitHub and before a commit can run."""

import pathlib
import re

import yaml
from packaging import requirements, specifiers, version

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
_PYTHONS = ("3.11", "3.12", "3.13")


def _workflow():
  return yaml.safe_load((CHECKOUT / ".github/workflows/tests.yaml").read_text())


def _hooks():
  text = (CHECKOUT / ".pre-commit-config.yaml").read_text()
  (repository,) = yaml.safe_load(text)["repos"]
  return {hook["id"]: hook for hook in repository["hooks"]}


def test_every_python_that_is_supported_is_tested(setup):
  matrix = _workflow()["jobs"]["tests"]["strategy"]["matrix"]
  allowed = specifiers.SpecifierSet(setup["python_requires"])
  assert tuple(matrix["python"]) == _PYTHONS
  assert all(python in allowed for python in _PYTHONS)
  # None older would do.
  first = version.Version(_PYTHONS[0])
  assert f"{first.major}.{first.minor - 1}" not in allowed
  assert matrix["versions"] == ["newest", "oldest"]


def test_the_oldest_jax_is_the_one_that_the_results_were_made_with():
  """So the lower bound is met by each of the Pythons, 3.11 too."""

  def found(name, package):
    lines = (CHECKOUT / name).read_text().splitlines()
    wanted = (line.split("#")[0].strip() for line in lines)
    parsed = [requirements.Requirement(line) for line in wanted if line]
    return next(line.specifier for line in parsed if line.name == package)

  (least,) = [
    s.version for s in found("requirements.txt", "jax") if ">=" in str(s)
  ]
  (pinned,) = [s.version for s in found("constraints.txt", "jax")]
  assert least == pinned


def test_jobs_run_scripts_that_exist_with_extras_that_exist(setup):
  scripts, extras = set(), set()
  for name, job in _workflow()["jobs"].items():
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert uses[0].startswith("actions/checkout@"), name
    for step in job["steps"]:
      scripts |= set(re.findall(r"bash (\S+)", step.get("run", "")))
      for value in step.get("env", {}).values():
        # The only other variables are of test.sh.
        assert set(step["env"]) <= {"EXTRA", "RESOLUTION"}
        if "matrix" not in value:
          extras |= set(value.split(","))
  assert scripts == {"launch/test.sh", "launch/colab/execute.sh"}
  assert all((CHECKOUT / script).is_file() for script in scripts)
  assert extras and extras <= set(setup["extras_require"])


def test_oldest_versions_are_asked_for_as_the_script_knows_them():
  (step,) = [s for s in _workflow()["jobs"]["tests"]["steps"] if "env" in s]
  assert "'lowest-direct' || ''" in step["env"]["RESOLUTION"]
  text = (CHECKOUT / "launch/test.sh").read_text()
  assert "RESOLUTION=lowest-direct" in text


def test_notebooks_run_on_the_python_of_colab():
  job = _workflow()["jobs"]["notebooks"]
  (python,) = [
    step["with"]["python-version"]
    for step in job["steps"]
    if "setup-python" in step.get("uses", "")
  ]
  assert python == "3.12"
  script = (CHECKOUT / "launch/colab/execute.sh").read_text()
  named = re.search(r"set -- (.*)", script)[1].split()
  there = [p.stem for p in (CHECKOUT / "launch/colab").glob("*.ipynb")]
  assert sorted(named) == sorted(there)


def test_hooks_hold_their_versions():
  hooks = _hooks()
  assert set(hooks) == {
    *("ruff", "ruff-format", "nbstripout", "shellcheck", "hadolint"),
    "workflows",
  }
  for hook in hooks.values():
    (package,) = hook["additional_dependencies"]
    (pin,) = requirements.Requirement(package).specifier
    assert pin.operator == "=="
    # pre-commit asks a hook's environment for its program, and nothing else.
    assert hook["language"] == "python"


def test_hooks_look_at_what_there_is():
  hooks = _hooks()
  files = [
    path.relative_to(CHECKOUT).as_posix()
    for folder in ("launch", ".github", ".ci")
    for path in (CHECKOUT / folder).rglob("*")
  ]
  for hook in hooks.values():
    if "files" in hook:
      assert any(re.search(hook["files"], name) for name in files), hook["id"]


def test_ruff_is_one_for_the_tests_and_the_hooks(setup):
  (wanted,) = [
    requirements.Requirement(line)
    for line in setup["extras_require"]["test"]
    if line.startswith("ruff")
  ]
  for name in ("ruff", "ruff-format"):
    (package,) = _hooks()[name]["additional_dependencies"]
    (pin,) = requirements.Requirement(package).specifier
    assert pin.version in wanted.specifier
