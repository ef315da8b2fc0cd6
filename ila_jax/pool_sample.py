"""How many tokens a pool has, by a sample of it: an estimate starts here."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
from etils import epath
from jaxtyping import Int

from ila_jax import (
  artifacts,
  errors,
  metrics,
  pool,
  provenance,
  records,
  tokens,
)
from ila_jax import config as config_lib
from ila_jax.stages import base

# Examples that are tokenized; the others are taken to be like them.
_SAMPLE = 2000
# Where the tokenizer is yet to be trained.
_BYTES_A_TOKEN = 4


@dataclasses.dataclass(frozen=True)
class Lengths:
  """The tokens of a pool, by a sample of it.

  Attributes:
    examples: of the whole pool.
    prompt: tokens of the sampled prompts.
    response: tokens of the sampled responses.
    source: how they were counted, in words.
  """

  examples: int
  prompt: Int[np.ndarray, " s"]
  response: Int[np.ndarray, " s"]
  source: str

  @property
  def total(self) -> float:
    """Tokens of the whole pool."""
    return self.examples * float((self.prompt + self.response).mean())


def lengths(config: config_lib.Config, workdir: epath.Path) -> Lengths:
  """From the pool that the workdir holds, or from the sources.

  Raises:
    errors.InputError: sources or a tokenizer that cannot be read.
  """
  if provenance.read_record(workdir / "pool").get("done"):
    index = artifacts.read_table(workdir / "pool" / "index.parquet")
    return Lengths(
      len(index["row"]),
      index["n_prompt_tokens"],
      index["n_response_tokens"],
      f"counted in {workdir}/pool",
    )
  examples = metrics.progress(
    pool.read(
      config.pool.sources,
      rejects=lambda rejected: None,
      fields=config.pool.fields,
      overrides=config.pool.overrides,
      limit=config.pool.limit,
    ),
    desc="pool",
    unit="examples",
  )
  sample, count = _reservoir(config, examples)
  found = _tokenized(config, sample, count)
  if not len(found.response):
    raise errors.InputError(
      f"config.pool.source has no usable example among {count:,}; allowed: one "
      "or more. Run without --dry-run: pool/rejects.jsonl tells why."
    )
  return found


def _reservoir(
  config: config_lib.Config, examples: Iterable[pool.Example]
) -> tuple[list[pool.Example], int]:
  """A uniform sample of a stream, and the stream's length (Vitter 1985)."""
  examples = iter(examples)
  sample = list(itertools.islice(examples, _SAMPLE))
  count = len(sample)
  random = np.random.default_rng(config.seed)
  for example in examples:
    place = random.integers(count + 1)
    count += 1
    if place < _SAMPLE:
      sample[place] = example
  return sample, count


def _tokenized(
  config: config_lib.Config, sample: list[pool.Example], count: int
) -> Lengths:
  if config.model.path == base.SCRATCH:
    sizes = [
      [len(turn.text.encode()) // _BYTES_A_TOKEN + 1 for turn in example.turns]
      for example in sample
    ]
    response = np.array([turns[-1] for turns in sizes])
    prompt = np.array([sum(turns[:-1]) for turns in sizes])
    room = np.maximum(config.tokens.max_tokens - response, 1)
    how = f"{_BYTES_A_TOKEN} bytes of text taken for one"
    return Lengths(count, np.minimum(prompt, room), response, how)
  with artifacts.local(config.model.path) as folder:
    tokenizer = tokens.load_tokenizer(folder)
  encoded = tokens.encode_many(
    [example.turns for example in sample],
    tokenizer,
    max_tokens=config.tokens.max_tokens,
    overflow=config.tokens.overflow,
  )
  used = [e for e in encoded if not isinstance(e, records.Reject)]
  response = np.array([int(e.is_response.sum()) for e in used])
  prompt = np.array([len(e.ids) for e in used]) - response
  usable = round(count * len(used) / max(len(encoded), 1))
  how = f"by {len(used):,} of them, drawn at random"
  return Lengths(usable, prompt, response, how)
