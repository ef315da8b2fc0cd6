"""The house rules that a machine can keep: order, sizes, names, imports."""

import ast
import functools
import graphlib
import pathlib
import re
import subprocess
import sys

import pytest

from ila_jax.methods import table
from ila_jax.run import stages

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "ila_jax"

# Reading order. A folder imports only from those that stand before it.
ORDER = (
  *("version", "errors", "sections", "compute", "config", "run", "models"),
  *("pool", "passes", "training", "forecast", "embed", "score", "landscape"),
  *(
    "methods",
    "selection",
    "finetune",
    "scaling",
    "laboratory",
    "advice",
    "report",
    "export",
    "dry_run",
  ),
  *("config_checks", "config_parsing", "config_fields", "presets", "verify"),
  "sweep",
  *("command_line", "redo", "pipeline", "api", "main", "__main__"),
)
MAX_MODULES = 12
HEAVY = (
  *("torch", "tensorflow", "tensorflow_datasets", "transformers", "datasets"),
  *("sklearn", "statsmodels", "matplotlib", "pandas"),
)

MODULES = sorted(
  path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)
# The module that names artifacts, and modules that name files of others: of
# models, of tokenizers, of data sets and of what trainers read.
NAMES_FILES = (
  *("run.tables", "models.folders", "pool.sources", "pool.tokens", "export."),
  "score.sae.published",
  "sweep.",
)
# Modules that know a run, by its config or its files, beside the stages, their
# plans and the folders that are about runs. All others are functions of plain
# arguments. The list only shrinks.
KNOW_RUNS = (
  *("embed.encoders", "embed.rows", "landscape.duplicates.near_reference"),
  *("landscape.duplicates.write", "landscape.join", "landscape.place"),
  *("landscape.maps.projections", "landscape.trust.fitted"),
  "landscape.trust.other_maps",
  *("landscape.trust.write", "models.folders.peft", "models.folders.weights"),
  *("models.folders.safetensors_files", "pool.base_tokenizer", "pool.index"),
  *("pool.reading", "pool.shards", "pool.size", "pool.tokens.tokenizer"),
  *("pool.splits.merge", "pool.splits.shares", "pool.splits.task"),
  *("score.gradients.features", "score.gradients.of_target"),
  *("score.gradients.warmup", "score.sae.published", "score.sae.ready"),
  *("score.sae.top", "score.signals.sae_features"),
  *("score.losses", "score.signals.example_signal", "score.split"),
  *("score.early_losses",),
  *("score.signals.nll_without_prompt", "score.signals.tuned.nll_warmed_up"),
  *("score.signals.noisy_ifd", "score.signals.tags"),
  *("laboratory.bench", "laboratory.held_out"),
  *("selection.compare",),
  *("selection.inputs", "selection.needs", "selection.scored_pool"),
  *("training.base", "training.trial"),
)
ABOUT_RUNS = (
  *("run", "forecast", "report", "dry_run", "api", "pipeline", "config_checks"),
  *("config_fields", "config_parsing", "command_line", "presets", "main"),
  "redo",
  "sweep",
)
# Stages, their plans, and what reads a finished run for an export.
_SHELLS = ("stage", "plan", "finished_run")
# Tests of more than the module beside which they lie.
BROADER_TESTS = (
  *(
    "every_method",
    "every_figure",
    "published",
    "answer_shapes",
    "tsne_witness",
    "patterns",
  ),
)
MAX_FILE_LINES = 330
# They declare, and do nothing: as long as what they list.
DECLARATIONS = ("run.tables",)
MAX_FUNCTION_STATEMENT_LINES = 60
MAX_NESTING = 5
MAX_PARAMETERS = 8
_DOCUMENTED = ast.FunctionDef | ast.ClassDef | ast.Module
_NESTS = (
  ast.FunctionDef,
  ast.ClassDef,
  ast.If,
  ast.For,
  ast.While,
  ast.With,
  ast.Try,
)


def _name(path: pathlib.Path) -> str:
  return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _each_module(check):
  """Makes one test of a check of all modules; it names those that fail.

  A test of each module would cost more than all that they look at.
  """

  def test():
    failed = []
    for path in MODULES:
      try:
        check(path)
      except AssertionError as error:
        failed.append(f"{_name(path)}: {error}")
    assert not failed, "\n".join(failed)

  return test


@functools.cache
def _tree(path: pathlib.Path) -> ast.AST:
  return ast.parse(path.read_text())


@functools.cache
def _nodes(path: pathlib.Path) -> tuple[ast.AST, ...]:
  return tuple(ast.walk(_tree(path)))


@pytest.fixture(scope="module", autouse=True)
def _forget_trees():
  """What is read once for these tests would be carried through all others."""
  yield
  _nodes.cache_clear()
  _tree.cache_clear()


def _imported(path: pathlib.Path) -> set[str]:
  """Names of our modules that a module imports, anywhere in it."""
  found = set()
  for node in _nodes(path):
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
      "ila_jax"
    ):
      prefix = node.module.removeprefix("ila_jax").removeprefix(".")
      for alias in node.names:
        found.add(f"{prefix}.{alias.name}" if prefix else alias.name)
  return found


def _top(name: str) -> str:
  return name.partition(".")[0]


def test_every_folder_has_its_place():
  assert {_top(_name(path)) for path in MODULES} == set(ORDER)


@_each_module
def test_data_flows_one_way(path):
  place = ORDER.index(_top(_name(path)))
  for imported in _imported(path):
    assert ORDER.index(_top(imported)) <= place, imported


def test_no_circles():
  graph = {_name(path): _imported(path) for path in MODULES}
  assert tuple(graphlib.TopologicalSorter(graph).static_order())


def test_folders_stay_small():
  for folder in {path.parent for path in MODULES}:
    modules = [path for path in MODULES if path.parent == folder]
    assert len(modules) <= MAX_MODULES, folder


@_each_module
def test_no_module_imports_a_stage_or_its_plan(path):
  # The pipeline and the dry run load them by their names in the graph.
  imported = _imported(path)
  assert not [name for name in imported if name.endswith((".stage", ".plan"))]


@_each_module
def test_core_modules_know_neither_config_nor_files(path):
  name = _name(path)
  if path.stem in _SHELLS or _top(name) in ABOUT_RUNS:
    return
  known = {"config", "run.disk.files"} & _imported(path)
  assert bool(known) == (name in KNOW_RUNS), known


def test_tests_lie_as_the_modules_do():
  folders = {_top(_name(path)) for path in MODULES if path.parent != PACKAGE}
  for folder in folders:
    for path in (ROOT / "tests" / folder).rglob("*_test.py"):
      name = path.stem.removesuffix("_test")
      module = path.relative_to(ROOT / "tests").with_name(f"{name}.py")
      assert (PACKAGE / module).exists() or name in BROADER_TESTS, path


def _signatures(path: pathlib.Path) -> dict[str, tuple[str, str]]:
  """What the public functions of a module take and return."""
  return {
    node.name: (ast.unparse(node.args), ast.unparse(node.returns))
    for node in _tree(path).body
    if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
  }


def test_every_stage_has_one_entrance():
  code = {path.parent.name for path in MODULES if path.stem == "stage"}
  assert code == {stages.GRAPH[name].code for name in stages.NAMES}
  for path in MODULES:
    if path.stem == "stage":
      wanted = {"run": ("run: context.Run", "None")}
      assert _signatures(path) == wanted, path


def test_every_stage_says_what_it_costs_and_writes():
  own = ["forecast.pool_plan", "forecast.base_plan"]
  wanted = {f"{stages.GRAPH[name].code}.plan" for name in stages.NAMES}
  wanted = wanted - {"pool.plan"} | set(own)
  plans = {
    _name(path): path
    for path in MODULES
    if path.stem == "plan" or _name(path) in own
  }
  assert set(plans) == wanted
  for path in plans.values():
    assert _signatures(path) == {
      "cost": ("run: work.PlannedRun", "costs.Cost"),
      "need": ("known: sizes.Sizes", "costs.Need"),
    }, path


@_each_module
def test_functions_take_few_parameters(path):
  # What belongs together is one object: a run, a recipe, a mask.
  for node in _nodes(path):
    if isinstance(node, ast.FunctionDef):
      args = node.args
      taken = [*args.posonlyargs, *args.args, *args.kwonlyargs]
      taken += filter(None, (args.vararg, args.kwarg))
      own = [one for one in taken if one.arg not in ("self", "cls")]
      assert len(own) <= MAX_PARAMETERS, node.name


@_each_module
def test_functions_say_their_types(path):
  # Private ones and those inside of others, too; the tests check the types.
  bare = []
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.FunctionDef):
      args = node.args
      taken = [*args.posonlyargs, *args.args, *args.kwonlyargs]
      taken += filter(None, (args.vararg, args.kwarg))
      typed = all(a.annotation or a.arg in ("self", "cls") for a in taken)
      if not typed or not (node.returns or node.name == "__init__"):
        bare.append(node.name)
  assert not bare


@_each_module
def test_files_and_functions_stay_small(path):
  text = path.read_text()
  if _name(path) not in DECLARATIONS:
    assert len(text.splitlines()) <= MAX_FILE_LINES
  for node in _nodes(path):
    if isinstance(node, ast.FunctionDef):
      body = node.body[1:] if ast.get_docstring(node) else node.body
      if body:
        lines = node.end_lineno - body[0].lineno + 1
        assert lines <= MAX_FUNCTION_STATEMENT_LINES, node.name


@_each_module
def test_nesting_is_shallow(path):
  def depth(node):
    below = max(
      (depth(child) for child in ast.iter_child_nodes(node)), default=0
    )
    return below + isinstance(node, _NESTS)

  assert depth(_tree(path)) <= MAX_NESTING


@_each_module
def test_no_module_is_named_like_the_standard_library(path):
  if path.name != "__main__.py":
    assert path.stem not in sys.stdlib_module_names


@_each_module
def test_nothing_unsafe_and_no_hidden_defaults(path):
  text = path.read_text()
  assert not re.search(
    r"trust_remote_code=True|import pickle|allow_pickle=True", text
  )
  assert "from __future__ import annotations" not in text


@_each_module
def test_no_glob_over_a_folder_of_the_user(path):
  # A folder may be called `exp[1]`: files are found by listing and by name.
  # Only what the user means as a pattern is one.
  if _name(path) != "pool.sources.files":
    assert not re.search(r"\bi?r?glob\(|import glob", path.read_text())


@_each_module
def test_docstrings_begin_with_what_they_describe(path):
  for node in _nodes(path):
    said = (isinstance(node, _DOCUMENTED) and ast.get_docstring(node)) or ""
    assert not re.match(r"(Of|Who|Whom|So many|Lets)\b", said), said[:60]


METHOD = (PACKAGE.parent / "docs/method.md").read_text()
_SECTIONS = set(re.findall(r"^#+ (\d+(?:\.\d+)?) ", METHOD, re.M))


@_each_module
def test_each_section_that_is_referred_to_is_there(path):
  text = path.read_text()
  # "docs/method.md 2.1", or "docs/method.md 2.1 and 2.3", over line ends too.
  for one, other in re.findall(
    r"docs/method\.md\s+(\d+(?:\.\d+)?)(?:\s+and\s+(\d+(?:\.\d+)?))?", text
  ):
    assert {one, other or one} <= _SECTIONS
  assert not re.search(r"[a-z] \(\d\.\d\)", text)  # Of which document?
  # A section without its document is one of nothing. Papers have a number or
  # a year before it.
  for found in re.finditer(r"\b[Ss]ections?\s+\d", text):
    assert re.search(r"\d{4},\s*$", text[: found.start()]), found


def test_the_method_names_modules_that_are_there():
  ours = [path.relative_to(PACKAGE).as_posix() for path in MODULES]
  for name in re.findall(r"`([\w/]+\.py)`", METHOD):
    assert any(f"/{one}".endswith(f"/{name}") for one in ours), name


ROOT = PACKAGE.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MAX_DECISIONS_LINES = 45  # A screen.


def _anchors(text: str) -> set[str]:
  """What a link to a title of a document is called, as GitHub does."""
  titles = re.findall(r"^#+ (.*)$", text, re.M)
  return {
    re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles
  }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_lead_somewhere(path):
  links = re.findall(r"\]\(([^)#:\s]*)(?:#([\w-]+))?\)", path.read_text())
  assert links or path.stem == "CHANGELOG"
  for file, anchor in links:
    target = path.parent / file if file else path
    assert target.exists(), file
    assert not anchor or anchor in _anchors(target.read_text()), anchor


def test_the_readme_shows_every_folder():
  text = (ROOT / "README.md").read_text()
  for folder in ORDER:
    if (PACKAGE / folder).is_dir():
      assert re.search(rf"`(ila_jax/)?{folder}/`", text), folder


def test_a_section_of_the_decisions_fits_a_screen():
  text = (ROOT / "docs/decisions.md").read_text()
  for section in text.split("\n## "):
    assert len(section.splitlines()) <= MAX_DECISIONS_LINES, section[:60]


def test_importing_the_package_costs_nothing():
  program = "import sys, ila_jax; print({'jax', 'numpy'} & set(sys.modules))"
  done = subprocess.run(
    [sys.executable, "-c", program],
    capture_output=True,
    text=True,
    check=True,
    cwd=PACKAGE.parent,
  )
  assert done.stdout.strip() == "set()"


@_each_module
def test_artifacts_are_named_in_one_place(path):
  if _name(path).startswith(NAMES_FILES):
    return
  suffixes = "parquet|jsonl|json|npy|safetensors|html"
  folders = "|".join(stages.RECORDED)
  docstrings = {
    node.body[0].value.value
    for node in _nodes(path)
    if isinstance(node, _DOCUMENTED) and ast.get_docstring(node)
  }
  for node in _nodes(path):
    # Docstrings have blanks, and may name files; messages take the template.
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      assert not re.fullmatch(rf"\S*\.({suffixes})", node.value), node.value
      if node.value not in docstrings:
        named = re.search(rf"\b({folders})/\S+\.({suffixes})\b", node.value)
        assert not named, node.value


# Where names of depths, projections or answers are spelt like a method's.
_OTHER_NAMES = ("landscape.depth", "landscape.maps.projections")


@_each_module
def test_no_method_is_named_outside_of_methods(path):
  """Who asks for the name of a method should ask its record."""
  # Beside methods, the defaults of a config name some.
  if _top(_name(path)) == "methods" or _name(path) == "sections.selection":
    return

  def texts(nodes):
    return [n.value for n in nodes if isinstance(n, ast.Constant)]

  for node in _nodes(path):
    if isinstance(node, ast.Compare) and _name(path) not in _OTHER_NAMES:
      compared = texts([node.left, *node.comparators])
      assert not set(compared) & set(table.METHODS), compared
    found = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
      found = texts(node.elts)
    elif isinstance(node, ast.Dict):
      found = texts(key for key in node.keys if key)
    named = [text for text in found if text in table.METHODS]
    assert len(named) < 2 or len(named) < min(len(found), 3), found


def test_importing_costs_little():
  # The heavy libraries are imported where they are used, and only there.
  names = [
    ".".join(("ila_jax", name))
    for name in map(_name, MODULES)
    if name != "__main__"
  ]
  program = (
    "import importlib, sys\n"
    f"for name in {names}: importlib.import_module(name)\n"
    f"print([name for name in {HEAVY} if name in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", program],
    capture_output=True,
    text=True,
    check=True,
    cwd=PACKAGE.parent,
  )
  assert done.stdout.strip() == "[]"
