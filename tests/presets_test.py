"""Presets: found by name, copied to be edited, refused with what there is."""

import pathlib

import pytest

from ila_jax import config_fields, errors, presets
from ila_jax.command_line import words as words_lib

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "configs"


def test_the_presets_are_the_configs_of_the_checkout():
  assert presets.folder() == CONFIGS
  files = {path.stem for path in CONFIGS.glob("*.py")}
  assert set(presets.names()) == files - {"__init__", "common"}
  assert all(presets.about(name).endswith(".") for name in presets.names())


def test_a_copy_is_the_preset_and_loads(tmp_path):
  for name in presets.names():
    presets.copy(name, tmp_path / f"{name}.py")
    assert (tmp_path / f"{name}.py").read_text() == (
      CONFIGS / f"{name}.py"
    ).read_text()
    copied = presets.load(tmp_path / f"{name}.py")
    assert copied.to_dict() == presets.load(name).to_dict()


def test_what_is_no_preset_is_refused_with_the_names(tmp_path):
  message = r"'lapto', which is neither a preset \(did you mean laptop\?\) nor "
  with pytest.raises(errors.InputError, match=f"config is {message}"):
    presets.load("lapto")
  with pytest.raises(errors.InputError, match=f"--copy-preset is {message}"):
    presets.copy("lapto", tmp_path / "mine.py")
  assert not (tmp_path / "mine.py").exists()
  (tmp_path / "empty.py").write_text("x = 1\n")
  with pytest.raises(errors.InputError, match=r"empty.py has no function"):
    presets.load(tmp_path / "empty.py")


def test_both_ways_to_a_config_file_read_it_alike(tmp_path, monkeypatch):
  """The flag and `ila_jax.select`: same config, same refusal."""
  monkeypatch.setenv("HOME", str(tmp_path))
  parser = words_lib.ConfigParser()
  for name in ("quickstart", "~/mine.py", "~/mine.py:7"):
    (tmp_path / "mine.py").write_text(
      "from ila_jax.configs import common\n\n\ndef get_config(seed='3'):\n"
      "  config = common.get_config()\n  config.seed = int(seed)\n"
      "  return config\n"
    )
    read = presets.load(name)
    assert read.is_locked
    assert parser.parse(name).to_dict() == read.to_dict()
    assert read.seed == (7 if ":" in name else 3 if "mine" in name else 0)
  for text in ("1 / 0\n", "x = (\n", "x = 1\n", "get_config = dict\n"):
    (tmp_path / "wrong.py").write_text(text)
    said = []
    for read in (presets.load, parser.parse):
      with pytest.raises(errors.InputError) as raised:
        read(str(tmp_path / "wrong.py"))
      said.append(str(raised.value))
    assert said[0] == said[1] and "wrong.py" in said[0]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (
      "import json\n\n\ndef get_config():\n  return json.loads('{')\n",
      r"mine.py line 5: JSONDecodeError: Expecting .*Correct the config file",
    ),
    (
      "def get_config(size):\n  return size\n",
      r"mine.py: TypeError: get_config\(\) missing 1 required",
    ),
    ("get_config = 3\n", "mine.py has no function get_config"),
    ("import sys\nsys.exit('done')\n", "mine.py line 2: SystemExit: done"),
  ],
)
def test_what_a_config_file_raises_is_the_user_s(tmp_path, text, message):
  (tmp_path / "mine.py").write_text(text)
  with pytest.raises(errors.InputError, match=message):
    presets.load(tmp_path / "mine.py")


def test_a_fault_of_this_package_stays_a_traceback(tmp_path, monkeypatch):
  (tmp_path / "mine.py").write_text(
    "from ila_jax import config_fields\nget_config = config_fields.defaults\n"
  )
  presets.load(tmp_path / "mine.py")
  package = pathlib.Path(presets.__file__).parent

  def every():
    exec(compile("raise KeyError('x')", package / "hashes.py", "exec"))

  monkeypatch.setattr(config_fields, "every", every)
  with pytest.raises(KeyError):
    presets.load(tmp_path / "mine.py")


@pytest.mark.parametrize(
  ("words", "expanded"),
  [
    (["--config=ila"], ["--config=ila"]),
    (["--config.pool.source=a-b"], ["--config.pool.source=a-b"]),
    (["--fields"], ["--fields"]),
    (["--fields=true"], ["--fields=true"]),
    (["--fields=pool", "mesh"], ["--fields", "pool", "mesh"]),
    (["--workdir", "ila"], ["--workdir", "ila"]),
    (["--copy-preset", "ila", "my.py"], ["--copy_preset", "ila", "my.py"]),
    (["--copy-preset=ila"], ["--copy_preset=ila"]),
    (["--config"], ["--config"]),
  ],
)
def test_command_lines_are_expanded(words, expanded):
  assert words_lib.expand(words) == expanded
