"""Presets: found by name, copied to be edited, refused with what there is."""

import pathlib

import pytest

from ila_jax import command_line, errors, presets

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


@pytest.mark.parametrize(
  ("words", "expanded"),
  [
    (["--config=ila"], [f"--config={CONFIGS}/ila.py"]),
    (["--config", "ila"], ["--config", f"{CONFIGS}/ila.py"]),
    (["-config", "ila"], ["-config", f"{CONFIGS}/ila.py"]),
    # A path is a path, also where it is called as a preset is.
    (["--config=./ila"], ["--config=./ila"]),
    (["--config=ila.py"], ["--config=ila.py"]),
    (["--config=common"], ["--config=common"]),
    (["--config.pool.source=ila"], ["--config.pool.source=ila"]),
    (["--workdir", "ila"], ["--workdir", "ila"]),
    (["--copy-preset", "ila", "my.py"], ["--copy_preset", "ila", "my.py"]),
    (["--copy-preset=ila"], ["--copy_preset=ila"]),
    (["--config"], ["--config"]),
  ],
)
def test_command_lines_are_expanded(words, expanded):
  assert command_line.expand(words) == expanded
