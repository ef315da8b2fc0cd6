"""What the documents say of methods is true, and the examples work."""

import dataclasses
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax import errors
from ila_jax.methods import table
from ila_jax.models.folders import causal_configs, json_fields, weights
from tests.support import torch_models

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent


def _example(section: str) -> tuple[str, str]:
  """The example of a section of CONTRIBUTING.md: its place, and its text."""
  text = (CHECKOUT / "CONTRIBUTING.md").read_text()
  text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
  (found,) = re.findall(
    r"```python\n# (ila_jax/[\w/]+\.py)[^\n]*\n(.*?)```", text, re.S
  )
  return found


def test_the_examples_are_short():
  assert len(_example("A method")[1].strip().splitlines()) < 40
  assert len(_example("A model family")[1].strip().splitlines()) < 12


def test_the_example_works_where_it_is_put(tmp_path):
  """In a copy of the code: every check of a method, and the config."""
  for name in ("ila_jax", "configs", "tests"):
    shutil.copytree(
      CHECKOUT / name,
      tmp_path / name,
      ignore=shutil.ignore_patterns("__pycache__"),
    )
  shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
  path, text = _example("A method")
  (tmp_path / path).write_text(text)
  name = pathlib.Path(path).stem

  def run(*arguments):
    done = subprocess.run(
      [sys.executable, *arguments],
      cwd=tmp_path,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

  checks = "tests/methods/every_method_test.py"
  said = run("-m", "pytest", "-q", checks, "-k", name, "-p", "no:cacheprovider")
  assert said.startswith("." * 8), said  # One a check.
  said = run(
    "-c",
    "from tests.support import tiny\n"
    "import ila_jax\n"
    f"config = tiny.config('x', select__strategy='{name}',\n"
    f"                     select__options__{name}__power=0.5)\n"
    f"print(ila_jax.__file__, config.select.options['{name}'])",
  )
  assert said.startswith(str(tmp_path)) and said.endswith("{'power': 0.5}\n")


def test_the_guide_has_every_method_and_every_option():
  text = (CHECKOUT / "docs/guide/selection.md").read_text()
  section = text.partition("\n## Methods\n")[2].partition("\n## ")[0]
  rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", section, re.M))
  assert set(rows) == set(table.METHODS)
  for name, method in table.METHODS.items():
    options = {field.name for field in dataclasses.fields(method.options)}
    last = rows[name].rstrip("| ").rpartition(" | ")[2] if options else ""
    assert options <= set(re.findall(r"`(\w+)`", last)), name


def test_the_family_of_the_example_equals_torch(monkeypatch, tmp_path):
  """As an entry of the table, in the module that the example names."""
  transformers = pytest.importorskip("transformers")
  path, text = _example("A model family")
  module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
  (family,) = eval(text, vars(module).copy())
  assert family.model_type not in module.FAMILIES
  monkeypatch.setitem(module.FAMILIES, family.model_type, family)
  theirs = torch_models.causal(family.model_type)
  config, ours = weights.load_decoder(torch_models.save(theirs, tmp_path / "a"))
  assert config.qkv_bias and not config.output_bias
  tokens = np.random.default_rng(0).integers(0, config.vocab, (2, 9), np.int32)
  places = jnp.tile(jnp.arange(9, dtype=jnp.int32), (2, 1))
  got = ours.logits(jnp.asarray(tokens), places, jnp.ones_like(places))
  want = torch_models.torch_logits(theirs, tokens)
  assert want.std() > 0.3
  np.testing.assert_allclose(got, want, atol=1e-4)
  for changed, message in (
    ({"model_type": "seed"}, "or 'seed_oss' or 'gemma3'"),
    ({"attention_out_bias": True}, "attention_out_bias is True; allowed: Fal"),
  ):
    raw = json_fields.Fields(
      "config.json", causal_configs.write(config) | changed
    )
    with pytest.raises(errors.InputError, match=message):
      causal_configs.read(raw)
  # What a file leaves out is what transformers takes.
  few = torch_models.SIZES | {"num_attention_heads": 16}
  defaults = transformers.AutoConfig.for_model(family.model_type, **few)
  short, whole = (
    causal_configs.read(json_fields.Fields("config.json", values))
    for values in (few | {"model_type": family.model_type}, defaults.to_dict())
  )
  assert short == whole
  weights.save_decoder(tmp_path / "b", config, ours)
  again, report = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / "b", output_loading_info=True
  )
  assert type(again) is type(theirs)
  assert not report["missing_keys"] and not report["unexpected_keys"]
  found = torch_models.torch_logits(again.eval(), tokens)
  np.testing.assert_allclose(found, want, atol=1e-5)
