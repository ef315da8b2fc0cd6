"""What a model's path stands for: the content of its files."""

import pytest

from ila_jax import errors
from ila_jax.models.folders import hub
from ila_jax.pool import revisions


@pytest.mark.parametrize("patterns", [hub.TOKENIZER, hub.DECODER])
@pytest.mark.parametrize("by_folder", [False, True])
def test_a_gguf_file_counts_by_its_content(patterns, by_folder, tmp_path):
  file = tmp_path / "model.gguf"
  path = tmp_path if by_folder else file
  file.write_bytes(b"GGUF" + b"1" * 100)
  before = revisions.of_model(path, patterns=patterns)
  assert list(before) == ["model.gguf"]
  assert revisions.of_model(path, patterns=patterns) == before
  file.write_bytes(b"GGUF" + b"2" * 100)
  assert revisions.of_model(path, patterns=patterns) != before


def test_a_gguf_file_that_is_not_there_is_no_name_on_the_hub():
  with pytest.raises(errors.InputError, match=r"GGUF file m\.gguf does not"):
    revisions.of_model("m.gguf", patterns=hub.DECODER)
