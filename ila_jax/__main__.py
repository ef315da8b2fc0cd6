"""`python -m ila_jax`, which is `ila`."""

import sys

from ila_jax import main

if __name__ == "__main__":
  sys.exit(main.main())
