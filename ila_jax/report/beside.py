"""What the report says of methods beside each other."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from etils import epath

from ila_jax.methods import table as table_lib
from ila_jax.report import map_points, quantities
from ila_jax.run import stages
from ila_jax.score.sae import top
from ila_jax.selection import compare

# Records of a feature that are shown.
_RECORDS = 3

# Of a row of the table: what it has of the candidates' features and labels.
_SHARES = (
  ("features", "features", quantities.percent),
  (
    "features_often",
    f"features, {compare.OFTEN} times or more",
    quantities.percent,
  ),
  ("tag_diversity", "labels", quantities.percent),
  (
    "tag_complexity",
    "labels an example",
    lambda value: quantities.fixed(value, 2),
  ),
)

# Of a row of the table; None where a run of an older version lacks it.
_LATER = (
  *("median_tokens", "mean_depth", "domains", "effective_domains"),
  *("features", "features_often"),
)


def signal_seconds(
  strategies: Iterable[str],
  options: Mapping[str, Any],
  records: Mapping[str, dict[str, Any]],
) -> dict[str, float | int]:
  """Seconds that the signals of each method took; methods may share them.

  Args:
    strategies: names of methods.
    options: config.select.options.
    records: of stages, signals and sets, by their folders.

  >>> records = {"signals/nll_without_prompt": {"seconds": 7.5}}
  >>> signal_seconds(["ila", "ifd"], {}, records)
  {'ila': 0, 'ifd': 7.5}
  """
  folders = stages.SIGNALS, stages.BESIDE
  return {
    name: sum(
      records.get(f"{folder}/{need}", {}).get("seconds", 0)
      for need in table_lib.needed(name, options)
      for folder in folders
    )
    for name in strategies
  }


def table(
  coverage: dict[str, Any],
  select: dict[str, Any],
  signals: Mapping[str, float | int] | None = None,
) -> list[dict[str, Any]]:
  """A row for each method: ours first, then by the cells of the pool.

  Args:
    coverage: what stage `select` wrote of the methods.
    select: its record, with the seconds of each.
    signals: seconds of the signals of each.

  >>> rows = [{"strategy": name, "pool_cells": share}
  ...         for name, share in (("ila", 0.5), ("a", 0.1), ("b", 0.9))]
  >>> found = table({"table": rows}, {"parts": {"a": 2.5}})
  >>> [(row["strategy"], row["seconds"], row["shared"]) for row in found]
  [('ila', None, None), ('b', None, None), ('a', 2.5, None)]
  """
  ours, *rivals = coverage["table"]
  rivals = sorted(rivals, key=lambda row: -row["pool_cells"])
  shared = {}
  if overlap := coverage.get("overlap"):
    names, (first, *_) = overlap["strategies"], overlap["jaccard"]
    shared = dict(zip(names[1:], first[1:], strict=True))
  return [
    dict.fromkeys(_LATER)
    | row
    | {
      "seconds": select.get("parts", {}).get(row["strategy"]),
      "signal_seconds": (signals or {}).get(row["strategy"]),
      "shared": shared.get(row["strategy"]),
    }
    for row in (ours, *rivals)
  ]


def shares(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
  """What methods choose of the features and labels of the candidates.

  Args:
    rows: of `table`.

  Returns:
    `columns`, titles of the measures that tell methods apart; `rows`, of each
    method its name and texts for these; `alike`, a sentence for each measure
    that does not. Measures that no method has are in neither.

  >>> rows = [{"strategy": "a", "features": 1.0, "tag_diversity": 0.5},
  ...         {"strategy": "b", "features": 1.0, "tag_diversity": 0.75}]
  >>> found = shares(rows)
  >>> found["columns"], found["rows"]
  (['labels'], [('a', ['50.0 %']), ('b', ['75.0 %'])])
  >>> found["alike"]
  ['features: 100.0 % of all methods']
  """
  rows = list(rows)
  columns, alike = [], []
  for key, title, written in _SHARES:
    values = [row.get(key) for row in rows]
    if values.count(None) == len(values):
      continue
    texts = [written(value) for value in values]
    if len(rows) > 1 and len({*texts}) == 1:
      alike.append(f"{title}: {texts[0]} of all methods")
    else:
      columns.append((title, texts))
  return {
    "columns": [title for title, _ in columns],
    "rows": [
      (row["strategy"], [texts[place] for _, texts in columns])
      for place, row in enumerate(rows)
    ],
    "alike": alike,
  }


def same(overlap: Mapping[str, Any] | None) -> list[str]:
  """Names the methods that choose the very same examples, a sentence a group.

  Args:
    overlap: `strategies` and `jaccard`, as stage `select` wrote them.

  >>> same({"strategies": ["a", "b", "c"],
  ...       "jaccard": [[1, 0.5, 1], [0.5, 1, 0.5], [1, 0.5, 1]]})
  ['a and c choose exactly the same examples at this budget.']
  """
  if not overlap:
    return []
  groups: dict[int, list[str]] = {}
  for name, shared in zip(
    overlap["strategies"], overlap["jaccard"], strict=True
  ):
    groups.setdefault(shared.index(1), []).append(name)
  return [
    f"{', '.join(names[:-1])} and {names[-1]} choose exactly the same examples "
    "at this budget."
    for names in groups.values()
    if len(names) > 1
  ]


def features(
  workdir: epath.Path, coverage: dict[str, Any]
) -> dict[str, Any] | None:
  """The features that tell the strategy and a rival apart.

  Each comes with the prompts of the records of the pool that have most of it.
  """
  found = coverage.get("features")
  if not found:
    return None
  sides = {name: found[name] for name in ("gained", "lost")}
  named = [one["latent"] for side in sides.values() for one in side["shown"]]
  most = top.read(workdir)
  is_shown = np.isin(most["latent"], named) & (most["rank"] <= _RECORDS)
  latent, row = most["latent"][is_shown], most["row"][is_shown]
  prompts = map_points.prompts(workdir, np.unique(row))
  return found | {
    name: side
    | {
      "shown": [
        one | {"prompts": [prompts[r] for r in row[latent == one["latent"]]]}
        for one in side["shown"]
      ]
    }
    for name, side in sides.items()
  }


def disagreement(
  workdir: epath.Path, coverage: dict[str, Any]
) -> dict[str, Any] | None:
  """The examples on which the methods disagree, with what they say."""
  found = coverage.get("disagreement")
  if not found:
    return None
  rows = [one["row"] for side in ("missed", "alone") for one in found[side]]
  texts = map_points.said(workdir, np.unique(np.array(rows, np.int64)))
  return found | {
    side: [one | texts[one["row"]] for one in found[side]]
    for side in ("missed", "alone")
  }
