"""The one exception that is the user's to mend, and exit statuses."""

import difflib
from collections.abc import Iterable

# Of bad input; of a run that may go well if it is started again (EX_TEMPFAIL).
BAD_INPUT, LOST = 2, 75


class InputError(Exception):
  """A bad config or bad input: reported on stderr, exit status 2.

  The message names the field, or the file and line; the value; what is
  allowed; and what to do.

  >>> raise InputError("config.seed is 'x'; allowed: an integer.")
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.seed is 'x'; allowed: an integer.
  """


class NotFiniteError(InputError):
  """A loss of a training that is not finite; a lower learning rate mends it."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
  """A question that names the nearest of the known names; "" if none is near.

  >>> did_you_mean("tirm", ["ila", "trim"])
  " Did you mean 'trim'?"
  """
  near = difflib.get_close_matches(str(name), list(known), n=1)
  return f" Did you mean {near[0]!r}?" if near else ""
