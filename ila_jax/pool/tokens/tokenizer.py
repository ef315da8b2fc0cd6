"""Tokenizers: loaded from a folder, or trained on texts."""

import os
import tempfile
from collections.abc import Iterable
from typing import Any

from etils import epath

from ila_jax import errors
from ila_jax.models.folders import hub
from ila_jax.models.folders.gguf import container
from ila_jax.pool.tokens import chat, gguf_tokenizer, sandbox
from ila_jax.run.disk import files as files_lib

# The file of a fast tokenizer, as Hugging Face names it.
FAST = "tokenizer.json"
_BOS, _END, _PAD = "<|bos|>", "<|end|>", "<|pad|>"
_BYTES = 256


def load_tokenizer(path: str | os.PathLike[str]) -> Any:
  """Loads a fast tokenizer from a folder, a GGUF file or a name of `hub.find`.

  Raises:
    errors.InputError: no tokenizer there, one without a vocabulary, a broken
      file, or one that would have to run code of its own.

  >>> load_tokenizer("/no/such/folder")
  Traceback (most recent call last):
  ila_jax.errors.InputError: no tokenizer can be loaded from ...
  """
  import transformers

  path = os.fspath(path)
  advice = "give a folder with tokenizer.json, or a model's Hugging Face name."
  try:
    folder = hub.find(path, with_weights=False)
    if container.is_gguf(folder):
      tokenizer = gguf_tokenizer.load(folder)
    else:
      tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False
      )
  # A broken file may raise anything, a bare Exception from Rust included.
  except Exception as error:
    reason = str(error).strip().partition("\n")[0]
    raise errors.InputError(
      f"no tokenizer can be loaded from {path!r} ({reason}); {advice}"
    ) from error
  if not tokenizer.is_fast:
    raise errors.InputError(
      f"the tokenizer of {path!r} has no fast version (tokenizer.json), so "
      f"it does not say which characters a token stands for; {advice}"
    )
  if set(tokenizer.get_vocab()) <= chat.control_tokens(tokenizer):
    raise errors.InputError(
      f"{path!r} has a model's config but no tokenizer's vocabulary; {advice}"
    )
  sandbox.check_normalizer(tokenizer.backend_tokenizer.normalizer, path)
  chat.check(tokenizer)
  return tokenizer


def train_bpe(
  texts: Iterable[str], *, vocab_size: int, folder: str | os.PathLike[str]
) -> None:
  """Trains a byte-level BPE tokenizer and saves it for `load_tokenizer`.

  Any Unicode text survives encoding and decoding. It begins texts with
  `<|bos|>`, ends turns with `<|end|>`, and has no chat template. The same
  texts, in any order, give the same tokenizer.

  Args:
    texts: may stream; read once.
    vocab_size: entries at most, the 256 bytes and 3 control tokens included.
    folder: made if absent.

  Raises:
    errors.InputError: no room in `vocab_size` for the bytes.

  >>> import tempfile
  >>> folder = tempfile.mkdtemp()
  >>> train_bpe(["to be or not to be"] * 2, vocab_size=262, folder=folder)
  >>> tokenizer = load_tokenizer(folder)
  >>> tokenizer.decode(tokenizer.encode("naïve 你好")), len(tokenizer)
  ('naïve 你好', 262)
  """
  import tokenizers
  import transformers
  from tokenizers import decoders, models, pre_tokenizers, trainers

  control = [_BOS, _END, _PAD]
  if vocab_size < _BYTES + len(control):
    raise errors.InputError(
      f"the vocabulary is to have {vocab_size} entries; allowed: at least "
      f"{_BYTES + len(control)}, the bytes and the control tokens."
    )
  bpe = tokenizers.Tokenizer(models.BPE())
  bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  bpe.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    special_tokens=control,
    show_progress=False,
  )
  bpe.train_from_iterator(texts, trainer)
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=bpe,
    bos_token=_BOS,
    eos_token=_END,
    pad_token=_PAD,
    clean_up_tokenization_spaces=False,
  )
  save(tokenizer, folder)


def save(tokenizer: Any, folder: epath.PathLike) -> None:
  """Writes a tokenizer's files, each whole; `tokenizer.json` comes last.

  Args:
    tokenizer: from `load_tokenizer`.
    folder: local or gs://; made if absent.

  Raises:
    errors.InputError: the disk is full or cannot be written.
  """
  with tempfile.TemporaryDirectory() as local:
    try:
      tokenizer.save_pretrained(local)
    # The Rust core reports a full disk as a bare Exception.
    except Exception as error:
      raise errors.InputError(
        f"the tokenizer for {folder} cannot be written to {local} ({error}). "
        "Free space there, or set TMPDIR to another folder."
      ) from error
    files = sorted(
      epath.Path(local).iterdir(), key=lambda path: path.name == FAST
    )
    for path in files:
      files_lib.write_bytes(epath.Path(folder) / path.name, path.read_bytes())
