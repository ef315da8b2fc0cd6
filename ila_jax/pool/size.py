"""Whether a pool has room for what is set apart and what is chosen."""

import itertools
import math

import numpy as np
from jaxtyping import Int

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.pool import reading
from ila_jax.pool import rejects as rejects_lib
from ila_jax.run import progress

# Fewer say little of a map: its cells are as many as are chosen.
_FEW_CHOSEN = 30


def check_count(config: config_lib.Config) -> None:
  """Refuses a pool that is too small, before a tokenizer sees it.

  Reads no more records than are needed. How long responses are is not known
  yet: a budget in tokens counts as one example here.

  Raises:
    errors.InputError: names what asks for how much, and flags that fit.
  """
  wanted = _wanted(config, math.inf)
  rejects = rejects_lib.RejectCounter(
    lambda rejected: None, max_reject_fraction=config.pool.max_reject_fraction
  )
  examples = reading.examples(config, rejects=rejects)
  # A token is four characters of English, and fewer of most other text.
  tokens = [
    len(example.turns[-1].text) // 4
    for example in itertools.islice(examples, wanted)
  ]
  if len(tokens) == wanted:
    return
  try:
    rejects.check(n_used=len(tokens))
  except errors.InputError:
    return  # Reading says so too, and writes the rejects down.
  raise _too_small(config, np.array(tokens), wanted)


def check(config: config_lib.Config, n_tokens: Int[np.ndarray, " n"]) -> None:
  """Refuses a pool in which what is set apart and chosen does not fit.

  Where it fits, but leaves little to choose from, the run says so, with flags.

  Args:
    config: the run.
    n_tokens: tokens of each usable example's response.

  Raises:
    errors.InputError: names what asks for how much, and flags that fit.
  """
  wanted = _wanted(config, float(n_tokens.mean()))
  if len(n_tokens) < wanted:
    raise _too_small(config, n_tokens, wanted)
  if told := _caution(config, n_tokens):
    progress.say(f"  warning: {told}")


def _caution(config: config_lib.Config, n_tokens: np.ndarray) -> str:
  """Says that a pool leaves little to choose from; "": it leaves enough."""
  n = len(n_tokens)
  dev, reference = config.pool.dev_examples, _references(config)
  left = n - dev - (reference if config.score.exclude_reference else 0)
  mean = float(n_tokens.mean())
  budget = config.select.budget
  chosen = {"fraction": budget * left, "tokens": budget / mean}
  chosen = round(chosen.get(config.select.unit, budget))
  size = config.scaling.longest
  if chosen >= _FEW_CHOSEN and size <= left:
    return ""
  part = max(n // 10 // _sets(config), 1)
  flags = [
    f"--config.pool.dev_examples={min(n // 10, dev)}",
    "--config.score.reference_examples="
    f"{min(part, config.score.reference_examples)}",
  ]
  told = (
    f"of {n:,} usable examples {dev:,} are held out and {reference:,} are the "
    f"reference: {chosen:,} are chosen from {left:,}"
  )
  if size > left:
    told += f", and no scaling law is fitted (config.scaling.sizes is {size:,})"
    if size > 0.8 * n:
      flags.append(f'--config.scaling.sizes="({max(n // 5, 1)},)"')
  if n == config.pool.limit:
    flags.insert(0, "a higher --config.pool.limit, or")
  return f"{told}. More is left with {' '.join(flags)}"


def _wanted(config: config_lib.Config, mean_tokens: float) -> int:
  """How many examples dev split, reference sets and budget take together."""
  budget = 1.0
  if config.select.unit == "examples":
    budget = config.select.budget
  elif config.select.unit == "fraction":
    budget = 0.5 / config.select.budget  # which rounds to one example
  elif config.select.unit == "tokens":
    # In examples of mean length; the cut itself is exact.
    budget = config.select.budget / mean_tokens
  budget = max(math.ceil(budget), 1)
  return config.pool.dev_examples + _references(config) + budget


def _references(config: config_lib.Config) -> int:
  """Examples of all reference sets together."""
  return config.score.reference_examples * _sets(config)


def _sets(config: config_lib.Config) -> int:
  """Reference sets that need examples of their own; 1 where they may share."""
  if config.score.exclude_reference:
    return len(config.score.reference_seeds)
  return 1


def _too_small(
  config: config_lib.Config, n_tokens: np.ndarray, wanted: int
) -> errors.InputError:
  """Names what asks for how much, and flags under which this pool would do."""
  n = len(n_tokens)
  dev, reference = config.pool.dev_examples, _references(config)
  told = (
    f"the pool has {n:,} usable examples; config.pool.dev_examples ({dev:,}) "
    f"and the reference sets ({reference:,} by config.score.reference_examples "
    f"and reference_seeds) leave {max(n - dev - reference, 0):,}, and "
    f"config.select.budget asks for {wanted - dev - reference:,}. "
  )
  if n == config.pool.limit:
    told += f"Raise config.pool.limit, which is {n:,}"
  else:
    told += "Give a larger config.pool.source"
  # A tenth is held out, a tenth is the reference, and a tenth is chosen; of
  # tokens a quarter, for the first that is chosen may be long.
  part = n // 10 // _sets(config)
  if not part:
    return errors.InputError(
      f"{told}: {10 * _sets(config)} examples are the least."
    )
  budgets = {
    "fraction": max(config.select.budget, 0.1),
    "tokens": min(config.select.budget, max(float(n_tokens.sum() // 4), 1.0)),
  }
  budget = budgets.get(config.select.unit, float(n // 10))
  return errors.InputError(
    f"{told}, or try the tool on this one with --config.pool.dev_examples="
    f"{n // 10} --config.score.reference_examples={part} "
    f"--config.select.budget={budget}"
  )
