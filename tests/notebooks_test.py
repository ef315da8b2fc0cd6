"""The notebooks run from a clean kernel, and install where nothing is."""

import importlib.util
import io
import json
import pathlib
import re
import subprocess
import sys
import types
import urllib.request
from importlib import metadata

import pytest

from tests.support import tiny

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
_FOLDER = CHECKOUT / "launch/colab"
_NAMES = sorted(path.stem for path in _FOLDER.glob("*.ipynb"))
# What a user may put into the forms: here so little that it takes seconds.
_FEW = {"records": "220"}
# And models that share their compiled programs with those of other tests.
_SMALL = {
  name: value
  for name, value in tiny.OVERRIDES.items()
  if name.split(".")[0] in ("model", "encoder", "train", "tokens", "landscape")
}
_RUNS = {
  "ablations": _FEW
  | {"budgets": '"5, 10"', "rivals": '"random"', "grids": '"6"'},
  "first_selection": _FEW,
  "your_own_method": _FEW,
}


def _notebook(name):
  nbformat = pytest.importorskip("nbformat")
  notebook = nbformat.read(_FOLDER / f"{name}.ipynb", as_version=4)
  nbformat.validate(notebook)
  return notebook


def _executed(name):
  """The outputs of a notebook whose forms are filled."""
  nbclient = pytest.importorskip("nbclient")
  notebook = _notebook(name)
  filled = dict.fromkeys(_RUNS[name], 0)
  for cell in notebook.cells:
    for field, value in _RUNS[name].items():
      pattern = rf"^{field} = .*?(?=  # @param)"
      cell.source, found = re.subn(
        pattern, f"{field} = {value}", cell.source, flags=re.M
      )
      filled[field] += found
    given = '    "pool.source": pool,\n'
    cell.source = cell.source.replace(given, f"{given}    **{_SMALL!r},\n")
  assert set(filled.values()) == {1}, filled
  nbclient.NotebookClient(
    notebook,
    timeout=600,
    startup_timeout=300,
    resources={"metadata": {"path": str(CHECKOUT)}},
  ).execute()
  outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
  return outputs, "".join(output.get("text", "") for output in outputs)


def test_a_first_selection_runs():
  outputs, printed = _executed("first_selection")
  assert "coverage_only" in printed
  assert "JAX" in printed and "skipped" not in printed
  (page,) = [o["data"]["text/html"] for o in outputs if "data" in o]
  assert page.startswith("<div><iframe srcdoc=") and "Near-duplicates" in page


def test_ablations_run():
  outputs, printed = _executed("ablations")
  plots = [o for o in outputs if "image/png" in o.get("data", {})]
  assert len(plots) == 2
  # The pool is scored once; what follows is made anew for each setting.
  begun = re.findall(r"^\[(\w+)\]\n(?!  skipped)", printed, re.M)
  assert [begun.count(stage) for stage in ("pool", "embed", "score")] == [1] * 3
  made = [begun.count(stage) for stage in ("landscape", "select", "finetune")]
  assert made == [2, 3, 3]
  assert "random at equal examples" in printed


def test_a_method_of_one_s_own_runs():
  _, printed = _executed("your_own_method")
  for rival in ("ila", "random"):
    assert re.search(
      rf"^least_sure less {rival} at equal tokens: [+-]\d\.\d+ \(",
      printed,
      re.M,
    )
  assert re.search(r"^least_sure +dev loss \d", printed, re.M)


def test_the_method_is_that_of_contributing():
  (cell,) = [
    cell.source
    for cell in _notebook("your_own_method").cells
    if "METHOD = method.Method(" in cell.source
  ]
  text = (CHECKOUT / "CONTRIBUTING.md").read_text()
  example = text.partition("# ila_jax/methods/quality/least_sure.py\n")[2]
  example = example.partition("```")[0]
  for name in ("class Options", "def rank", "METHOD ="):
    assert name in cell
    first = example[example.index(name) :].partition("\n\n\n")[0].strip()
    assert first in cell


@pytest.mark.parametrize("name", _NAMES)
def test_a_notebook_is_kept_without_outputs(name):
  for cell in _notebook(name).cells:
    if cell.cell_type == "code":
      assert cell.outputs == [] and cell.execution_count is None
      assert set(cell.metadata) <= {"cellView"}


@pytest.mark.parametrize("name", _NAMES)
def test_a_notebook_begins_with_the_form_that_installs(name):
  sources = [
    cell.source for cell in _notebook(name).cells if cell.cell_type == "code"
  ]
  assert sources[0] == _install_cell()
  assert re.findall(r"^(\w+) = .*# @param", sources[0], re.M) == ["address"]
  assert "Change runtime type" in sources[0]
  assert "JAX_PLATFORMS" not in "\n".join(sources)


def _install_cell() -> str:
  cells = _notebook("first_selection").cells
  return next(cell.source for cell in cells if cell.cell_type == "code")


@pytest.fixture
def installs(monkeypatch):
  """Runs the first cell where nothing is installed; what pip was asked."""

  def start(address="", *, plugins=(), driver="", pip=(0, ""), sessions=None):
    asked = []
    found = {name: types.SimpleNamespace(origin="x.py") for name in plugins}
    # As Python finds the folder of a clone.
    found.setdefault("ila_jax", types.SimpleNamespace(origin=None))

    def run(command, **_):
      if command[0] == "nvidia-smi":
        if not driver:
          raise FileNotFoundError
        return subprocess.CompletedProcess(command, 0, stdout=f"{driver}\n")
      asked.append(command)
      return subprocess.CompletedProcess(command, pip[0], "", pip[1])

    def urlopen(url):
      assert url == "http://172.28.0.12:9000/api/sessions"
      return io.BytesIO(json.dumps(sessions).encode())

    with monkeypatch.context() as patch:
      for name, value in (
        ("COLAB_JUPYTER_IP", "172.28.0.12"),
        ("KMP_TARGET_PORT", "9000"),
      ):
        patch.setenv(name, value) if sessions else patch.delenv(name, False)
      patch.setattr(subprocess, "run", run)
      patch.setattr(urllib.request, "urlopen", urlopen)
      patch.setattr(importlib.util, "find_spec", found.get)
      program = _install_cell().replace(
        'address = ""', f"address = {address!r}", 1
      )
      exec(compile(program, "cell", "exec"), {})
    return [command[-1] for command in asked]

  return start


_REPOSITORY = "https://github.com/me/ila_jax"


@pytest.mark.parametrize(
  ("address", "found", "wanted"),
  [
    (_REPOSITORY, {}, f"ila_jax @ git+{_REPOSITORY}"),
    (
      f" {_REPOSITORY} ",
      {"plugins": ("jax_cuda12_plugin", "libtpu")},
      f"ila_jax[cuda12] @ git+{_REPOSITORY}",
    ),
    (
      f"git+{_REPOSITORY}@v1",
      {"plugins": ("libtpu",)},
      f"ila_jax[tpu] @ git+{_REPOSITORY}@v1",
    ),
    (
      "https://b/ila_jax-1-py3-none-any.whl",
      {"driver": "580.65"},
      "ila_jax[cuda13] @ https://b/ila_jax-1-py3-none-any.whl",
    ),
    ("/content/ila_jax", {"driver": "550.54"}, "/content/ila_jax[cuda12]"),
  ],
)
def test_it_installs_from_an_address_for_the_device(
  installs, address, found, wanted
):
  assert installs(address, **found) == [wanted]


def test_it_installs_from_where_colab_opened_it(installs):
  path = "fileId=https%3A//github.com/me/it/blob/main/x.ipynb"
  assert installs(sessions=[{"path": path}]) == [
    "ila_jax @ git+https://github.com/me/it"
  ]


def test_it_installs_nothing_where_it_is_installed(installs):
  assert installs(plugins=("ila_jax",)) == []


def test_it_says_what_to_do_without_an_address(installs):
  with pytest.raises(SystemExit, match="Put the address of ila_jax into"):
    installs()


def test_it_says_why_pip_failed(installs):
  with pytest.raises(SystemExit, match=r"(?s)cannot install.*no such place"):
    installs(_REPOSITORY, pip=(1, "no such place"))


def test_it_asks_for_a_restart_where_an_older_version_is_loaded(
  installs, monkeypatch
):
  older = types.SimpleNamespace(__version__="0.1")
  monkeypatch.setitem(sys.modules, "scipy", older)
  assert metadata.version("scipy") != "0.1"
  with pytest.raises(SystemExit, match="older versions of scipy: choose Run"):
    installs(_REPOSITORY)
