"""The pool of a run: its sources, read as its config says."""

import dataclasses
from collections.abc import Callable, Iterator

from ila_jax import config as config_lib
from ila_jax.pool import examples as examples_lib
from ila_jax.pool import rejects as rejects_lib
from ila_jax.pool import unread


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
    rules=examples_lib.Rules(
      fields=dataclasses.asdict(config.pool.fields),
      overrides=config.pool.overrides,
      answers=config.pool.answers,
    ),
    limit=config.pool.limit,
    announce=announce,
    reading=reading,
  )
