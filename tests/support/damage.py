"""Files as disks and broken copies leave them."""

import pathlib

KINDS = ("flip", "cut", "empty", "gone")


def damage(file: pathlib.Path, kind: str) -> None:
  """Flips a bit in the middle of a file, cuts, empties or removes it."""
  content = bytearray(file.read_bytes())
  if kind == "gone":
    file.unlink()
    return
  if kind == "cut":
    content = content[: len(content) // 2]
  elif kind == "empty":
    content = bytearray()
  elif content:
    content[len(content) // 2] ^= 4
  file.write_bytes(content)
