"""Texts that are embedded: the prompts of a pool, and those of sets beside it.

What is beside the pool is embedded as the pool was: by the same model, or by
the LSA that was fitted to the pool.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from ila_jax import errors
from ila_jax.embed import encode, encoders, inputs, rows
from ila_jax.embed import lsa as lsa_lib
from ila_jax.passes import forward
from ila_jax.pool import index, shards
from ila_jax.pool.conversations import conversation
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress

Embed = Callable[[Sequence[str]], tuple[Float[np.ndarray, "n d"], inputs.Read]]
# Prompts of the pool that are embedded again, to see whether they are the same.
_AGAIN = 64
# Their least cosine to what they were. bfloat16 rounds to about three digits.
_SAME = 0.99


def prompts(run: context.Run, table: pa.Table) -> list[str]:
  """What is embedded, of a table with the column `turns`."""
  system = run.config.encoder.system
  return [
    conversation.request(turns, system=system)
    for turns in shards.turns_of(table)
  ]


def fit_lsa(run: context.Run) -> Any:
  """Fits TF-IDF and truncated SVD to prompts of the whole pool."""
  workdir = run.workdir
  ids = index.column(workdir, "id")
  # Ids are hashes, so that the lowest are a fair draw; and whatever the order
  # in which the pool was read, the fit sees one order.
  chosen = np.argsort(ids)[: lsa_lib.LSA_FIT_EXAMPLES]
  sample = prompts(run, shards.gather(workdir, chosen, ["turns"]))
  progress.say(f"  fitting LSA to {len(sample):,} prompts")
  return lsa_lib.fit_lsa(
    sample, width=run.config.encoder.lsa_width, seed=run.config.seed
  )


def embedder(run: context.Run, account: account_lib.Account) -> Embed:
  """Loads, or fits again, what has embedded the pool of a run.

  Args:
    run: whose stage `embed` is done.
    account: gets the work that is done.

  Returns:
    A function from texts to unit vectors, and what was read of the texts.

  Raises:
    errors.InputError: the model cannot be loaded; or it does not give the
      embeddings that the run has.
  """
  if run.config.encoder.path == "lsa":
    embed = _by_lsa(fit_lsa(run))
  else:
    embed = _by_model(run, account)
  _check_same(run, embed)
  return embed


def again(run: context.Run) -> Embed:
  """As `embedder`, and whether it embeds as before is for the caller to see.

  Nothing is made or written in the folder of the run.

  Raises:
    errors.InputError: the model cannot be loaded.
  """
  if run.config.encoder.path == "lsa":
    return _by_lsa(fit_lsa(run))
  return _by_model(run, account_lib.Account(), as_made=True)


def _by_lsa(lsa: Any) -> Embed:
  def embed(texts: Sequence[str]) -> tuple[np.ndarray, inputs.Read]:
    terms = encode.lsa_terms(lsa, texts)
    return lsa_lib.apply_lsa(lsa, terms), inputs.of_terms(texts, terms)

  return embed


def _by_model(
  run: context.Run, account: account_lib.Account, *, as_made: bool = False
) -> Embed:
  model, pooling, reader = encoders.load(run, account, as_made=as_made)

  def embed(texts: Sequence[str]) -> tuple[np.ndarray, inputs.Read]:
    ids, read = reader.read(list(texts))
    layout = encode.layout(model.config, read.tokens, run.config.encoder)
    vectors = encode.encode(
      model,
      ids,
      pooling=pooling,
      layout=layout,
      mesh=run.mesh,
      on_batch=lambda batch: account.add(cells=batch.cells),
    )
    account.add(
      flops=forward.flops(model.config, read.tokens),
      tokens=int(read.tokens.sum()),
    )
    return vectors, read

  return embed


def _check_same(run: context.Run, embed: Embed) -> None:
  """Embeds some prompts of the pool again: another version may differ."""
  total = len(index.lengths(run.workdir))
  chosen = np.unique(np.linspace(0, total - 1, _AGAIN).astype(np.int64))
  texts = prompts(run, shards.gather(run.workdir, chosen, ["turns"]))
  before, (now, _) = rows.load(run.workdir, chosen), embed(texts)
  cosine = np.sum(before * now, axis=1) if before.shape == now.shape else -1
  least = float(np.min(cosine))
  if least < _SAME:
    raise errors.InputError(
      f"config.encoder.path is {run.config.encoder.path!r}, and a prompt of "
      f"the pool has by now a cosine of {least:.3f} to its own embedding in "
      f"{run.workdir}; allowed: {_SAME} and more, or nothing beside the pool "
      "compares with it. Another version of a library may have made it: add "
      "--redo=embed, or use the versions that the manifest names."
    )
