"""`ila latents`: the records that have most of a latent, with their text."""

from collections.abc import Sequence

import numpy as np
from etils import epath

from ila_jax import errors
from ila_jax.pool import shards
from ila_jax.run import stage_record, tables
from ila_jax.run.disk import folders
from ila_jax.score.sae import top

_USAGE = "ila latents DIR [LATENT ...]"
HELP = f"""Shows the records that have most of a latent, with their text.

  {_USAGE}

DIR     the --workdir of a run whose methods need sae_features
LATENT  numbers of latents; default: nine, from rare to common

The greatest value at a token, the id, and the text of each record, cut to a
line. The whole table is DIR/{tables.TOP.template}.
"""
# Latents that are shown where none is named, and letters of a text.
_SOME, _LETTERS = 9, 160


def told(workdir: epath.PathLike, words: Sequence[str]) -> str:
  """The records that have most of some latents, in words.

  Args:
    workdir: of a run that has the signal `sae_features`.
    words: numbers of latents; none: some, from rare to common.

  Raises:
    errors.InputError: the run has no such signal, or no such latent.
  """
  signals = epath.Path(workdir) / folders.SIGNALS
  record = stage_record.read_record(signals / "sae_features")
  if not record.get("done"):
    raise errors.InputError(
      f"{workdir} has no finished signal sae_features; allowed: a run with a "
      "method that needs it. Example: ila --config ila --workdir "
      f"{workdir} --config.select.strategy=sae_greedy"
    )
  found = top.read(workdir)
  latents = _chosen(found, record["sae"]["latents"], words)
  rows = np.unique(found["row"][np.isin(found["latent"], latents)])
  turns = shards.turns_of(shards.gather(workdir, rows, ["turns"]))
  text_of = {
    row: " | ".join(f"{turn.role}: {_line(turn.text)}" for turn in of_row)
    for row, of_row in zip(rows.tolist(), turns, strict=True)
  }
  return "\n\n".join(_of_latent(found, one, text_of) for one in latents)


def _chosen(
  found: dict[str, np.ndarray], count: int, words: Sequence[str]
) -> list[int]:
  for word in words:
    if not word.isdecimal() or int(word) >= count:
      raise errors.InputError(
        f"ila latents: {word!r} is no latent; allowed: whole numbers from 0 to "
        f"{count - 1}. Example: ila latents runs/first 17"
      )
  if words:
    return [int(word) for word in words]
  first = found["rank"] == 1
  latent, share = found["latent"][first], found["share"][first]
  by_share = latent[np.lexsort((latent, share))]
  places = np.linspace(0, len(by_share) - 1, min(_SOME, len(by_share)))
  return by_share[places.round().astype(int)].tolist()


def _of_latent(
  found: dict[str, np.ndarray], latent: int, text_of: dict[int, str]
) -> str:
  places = np.flatnonzero(found["latent"] == latent)
  if not len(places):
    return f"latent {latent}: on for no record"
  lines = [
    f"latent {latent}: on for {100 * found['share'][places[0]]:.2f} % of the "
    "records"
  ]
  for place in places:
    lines.append(
      f"  {found['activation'][place]:10.4g}  {found['id'][place]:016x}  "
      f"{text_of[int(found['row'][place])]}"
    )
  return "\n".join(lines)


def _line(text: str) -> str:
  """The first letters of a text, on one line."""
  line = " ".join(text.split())
  return line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1]}…"
