"""Runs a sweep of a config from a checkout: `ila sweep` with the same flags.

    python launch/sweep.py --config scaling --sweep depth --workdir DIR

It lists all sweeps without flags. On a pod, start it on each host, with
`--distributed` and a DIR that all hosts see.
"""

import os
import pathlib
import sys

# The checkout counts, here and in the runs, whether it is installed or not.
_CHECKOUT = str(pathlib.Path(__file__).resolve().parent.parent)
sys.path.insert(0, _CHECKOUT)
os.environ["PYTHONPATH"] = os.pathsep.join(
  [_CHECKOUT, *filter(None, [os.environ.get("PYTHONPATH")])]
)

if __name__ == "__main__":
  from ila_jax import main

  sys.argv[1:1] = ["sweep"]
  sys.exit(main.main())
