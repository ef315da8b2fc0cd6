"""Options: the settings of a method, with types, defaults and bounds.

A method's options are a frozen dataclass beside its `rank`:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options(options.Options):
      quantile: float = options.field(0.5, "share set aside", low=0, high=1)

and are set by `config.select.options.METHOD.FIELD`.
"""

import dataclasses

from ila_jax.sections import checked

# Options are declared as config fields are, and made from plain values.
field = checked.field
build = checked.build


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(checked.Checked):
  """The options of a method that has none, and the base of all others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByDepth(Options):
  """The options of the methods that rank by depth."""

  rank_by: str = field(
    "depth", "the depth that counts", choices=("depth", "relative_depth")
  )
