"""launch/beam.py: a pipeline reads the splits, as `ila pool` does."""

import importlib.util
import pathlib
import sys

import pytest

from ila_jax import errors
from ila_jax.pool.splits import shares, task
from ila_jax.pool.tokens import tokenizer
from tests.pool.splits import merge_test, workers_test
from tests.support import tiny

pytest.importorskip(
  "apache_beam", reason="apache-beam is not installed (extra `beam`)"
)
pytestmark = pytest.mark.filterwarnings("default")  # Of Beam's own parts.
_FILE = pathlib.Path(__file__).resolve().parent.parent / "launch/beam.py"


@pytest.fixture
def launcher(monkeypatch):
  spec = importlib.util.spec_from_file_location("launch_beam", _FILE)
  module = importlib.util.module_from_spec(spec)
  monkeypatch.setitem(sys.modules, spec.name, module)  # Workers look there.
  spec.loader.exec_module(module)
  return module


def test_a_pipeline_reads_what_tasks_read(tmp_path, monkeypatch, launcher):
  source = merge_test._pool(tmp_path / "source")
  base = tmp_path / "base"
  tokenizer.train_bpe(["some text"] * 9, vocab_size=300, folder=base)
  settings = {
    "model__path": str(base),
    "pool__split_bytes": 4000,
    "pool__limit": None,
    "pool__dev_examples": 5,
    "score__reference_examples": 5,
  }
  config = tiny.config(source, **settings)
  alone, work = tmp_path / "alone", tmp_path / "work"
  shares.run(config, alone, "0/1")
  launcher.run(config, str(work), ["--runner=DirectRunner"])
  assert len(workers_test._contents(alone)) > 9
  assert workers_test._contents(work) == workers_test._contents(alone)
  monkeypatch.setattr(task, "run", None)  # Nothing is left to read.
  shares.run(config, work, "0/1")


def test_a_field_of_a_config_is_refused(launcher, monkeypatch, capsys):
  words = ["--config=quickstart", "--workdir=x", "--config.pool.source=y"]
  monkeypatch.setattr(sys, "argv", ["beam.py", *words])
  assert launcher.main() == errors.BAD_INPUT
  assert "--config.pool.source is a field" in capsys.readouterr().err


def test_a_base_from_scratch_is_refused(tmp_path, launcher):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(9))
  with pytest.raises(errors.InputError, match="tokenizer is trained on"):
    launcher.run(tiny.config(source), str(tmp_path / "work"))
