"""The base, and the model that was tuned on the first reference set."""

from typing import NamedTuple

from ila_jax.models import decoder as decoder_lib
from ila_jax.run import account as account_lib
from ila_jax.run import context, tables
from ila_jax.training import base, trial


class Pair(NamedTuple):
  """Two models, whole, or one and an adapter beside it."""

  base: decoder_lib.Decoder
  tuned: trial.Tuned


def load(run: context.Run, account: account_lib.Account) -> Pair:
  """Loads the base, and what config.score.reference_seeds names first.

  Args:
    run: whose stage `score` is done.
    account: of the stage that asks.
  """
  decoder = base.load(run, account)
  seed = run.config.score.reference_seeds[0]
  folder = tables.TUNED.path(run.workdir, seed=seed)
  tuned = trial.load(folder, config=run.config, mesh=run.mesh, base=decoder)
  return Pair(decoder, tuned)
