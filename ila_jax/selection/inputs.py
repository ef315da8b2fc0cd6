"""Inputs of methods beyond the columns of `Candidates`, read when asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath

from ila_jax.embed import rows as rows_lib
from ila_jax.passes import token_set
from ila_jax.pool import index, shards
from ila_jax.run import stage_record, tables
from ila_jax.run.disk import files, folders
from ila_jax.score import early_losses, split, target
from ila_jax.score.gradients import of_target
from ila_jax.score.signals import example_signal, scores
from ila_jax.score.signals import table as signals_table

Read = Callable[[epath.Path, np.ndarray], Any]


class Records:
  """Columns of the pool's records; only rows that are asked for are read."""

  def __init__(
    self,
    workdir: epath.Path,
    row: np.ndarray,
    columns: tuple[str, ...],
    read: Callable[[pa.Table], Any],
  ) -> None:
    """Names rows of the pool, which places 0, 1, ... stand for."""
    self._workdir, self._row = workdir, row
    self._columns, self._read = columns, read

  def __len__(self) -> int:
    return len(self._row)

  def __getitem__(self, places: np.ndarray) -> Any:
    """Reads the records at k distinct places."""
    rows = self._row[places]
    return self._read(shards.gather(self._workdir, rows, self._columns))


def _losses(column: str) -> Read:
  def read(workdir: epath.Path, row: np.ndarray) -> np.ndarray:
    held = files.read_table(tables.SCORES.path(workdir), ["row", column])
    return held[column][np.searchsorted(held["row"], row)]

  return read


def _index(column: str) -> Read:
  def read(workdir: epath.Path, row: np.ndarray) -> np.ndarray:
    return index.column(workdir, column)[row]

  return read


def _dev(workdir: epath.Path, row: np.ndarray) -> np.ndarray:
  return index.is_dev(workdir)[row]


def _reference(workdir: epath.Path, row: np.ndarray) -> np.ndarray:
  return np.isin(row, split.reference_rows(workdir))


def _of_target(read: Read) -> Read:
  """Reads something of all target examples, as of a pool of their own."""

  def reads(workdir: epath.Path, row: np.ndarray) -> Any:
    del row
    stage_record.output(workdir / folders.BESIDE, target.NAME)
    return read(*target_rows(workdir))

  return reads


def target_rows(workdir: epath.Path) -> tuple[epath.Path, np.ndarray]:
  """The folder of the target set, and its rows that count, ascending.

  Those have losses, and the encoder has read something of their prompts.
  """
  own = target.folder(workdir)
  row = files.read_table(tables.SCORES.path(own), ["row"])["row"]
  return own, row[rows_lib.inputs(own, "tokens")[row] > 0]


_TOKENS = ("tokens", "is_response")
# name -> its reader. One entry a row of the candidates, those that may not be
# selected among them:
#   nll_base, nll_sft: losses of the response, sums in nats, float32 [n]
#   prompt_id: shared by examples of one prompt [n]
#   n_labels, n_prompt_tokens: int32 [n]
#   dev: whether held out for the dev loss, bool [n]
#   reference: whether in R under any seed, bool [n]
#   early_gain: see `score.early_losses.gain`, float32 [n]
#   embeddings: [places] is float32 [k, d], unit vectors
#   sae_features: [places] is uint8 [k, w], eight latents a byte
#   turns, tokens: [places] is a list of turns, or a `TokenSet`
#   a signal: its values, float32; `scores` is a structured array, by names
# and of the m examples of config.select.target, where it is set:
#   target_embeddings: float32 [m, d], unit vectors
#   target_id: distinct, uint64 [m]
#   target_turns: as above, of m
#   target_nll_base, target_nll_sft: as above, float32 [m]
#   target_tokens: a `TokenSet` of m
#   target_domain: its text, or None [m]
#   target_gradients: float32 [m, c · w], see `score.gradients.of_target`
# A signal of which not all values fit into memory is read by [places].
READERS: dict[str, Read] = {
  **{name: _losses(name) for name in ("nll_base", "nll_sft")},
  **{n: _index(n) for n in ("prompt_id", "n_labels", "n_prompt_tokens")},
  "dev": _dev,
  "reference": _reference,
  "early_gain": early_losses.gain,
  "embeddings": rows_lib.Rows,
  "turns": lambda workdir, row: Records(
    workdir, row, ("turns",), shards.turns_of
  ),
  "tokens": lambda workdir, row: Records(
    workdir, row, _TOKENS, token_set.tokens_of
  ),
  "target_embeddings": _of_target(rows_lib.load),
  "target_turns": _of_target(
    lambda own, row: Records(own, row, ("turns",), shards.turns_of)
  ),
  "target_id": _of_target(_index("id")),
  "target_tokens": _of_target(
    lambda own, row: token_set.tokens_of(shards.gather(own, row, _TOKENS))
  ),
  "target_nll_base": _of_target(_losses("nll_base")),
  "target_nll_sft": _of_target(_losses("nll_sft")),
  "target_domain": _of_target(_index("domain")),
  "target_gradients": lambda workdir, row: of_target.read(
    workdir, target_rows(workdir)[1]
  ),
}


def _signal(
  workdir: epath.Path, signal: example_signal.Signal, row: np.ndarray
) -> Any:
  """A signal of rows, or of the target set; a wide one as `embeddings` is."""
  if signal.of == example_signal.TARGET:
    row = target_rows(workdir)[1]
  if signal.is_wide:
    return example_signal.rows(workdir, signal, row)
  return example_signal.read(workdir, signal.name, row)


class Inputs(Mapping[str, Any]):
  """The inputs of a run's candidates, by name; each is read when asked for."""

  def __init__(self, workdir: epath.Path, row: np.ndarray) -> None:
    """Names the run and rows of its pool, one an entry."""
    self._workdir, self._row = workdir, row

  def __getitem__(self, name: str) -> Any:
    if name == scores.NAME:
      return scores.table(self._workdir, self._row)
    signal = signals_table.SIGNALS.get(name)
    if signal is not None:
      return _signal(self._workdir, signal, self._row)
    return READERS[name](self._workdir, self._row)

  def __iter__(self) -> Iterator[str]:
    return iter((*READERS, *signals_table.SIGNALS))

  def __len__(self) -> int:
    return len(READERS) + len(signals_table.SIGNALS)
