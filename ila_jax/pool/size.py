"""Whether a pool has room for what is set apart and what is chosen."""

import itertools
import math

import numpy as np
from etils import epath
from jaxtyping import Bool, Int, UInt64

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.pool import index, reading, shards
from ila_jax.pool import rejects as rejects_lib
from ila_jax.run import draws

# Fewer say little of a map: its cells are as many as are chosen.
_FEW_CHOSEN = 30
_SHOWN_CHARACTERS = 60


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
  if len(tokens) == wanted or not tokens or rejects.reasons:
    return  # Reading says so too, and writes the rejects down.
  raise _too_small(config, np.array(tokens), wanted)


def of_duplicates(
  rejects: rejects_lib.RejectCounter, used: int, how: str
) -> str:
  """Says that most of a pool are duplicates; "" where they are not.

  Args:
    rejects: with all of them.
    used: examples.
    how: the fields that were read, as most examples have them.
  """
  again = rejects.reasons[rejects_lib.DUPLICATE]
  total = used + rejects.reasons.total()
  if 2 * again <= total:
    return ""
  return (
    f"{again:,} of {total:,} records are duplicates: in the fields that are "
    f"read ({how}) they are equal to one before. If others tell them apart, "
    "name those with --config.pool.fields.prompt=... and "
    "--config.pool.fields.response=..."
  )


def check(
  config: config_lib.Config, n_tokens: Int[np.ndarray, " n"], *, why: str = ""
) -> None:
  """Refuses a pool in which what is set apart and chosen does not fit.

  Args:
    config: the run.
    n_tokens: tokens of each usable example's response.
    why: there are so few, where more sources would be no help.

  Raises:
    errors.InputError: names what asks for how much, and flags that fit.
  """
  wanted = _wanted(config, float(n_tokens.mean()))
  if len(n_tokens) < wanted:
    raise _too_small(config, n_tokens, wanted, why)


def check_prompts(
  config: config_lib.Config,
  workdir: epath.Path,
  columns: index.Columns,
  is_dev: Bool[np.ndarray, " n"],
  *,
  how: str,
) -> str:
  """Refuses a pool of so few prompts that nothing is left to choose from.

  Examples of one prompt are drawn together.

  Args:
    config: the run.
    workdir: the shards of its pool are there.
    columns: the index.
    is_dev: which examples are held out.
    how: the fields that were read, as most examples have them.

  Returns:
    Where something is left, but little: that, with flags; else "".

  Raises:
    errors.InputError: names the prompt that most examples share.
  """
  lengths = columns["n_response_tokens"]
  prompts, sizes = np.unique(columns["prompt_id"], return_counts=True)
  budget = _budget(config, float(lengths.mean()))
  most, free = int(sizes.argmax()), int((~is_dev).sum())
  left = _left(config, columns["prompt_id"], is_dev, int(sizes[most]), budget)
  if left < budget:
    held_out = len(is_dev) - free
    first = int((columns["prompt_id"] == prompts[most]).argmax())
    raise errors.InputError(
      f"{sizes[most]:,} of {len(is_dev):,} usable examples share the prompt "
      f"{_shown(workdir, first)} ({how}); different prompts: "
      f"{len(prompts):,}. Examples of one prompt are drawn together, so "
      f"config.pool.dev_examples ({config.pool.dev_examples:,}) holds out "
      f"{held_out:,}. Beside the reference sets "
      f"({config.score.reference_examples:,} by config.score."
      f"reference_examples) {left:,} are left, and config.select.budget asks "
      f"for {budget:,}. If another field holds what is asked, name it with "
      "--config.pool.fields.prompt=... or --config.pool.fields.input=...; else "
      "give sources with more prompts."
    )
  return _caution(config, lengths, len(is_dev) - free, left)


def _left(
  config: config_lib.Config,
  prompts: UInt64[np.ndarray, " n"],
  is_dev: Bool[np.ndarray, " n"],
  largest: int,
  budget: int,
) -> int:
  """How many examples are neither held out nor, if that counts, a reference.

  Args:
    config: the run.
    prompts: of each example.
    is_dev: which are held out.
    largest: number of examples that share a prompt.
    budget: in examples.
  """
  free, count = int((~is_dev).sum()), config.score.reference_examples
  if count > free:
    return 0
  if not config.score.exclude_reference:
    return free
  left = free - _references(config)
  # A draw goes beyond what is asked for by less than the largest prompt.
  if left - (largest - 1) * _sets(config) >= budget:
    return left
  drawn = draws.references(
    prompts, is_dev, count=count, seeds=config.score.reference_seeds
  )
  return free - int(np.logical_or.reduce([*drawn.values()]).sum())


def _shown(workdir: epath.Path, row: int) -> str:
  """The question of an example, for a message."""
  [turns] = shards.turns_of(shards.gather(workdir, np.array([row]), ["turns"]))
  asked = [turn.text for turn in turns if turn.role == "user"]
  return repr("".join(asked[:1])[:_SHOWN_CHARACTERS])


def _caution(
  config: config_lib.Config, n_tokens: np.ndarray, dev: int, left: int
) -> str:
  """Says that a pool leaves little to choose from; "": it leaves enough."""
  n = len(n_tokens)
  shares = not config.score.exclude_reference
  reference = _references(config) if shares else n - dev - left
  mean = float(n_tokens.mean())
  budget = config.select.budget
  chosen = {"fraction": budget * left, "tokens": budget / mean}
  chosen = round(chosen.get(config.select.unit, budget))
  size = config.scaling.longest
  if chosen >= _FEW_CHOSEN and size <= left:
    return ""
  part = max(n // 10 // _sets(config), 1)
  flags = [
    f"--config.{name}={fits}"
    for name, fits, asked in (
      ("pool.dev_examples", n // 10, config.pool.dev_examples),
      ("score.reference_examples", part, config.score.reference_examples),
    )
    if fits < asked
  ]
  told = (
    f"of {n:,} usable examples {dev:,} are held out and {reference:,} are the "
    f"reference: {chosen:,} are chosen from {left:,}"
  )
  if size > left:
    told += (
      ", and no scaling law is fitted (the largest of config.scaling.sizes is "
      f"{size:,})"
    )
    if size > 0.8 * n:
      flags.append(f'--config.scaling.sizes="({max(n // 5, 1)},)"')
  if n == config.pool.limit:
    flags.insert(0, "a higher --config.pool.limit" + ", or" * bool(flags))
  return f"{told}. More is left with {' '.join(flags)}" if flags else told


def _wanted(config: config_lib.Config, mean_tokens: float) -> int:
  """How many examples dev split, reference sets and budget take together."""
  budget = _budget(config, mean_tokens)
  return config.pool.dev_examples + _references(config) + budget


def _budget(config: config_lib.Config, mean_tokens: float) -> int:
  """How many examples the budget takes."""
  budget = 1.0
  if config.select.unit == "examples":
    budget = config.select.budget
  elif config.select.unit == "fraction":
    budget = 0.5 / config.select.budget  # which rounds to one example
  elif config.select.unit == "tokens":
    # In examples of mean length; the cut itself is exact.
    budget = config.select.budget / mean_tokens
  return max(math.ceil(budget), 1)


def _references(config: config_lib.Config) -> int:
  """Examples of all reference sets together."""
  return config.score.reference_examples * _sets(config)


def _sets(config: config_lib.Config) -> int:
  """Reference sets that need examples of their own; 1 where they may share."""
  if config.score.exclude_reference:
    return len(config.score.reference_seeds)
  return 1


def _too_small(
  config: config_lib.Config, n_tokens: np.ndarray, wanted: int, why: str = ""
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
  if why:
    told += why
  elif n == config.pool.limit:
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
