"""Files that are no GGUF, damaged, split, or of unknown numbers."""

import shutil

import gguf
import pytest

from ila_jax import errors
from ila_jax.models.folders import hub
from ila_jax.models.folders.gguf import container
from tests.support import gguf_files


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  return gguf_files.write(tmp_path_factory.mktemp("gguf"), "llama", "Q8_0")


def _refused(read, *parts):
  with pytest.raises(errors.InputError) as error:
    read()
  for part in parts:
    assert part in str(error.value), str(error.value)


def test_a_file_and_its_folder_are_found(file, tmp_path):
  assert hub.find(file) == file
  folder = tmp_path / "one"
  folder.mkdir()
  alone = folder / file.name
  shutil.copy(file, alone)
  assert hub.find(folder) == alone
  # Safetensors go before a GGUF file that lies beside them.
  (folder / "model.safetensors").touch()
  assert hub.find(folder) == folder


def test_several_files_are_refused_by_name(file, tmp_path):
  for name in ("a.gguf", "b.gguf"):
    shutil.copy(file, tmp_path / name)
  _refused(lambda: hub.find(tmp_path), "2 GGUF files (a.gguf, b.gguf", "Give")


def test_parts_of_a_model_are_refused_with_the_command_that_joins(
  file, tmp_path
):
  part = shutil.copy(file, tmp_path / "m-00001-of-00002.gguf")
  for path in (part, tmp_path):
    _refused(lambda path=path: hub.find(path), "llama-gguf-split --merge")
  split = gguf_files.write(
    tmp_path, "llama", "F32", change=lambda w: w.add_uint16("split.count", 2)
  )
  _refused(lambda: container.open_file(split), "llama-gguf-split --merge")


def test_every_truncation_is_refused(file, tmp_path):
  whole = file.read_bytes()
  cut = tmp_path / "cut.gguf"
  steps = [*range(4, 1200, 37), len(whole) // 2, len(whole) - 1]
  for size in steps:
    cut.write_bytes(whole[:size])
    read = lambda: container.open_file(cut)  # noqa: E731
    _refused(read, f"{cut} ({size:,} bytes)", "cut short: fetch it again")


@pytest.mark.parametrize("head", [b"", b"PK\x03\x04", b"GGML" * 9])
def test_another_kind_of_file_is_refused(head, tmp_path):
  (tmp_path / "m.gguf").write_bytes(head)
  _refused(
    lambda: container.open_file(tmp_path / "m.gguf"), repr(head[:4]), "b'GGUF'"
  )


def test_huge_lengths_are_refused_at_once(file, tmp_path):
  damaged = bytearray(file.read_bytes())
  damaged[16:24] = b"\xff" * 7 + b"\x7f"
  (tmp_path / "m.gguf").write_bytes(damaged)
  _refused(lambda: container.open_file(tmp_path / "m.gguf"), "cut short")


def test_numbers_that_are_not_dequantised_are_refused(tmp_path):
  def change(writer):
    info = writer.tensors[0]["blk.0.ffn_up.weight"]
    info.dtype = gguf.GGMLQuantizationType.I32

  file = gguf_files.write(tmp_path, "llama", "F32", change=change)
  _refused(
    lambda: container.open_file(file),
    "blk.0.ffn_up.weight is of type I32; allowed:",
    "Q4_K",
  )


def test_a_missing_package_is_named(file, tmp_path, monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "gguf", None)
  again = shutil.copy(file, tmp_path / "m.gguf")
  _refused(lambda: container.open_file(again), "pip install 'gguf>=0.19'")


def test_an_altered_file_is_read_anew(file, tmp_path):
  again = shutil.copy(file, tmp_path / "m.gguf")
  assert container.open_file(again) is container.open_file(again)
  before = container.open_file(again)
  (tmp_path / "other").mkdir()
  shutil.copy(gguf_files.write(tmp_path / "other", "qwen3", "F32"), again)
  values = container.open_file(again).values
  assert values["general.architecture"] == "qwen3"
  assert before.values["general.architecture"] == "llama"
