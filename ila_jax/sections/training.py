"""Sections `train`, `score`, `finetune` and `scaling`: all that is tuned."""

import dataclasses

from ila_jax.sections import checked, ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(checked.Checked):
  """What the reference, the check, the law and the laboratory train with."""

  batch_tokens: int = checked.field(
    16384,
    "tokens of an optimizer step, over all devices",
    **ranges.BATCH_TOKENS,
  )
  micro_batch_tokens: int | None = checked.field(
    None,
    "tokens whose gradient is computed at once, over all devices: a step adds "
    "up those of its micro-batches, in less memory; None: the whole step",
    **ranges.BATCH_TOKENS,
    changes=checked.NOTHING,
  )
  runs_a_device: int | None = checked.field(
    None,
    "runs of the law and of the laboratory side by side on each device, which "
    "holds that many models; None: one after the other, each on all devices",
    low=1,
    high=2**12,
    changes=checked.NOTHING,
  )
  schedule: str = checked.field(
    "cosine",
    "what the learning rate does once it has risen",
    choices="training.optim.SCHEDULES",
  )
  warmup_fraction: float = checked.field(
    0.03, "share of the steps in which the learning rate rises", **ranges.SHARE
  )
  weight_decay: float = checked.field(
    0.0, "weight decay of AdamW", low=0, high=100
  )
  clip_norm: float = checked.field(
    1.0,
    "largest global norm of a gradient",
    low=0,
    high=1e6,  # It clips nothing.
    above=True,
  )
  checkpoint_steps: int = checked.field(
    500,
    "steps between checkpoints",
    low=1,
    high=10**9,
    changes=checked.NOTHING,
  )
  checkpoint_minutes: float = checked.field(
    10.0,
    "minutes between checkpoints, if these pass before checkpoint_steps",
    low=0,
    high=1e6,
    above=True,
    changes=checked.NOTHING,
  )
  remat: bool = checked.field(
    False,
    "compute blocks again in the backward pass: less memory, more time",
    changes=checked.NOTHING,
  )
  method: str = checked.field(
    "full",
    "whole fine-tunes, or adapters, which are all scored in one pass",
    choices=("full", "lora"),
  )
  lora_rank: int = checked.field(
    16,
    "rank of the adapters, which want learning rates of 1e-4 and up",
    low=1,
    high=2**12,
  )
  lora_alpha: float = checked.field(
    32.0,
    "adapters' updates are scaled by lora_alpha / lora_rank",
    low=0,
    high=2**16,
    above=True,
  )
  lora_targets: tuple[str, ...] = checked.field(
    ("query", "key", "value", "output", "gate", "up", "down"),
    "matrices that have adapters",
    choices="models.lora.TARGETS",
  )
  metrics: tuple[str, ...] = checked.field(
    (),
    "who is given the metrics of each step, beside metrics.jsonl",
    choices="training.metrics.WRITERS",
    changes=checked.NOTHING,
  )

  def runs_at_once(self, devices: int) -> int:
    """How many runs of the law or the laboratory are trained at once.

    >>> Train().runs_at_once(8), Train(runs_a_device=4).runs_at_once(8)
    (1, 32)
    """
    return 1 if self.runs_a_device is None else self.runs_a_device * devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(checked.Checked):
  """Losses under the base and the reference-tuned model."""

  reference_examples: int = checked.field(
    5000, "examples of R, the random reference subset", **ranges.EXAMPLES
  )
  reference_seeds: tuple[int, ...] = checked.field(
    (0,), "depth is the mean over these draws of R", **ranges.SEED
  )
  exclude_reference: bool = checked.field(
    True, "R cannot be selected", changes=checked.ELSEWHERE
  )
  epochs: float = checked.field(
    1.0, "passes of the fine-tune over R", **ranges.EPOCHS
  )
  learning_rate: float = checked.field(
    1e-5,
    "highest learning rate of the fine-tune on R",
    **ranges.LEARNING_RATE,
  )
  batch_tokens: int = checked.field(
    2048,
    "tokens of a batch per device, padding included",
    **ranges.BATCH_TOKENS,
    changes=checked.NOTHING,
  )
  layout: str = checked.field(
    "auto",
    "how batches are laid out; 'auto': by platform",
    choices="passes.layouts.LAYOUTS",
    changes=checked.NOTHING,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune(checked.Checked):
  """The check: the base tuned on the selection and on its rivals."""

  epochs: float = checked.field(
    3.0, "passes over the selection", **ranges.EPOCHS
  )
  learning_rate: float = checked.field(
    1e-5, "highest learning rate", **ranges.LEARNING_RATE
  )
  compare: tuple[str, ...] = checked.field(
    ("random",),
    "methods tuned as well, at equal examples and at equal tokens",
    choices="methods.table.METHODS",
  )
  stop_patience: int | None = checked.field(
    None,
    "evaluations in a row without a lower loss of the examples held out, after "
    "which a tuning ends, with its best weights; None: it goes to its end",
    low=1,
    high=10**6,
  )
  stop_steps: int = checked.field(
    20, "steps between these evaluations", low=1, high=10**9
  )
  stop_share: float = checked.field(
    0.1,
    "share of the examples of a tuning that is held out for them, and not "
    "trained on",
    low=0,
    high=0.5,
    above=True,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaling(checked.Checked):
  """Many small subsets, and the laws that are fitted to them."""

  subsets: int = checked.field(
    36,
    "M, the subsets that the law is fitted on; 0: the stage trains nothing",
    low=0,
    high=10_000,
  )
  held_out: int = checked.field(
    6, "more subsets, not built from coverage and depth", low=0, high=10_000
  )
  mixtures: int = checked.field(
    0,
    "more subsets, of random shares of the domains and tilted lengths, by "
    "which the landscape law is judged",
    low=0,
    high=10_000,
  )
  repeats: int = checked.field(
    0,
    "how often the first subset of each kind is tuned on again, with other "
    "seeds: by that the noise of a run is known",
    low=0,
    high=1000,
  )
  mixture_tokens: tuple[int, ...] = checked.field(
    (16_000, 128_000),
    "response tokens of a mixture: the fewest and the most",
    **ranges.EXAMPLES,
  )
  sizes: tuple[int, ...] = checked.field(
    (500, 1000, 2000, 4000), "examples of a subset", **ranges.EXAMPLES
  )
  min_cell_share: float = checked.field(
    0.1, "smallest share of the cells that a subset may use", **ranges.PART
  )
  depth_band: float = checked.field(
    0.34, "width of the band of relative depths of a subset", **ranges.PART
  )
  resamples: int = checked.field(
    2000, "resamples of the bootstrap, and permutations", low=100, high=10**6
  )

  @property
  def runs(self) -> int:
    """All subsets that are tuned on.

    >>> Scaling(subsets=24, held_out=0, mixtures=40).runs
    64
    """
    return self.subsets + self.held_out + self.mixtures

  @property
  def longest(self) -> int:
    """Examples of the largest designed subset; 0: none is designed.

    >>> Scaling(subsets=0, held_out=0, mixtures=40).longest
    0
    """
    return max(self.sizes) if self.subsets + self.held_out else 0
