"""The tokenizer inside a GGUF file, made without torch.

transformers reads these files by torch, and splits some texts, such as SmolLM's
digits, otherwise than the model's own tokenizer; so byte-level ones are made
here. Those of SentencePiece it makes itself.
"""

import pathlib
from typing import Any

from ila_jax import errors
from ila_jax.models.folders.gguf import container

_LETTERS = r"[^\r\n\p{L}\p{N}]?"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = rf"{_SHORT}|{_LETTERS}\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_SHORT}|{_LETTERS}\p{{L}}+|\p{{N}}|{_REST}"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_TEKKEN = (
  rf"{_LETTERS}[{_UPPER}]*[{_LOWER}]+|{_LETTERS}[{_UPPER}]+[{_LOWER}]*|\p{{N}}"
  r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# tokenizer.ggml.pre -> by what a text is split; None: as GPT-2 does.
_SPLITS = {
  "default": None,
  "gpt-2": None,
  "smollm": None,
  "llama-bpe": _LLAMA3,
  "llama3": _LLAMA3,
  "llama-v3": _LLAMA3,
  "smaug-bpe": _LLAMA3,
  "qwen2": _QWEN2,
  "deepseek-r1-qwen": _QWEN2,
  "tekken": _TEKKEN,
}
# Of these a word that is in the vocabulary is taken whole, whatever the merges;
# and a text begins with a token of its own where the file says nothing.
_WHOLE_WORDS = (_LLAMA3, _TEKKEN)
_MODELS = ("gpt2", "llama")
_CONTROL, _USER_DEFINED = 3, 4
_SPECIAL = {
  "bos_token": "bos_token_id",
  "eos_token": "eos_token_id",
  "unk_token": "unknown_token_id",
  "pad_token": "padding_token_id",
}


def load(path: pathlib.Path) -> Any:
  """Makes a fast tokenizer of transformers from the metadata of a GGUF file.

  Args:
    path: of the file. Its chat template comes along.

  Raises:
    errors.InputError: the file cannot be read, has no tokenizer, or one that is
      not implemented.

  >>> load(pathlib.Path("nowhere.gguf"))
  Traceback (most recent call last):
  ila_jax.errors.InputError: the GGUF file nowhere.gguf does not exist; ...
  """
  import transformers

  values = container.open_file(path).values
  said = {
    key.removeprefix("tokenizer.ggml."): value
    for key, value in values.items()
    if key.startswith("tokenizer.ggml.")
  }
  _only(path, said, "model", _MODELS)
  tokens = said.get("tokens")
  if not tokens:
    raise errors.InputError(
      f"{path}: the metadata lacks tokenizer.ggml.tokens, the vocabulary."
    )
  named = {
    name: tokens[said[key]] for name, key in _SPECIAL.items() if key in said
  }
  if said["model"] == "llama":
    backend, adds_bos = _sentence_piece(values, said), True
  else:
    split = _SPLITS[_only(path, said, "pre", tuple(_SPLITS))]
    backend, adds_bos = _byte_level(said, split), split in _WHOLE_WORDS
  if said.get("add_bos_token", adds_bos) and "bos_token" in named:
    backend.post_processor = _begins(named["bos_token"], said["bos_token_id"])
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend,
    name_or_path=str(path),
    chat_template=values.get("tokenizer.chat_template"),
    clean_up_tokenization_spaces=False,
    **named,
  )


def _only(
  path: pathlib.Path, said: dict[str, Any], key: str, allowed: tuple[str, ...]
) -> str:
  """Returns what the metadata says of one of a few kinds."""
  value = said.get(key, "default" if key == "pre" else None)
  if value not in allowed:
    raise errors.InputError(
      f"{path}: tokenizer.ggml.{key} is {value!r}; allowed: "
      f"{', '.join(allowed)}"
    )
  return value


def _byte_level(said: dict[str, Any], split: str | None) -> Any:
  """Makes a byte-level BPE tokenizer of `tokenizers`."""
  import tokenizers
  from tokenizers import decoders, models, normalizers, pre_tokenizers

  vocab = {token: index for index, token in enumerate(said["tokens"])}
  merges = [tuple(merge.split(" ")) for merge in said.get("merges", [])]
  backend = tokenizers.Tokenizer(
    models.BPE(vocab, merges, ignore_merges=split in _WHOLE_WORDS)
  )
  by_bytes = pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=split is None
  )
  before = []
  if split is not None:
    pattern = tokenizers.Regex(split)
    before = [pre_tokenizers.Split(pattern, behavior="isolated")]
  elif said.get("pre") == "smollm":
    before = [pre_tokenizers.Digits(individual_digits=True)]
  backend.pre_tokenizer = pre_tokenizers.Sequence([*before, by_bytes])
  if split == _QWEN2:
    backend.normalizer = normalizers.NFC()
  backend.decoder = decoders.ByteLevel()
  kinds = list(zip(said["tokens"], said.get("token_type", []), strict=False))
  for kind, is_special in ((_CONTROL, True), (_USER_DEFINED, False)):
    backend.add_tokens(
      [
        tokenizers.AddedToken(token, special=is_special, normalized=False)
        for token, its_kind in kinds
        if its_kind == kind
      ]
    )
  return backend


def _sentence_piece(values: dict[str, Any], said: dict[str, Any]) -> Any:
  """Makes a tokenizer of SentencePiece's scores, by transformers."""
  try:
    from transformers.integrations.gguf import gguf_tokenizer_mapping
  except ImportError as error:
    raise errors.InputError(
      f"tokenizers of SentencePiece in GGUF files need a newer transformers "
      f"({error}): run `pip install 'transformers>=5.24'`"
    ) from error
  renames = gguf_tokenizer_mapping.GGUF_TOKENIZER_MAPPING["tokenizer"]
  backend, _ = gguf_tokenizer_mapping.convert_gguf_tokenizer(
    values["general.architecture"],
    {
      name: said[key.removeprefix("ggml.")]
      for key, name in renames.items()
      if key.removeprefix("ggml.") in said
    },
  )
  return backend


def _begins(token: str, number: int) -> Any:
  from tokenizers import processors

  return processors.TemplateProcessing(
    single=[token, "$A"],
    pair=[token, "$A", token, "$B"],
    special_tokens=[(token, number)],
  )
