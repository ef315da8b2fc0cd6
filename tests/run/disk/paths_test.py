"""Paths of flags and of the config, as users write them."""

import pathlib

import pytest

from ila_jax import errors
from ila_jax.run.disk import paths

HUB = "https://huggingface.co/Qwen/Qwen2-0.5B"
FOLDERS = ("--workdir", "config.landscape.map")
MODELS = ("config.model.path", "config.encoder.path")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
  ("path", "said"),
  [
    (HUB, "=Qwen/Qwen2-0.5B"),
    (f"{HUB}/", "=Qwen/Qwen2-0.5B"),
    (f"{HUB}/tree/main", "=Qwen/Qwen2-0.5B"),
    (f"{HUB}/blob/v2/config.json", "=hf:Qwen/Qwen2-0.5B@v2"),
    (f"{HUB}?library=transformers", "=Qwen/Qwen2-0.5B"),
    (HUB.removeprefix("https://"), "=Qwen/Qwen2-0.5B"),
    ("HTTP://hf.co/Qwen/Qwen2-0.5B", "=Qwen/Qwen2-0.5B"),
    ("hf://meta/x", "=meta/x"),
    ("hf://meta/x@v1", "=hf:meta/x@v1"),
  ],
)
def test_an_address_of_the_hub_names_its_model(name, path, said):
  with pytest.raises(errors.InputError) as caught:
    paths.of_folder(path, name=name, is_model=True)
  assert str(caught.value).startswith(f"{name} is {path!r}, an address of")
  assert str(caught.value).endswith(f"Give the name: --{name}{said}")


@pytest.mark.parametrize("name", FOLDERS + MODELS)
@pytest.mark.parametrize(
  ("path", "said"),
  [
    ("http://x/y", "download what it holds, and name the folder"),
    ("https://huggingface.co/datasets/a/b", "download what it holds"),
    ("s3://x/y", "run `pip install s3fs`"),
    ("gs://x/y", "run `pip install gcsfs`"),
    ("az://x/y", "run `pip install adlfs`"),
    ("gs://", "it names no bucket; write gs://BUCKET/FOLDER"),
    ("gs:///run", "it names no bucket"),
    ("gs:/x/y", "a URL has two slashes behind its colon"),
    ("ftp://x/y", "ftp:// is not read as a folder"),
    ("hf://datasets/a/b", "hf:// is not read as a folder"),
    ("file://host/a", "a file of the host 'host'; write file:///PATH"),
    ("~nosuch/y", "~nosuch is the home folder of no user here"),
    ("$NO_SUCH/run", "the variable $NO_SUCH is not set"),
    ("${NO_SUCH}/run", "the variable ${NO_SUCH} is not set"),
    (" ", "it is blank"),
    ("$BLANK", "it is blank"),
  ],
)
def test_what_is_no_folder_is_refused(name, path, said, monkeypatch):
  monkeypatch.setenv("BLANK", "")
  # As where no package for buckets is installed.
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  is_model = name in MODELS
  with pytest.raises(errors.InputError) as caught:
    paths.of_folder(path, name=name, is_model=is_model)
  assert str(caught.value).startswith(f"{name} is {path!r}: ")
  assert said in str(caught.value)


def test_folders_are_found_as_users_write_them(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("EXP", str(tmp_path))
  monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
  for odd in ("~nosuch", "$NO_SUCH"):  # There, under their very names.
    pathlib.Path(odd).mkdir()
  for path, expected in {
    "$EXP/run": f"{tmp_path}/run",
    "file:///old%20run": "/old run",
    "~nosuch": "~nosuch",
    "./~other": "./~other",
    "$NO_SUCH": "$NO_SUCH",
    "Qwen/Qwen2-0.5B": "Qwen/Qwen2-0.5B",
    "hf:Qwen/Qwen2-0.5B@v1": "hf:Qwen/Qwen2-0.5B@v1",
    "gs://bucket/run": "gs://bucket/run",
    "lsa": "lsa",
  }.items():
    found = paths.of_folder(path, name="config.model.path", is_model=True)
    assert found == expected
