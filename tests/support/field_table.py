"""The guide's table of all fields, made from the fields.

python -m tests.support.field_table writes it into docs/guide/fields.md.
"""

import pathlib

from ila_jax import config_fields

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/guide/fields.md"
COMMAND = "python -m tests.support.field_table"
_BEGIN, _END = f"<!-- Made by {COMMAND} -->\n\n", "<!-- End -->"


def renewed(text: str) -> str:
  """The guide with the table of now."""
  before, begin, rest = text.partition(_BEGIN)
  _, end, after = rest.partition(_END)
  assert begin and end, "the marks of the table are gone"
  return f"{before}{begin}{config_fields.markdown()}\n{end}{after}"


if __name__ == "__main__":
  PAGE.write_text(renewed(PAGE.read_text()))
