"""The house rules that a machine can keep: order, sizes, names, imports."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "ila_jax"

# Reading order. A module imports only from modules that stand before it.
ORDER = (
  *(
    "errors",
    "units",
    "run_files",
    "checksums",
    "folders",
    "run_log",
    "holder",
  ),
  *("status", "hosts", "interrupts", "mesh", "metrics", "artifacts", "hub"),
  *("hashes", "lock", "differences", "provenance", "draws", "jsontext"),
  *("columnar", "dialects", "delimited", "file_formats", "paths"),
  *("source_paths", "source_files", "data_sets", "records", "unread"),
  *("tool_calls", "contents", "messages", "field_names", "structures"),
  *("dialogues", "marks", "word_marks", "transcripts", "fields", "documents"),
  *("json_records", "labels", "choices", "preferences", "responses", "turns"),
  *("conversation", "docstrings", "revisions", "sources", "suggestions"),
  *("rejects", "pool", "sandbox", "template_messages", "chat", "templates"),
  *("tokens", "batching", "layouts", "prefetch", "hardware", "models.layers"),
  *("models.kernels", "models.attention", "models.rotary"),
  *("models.architecture", "models.decoder", "models.encoder", "models.lora"),
  *("models.names", "models.fields", "models.ropes", "models.families"),
  *("models.foreign", "models.storage", "models.placement", "models.weights"),
  *("models.lora_folder", "losses", "forward", "encoder_inputs", "embed"),
  *("scoring", "depth", "row_blocks", "neighbours", "principal", "affinities"),
  *("repulsion", "descent", "tsne", "placing", "linear", "parametric"),
  *("projection", "landscape", "clusters", "adjacency", "pair_search"),
  *(
    "near_duplicates",
    "false_depth",
    "ordering",
    "quantiles",
    "pool_quantiles",
  ),
  *("entries", "cell_state", "cell_stream", "selection", "variants", "trust"),
  *("optim", "checkpoint", "trainset", "train_step", "train", "evaluate"),
  *("subsets", "scaling", "look", "figures", "trust_figures", "explore"),
  *("report", "config_checks", "config", "shards", "stages.training"),
  *("stages.reading", "stages.base", "stages.pool_size", "stages.pool"),
  *("stages.encoders", "stages.embedding", "stages.joining", "stages.scoring"),
  *("stages.near_reference", "stages.prompts", "stages.duplicates"),
  *("stages.fitted", "stages.stability", "stages.judging", "stages.mapping"),
  *("stages.landscape", "stages.streaming", "stages.selection"),
  *("stages.finetuning", "stages.scaling", "stages.exploring", "stages.report"),
  *("estimate", "disk", "pool_sample", "trials", "costs", "dry_run"),
  *("run_folder", "pipeline", "command_line", "main", "__main__"),
)
HEAVY = (
  *("torch", "tensorflow", "tensorflow_datasets", "transformers", "datasets"),
  *("sklearn", "statsmodels", "matplotlib", "pandas"),
)

MODULES = sorted(
  path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)
MAX_FILE_LINES = 330
MAX_FUNCTION_STATEMENT_LINES = 60
MAX_NESTING = 5
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


def _imported(tree: ast.AST) -> set[str]:
  """Names of our modules that a module imports, anywhere in it."""
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
      "ila_jax"
    ):
      prefix = node.module.removeprefix("ila_jax").removeprefix(".")
      for alias in node.names:
        found.add(f"{prefix}.{alias.name}" if prefix else alias.name)
  return found


def test_every_module_has_its_place():
  assert sorted(map(_name, MODULES)) == sorted(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_data_flows_one_way(path):
  place = ORDER.index(_name(path))
  for imported in _imported(ast.parse(path.read_text())):
    assert ORDER.index(imported) < place, f"{_name(path)} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_files_and_functions_stay_small(path):
  text = path.read_text()
  assert len(text.splitlines()) <= MAX_FILE_LINES
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.FunctionDef):
      body = node.body[1:] if ast.get_docstring(node) else node.body
      if body:
        lines = node.end_lineno - body[0].lineno + 1
        assert lines <= MAX_FUNCTION_STATEMENT_LINES, node.name


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nesting_is_shallow(path):
  def depth(node):
    below = max(
      (depth(child) for child in ast.iter_child_nodes(node)), default=0
    )
    return below + isinstance(node, _NESTS)

  assert depth(ast.parse(path.read_text())) <= MAX_NESTING


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_is_named_like_the_standard_library(path):
  if path.name != "__main__.py":
    assert path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_unsafe_and_no_hidden_defaults(path):
  text = path.read_text()
  assert not re.search(
    r"trust_remote_code=True|import pickle|allow_pickle=True", text
  )
  assert "from __future__ import annotations" not in text


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_glob_over_a_folder_of_the_user(path):
  # A folder may be called `exp[1]`: files are found by listing and by name.
  # Only what the user means as a pattern is one.
  if _name(path) != "source_files":
    assert not re.search(r"\bi?r?glob\(|import glob", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_docstrings_begin_with_what_they_describe(path):
  kinds = ast.FunctionDef | ast.ClassDef | ast.Module
  for node in ast.walk(ast.parse(path.read_text())):
    said = (isinstance(node, kinds) and ast.get_docstring(node)) or ""
    assert not re.match(r"(Of|Who|Whom|So many|Lets)\b", said), said[:60]


def test_importing_costs_little():
  # The heavy libraries are imported where they are used, and only there.
  names = [".".join(("ila_jax", name)) for name in ORDER if name != "__main__"]
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
