"""Every format: its card, its command, and what it leaves out."""

import json
import pathlib
import re
import shlex

import pytest

from ila_jax import errors
from ila_jax.export import card, formats
from tests.support import selected_run

FACTS = card.Facts(["a"], "ila", "6 examples", 6, ["Found: 6."], "By hand")
DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/export.md"
# What each cannot hold, of the kinds of conversation in `selected_run`.
LEFT_OUT = {
  **{"hf": [], "axolotl": [], "openai": ["thought"]},
  **{"llama-factory": ["masked"], "trl": ["masked"]},
  **{"maxtext": ["masked"], "levanter": ["masked"], "tunix": ["masked"]},
}


def test_all_formats_are_tried():
  assert set(LEFT_OUT) == set(formats.FORMATS)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_named(tmp_path, name):
  if formats.FORMATS[name].pattern.startswith("train-"):
    pytest.importorskip("array_record.python.array_record_module")
  examples = selected_run.examples()
  count, left_out = formats.write(
    name, examples, tmp_path, place=str(tmp_path), facts=FACTS
  )
  sources = {one.id: one.source for one in examples}
  assert [sources[line["id"]] for line in left_out.lines] == LEFT_OUT[name]
  assert count == len(examples) - len(left_out.lines)
  noted = tmp_path / formats.LEFT_OUT
  assert noted.exists() == bool(LEFT_OUT[name])
  if LEFT_OUT[name]:
    lines = noted.read_text().splitlines()
    assert [json.loads(line) for line in lines] == left_out.lines
  said = (tmp_path / formats.CARD).read_text()
  assert "* Found: 6." in said
  assert formats.train(name, "FOLDER") in said
  assert str(tmp_path) not in said
  assert list(tmp_path.glob(formats.FORMATS[name].pattern))


@pytest.mark.parametrize("name", LEFT_OUT)
def test_the_command_names_the_folder_whatever_it_is_called(name):
  folder = "/a b/it's $HOME"
  command = formats.train(name, folder)
  assert "FOLDER" not in command
  if command.startswith("#"):
    assert repr(folder) in command
    compile(command, "", "exec")
    return
  words = shlex.split(command)
  assert any(folder in word for word in words)


def _words(command):
  return shlex.split(command.replace("\\\n", " "))


@pytest.mark.parametrize("name", LEFT_OUT)
def test_no_trainer_is_left_to_its_own_length(name):
  """Each has a limit of its own (512 to 2,048), and cuts or skips silently."""
  command = formats.train(name, "/a LENGTH", 1234)
  trainers = set(LEFT_OUT) - {"hf", "openai", "tunix"}
  assert formats.has_length(name) == (name in trainers)
  assert ("1234" in command) == (name in trainers)
  assert "LENGTH" not in command.replace("/a LENGTH", "")


@pytest.mark.parametrize("name", sorted(set(LEFT_OUT) - {"hf", "tunix"}))
def test_the_guide_has_the_command_that_is_printed(name):
  blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.S)
  command = formats.train(name, f"DIR/export/{name}")
  assert _words(command) in list(map(_words, blocks))


def test_the_card_tells_of_lengths(tmp_path):
  facts = FACTS._replace(longest=1234, cut=2)
  written = {"place": str(tmp_path), "facts": facts}
  formats.write("trl", selected_run.examples(), tmp_path, **written)
  said = " ".join((tmp_path / formats.CARD).read_text().split())
  assert "--max_length 1234" in said
  assert "that of the longest record, 1,234 tokens" in said
  assert "2 records are longer: the run has cut" in said


def test_an_unknown_format_is_refused_with_the_list():
  with pytest.raises(
    errors.InputError, match="allowed: hf, llama-factory, trl"
  ):
    formats.find("tfds")


def test_a_format_that_holds_nothing_is_refused(tmp_path):
  masked = [one for one in selected_run.examples() if one.source == "masked"]
  with pytest.raises(errors.InputError, match=r"can hold none .*not learnt"):
    formats.write("trl", masked, tmp_path, place="x", facts=FACTS)
