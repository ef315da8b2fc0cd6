"""Section `sae`: the sparse autoencoder whose latents are features."""

import dataclasses

from ila_jax.sections import checked, ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sae(checked.Checked):
  """The sparse autoencoder of the base, for methods that read its features."""

  path: str | None = checked.field(
    None,
    "folder of a published one (sparsify, SAELens, Gemma Scope) for the base "
    "and sae.layer; None: one is trained on the pool",
    path=checked.FOLDER,
  )
  layer: int | None = checked.field(
    None,
    "layers after which hidden states are read; None: all, before the final "
    "norm",
    low=1,
    high=1000,
  )
  latents: int = checked.field(
    8192,
    "latents, in multiples of 8; a byte of every record for 8 of them",
    low=8,
    high=2**21,
  )
  k: int | None = checked.field(
    None,
    "latents that are on at a token, in training; None: 32, or a twelfth of "
    "the model's width if that is less",
    low=1,
    high=2**12,
  )
  tokens: int = checked.field(
    1_000_000,
    "tokens of the pool that it is trained on, or all where there are fewer",
    low=1,
    high=10**12,
  )
  epochs: int = checked.field(4, "passes over these tokens", low=1, high=10_000)
  batch_tokens: int = checked.field(
    4096, "tokens of a step, over all devices", **ranges.BATCH_TOKENS
  )
  learning_rate: float | None = checked.field(
    None,
    "highest learning rate of Adam; None: 2e-4 / sqrt(latents / 16384)",
    **ranges.LEARNING_RATE,
  )
  warmup_fraction: float = checked.field(
    0.05, "share of the steps in which the learning rate rises", **ranges.SHARE
  )
  auxiliary_k: int = checked.field(
    512,
    "dead latents that learn, at each token, what the others leave",
    low=1,
    high=2**16,
  )
  dead_tokens: int = checked.field(
    100_000,
    "a latent that was on at none of so many tokens is dead",
    low=1,
    high=2**30,
  )
  threshold: float | None = checked.field(
    None,
    "what a latent must exceed at a token to be on for a record; None: by "
    "threshold_quantile",
    low=0,
    high=1e9,
  )
  threshold_quantile: float = checked.field(
    0.9,
    "the threshold is this quantile of the values of latents that are on, on "
    "held-out tokens",
    **ranges.SHARE,
  )
