"""How noisy copies of an example change what its prompt tells of its response.

For each neighbour m of an example and each token t of its response, D is the
loss of the token with the prompt less that without, where noise is added to
the embeddings (T-SHIRT, docs/method.md 13). What T-SHIRT makes of them wants a
threshold of |D| over the whole pool, which nobody knows before all are read. So
the numbers of an example are made for each of `THRESHOLDS`, and the method
chooses one of them.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, UInt64

from ila_jax import config as config_lib
from ila_jax.forecast import costs, work
from ila_jax.models import decoder as decoder_lib
from ila_jax.passes import collate, forward, noisy_loss, token_set, windows
from ila_jax.pool import base_tokenizer, index
from ila_jax.run import account as account_lib
from ila_jax.run import context
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.sections import checked
from ila_jax.training import base

NAME = "noisy_ifd"
# Of |D| in nats, exclusive: the first lets all tokens in, then nine an octave.
THRESHOLDS = np.concatenate([[-1.0], np.geomspace(2.0**-10, 2.0**4, 127)])
# Numbers for each of them: mean and deviation of S-IFD, tokens above.
COLUMNS = 3
# Examples whose tokens' losses are held at once.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(checked.Checked):
  """How the copies of an example are made."""

  neighbours: int = checked.field(
    30, "noisy copies of an example; each costs two passes", low=1, high=1000
  )
  alpha: float = checked.field(
    5.0,
    "noise in an embedding, times sqrt(tokens · width)",
    low=0,
    high=1e6,
    above=True,
  )


def _setting(config: config_lib.Config) -> noisy_loss.Noise:
  """The options of the method `tshirt` that say how much noise there is."""
  values = config.select.options.get("tshirt", {})
  names = [field.name for field in dataclasses.fields(Options)]
  own = {name: values[name] for name in names if name in values}
  made = checked.build(Options, own, "config.select.options.tshirt")
  return noisy_loss.Noise(made.alpha, made.neighbours, config.seed)


def _made_from(run: context.Run) -> dict[str, Any]:
  noise = _setting(run.config)._asdict()
  return nll_without_prompt.made_from(run) | {"noise": noise}


def _places(data: token_set.TokenSet) -> token_set.TokenSet:
  """Examples whose tokens are their own places."""
  places = [np.arange(len(ids), dtype=np.int32) for ids in data.tokens]
  return token_set.TokenSet(places, data.is_response)


def with_prompt(
  data: token_set.TokenSet, *, max_tokens: int
) -> tuple[windows.Parts, windows.Parts]:
  """Parts of examples as they are read, and the places of their tokens."""
  return tuple(
    windows.split(one, max_tokens=max_tokens) for one in (data, _places(data))
  )


def without_prompt(
  data: token_set.TokenSet, before: np.ndarray, *, max_tokens: int
) -> tuple[windows.Parts, windows.Parts]:
  """The same of the answers alone; what stands before them is without noise."""
  clean = np.full(len(before), noisy_loss.CLEAN, np.int32)
  return tuple(
    nll_without_prompt.alone(one, before=start, max_tokens=max_tokens)
    for one, start in ((data, before), (_places(data), clean))
  )


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], Float[np.ndarray, "n w"]]:
  config, workdir = run.config, run.workdir
  longest = config.tokens.max_tokens
  before = nll_without_prompt.start_token(
    config, base_tokenizer.tokenizer(config, workdir)
  )
  decoder = base.load(run, account)
  responses = index.column(workdir, "n_response_tokens")
  of_given = _scorer(run, account, decoder, index.lengths(workdir))
  of_alone = _scorer(run, account, decoder, responses + len(before))

  def of_shard(table: pa.Table) -> np.ndarray:
    ids = table.column("id").to_numpy()
    whole = token_set.tokens_of(table)
    found = [np.zeros((0, COLUMNS * len(THRESHOLDS)), np.float32)]
    for begin in range(0, len(ids), _BLOCK):
      rows = np.arange(begin, min(begin + _BLOCK, len(ids)))
      data, own = whole.subset(rows), ids[rows]
      read = with_prompt(data, max_tokens=longest)
      given = of_given(*read, own, data.lengths, advance)
      read = without_prompt(data, before, max_tokens=longest)
      alone = of_alone(*read, own, data.lengths)
      changes = (a - b for a, b in zip(given, alone, strict=True))
      found.append(np.stack([of_changes(change) for change in changes]))
    return np.concatenate(found)

  return of_shard


def _scorer(
  run: context.Run,
  account: account_lib.Account,
  decoder: decoder_lib.Decoder,
  lengths: Int[np.ndarray, " n"],
) -> Callable[..., list[Float[np.ndarray, "m t"]]]:
  """A function from parts of examples to the losses of each example's tokens.

  Args:
    run: its mesh and settings.
    account: of the stage.
    decoder: the model.
    lengths: tokens that are read of each example of the pool.
  """
  setting = _setting(run.config)
  read = windows.lengths(
    lengths.astype(np.int32), max_tokens=run.config.tokens.max_tokens
  )
  layout = forward.layout(decoder.config, read, run.config.score)
  copies = setting.neighbours

  def score(
    parts: windows.Parts,
    places: windows.Parts,
    ids: UInt64[np.ndarray, " n"],
    lengths: Int[np.ndarray, " n"],
    advance: Callable[[int], object] = lambda examples: None,
  ) -> list[Float[np.ndarray, "m t"]]:
    def count(batch: collate.Batch) -> None:
      account.add(cells=copies * batch.cells)
      advance(parts.begun(batch.examples))

    of_part = noisy_loss.token_losses(
      decoder,
      noisy_loss.Read(
        parts.data,
        places.data.tokens,
        ids[parts.example],
        lengths[parts.example],
      ),
      setting,
      layout=layout,
      mesh=run.mesh,
      on_batch=count,
    )
    tokens = parts.data.lengths
    flops = forward.flops(
      decoder.config, tokens, response_tokens=parts.data.response_tokens
    )
    account.add(flops=copies * flops, tokens=copies * int(tokens.sum()))
    ends = np.searchsorted(parts.example, np.arange(len(ids) + 1))
    return [
      np.concatenate(of_part[begin:end], axis=1)
      for begin, end in itertools.pairwise(ends)
    ]

  return score


def of_changes(change: Float[np.ndarray, "m t"]) -> Float[np.ndarray, " w"]:
  """What is kept of one example: for each threshold three numbers.

  S-IFD of a neighbour is exp(mean of its D above the threshold); 1 where no
  token is above. Kept are its mean and its population deviation over the
  neighbours, and how many of their tokens are above.

  Args:
    change: D of each neighbour and token, nats.

  Returns:
    float32; all NaN where a change is not finite.

  >>> found = of_changes(np.log(np.array([[2.0, 8.0], [1.0, 1.0]])))
  >>> found[:3].tolist()
  [2.5, 1.5, 4.0]
  """
  if not np.isfinite(change).all():
    return np.full(COLUMNS * len(THRESHOLDS), np.nan, np.float32)
  neighbours, bins = len(change), len(THRESHOLDS) + 1
  # How many thresholds a token is above.
  above = np.searchsorted(THRESHOLDS, np.abs(change), side="left")
  cell = (above + bins * np.arange(neighbours)[:, None]).reshape(-1)
  total, count = (
    np.bincount(cell, weights, minlength=neighbours * bins)
    .reshape(neighbours, bins)[:, :0:-1]
    .cumsum(axis=1)[:, ::-1]
    for weights in (change.reshape(-1), None)
  )
  with np.errstate(over="ignore"):
    s_ifd = np.exp(total / np.maximum(count, 1))
    found = np.stack([s_ifd.mean(0), s_ifd.std(0), count.sum(0)], axis=1)
  return found.reshape(-1).astype(np.float32)


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of two passes of the base for each neighbour; noise is not counted."""
  copies = _setting(run.config).neighbours
  before = nll_without_prompt.start_token(run.config, run.sample.tokenizer)
  given = run.scoring(run.sample.data, examples=run.sample.examples)
  alone = nll_without_prompt.cost_alone(run, before)
  both = given.times(copies).and_also(alone.times(copies))
  return dataclasses.replace(both, left_out=(*both.left_out, "the noise"))


SIGNAL = example_signal.Signal(
  name=NAME,
  made_from=_made_from,
  compute=_compute,
  cost=_cost,
  reads=("id", "tokens", "is_response"),
  width=COLUMNS * len(THRESHOLDS),
)
