"""What the loss of each response gains behind another prompt.

x' is the prompt of another record of the same domain and of about the same
length (`other_prompts`). For each of config.signals.other_prompts draws there
are two numbers, in nats over the response:

    nll0(y | x') - nll0(y | x),   nll1(y | x') - nll1(y | x)

under the base θ0 and under θ1, the base tuned on the reference set of the first
of config.score.reference_seeds; other seeds would cost as many passes more. Of
a conversation, what stands before its first answer is exchanged. NaN where the
pool has no other prompt.

Every host holds the banks of prompts, which are read once from whatever shards
they lie in: at most 512 of a domain. A domain is a text of the pool's records
(config.pool.fields.domain); where there is none, the pool is one domain. A
domain with a single prompt borrows prompts of the whole pool.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from ila_jax.forecast import costs, work
from ila_jax.passes import token_set, windows
from ila_jax.pool import index
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, stage_record
from ila_jax.score import losses
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.score.signals.tuned import first_seed, other_prompts
from ila_jax.training import trial

NAME = "swapped_prompt"
# Numbers of a draw: of the base, of the tuned model.
MODELS = 2
# Below this correlation of two draws, one draw says little.
_LOW = 0.5
# What orders by each of the two.
_METHODS = {"specificity": "specific", "contrast": "ila_contrastive"}


def _made_from(run: context.Run) -> dict[str, Any]:
  return {
    "other_prompts": run.config.signals.other_prompts,
    "seed": run.config.seed,
    "score": stage_record.output(run.workdir, "score"),
  }


def _prompts(run: context.Run) -> other_prompts.Prompts:
  """Reads the banks of prompts, each shard that has one once."""
  workdir = run.workdir
  ids, prompt = (index.column(workdir, name) for name in ("id", "prompt_id"))
  _, domain = index.names(workdir, "domain")
  rows, bank = other_prompts.drawn(ids, prompt, domain, seed=run.config.seed)
  each, place = np.unique(rows, return_inverse=True)
  with progress.if_slow(f"  {len(each):,} other prompts are read ..."):
    data = token_set.of_rows(workdir, each).subset(place)
  return other_prompts.prompts(data, prompt[rows], bank)


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n w"]]:
  config, workdir = run.config, run.workdir
  have = _prompts(run)
  prompt = index.column(workdir, "prompt_id")
  bank = other_prompts.banks(prompt, index.names(workdir, "domain")[1])
  lengths = index.lengths(workdir)
  longest = int(have.length.max(initial=0)) + int(lengths.max(initial=0))
  base, tuned = first_seed.load(run, account)
  lengths = np.append(lengths, longest)
  told = progress.every(advance, MODELS * config.signals.other_prompts)
  models = [
    nll_without_prompt.scorer(
      run,
      account,
      decoder,
      lengths=lengths,
      adapters=adapters,
      advance=told,
    )
    for decoder, adapters in ((base, None), (tuned.decoder, tuned.adapters))
  ]
  seed = config.score.reference_seeds[0]
  own, of_seed = losses.read(run, np.arange(len(prompt)))
  given = np.stack([own, of_seed[seed]], axis=1).astype(np.float64)

  def nll(data: token_set.TokenSet) -> np.ndarray:
    parts = windows.split(data, max_tokens=config.tokens.max_tokens)
    return np.stack([parts.total(model(parts)) for model in models], axis=1)

  def of_shard(table: pa.Table) -> np.ndarray:
    data, rows = token_set.tokens_of(table), table.column("row").to_numpy()
    place = other_prompts.choose(
      have,
      table.column("id").to_numpy(),
      prompt[rows],
      bank[rows],
      other_prompts.first_answer(data),
      count=config.signals.other_prompts,
      seed=config.seed,
    )
    known = np.flatnonzero(place[:, 0] != other_prompts.NONE)
    found = np.full((len(rows), *place.shape[1:], MODELS), np.nan)
    for number in range(place.shape[1] if len(known) else 0):
      swapped = other_prompts.behind(
        have, data.subset(known), place[known, number]
      )
      found[known, number] = nll(swapped) - given[rows[known]]
    return found.reshape(len(rows), -1)

  return of_shard


def specificity(
  values: Float[np.ndarray, "n w"], n_tokens: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"]]:
  """TS: what another prompt adds to a token's loss under the tuned model.

  Args:
    values: of the signal [n, 2 d].
    n_tokens: response tokens [n].

  Returns:
    Nats a token, float64: the mean of the draws, and each draw.

  >>> each = specificity(np.array([[1.0, 2.0, 3.0, 6.0]]), np.array([2]))
  >>> each[0].tolist(), each[1].tolist()
  ([2.0], [[1.0, 3.0]])
  """
  return _of_token(_by_draw(values)[:, :, 1], n_tokens)


def contrast(
  values: Float[np.ndarray, "n w"], n_tokens: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"]]:
  """CD: how much more another prompt costs since the model was tuned.

  Args:
    values: of the signal [n, 2 d].
    n_tokens: response tokens [n].

  Returns:
    As `specificity`.

  >>> contrast(np.array([[1.0, 2.0, 3.0, 6.0]]), np.array([2]))[0].tolist()
  [1.0]
  """
  each = _by_draw(values)
  return _of_token(each[:, :, 1] - each[:, :, 0], n_tokens)


def _by_draw(values: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n d 2"]:
  n, width = values.shape
  return values.reshape(n, width // MODELS, MODELS).astype(np.float64)


def _of_token(
  sums: Float[np.ndarray, "n d"], n_tokens: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"]]:
  """Means of tokens; sums are added first, so that equal ones stay equal."""
  count = np.maximum(n_tokens, 1)
  return sums.mean(axis=1) / count, sums / count[:, None]


def reliability(draws: Float[np.ndarray, "n d"]) -> float | None:
  """The mean correlation of two draws; None: there are no two that vary.

  >>> reliability(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 5.0]]))
  0.98...
  """
  draws = draws[np.isfinite(draws).all(axis=1)]
  if draws.shape[1] < 2 or len(draws) < 3 or not draws.std(axis=0).all():
    return None
  found = np.corrcoef(draws.T)
  return float(found[np.triu_indices(len(found), 1)].mean())


def told(
  values: Float[np.ndarray, "n w"], n_tokens: Int[np.ndarray, " n"]
) -> dict[str, Any]:
  """What the numbers of a pool say: how far draws agree, and a junk bound.

  Args:
    values: of the signal [n, 2 d].
    n_tokens: response tokens [n].

  Returns:
    `specificity_reliability`, `contrast_reliability`: correlations of two
    draws, or None; `junk_bound`: 2 P(TS < 0), at most 1, by the mean of the
    draws: where a response that has nothing to do with its prompt has a TS
    below 0 half of the time, no larger share of the pool is such. None: no
    record has another prompt. `without`: records that have no other prompt.
  """
  score, draws = specificity(values, n_tokens)
  known, bound = np.isfinite(score), None
  if known.any():
    bound = min(2 * float((score[known] < 0).mean()), 1.0)
  return {
    "specificity_reliability": reliability(draws),
    "contrast_reliability": reliability(contrast(values, n_tokens)[1]),
    "junk_bound": bound,
    "without": int((~known).sum()),
  }


def _about(
  run: context.Run, parts: Iterator[Float[np.ndarray, "_ w"]]
) -> dict[str, Any]:
  """What its record notes of it (`told`), with what domains borrow."""
  workdir = run.workdir
  found = told(
    np.concatenate(list(parts)), index.column(workdir, "n_response_tokens")
  )
  names, domain = index.names(workdir, "domain")
  bank = other_prompts.banks(index.column(workdir, "prompt_id"), domain)
  borrow = int((bank == other_prompts.WHOLE).sum())
  for sentence in sentences(found, borrow=borrow, domains=len(names)):
    progress.say(f"  {sentence}")
  return {NAME: found | {"borrow": borrow}}


def sentences(
  found: dict[str, Any], *, borrow: int, domains: int
) -> Iterator[str]:
  """What is said of the numbers, in words.

  Args:
    found: of `told`.
    borrow: records whose domain has no other prompt.
    domains: of the pool.
  """
  bound = found["junk_bound"]
  if bound is not None and bound < 1:  # Else it says nothing.
    yield (
      f"about {bound:.1%} of the responses at most have nothing to do with "
      "their prompts (2 P(TS < 0), a rough bound: it takes them to have a TS "
      "below 0 half of the time)"
    )
  if borrow and domains > 1:
    yield (
      f"{borrow:,} examples are in a domain of a single prompt: their other "
      "prompts are of the whole pool"
    )
  if found["without"]:
    yield (
      f"warning: {found['without']:,} examples have no other prompt, or no "
      "finite loss behind one: methods that ask leave them out"
    )
  for name, method in _METHODS.items():
    held = found[f"{name}_reliability"]
    if held is not None and held < _LOW:
      yield (
        f"warning: two draws of other prompts agree on {name} by a "
        f"correlation of {held:.2f} only: {method} orders by chance in part. "
        "More draws help: --config.signals.other_prompts=4"
      )


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of a pass of either model for each draw; prompts are as long."""
  one = run.scoring(run.sample.data, examples=run.sample.examples)
  passes = one.times(MODELS * run.config.signals.other_prompts)
  if trial.lora(run.config) is not None:
    return passes
  second = "the memory of a second whole model"
  return dataclasses.replace(passes, left_out=(*passes.left_out, second))


def _width(config: Any) -> int:
  return MODELS * config.signals.other_prompts


SIGNAL = example_signal.Signal(
  name=NAME,
  made_from=_made_from,
  compute=_compute,
  cost=_cost,
  reads=("row", "id", "tokens", "is_response"),
  width=_width,
  about=_about,
)
