"""What a run has chosen, read from its folder a part at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from jaxtyping import Int

from ila_jax import errors
from ila_jax.export import card, example
from ila_jax.methods import table as table_lib
from ila_jax.pool import shards
from ila_jax.report import gather, sentences
from ila_jax.run import stage_record, stages, tables
from ila_jax.run.disk import checksums, files, paths
from ila_jax.score.signals import scores

# Chosen records whose text is held at once, and rows of tables.
_PART = 20_000
_TABLE_ROWS = 65_536
# The stages whose files are read here.
_NEEDED = ("pool", "embed", "score", "landscape", "select")


class Selection:
  """The first of the chosen examples; each turn through them reads them anew.

  Attributes:
    selected: how many the run chose.
    count: how many of them this is.
    longest: tokens of the longest of these, as far as the run has read it.
    cut: how many of these the run has read a part of.
    workdir: of the run.
  """

  def __init__(self, workdir: epath.PathLike, first: int | None = None):
    """Looks at a finished run; reads numbers, and no text.

    Args:
      workdir: of the run.
      first: how many of the chosen, by rank; None: all.

    Raises:
      errors.InputError: there is no run, it has not selected yet, or it chose
        fewer.
    """
    self.workdir = epath.Path(workdir)
    _check_done(self.workdir)
    self._made = stage_record.output(self.workdir, "select")
    record = stage_record.read_record(self.workdir / "select")
    self.selected = record["selected"]
    self.count = self.selected if first is None else first
    if not 1 <= self.count <= self.selected:
      raise errors.InputError(
        f"--first is {first}; allowed: 1 to {self.selected:,}, for so many did "
        f"the run in {workdir} select. A larger --config.select.budget "
        "selects more."
      )
    ranking = tables.RANKING.path(self.workdir)
    self._ranking = files.read_head(ranking, self.count)
    rows = self._ranking["row"]
    losses = tables.SCORES.path(self.workdir)
    self._losses = _at(losses, ["nll_base", "nll_sft", "n_tokens"], rows)
    names = [one["name"] for one in scores.noted(self.workdir)]
    self._others = scores.read(self.workdir, names, rows)
    columns = ["source", "n_prompt_tokens", "n_response_tokens", "truncated"]
    index = _at(tables.INDEX.path(self.workdir), columns, rows)
    self._sources = index.select(["source"])
    prompt, response, cut = (index[name].to_numpy() for name in columns[1:])
    self.longest = int((prompt + response).max())
    self.cut = int(cut.sum())

  def __iter__(self) -> Iterator[example.Example]:
    """The examples in the order of their rank, some thousands held at once.

    Raises:
      errors.InputError: files are damaged, or the run selected anew meanwhile.
    """
    with files.reading(tables.SELECTED.path(self.workdir)) as lines:
      for start in range(0, self.count, _PART):
        yield from self._part(
          slice(start, min(start + _PART, self.count)), lines
        )
    if stage_record.output(self.workdir, "select") != self._made:
      raise errors.InputError(
        f"{self.workdir}: the run selected anew while its selection was read. "
        "Run the same command again when it is done."
      )

  def _part(self, part: slice, lines: Any) -> Iterator[example.Example]:
    ranking = {name: held[part] for name, held in self._ranking.items()}
    table = shards.gather(self.workdir, ranking["row"], ["turns"])
    losses = self._losses.slice(part.start, part.stop - part.start).to_pylist()
    sources = self._sources.slice(part.start, part.stop - part.start)
    others = {n: held[part].tolist() for n, held in self._others.items()}
    chosen = zip(
      *(ranking[name].tolist() for name in ("id", "rank", "depth", "cell")),
      sources.column("source").to_pylist(),
      losses,
      shards.turns_of(table),
      strict=True,
    )
    numbered = enumerate(chosen)
    for k, (id_text, rank, depth, cell, source, loss, turns) in numbered:
      line = lines.readline()
      if not line:
        raise checksums.Damaged(
          tables.SELECTED.path(self.workdir), "it has too few lines"
        )
      yield example.Example(
        id=str(id_text),
        source=source,
        rank=rank,
        depth=depth,
        cell=cell,
        turns=turns,
        record=line.decode().rstrip("\n"),
        scores={
          name: None if held[k] != held[k] else held[k]
          for name, held in others.items()
        },
        **loss,
      )


def _check_done(workdir: epath.Path) -> None:
  if not workdir.is_dir():
    raise errors.InputError(
      f"{workdir} is no folder. Give the --workdir of a run: ila export DIR "
      "--to FORMAT"
    )
  manifest = tables.MANIFEST.path(workdir)
  if not manifest.exists():
    raise errors.InputError(
      f"{workdir} holds no {manifest.name}: it is not the --workdir of a run. "
      "Give the folder that a run of ila wrote."
    )
  for name in _NEEDED:
    if not stage_record.read_record(workdir / name).get("done"):
      raise errors.InputError(
        f"{workdir}: stage {name!r} has not finished, and `ila export` needs "
        f"{', '.join(_NEEDED)}. Run the command of this run again, with "
        f"--stages={','.join(_NEEDED)} or without --stages for all of "
        f"{len(stages.NAMES)} stages: it goes on from where it is."
      )


def _at(
  path: epath.Path, columns: Sequence[str], rows: Int[np.ndarray, " k"]
) -> pa.Table:
  """Columns of a table at some rows of the pool, in the order asked for."""
  order = np.argsort(rows)
  wanted, found, start = rows[order], [], 0
  parts = files.read_parts(path, ["row", *columns], rows=_TABLE_ROWS)
  for part in parts:
    there = part.column("row").to_numpy()
    end = start + np.searchsorted(wanted[start:], there[-1], side="right")
    places = np.searchsorted(there, wanted[start:end])
    if not np.array_equal(there[places], wanted[start:end]):
      break
    found.append(part.take(pa.array(places)).select(list(columns)))
    start = end
  if start != len(wanted):
    raise errors.InputError(
      f"{path} lacks a row that was selected: it is of another run. Make its "
      "stage anew with --redo, and the stages after it."
    )
  back = np.empty(len(order), np.int64)
  back[order] = np.arange(len(order))
  return pa.Table.from_batches(found).take(pa.array(back))


def facts(chosen: Selection) -> card.Facts:
  """What the card says of a finished run and of what is exported of it.

  Raises:
    errors.InputError: a file of it is damaged.
  """
  workdir = chosen.workdir
  manifest = files.read_json(tables.MANIFEST.path(workdir))
  config = manifest["config"]
  select = config["select"]
  source = config["pool"]["source"]
  records = gather.stage_records(workdir)
  coverage = files.read_json(tables.COVERAGE.path(workdir))
  name = coverage["table"][0]["strategy"]
  method = table_lib.METHODS.get(name)
  return card.Facts(
    sources=[
      _name(one) for one in ([source] if isinstance(source, str) else source)
    ],
    method=name,
    budget=f"{select['budget']:g} {_UNITS[select['unit']]}",
    selected=chosen.selected,
    sentences=sentences.headline(workdir, records),
    made_by=_made_by(manifest, records["select"]),
    longest=chosen.longest,
    cut=chosen.cut,
    is_nested=method is None or method.is_nested,
  )


def _name(source: str) -> str:
  """A source without the folders of this machine: cards may be published."""
  is_address = paths.is_url(source) or ":" in source
  return source if is_address else epath.Path(source).name


_UNITS = {
  "examples": "examples",
  "tokens": "response tokens",
  "fraction": "of the candidates (a fraction)",
}


def _made_by(manifest: dict[str, Any], record: dict[str, Any]) -> str:
  versions = record.get("versions", {})
  ours = versions.get("ila_jax", manifest.get("ila_jax", "(unknown)"))
  return (
    f"Made by ila_jax {ours} (commit {manifest.get('commit', '(unknown)')}) "
    f"with JAX {versions.get('jax', '(unknown)')}"
  )
