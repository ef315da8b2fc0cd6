"""The held-out examples by which the laboratory judges."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Float, Int

from ila_jax import errors
from ila_jax.laboratory import estimates
from ila_jax.passes import token_set
from ila_jax.pool import index
from ila_jax.run import context, progress, tables
from ila_jax.run.disk import files
from ila_jax.score import dev_set
from ila_jax.training import trial

# Held-out prompts of a domain below which its loss is told to be unsure.
_FEW_PROMPTS = 10


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

  def by_domain(self, names: Sequence[str]) -> Float[np.ndarray, " d"] | None:
    """Its response tokens by domain; None where it has other domains."""
    if self.names != list(names):
      return None
    about = self.about
    return np.bincount(about.domain, about.n_tokens, minlength=len(names))


def load(run: context.Run, *, half: str | None = None) -> HeldOut:
  """Loads one half.

  Args:
    run: the run.
    half: which; None: that which config.laboratory.dev_half names.

  Raises:
    errors.InputError: config.laboratory.dev has a domain that the pool has not.
  """
  workdir, settings = run.workdir, run.config.laboratory
  cells = files.read_table(tables.CELLS.path(workdir), ["row", "domain"])
  names, domain = domains(workdir, cells["row"], cells["domain"])
  tokens = index.column(workdir, "n_response_tokens")[cells["row"]]
  is_pool = ~index.is_dev(workdir)[cells["row"]]
  share = np.bincount(
    domain[is_pool], weights=tokens[is_pool], minlength=len(names)
  )
  if settings.dev_sources:
    own = dev_set.folder(workdir)
    rows = np.arange(len(index.lengths(own)))
    if len(index.names(workdir, "domain")[0]) > 1:
      code = _of_names(own, names)
    else:  # Blocks of the map: nobody knows where these examples lie.
      names, share = ["all"], np.ones(1)
      code = np.zeros(len(rows), np.int64)
  else:
    own, rows = workdir, trial.dev_rows(workdir)
    known, every = index.names(workdir, "domain")
    if len(known) > 1:
      code = every[rows]
    else:  # One without the score that is depth has no cell, so no block.
      rows = np.intersect1d(rows, cells["row"])
      order = np.argsort(cells["row"])
      code = domain[order[np.searchsorted(cells["row"], rows, sorter=order)]]
  prompt = index.column(own, "prompt_id")[rows]
  half = half or settings.dev_half
  inside = estimates.half(prompt, seed=run.config.seed, which=half)
  data = token_set.of_rows(own, rows[inside])
  about = estimates.Dev(
    # Nothing predicts the first token.
    n_tokens=np.array([m[1:].sum() for m in data.is_response], np.int32),
    domain=code[inside],
    group=prompt[inside],
    share=share / share.sum(),
  )
  return HeldOut(data, about, names)


def say_sparse(held: HeldOut) -> None:
  """Warns of domains of which too few held-out prompts judge."""
  few = []
  for number, name in enumerate(held.names):
    own = len(np.unique(held.about.group[held.about.domain == number]))
    few += [f"{name} ({own})"] if own < _FEW_PROMPTS else []
  if few:
    progress.say(
      f"  warning: fewer than {_FEW_PROMPTS} held-out prompts judge "
      f"{', '.join(few[:5])}{' and others' if len(few) > 5 else ''}: macro "
      "and pool loss lean on them, or leave out those with none"
    )


def _of_names(own: epath.PathLike, names: list[str]) -> Int[np.ndarray, " n"]:
  """Which of the pool's domains each example of the dev set has.

  Raises:
    errors.InputError: one that the pool has not.
  """
  theirs, code = index.names(own, "domain")
  others = sorted(set(map(str, theirs)) - set(names))
  if others:
    raise errors.InputError(
      f"{dev_set.FIELD}: the pool has no domain {others[0]!r}; allowed: "
      f"{', '.join(map(repr, names))}, as config.pool.fields.domain reads them."
    )
  return np.array([names.index(str(one)) for one in theirs])[code]


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
