"""Information Landscape Approximation: choose instruction-tuning data.

`select` does all of it in one call; `ila` is the command.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from ila_jax.api import Selection as Selection
  from ila_jax.api import select as select
  from ila_jax.errors import InputError as InputError

__version__ = "0.1.0"
__all__ = ("InputError", "Selection", "select")


def __getattr__(name: str) -> Any:
  # JAX is imported by whoever asks for the first of these, and not before.
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  from ila_jax import api, errors

  return getattr(errors if name == "InputError" else api, name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
