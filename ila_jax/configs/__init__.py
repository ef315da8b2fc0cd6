"""Where the shipped configs are found in a checkout: in its `configs/`.

A built package has the files of that folder in this place, and not this file.
"""

import pathlib

__path__ = [str(pathlib.Path(__file__).resolve().parents[2] / "configs")]
