"""What every stage is given: the run that it belongs to."""

import dataclasses

from etils import epath
from jax.sharding import Mesh

from ila_jax import config as config_lib


@dataclasses.dataclass(frozen=True)
class Run:
  """A run: its settings, its folder and its devices.

  Attributes:
    config: the settings, checked.
    workdir: folder of the artifacts, local or gs://.
    mesh: the devices that work for it together.
  """

  config: config_lib.Config
  workdir: epath.Path
  mesh: Mesh
