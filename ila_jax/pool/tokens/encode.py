"""From turns to tokens, and which of them are response (docs/method.md 3).

A conversation is rendered once (`chat_template`) and tokenized once; a token is
response if any of its characters is part of what the model must produce.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from ila_jax import errors
from ila_jax.pool import records
from ila_jax.pool.tokens import chat_template
from ila_jax.pool.tokens import overflow as overflow_lib

_BATCH_EXAMPLES = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
  """A tokenized example.

  Attributes:
    ids: int32 tokens, prompt and response.
    is_response: True where the model must produce the token; never the first.
    cut: tokens of the prompt and of the response that were cut.
    n_left_out: answers that are learnt and yet no response, because the chat
      template changes them, or what stands before them, when others follow.
  """

  ids: Int32[np.ndarray, " t"]
  is_response: Bool[np.ndarray, " t"]
  cut: tuple[int, int] = (0, 0)
  n_left_out: int = 0

  @property
  def truncated(self) -> bool:
    """Whether anything was cut."""
    return any(self.cut)


def encode(
  turns: Sequence[records.Turn],
  tokenizer: Any,
  *,
  max_tokens: int,
  overflow: str = "reject",
) -> Encoded:
  """One conversation by `encode_many`.

  Raises:
    records.Reject: with a reason, when it cannot be used.
    errors.InputError: an unknown `overflow`, or an unusable chat template.
  """
  (encoded,) = encode_many(
    [turns], tokenizer, max_tokens=max_tokens, overflow=overflow
  )
  if isinstance(encoded, records.Reject):
    raise encoded
  return encoded


def encode_many(
  conversations: Sequence[Sequence[records.Turn]],
  tokenizer: Any,
  *,
  max_tokens: int,
  overflow: str = "reject",
) -> list[Encoded | records.Reject]:
  """Renders, tokenizes and marks conversations, many at a time.

  A token is response if its characters overlap a span of
  `chat_template.render`; where several tokens make up one character, each of
  them has it. What is longer than `max_tokens` is refused or cut, by a rule of
  `overflow`.

  Args:
    conversations: the turns of each.
    tokenizer: from `load_tokenizer`.
    max_tokens: tokens of an example at most.
    overflow: what becomes of longer ones, one of `overflow.RULES`.

  Returns:
    For each conversation its tokens, or the reason why it has none.

  Raises:
    errors.InputError: an unknown `overflow`, or an unusable chat template.

  >>> from ila_jax.pool.tokens import tokenizer as tokenizer_lib
  >>> import tempfile
  >>> folder = tempfile.mkdtemp()
  >>> tokenizer_lib.train_bpe(["some text"], vocab_size=259, folder=folder)
  >>> tokenizer = tokenizer_lib.load_tokenizer(folder)
  >>> turns = [records.Turn("user", "1 + 1?"), records.Turn("assistant", "2")]
  >>> kept, refused = encode_many([turns, turns * 9], tokenizer, max_tokens=300)
  >>> tokenizer.decode(kept.ids[kept.is_response]), refused.reason
  ('2<|end|>', 'longer than max_tokens')
  """
  if overflow not in overflow_lib.RULES:
    raise errors.InputError(
      f"config.tokens.overflow is {overflow!r}; allowed: "
      f"{', '.join(overflow_lib.RULES)}."
    )
  bos_id = tokenizer.bos_token_id
  encoded: list[Encoded | records.Reject] = []
  for start in range(0, len(conversations), _BATCH_EXAMPLES):
    batch = conversations[start : start + _BATCH_EXAMPLES]
    for marked in _mark_batch(batch, tokenizer):
      if not isinstance(marked, records.Reject):
        *marked, n_left_out = marked
        marked = _fit(*marked, bos_id, max_tokens, overflow)
      if isinstance(marked, Encoded):
        marked = dataclasses.replace(marked, n_left_out=n_left_out)
      encoded.append(marked)
  return encoded


def _mark_batch(
  conversations: Sequence[Sequence[records.Turn]], tokenizer: Any
) -> Iterator[tuple[np.ndarray, np.ndarray, int] | records.Reject]:
  """Yields (ids, is_response, answers left out), or the Reject, of each."""
  rendered = [_try_render(turns, tokenizer) for turns in conversations]
  texts = [r[0] for r in rendered if not isinstance(r, records.Reject)]
  encodings = iter(
    _backend(tokenizer).encode_batch(texts, add_special_tokens=False)
  )
  for turns, result in zip(conversations, rendered, strict=True):
    if isinstance(result, records.Reject):
      yield result
      continue
    encoding = next(encodings)
    begins, ends = np.array(encoding.offsets, np.int32).reshape(-1, 2).T
    is_response = np.zeros(len(begins), np.bool_)
    for begin, end in result[1]:
      is_response |= (begins < end) & (ends > begin)
    is_response[:1] = False
    learnt = sum(t.role == "assistant" and t.is_learnt for t in turns)
    left_out = learnt - len(result[1])
    yield np.array(encoding.ids, np.int32), is_response, left_out


def _try_render(
  turns: Sequence[records.Turn], tokenizer: Any
) -> tuple[str, list[tuple[int, int]]] | records.Reject:
  try:
    text, spans = chat_template.render(turns, tokenizer)
    text.encode()
  except records.Reject as reject:
    return reject
  except UnicodeEncodeError as error:
    return records.Reject("text is not Unicode", str(error))
  return text, spans


@functools.lru_cache(maxsize=8)
def _backend(tokenizer: Any) -> Any:
  """A copy of the tokenizer's core that neither pads, cuts, nor trims offsets.

  Byte-level tokenizers may be set to leave spaces out of the characters that
  they say a token stands for.
  """
  import tokenizers
  from tokenizers import processors

  backend = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
  backend.no_padding()
  backend.no_truncation()
  backend.post_processor = processors.ByteLevel(trim_offsets=False)
  return backend


def _fit(
  ids: np.ndarray,
  is_response: np.ndarray,
  bos_id: int | None,
  max_tokens: int,
  overflow: str,
) -> Encoded | records.Reject:
  if not is_response.any():
    return records.Reject("no response token")
  try:
    kept = overflow_lib.kept(
      ids,
      is_response,
      bos_id=bos_id,
      max_tokens=max_tokens,
      overflow=overflow,
    )
  except overflow_lib.TooLong as reject:
    return reject
  if kept is None:
    return Encoded(ids, is_response)
  marks = is_response[kept]
  response = int(is_response.sum()) - int(marks.sum())
  prompt = len(ids) - len(kept) - response
  return Encoded(ids[kept], marks, cut=(prompt, response))
