"""The base's tokenizer; a scratch one is trained on the pool."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from ila_jax import config as config_lib
from ila_jax.models.folders import hub
from ila_jax.pool import reading, records, revisions
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import progress, tables
from ila_jax.run.disk import checksums, files

# Records of the pool that the scratch tokenizer is trained on, at most.
TOKENIZER_EXAMPLES = 20_000


def tokenizer(config: config_lib.Config, workdir: epath.Path) -> Any:
  """The base's tokenizer; the scratch one is trained on the pool, once.

  Raises:
    errors.InputError: the folder has no tokenizer.
  """
  with folder(config, workdir) as here:
    return tokenizer_lib.load_tokenizer(here)


@contextlib.contextmanager
def folder(config: config_lib.Config, workdir: epath.Path) -> Iterator[str]:
  """Yields a local folder with the base's tokenizer; as `tokenizer`."""
  if config.model.path != config_lib.SCRATCH:
    with files.local(config.model.path) as here:
      yield here
    return
  made = tables.TOKENIZER.path(workdir)
  if not (made / tokenizer_lib.FAST).exists():
    vocab = config.model.scratch.vocab
    progress.say(
      f"  training a tokenizer on the pool, of up to {vocab:,} entries"
    )
    tokenizer_lib.train_bpe(_pool_texts(config), vocab_size=vocab, folder=made)
  checksums.check_folder(made)
  with files.local(made) as here:
    yield here


def _pool_texts(config: config_lib.Config) -> Iterator[str]:
  examples = reading.examples(config)
  for _, example in zip(range(TOKENIZER_EXAMPLES), examples, strict=False):
    yield from texts_of(example.turns)


def texts_of(turns: Iterable[records.Turn]) -> Iterator[str]:
  """What a tokenizer is trained on, of one conversation.

  >>> list(texts_of([records.Turn("assistant", "4", thought="2 + 2")]))
  ['2 + 2', '4']
  """
  for turn in turns:
    yield from filter(None, (turn.thought, turn.calls, turn.text))


def made_from(config: config_lib.Config, workdir: epath.Path) -> dict[str, Any]:
  """What the tokenizer of the base follows from, beside the pool."""
  path = config.model.path
  if path == config_lib.SCRATCH:
    return {"path": path, "vocab": config.model.scratch.vocab}
  signed = revisions.of_model(path, patterns=hub.TOKENIZER, workdir=workdir)
  return {"path": path, "files": signed}
