"""The pool of a run: its sources, read as its config says."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterator

from ila_jax import config as config_lib
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool import unread
from ila_jax.pool.sources import sources


def examples(
  config: config_lib.Config,
  *,
  rejects: Callable[[rejects_lib.Rejected], object] = lambda rejected: None,
  announce: Callable[[str], object] = lambda message: None,
  reading: unread.Reading | None = None,
) -> Iterator[examples_lib.Example]:
  """Streams the usable examples of `config.pool`, each only once.

  Args:
    config: the run.
    rejects: gets every record that is not used.
    announce: gets a line for what a source shows first.
    reading: counts the same over the examples.

  Raises:
    errors.InputError: as `examples.read` does.
  """
  return examples_lib.read(
    config.pool.sources,
    rejects=rejects,
    rules=dataclasses.replace(rules(config), overrides=_overrides(config)),
    limit=config.pool.limit,
    announce=announce,
    reading=reading,
  )


def rules(config: config_lib.Config) -> examples_lib.Rules:
  """How `config.pool` has records read, those of its sources and others."""
  fields = dataclasses.asdict(config.pool.fields)
  del fields["scores"]  # A signal; nothing that is said in an example.
  return examples_lib.Rules(
    fields=fields,
    overrides=config.pool.overrides,
    answers=config.pool.answers,
  )


def _overrides(config: config_lib.Config) -> dict[str, dict[str, str]]:
  """Those of single sources, but for what names files beside them alone."""
  overrides = config.pool.overrides
  beside = (*config.pool.evaluations, *config.pool.score_files)
  if not overrides or not beside:
    return overrides
  of_sets, of_pool = (
    set().union(*map(sources.names, specs))
    for specs in (beside, config.pool.sources)
  )
  return {
    pattern: own
    for pattern, own in overrides.items()
    if fnmatch.filter(of_pool, pattern) or not fnmatch.filter(of_sets, pattern)
  }
