"""The one exception that is the user's to mend."""


class InputError(Exception):
  """A bad config or bad input: reported on stderr, exit status 2.

  The message names the field, or the file and line; the value; what is
  allowed; and what to do.

  >>> raise InputError("config.seed is 'x'; allowed: an integer.")
  Traceback (most recent call last):
  ila_jax.errors.InputError: config.seed is 'x'; allowed: an integer.
  """
