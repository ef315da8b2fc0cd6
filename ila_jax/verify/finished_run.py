"""The numbers of a run, read from its folder: they add up, and are its own."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath

from ila_jax.landscape import depth
from ila_jax.pool import index, shards
from ila_jax.run import context, stage_record, tables, units
from ila_jax.run.disk import artifact, checksums, files
from ila_jax.score import losses, split
from ila_jax.score.signals import scores as scores_lib
from ila_jax.selection import scored_pool
from ila_jax.verify import findings, invariants

# Tables with rows and ids of examples of the pool, beside the index.
_OF_EXAMPLES = (
  *(tables.TRUNCATED, tables.REFERENCE, tables.SCORES, tables.CELLS),
  *(tables.GROUPS, tables.NEAR_REFERENCE, tables.NEAR_EVALUATION),
  *(tables.DEV_LOSSES, tables.SUBSETS),
)
# Chosen records whose text is held at once.
_PART_LINES = 20_000


def counted(run: context.Run, record: dict[str, Any]) -> findings.Check:
  """Checks that what was read adds up, and that all tables name its ids."""
  workdir = run.workdir
  counts = files.read_json(tables.COUNTS.path(workdir))
  told = [invariants.counted(counts)]
  noted = {name: record[name] for name in counts if name in record}
  if noted != counts:
    told.append(iter([f"it is not what {stage_record.RECORD} has noted"]))
  differs = list(_named(tables.COUNTS, *told))
  why = f"{tables.COUNTS.file()} has"
  rejects = files.read_bytes(tables.REJECTS.path(workdir)).count(b"\n")
  cut = tables.TRUNCATED.path(workdir)
  truncated = files.count_rows(cut) if cut.exists() else 0
  for one, held, key in (
    (tables.REJECTS, rejects, "rejected"),
    (tables.TRUNCATED, truncated, "truncated"),
  ):
    of_key = f"{why} {key}:"
    differs += _named(one, invariants.number("rows", held, counts[key], of_key))
  held = files.read_table(
    tables.INDEX.path(workdir),
    ["row", "id", "n_prompt_tokens", "n_response_tokens"],
  )
  tokens = sum(
    int(held[name].sum(dtype=np.int64))
    for name in ("n_prompt_tokens", "n_response_tokens")
  )
  made = stage_record.fingerprint(
    [[record["inputs"], index.fingerprint(workdir)]]
  )
  differs += _named(
    tables.INDEX,
    invariants.number("rows", len(held["row"]), counts["used"], f"{why} used:"),
    invariants.number("tokens", tokens, counts["tokens"], f"{why} tokens:"),
    invariants.numbered("row", held["row"], 0),
    invariants.once("id", held["id"], held["row"]),
    [] if made == record["output"] else ["its ids are not those of the run"],
  )
  differs += _ids(workdir, held["id"])
  looked = (
    f"{counts['read']:,} read = {counts['used']:,} used + "
    f"{counts['rejected']:,} rejected"
  )
  if counts.get("contaminated"):
    looked += f" + {counts['contaminated']:,} contaminated"
  return findings.made("counts", f"{looked}; ids", differs)


def _named(
  one: artifact.Artifact, *told: Iterable[str], **fields: Any
) -> Iterator[str]:
  """Puts the name of a file before what differs in it."""
  name = one.template.format(**fields)
  for some in told:
    for what in some:
      yield f"{name}: {what}"


def _ids(workdir: epath.Path, ids: np.ndarray) -> Iterator[str]:
  """Looks up the rows and ids of all tables in the index."""
  for shard, path in enumerate(shards.listed(workdir, tables.RECORDS)):
    if checksums.is_whole(path):
      held = files.read_table(path, ["row", "id"])
      yield from _named(tables.RECORDS, _of_index(held, ids), shard=shard)
  for one in _OF_EXAMPLES:
    path = one.path(workdir)
    if path.exists() and checksums.is_whole(path):
      held = files.read_table(path, ["row", "id"])
      yield from _named(one, _of_index(held, ids))


def _of_index(held: dict[str, np.ndarray], ids: np.ndarray) -> Iterator[str]:
  row = held["row"]
  outside = (row < 0) | (row >= len(ids))
  yield from invariants.where(outside, row, "the pool has no such row")
  wanted = ids[np.where(outside, 0, row)]
  differs = (held["id"] != wanted) & ~outside
  yield from invariants.where(differs, row, "its id is not that of the index")


def scored(run: context.Run) -> findings.Check:
  """Checks that the scores are those of the shards, of all examples."""
  workdir = run.workdir
  held = files.read_table(tables.SCORES.path(workdir))
  row = held["row"]
  total = files.count_rows(tables.INDEX.path(workdir))
  lost = files.read_bytes(tables.NOT_FINITE.path(workdir)).count(b"\n")
  n_tokens = index.column(workdir, "n_response_tokens")[row]
  base, by_seed = losses.read(run, row)
  tuned = np.stack(list(by_seed.values()))
  std = np.full(len(row), np.nan, np.float32)
  if len(tuned) > 1:
    std = tuned.std(axis=0, ddof=1)
  why = f"{total:,} are in the pool, and {tables.NOT_FINITE.file()} leaves"
  differs = list(
    _named(
      tables.SCORES,
      invariants.number("examples", len(row), total - lost, why),
      invariants.once("row", row, row),
      invariants.same("n_tokens", held["n_tokens"], n_tokens, row, "the index"),
      invariants.same("nll_base", held["nll_base"], base, row, "the shards"),
      invariants.same(
        *("nll_sft", held["nll_sft"], tuned.mean(axis=0), row, "the shards")
      ),
      invariants.same(
        "nll_sft_std", held["nll_sft_std"], std, row, "the shards"
      ),
    )
  )
  reference = files.read_table(tables.REFERENCE.path(workdir), ["seed", "row"])
  dev = index.is_dev(workdir)[reference["row"]]
  pairs = reference["row"] * 2**16 + reference["seed"] % 2**16
  differs += _named(
    tables.REFERENCE,
    invariants.where(dev, reference["row"], "it is held out, and no reference"),
    invariants.once("row of a seed", pairs, reference["row"]),
  )
  looked = f"{len(row):,} scores by the losses of {1 + len(tuned)} models"
  return findings.made("losses", looked, differs)


def placed(run: context.Run) -> findings.Check:
  """Checks that the map holds what was scored, with its depth."""
  config, workdir = run.config, run.workdir
  cells = files.read_table(tables.CELLS.path(workdir))
  held = files.read_table(tables.SCORES.path(workdir))
  row = cells["row"]
  place = np.searchsorted(held["row"], row).clip(max=len(held["row"]) - 1)
  known = held["row"][place] == row
  name = depth.score_name(config.landscape.depth)
  told = [
    invariants.where(~known, row, f"{tables.SCORES.template} has no such row"),
    invariants.once("row", row, row),
  ]
  if not name:  # Else some have no score, and no place.
    why = f"{tables.SCORES.template} has"
    told.append(invariants.number("rows", len(row), len(held["row"]), why))
  if known.all() and (name or len(row) == len(held["row"])):
    if name:
      deep, source = scores_lib.read(workdir, [name], row)[name], name
    else:
      formula, source = depth.DEPTHS[config.landscape.depth], "the scores"
      labels = index.column(workdir, "n_labels")[row]
      columns = (held[n][place] for n in ("nll_base", "nll_sft", "n_tokens"))
      deep = formula(*columns, labels, cells["domain"])
    told.append(invariants.same("depth", cells["depth"], deep, row, source))
    relative = depth.relative_depth(cells["depth"], cells["domain"])
    told.append(
      invariants.same(
        *("relative_depth", cells["relative_depth"], relative, row),
        "its depth and domain",
      )
    )
  differs = list(_named(tables.CELLS, *told))
  looked = f"{len(row):,} examples with the depth of their scores"
  return findings.made("landscape", looked, differs)


def ranked(run: context.Run, record: dict[str, Any]) -> findings.Check:
  """Checks that all candidates are ranked, and the first of them selected."""
  config, workdir = run.config, run.workdir
  ranking = files.read_table(tables.RANKING.path(workdir))
  cells = files.read_table(tables.CELLS.path(workdir), ["row", "cell", "depth"])
  row = ranking["row"]
  place = np.searchsorted(cells["row"], row).clip(max=len(cells["row"]) - 1)
  known = cells["row"][place] == row
  outside = f"{tables.CELLS.template} has no such row"
  told = [
    invariants.numbered("rank", ranking["rank"], 1),
    invariants.once("row", row, row),
    invariants.where(~known, row, outside),
  ]
  if known.all():
    ids = units.id_text(index.column(workdir, "id")[row]).astype(np.str_)
    told += [
      invariants.same("id", ranking["id"], ids, row, "the index"),
    ]
    told += [
      invariants.same(
        *(name, ranking[name], cells[name][place], row, tables.CELLS.template)
      )
      for name in ("cell", "depth")
    ]
    free = split.candidates(run, row)
    told.append(
      invariants.where(
        ~free, row, "it is held out or a reference, not to choose"
      )
    )
    told.append(_complete(run, row))
  differs = list(_named(tables.RANKING, *told))
  chosen = record["selected"]
  differs += _named(tables.SELECTED, _selected(workdir, row, chosen))
  table = files.read_json(tables.COVERAGE.path(workdir))["table"][0]
  why = f"{stage_record.RECORD} has selected:"
  differs += _named(
    tables.COVERAGE,
    invariants.number("examples", table["n_examples"], chosen, why),
  )
  looked = f"{chosen:,} selected, the first of {len(row):,} by "
  looked += config.select.strategy
  return findings.made("selection", looked, differs)


def _complete(run: context.Run, row: np.ndarray) -> Iterator[str]:
  """Looks for candidates without a rank; a method may order a head only."""
  config = run.config
  scored = scored_pool.load(run)
  candidates = scored.row[scored.candidates.candidate]
  alien = ~np.isin(row, candidates)
  yield from invariants.where(alien, row, "it is no candidate by config.select")
  lacks = candidates[~np.isin(candidates, row)]
  if len(lacks):
    pool = scored_pool.weighed(run, scored)
    again = scored_pool.rank(config, pool, config.select.strategy)
    if len(again.order) != len(row):
      yield (
        f"{findings.rows_text(lacks)}: a candidate without a rank; "
        f"{config.select.strategy} orders {len(again.order):,}, and here are "
        f"{len(row):,}"
      )


def _selected(
  workdir: epath.Path, row: np.ndarray, chosen: int
) -> Iterator[str]:
  """Compares the lines with the records of the pool, in the order of rank."""
  count, differs = 0, [np.zeros(0, np.bool_)]
  with files.reading(tables.SELECTED.path(workdir)) as stream:
    while lines := list(itertools.islice(stream, _PART_LINES)):
      # A row that is ranked twice was told, and is looked up once.
      rows, place = np.unique(
        row[count : count + len(lines)], return_inverse=True
      )
      texts = shards.gather(workdir, rows, ["record"])["record"].to_pylist()
      differs.append(
        np.array(
          [
            line.decode() != texts[k] + "\n"
            for line, k in zip(lines, place.tolist(), strict=False)
          ],
          np.bool_,
        )
      )
      count += len(lines)
  why = f"{stage_record.RECORD} has selected:"
  yield from invariants.number("lines", count, chosen, why)
  found = 1 + np.flatnonzero(np.concatenate(differs))
  if len(found):
    named = findings.rows_text(found, "line")
    yield f"{named}: its record is not that of this rank in the pool"
