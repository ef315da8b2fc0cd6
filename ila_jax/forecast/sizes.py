"""Sizes of files before a run: from its config, its base and its pool."""

import dataclasses

import jax
import jax.numpy as jnp

from ila_jax import config as config_lib
from ila_jax.forecast import costs
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.training import checkpoint, trial

# Bytes of a token of a vocabulary in the files of a tokenizer.
_TOKEN = 64
# A checkpoint holds weights and two moments in float32. Those that are kept
# are there while the next one is written.
_STATE_BYTES = 12
CHECKPOINTS = checkpoint.KEPT + 1


@dataclasses.dataclass(frozen=True)
class Sizes:
  """All that the sizes of the files of a run depend on.

  Attributes:
    config: of the run.
    decoder: of its base.
    examples: of its pool.
    stored: bytes of an example in a shard of the pool, in the mean.
    record: bytes of its record, as it was read, in the mean.
    response: tokens of its response, in the mean.
    judges: examples that judge the laboratory; None: as many as are held out.
  """

  config: config_lib.Config
  decoder: architecture.DecoderConfig
  examples: int
  stored: float | int
  record: float | int
  response: float | int
  judges: int | None = None

  @property
  def candidates(self) -> int:
    """Examples that may be selected, about: the reference sets may overlap."""
    settings = self.config.score
    drawn = len(settings.reference_seeds) * settings.reference_examples
    taken = self.config.pool.dev_examples + drawn * settings.exclude_reference
    return max(self.examples - taken, 0)

  @property
  def judged(self) -> int:
    """Examples whose losses judge an arm of the laboratory: one half."""
    judges = self.judges
    return (self.config.pool.dev_examples if judges is None else judges) // 2

  @property
  def selected(self) -> float | int:
    """Examples that the budget buys, about."""
    return self.config.select.examples(
      candidates=self.candidates, response=self.response
    )

  @property
  def tables(self) -> int:
    """Bytes of a table for each shard of the pool, whatever is in it."""
    return -(-self.examples // self.config.pool.shard_examples) * costs.TABLE

  @property
  def tokenizer(self) -> int:
    """Bytes of a tokenizer's files."""
    return _TOKEN * self.decoder.vocab

  @property
  def base(self) -> int:
    """Bytes of a folder with the weights of the base, and its tokenizer."""
    return self._each * self._weights + self.tokenizer

  @property
  def tuned(self) -> int:
    """Bytes of a fine-tune: another model, or an adapter in float32."""
    each = self._each if trial.lora(self.config) is None else 4
    return each * self._trained + self.tokenizer

  @property
  def checkpoints(self) -> int:
    """Bytes of all checkpoints of what is tuned that are there at once."""
    return CHECKPOINTS * _STATE_BYTES * self._trained

  @property
  def base_checkpoints(self) -> int:
    """The same of a base from scratch."""
    return CHECKPOINTS * _STATE_BYTES * self._weights

  @property
  def _each(self) -> int:
    return jnp.dtype(self.config.model.dtype).itemsize

  @property
  def _weights(self) -> int:
    return decoder_lib.count_parameters(self.decoder)

  @property
  def _trained(self) -> int:
    """Numbers that are trained: of an adapter, or all weights."""
    lora = trial.lora(self.config)
    if lora is None:
      return self._weights
    shapes = jax.eval_shape(
      lora_lib.init, self.decoder, lora, jax.random.key(0)
    )
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
