"""What an artifact of the workdir is: a path, its writer, its columns."""

import dataclasses
import re
from typing import Any

from etils import epath

# What may stand for a name in braces: in a path, or in a column.
_FIELDS = {
  "shard": r"\d{5,}",
  "folder": r"(?:.+/)?",
  "stage": r"[a-z]+|(?:signals|beside)/[^/]+",
  "name": r"[^/]+",
  "seed": r"\d+",
  "epoch": r"\d+",
  "losses": r"base|sft-\d+|base-and-sft",
  "model": r"\d+",
  "axis": r"x|y|z|x\d+",
}


@dataclasses.dataclass(frozen=True)
class Artifact:
  """A file of the workdir, or files that differ in what stands in braces.

  Attributes:
    template: path in the workdir; that of a folder ends in a slash.
    writer: module of `ila_jax` that writes it.
    meaning: what it holds, in a line.
    columns: column -> Arrow type, of a table, in their order; a name in braces
      stands for one column or several.
    is_passing: whether it goes when its stage is done.
  """

  template: str
  writer: str
  meaning: str
  columns: dict[str, str] = dataclasses.field(default_factory=dict)
  is_passing: bool = False

  @property
  def folder(self) -> str:
    """The folder of the workdir that it lies in."""
    return self.template.rstrip("/").rpartition("/")[0]

  def file(self, **fields: Any) -> str:
    """Its name in that folder.

    >>> Artifact("pool/records-{shard:05d}.parquet", "", "").file(shard=3)
    'records-00003.parquet'
    """
    return self.template.rstrip("/").rpartition("/")[2].format(**fields)

  def path(self, workdir: epath.PathLike, **fields: Any) -> epath.Path:
    """Where it is in a workdir.

    >>> Artifact("finetune/model/", "", "").path("runs/first").as_posix()
    'runs/first/finetune/model'
    """
    return epath.Path(workdir) / self.template.format(**fields).rstrip("/")

  def matches(self, path: str) -> re.Match[str] | None:
    """Tells whether a path in the workdir is one of these.

    Returns:
      The fields of the path by their names; None where it is none of these.

    >>> losses = Artifact("score/{losses}-{shard:05d}.parquet", "", "")
    >>> losses.matches("score/sft-0-00012.parquet")["losses"]
    'sft-0'
    """
    return re.fullmatch(_pattern(self.template), path)

  def column_type(self, name: str) -> str | None:
    """The Arrow type of a column; None where the table has no such column.

    >>> cells = Artifact("cells.parquet", "", "", {"{axis}": "float"})
    >>> cells.column_type("z"), cells.column_type("w")
    ('float', None)
    """
    for declared, kind in self.columns.items():
      if re.fullmatch(_pattern(declared), name):
        return kind
    return None


def _pattern(template: str) -> str:
  """A regular expression of all that a template stands for."""
  parts = re.split(r"\{(\w+)(?::\w+)?\}", template)
  for place, part in enumerate(parts):
    is_field = place % 2
    parts[place] = (
      f"(?P<{part}>{_FIELDS[part]})" if is_field else re.escape(part)
    )
  return "".join(parts)
