"""The held-out examples by which the laboratory judges."""

from typing import NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Int

from ila_jax.laboratory import estimates
from ila_jax.passes import token_set
from ila_jax.pool import index, shards
from ila_jax.run import context, tables
from ila_jax.run.disk import files
from ila_jax.training import trial


class HeldOut(NamedTuple):
  """One half of the dev set.

  Attributes:
    data: its examples, as tokens.
    about: what their losses are of.
    names: of the domains.
  """

  data: token_set.TokenSet
  about: estimates.Dev
  names: list[str]


def load(run: context.Run) -> HeldOut:
  """Loads the half that config.laboratory.dev_half names."""
  workdir = run.workdir
  rows = trial.dev_rows(workdir)
  prompt = index.column(workdir, "prompt_id")
  inside = estimates.half(
    prompt[rows],
    seed=run.config.seed,
    which=run.config.laboratory.dev_half,
  )
  rows = rows[inside]
  data = token_set.tokens_of(
    shards.gather(workdir, rows, ["tokens", "is_response"])
  )
  cells = files.read_table(tables.CELLS.path(workdir), ["row", "domain"])
  names, domain = domains(workdir, cells["row"], cells["domain"])
  tokens = index.column(workdir, "n_response_tokens")[cells["row"]]
  is_pool = ~index.is_dev(workdir)[cells["row"]]
  share = np.bincount(
    domain[is_pool], weights=tokens[is_pool], minlength=len(names)
  )
  order = np.argsort(cells["row"])
  place = order[np.searchsorted(cells["row"], rows, sorter=order)]
  about = estimates.Dev(
    # Nothing predicts the first token.
    n_tokens=np.array([m[1:].sum() for m in data.is_response], np.int32),
    domain=domain[place],
    group=prompt[rows],
    share=share / share.sum(),
  )
  return HeldOut(data, about, names)


def domains(
  workdir: epath.PathLike,
  rows: Int[np.ndarray, " n"],
  blocks: Int[np.ndarray, " n"],
) -> tuple[list[str], Int[np.ndarray, " n"]]:
  """Names of the domains, and which of them each row has.

  Args:
    workdir: of the run.
    rows: of the pool [n].
    blocks: the domain of each row in `landscape/cells.parquet`, which is a
      block of the map where the pool names no domains [n].
  """
  names, domain = index.names(workdir, "domain")
  if len(names) > 1:
    return [str(name) for name in names], domain[rows]
  numbers, code = np.unique(blocks, return_inverse=True)
  return [f"block {number}" for number in numbers], code
