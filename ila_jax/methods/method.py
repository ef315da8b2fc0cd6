"""The record of a method: its name, its order, and what others ask of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ila_jax import errors
from ila_jax.methods import candidates, named
from ila_jax.methods import effort as effort_lib
from ila_jax.methods import options as options_lib
from ila_jax.score.signals import example_signal
from ila_jax.score.signals import table as signals_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
  """A way to put a pool in an order; `METHOD` of its own module.

  Attributes:
    name: as config.select.strategy has it, and the report.
    rank: from candidates and options to a total order of the candidates, or an
      exact head of one. Ties go to the lower id, random draws are keyed by id
      and seed; devices are those of the mesh that is set
      (`jax.sharding.get_mesh`), and their number changes nothing.
    needs: columns of `Candidates`, and names of `Candidates.inputs`: all that
      `rank` reads beside ids; `rank` is shown nothing else. A signal that a
      chosen method needs is computed before.
    also: what it needs beside that with some options: from them to names.
    scores: which scores of others it reads with some options, by the option
      that names each; the run must have them.
    options: dataclass of what config.select.options.NAME may set.
    share: of the candidates, that it orders at most, by its options; where that
      is less than 1 they have a field `share`.
    cell_factor: what cells share the budget by beside the weights of
      config.select.cell_weight, as in "by quotas of ..."; "": nothing.
    is_nested: whether a smaller budget gets the head of a larger one's order;
      else the order is that of `Candidates.wanted`.
    effort: what `rank` takes beside sorts, by the sizes of a run and the
      options; `--dry-run` tells it.
    colour: of its curves, '#rrggbb'.

  Raises:
    ValueError: a need that nothing satisfies.
  """

  name: str
  rank: Callable[[candidates.Candidates, Any], candidates.Ranking]
  needs: tuple[str, ...]
  colour: str
  options: type[options_lib.Options] = options_lib.Options
  also: Callable[[Any], tuple[str, ...]] = lambda _: ()
  scores: Callable[[Any], dict[str, str]] = lambda _: {}
  share: Callable[[Any], float] = lambda _: 1.0
  cell_factor: str = ""
  is_nested: bool = True
  effort: Callable[[effort_lib.Size, Any], effort_lib.Effort] = (
    lambda size, options: effort_lib.Effort()
  )

  def __post_init__(self) -> None:
    """Checks that all needs are known."""
    inputs = (
      *(*candidates.INPUTS, *candidates.OF_TAGS),
      *candidates.OF_TARGET,
    )
    known = (*candidates.COLUMNS, *inputs, *signals_table.SIGNALS)
    for need in self.needed(self.options()):
      if need not in known:
        raise ValueError(
          f"the method {self.name!r} needs {need!r}; allowed, as columns, "
          f"inputs and signals: {', '.join(known)}."
          f"{errors.did_you_mean(need, known)}"
        )

  @property
  def wants_target(self) -> bool:
    """Whether it reads anything of the examples of config.select.target."""
    signals = signals_table.among(self.needs)
    of_target = (signals_table.SIGNALS[name].of for name in signals)
    named = set(self.needs) & set(candidates.OF_TARGET)
    return bool(named) or example_signal.TARGET in of_target

  def weighs(self, by_target: bool) -> bool:
    """Whether cells share the budget as config.select.cell_weight says.

    Args:
      by_target: by target examples, and not by a power of their sizes.
    """
    read = {"cell_weight", "cell_mass" if by_target else "cell_power"}
    return bool(read & set(self.needs))

  def needed(self, options: options_lib.Options) -> tuple[str, ...]:
    """All that it needs with these options, each once."""
    scores = ("scores",) if self.scores(options) else ()
    return tuple(dict.fromkeys((*self.needs, *self.also(options), *scores)))

  def __call__(
    self, c: candidates.Candidates, **options: Any
  ) -> candidates.Ranking:
    """Ranks with options by name; those that are not given are defaults.

    Raises:
      errors.InputError: options that the method does not have or allow.
      ValueError: an order that leaves candidates out without a word, or a
        column or an input that is read and not in `needs`.
    """
    return self.run(c, options_lib.build(self.options, options, self.name))

  def run(
    self, c: candidates.Candidates, options: options_lib.Options
  ) -> candidates.Ranking:
    """Ranks, and checks that no candidate is left out without a word.

    Raises:
      ValueError: a candidate is left out so; or `rank` reads what is not in
        `needs`.
    """
    needs = self.needed(options)
    ranking = self.rank(named.named(c, self.name, needs), options)
    if len(ranking.order) < c.candidate.sum() and not ranking.rest:
      raise ValueError(
        f"{self.name} orders {len(ranking.order)} of {c.candidate.sum()} "
        "candidates, and its Ranking.rest does not say why"
      )
    return ranking
