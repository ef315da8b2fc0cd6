"""A sample of a pool, tokenized: where an estimate starts."""

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from etils import epath
from jaxtyping import Int

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.passes import token_set
from ila_jax.pool import base_tokenizer, index, reading, records, shards
from ila_jax.pool import examples as examples_lib
from ila_jax.pool.contamination import evaluation
from ila_jax.pool.conversations import conversation
from ila_jax.pool.scores import names, sought
from ila_jax.pool.splits import shares, workers
from ila_jax.pool.tokens import encode
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from ila_jax.run import progress, stage_record, tables
from ila_jax.run.disk import files

# Examples that are tokenized; the others are taken to be like them.
_SAMPLE = 2000
# Of a pool that was read before, so many shards are looked into.
_SHARDS = 16


@dataclasses.dataclass(frozen=True)
class Sample:
  """Examples drawn from a pool at random.

  Attributes:
    examples: usable ones of the whole pool.
    data: the sampled examples, in the tokens of the base.
    prompts: their texts, as an encoder is given them.
    tokenizer: of the base.
    seconds: that reading and tokenizing the whole pool takes; None where that
      is done.
    source: how the tokens were counted, in words.
    stored: bytes of an example in a shard of the pool, in the mean.
    record: bytes of its record, in the mean.
    judges: examples that judge the laboratory, where a config names them; else
      None: some are held out of the pool.
  """

  examples: int
  data: token_set.TokenSet
  prompts: list[str]
  tokenizer: Any
  seconds: float | None
  source: str
  stored: float
  record: float
  judges: int | None = None

  @property
  def response(self) -> Int[np.ndarray, " s"]:
    """Response tokens of each sampled example."""
    return np.array([int(mask.sum()) for mask in self.data.is_response])

  @property
  def total(self) -> float:
    """Tokens of the whole pool."""
    return self.examples * float(self.data.lengths.mean())


def draw(config: config_lib.Config, workdir: epath.Path) -> Sample:
  """Draws from the pool that the workdir holds, or from the sources.

  Raises:
    errors.InputError: sources or a tokenizer that cannot be read.
  """
  judges = _judges(config)
  if stage_record.read_record(workdir / "pool").get("done"):
    return dataclasses.replace(_of_stage(config, workdir), judges=judges)
  begin = time.monotonic()
  texts: list[str] = []
  examples = progress.progress(
    reading.examples(
      config, announce=lambda message: progress.say(f"  {message}")
    ),
    desc="pool",
    unit="examples",
  )
  scores = sought.Sought(names.parse(config.pool.fields.scores))
  sample, count = _reservoir(config, _noted(examples, texts, scores))
  scores.check(config.pool.score_files)
  read_seconds = time.monotonic() - begin
  tokenizer = _tokenizer(config, texts)
  tokenizer_seconds = time.monotonic() - begin - read_seconds
  if config.model.path == config_lib.SCRATCH:
    # Its tokenizer is trained on a reading of its own.
    seen = min(base_tokenizer.TOKENIZER_EXAMPLES, count)
    tokenizer_seconds += read_seconds * seen / max(count, 1)
  tokenized = _tokenized(config, sample, count, tokenizer)
  # Workers share the reading; here all threads have shared the tokenizing.
  several = workers.count(shares.splits_of(config), config.pool.workers)
  whole = read_seconds / several + tokenizer_seconds + tokenized.seconds
  return dataclasses.replace(tokenized, seconds=whole, judges=judges)


def _judges(config: config_lib.Config) -> int | None:
  """Counts the examples of config.laboratory.dev, if they will judge an arm."""
  specs = config.laboratory.dev_sources
  if not specs or not config.laboratory.arms:
    return None
  with evaluation.names_field("config.laboratory.dev"):
    own = reading.beside(config, specs)
    return sum(1 for _ in reading.examples(own))


def _of_stage(config: config_lib.Config, workdir: epath.Path) -> Sample:
  """Rows of some shards of a pool that is there, evenly spaced."""
  total = shards.count(workdir)
  _check_scores(config, workdir)
  chosen = np.unique(np.linspace(0, total - 1, _SHARDS).astype(int))
  tables = []
  for shard in chosen.tolist():
    table = shards.read_records(workdir, shard, shards.SCHEMA.names)
    step = -(-len(table) * len(chosen) // _SAMPLE)
    tables.append(table.take(np.arange(0, len(table), max(step, 1))))
  sets = [token_set.tokens_of(table) for table in tables]
  return Sample(
    len(index.lengths(workdir)),
    token_set.TokenSet(
      [ids for one in sets for ids in one.tokens],
      [mask for one in sets for mask in one.is_response],
    ),
    [
      conversation.request(turns, system=config.encoder.system)
      for table in tables
      for turns in shards.turns_of(table)
    ],
    base_tokenizer.tokenizer(config, workdir),
    None,
    f"by some of them in {workdir}/pool",
    *_bytes(pa.concat_tables(tables)),
  )


def _check_scores(config: config_lib.Config, workdir: epath.Path) -> None:
  """Refuses a score that no record of a pool that is there has.

  Raises:
    errors.InputError: names the score, and the fields that hold numbers.
  """
  scores = sought.Sought(names.parse(config.pool.fields.scores))
  for shard in range(shards.count(workdir)):
    if not scores.left:
      return
    held = shards.read_records(workdir, shard, ["record"]).column("record")
    for text in held.to_pylist():
      scores.look(text)
  scores.check(config.pool.score_files)


def _bytes(table: pa.Table) -> tuple[float, float]:
  """Bytes of an example in a shard, and of its record."""
  record = pc.binary_length(table.column("record")).to_numpy()
  return shards.stored_bytes(table) / len(table), float(record.mean())


def _noted(
  examples: Iterable[examples_lib.Example],
  texts: list[str],
  scores: sought.Sought,
) -> Iterator[examples_lib.Example]:
  """Passes the examples on; keeps what a tokenizer is trained on."""
  for number, example in enumerate(examples):
    scores.look(example.record_json)
    if number < base_tokenizer.TOKENIZER_EXAMPLES:
      texts += base_tokenizer.texts_of(example.turns)
    yield example


def _reservoir(
  config: config_lib.Config, examples: Iterable[examples_lib.Example]
) -> tuple[list[examples_lib.Example], int]:
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


def _tokenizer(config: config_lib.Config, texts: list[str]) -> Any:
  """The base's tokenizer; one from scratch is trained as the run will do."""
  if config.model.path != config_lib.SCRATCH:
    with files.local(config.model.path) as folder:
      return tokenizer_lib.load_tokenizer(folder)
  with tempfile.TemporaryDirectory() as folder:
    vocab = config.model.scratch.vocab
    tokenizer_lib.train_bpe(texts, vocab_size=vocab, folder=folder)
    return tokenizer_lib.load_tokenizer(folder)


def _tokenized(
  config: config_lib.Config,
  sample: list[examples_lib.Example],
  count: int,
  tokenizer: Any,
) -> Sample:
  begin = time.monotonic()
  encoded = encode.encode_many(
    [example.turns for example in sample],
    tokenizer,
    max_tokens=config.tokens.max_tokens,
    overflow=config.tokens.overflow,
  )
  seconds = time.monotonic() - begin
  used = [
    (example, tokens)
    for example, tokens in zip(sample, encoded, strict=True)
    if not isinstance(tokens, records.Reject)
  ]
  if not used:
    raise errors.InputError(
      f"config.pool.source has no usable example among {count:,}; allowed: one "
      f"or more. Run without --dry-run: {tables.REJECTS.template} tells why."
    )
  return Sample(
    round(count * len(used) / len(sample)),
    token_set.TokenSet(
      [tokens.ids for _, tokens in used],
      [tokens.is_response for _, tokens in used],
    ),
    [
      conversation.request(example.turns, system=config.encoder.system)
      for example, _ in used
    ],
    tokenizer,
    seconds * count / len(sample),
    f"by {len(used):,} of them, drawn at random",
    *_bytes(shards.table_of(0, used)),
  )
