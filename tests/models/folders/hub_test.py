import pathlib

import pytest

from ila_jax import errors
from ila_jax.models.folders import hub
from ila_jax.pool import revisions
from ila_jax.pool.tokens import tokenizer

huggingface_hub = pytest.importorskip("huggingface_hub")

# What a repository of a large model may hold.
FILES = [
  *("config.json", "generation_config.json", "tokenizer.json", "merges.txt"),
  *("tokenizer.model", "chat_template.jinja", "1_Pooling/config.json"),
  *("model.safetensors.index.json", "model-00001-of-00002.safetensors"),
  *("model-00002-of-00002.safetensors", "modeling_odd.py", "README.md"),
  *("pytorch_model.bin", "model.fp16.safetensors", "training_args.bin"),
  *("consolidated.safetensors", "consolidated.00.pth", "tf_model.h5"),
  *("original/params.json", "original/consolidated.00.safetensors"),
  *("onnx/config.json", "original/tokenizer.model", "gguf/m.gguf"),
  *("openvino/model.safetensors", "2_Dense/model.safetensors"),
]
SMALL = set(FILES[:8])
WEIGHTS = {"model-00001-of-00002.safetensors", FILES[9]}


@pytest.fixture
def asked(monkeypatch, tmp_path):
  """What is asked of the Hub: (name, revision, files that it would send)."""
  calls = []

  def download(name, *, revision, allow_patterns, ignore_patterns):
    sent = huggingface_hub.utils.filter_repo_objects(
      FILES, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
    )
    calls.append((name, revision, set(sent)))
    return str(tmp_path)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  return calls


@pytest.mark.parametrize(
  ("name", "want"),
  [
    ("org/model-1.5B", ("org/model-1.5B", None)),
    ("gpt2", ("gpt2", None)),
    ("hf:org/model", ("org/model", None)),
    ("hf:org/model@refs/pr/1", ("org/model", "refs/pr/1")),
    ("org/model@v1.0", ("org/model", "v1.0")),
  ],
)
def test_names_and_what_is_fetched(asked, tmp_path, name, want):
  assert hub.find(name) == tmp_path
  assert hub.find(name, with_weights=False) == tmp_path
  assert asked == [(*want, SMALL | WEIGHTS), (*want, SMALL)]


def test_one_file_of_weights_is_fetched(asked, monkeypatch):
  monkeypatch.setitem(globals(), "FILES", ["model.safetensors", "model.bin"])
  hub.find("org/model")
  assert asked[0][2] == {"model.safetensors"}


@pytest.mark.parametrize(
  "name", ["/no/such", "./none", "a/b/c", "hf:", "hf:a/b/c", "x:a/b", "a@", ""]
)
def test_what_is_neither_folder_nor_name(asked, name):
  with pytest.raises(errors.InputError, match="does not exist; give a Hugging"):
    hub.find(name)
  assert not asked


def test_a_file_is_no_folder(asked, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("model.safetensors").touch()
  for name, folder in (
    ("model.safetensors", "."),
    ("./model.safetensors", "."),
  ):
    with pytest.raises(
      errors.InputError, match=rf"{name} is a file; give its folder, \{folder},"
    ):
      hub.find(name)
  assert not asked


def test_a_folder_goes_before_a_name(asked, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "org" / "model").mkdir(parents=True)
  assert hub.find("org/model") == pathlib.Path("org/model")
  assert not asked
  hub.find("hf:org/model")
  assert asked


def test_a_tokenizer_by_name_needs_no_weights(asked, tmp_path):
  tokenizer.train_bpe(["some text"], vocab_size=262, folder=tmp_path)
  assert len(tokenizer.load_tokenizer("hf:org/model")) > 256
  assert asked == [("org/model", None, SMALL)]
  # What stands under a name cannot be seen from here.
  assert revisions.of_path("hf:org/model") is None


def test_without_a_network(monkeypatch, tmp_path):
  """Through huggingface_hub itself, which must not reach for a network."""
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
  remedy = "run `hf download org/model --revision v1 --local-dir FOLDER`"
  with pytest.raises(errors.InputError, match=remedy) as raised:
    hub.find("hf:org/model@v1")
  assert "HF_HUB_OFFLINE keeps this process offline" in str(raised.value)
  with pytest.raises(errors.InputError, match="no tokenizer can be loaded"):
    tokenizer.load_tokenizer("hf:org/model")
  # The cache is used where it has the model.
  repository = tmp_path / "models--org--model"
  snapshot = repository / "snapshots" / ("0" * 40)
  snapshot.mkdir(parents=True)
  (repository / "refs").mkdir()
  (repository / "refs" / "v1").write_text("0" * 40)
  (snapshot / "config.json").write_text("{}")
  assert hub.find("hf:org/model@v1") == snapshot


def test_what_the_hub_says(monkeypatch):
  def refuse(name, **_):
    if "down" in name:
      raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")
    raise ValueError("no such repository\nand more")

  monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
  with pytest.raises(errors.InputError, match="the Hub cannot be reached, and"):
    hub.find("org/down")
  with pytest.raises(
    errors.InputError, match=r"it \(no such repository\); giv"
  ):
    hub.find("org/gone")
