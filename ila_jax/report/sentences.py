"""What a run found, in sentences with their numbers; reads no example."""

import collections
from typing import Any

from etils import epath

from ila_jax.embed import inputs
from ila_jax.finetune import verdict
from ila_jax.landscape import ordering
from ila_jax.methods import table
from ila_jax.pool import unread
from ila_jax.pool.contamination import findings
from ila_jax.pool.tokens import tally
from ila_jax.report import others, quantities
from ila_jax.run import stages, tables
from ila_jax.run.disk import checksums, files
from ila_jax.selection import target


def evaluations(workdir: epath.Path) -> list[dict[str, Any]]:
  """Dev loss of the base, the selection and its rivals."""
  return files.read_jsonl(tables.EVALUATIONS.path(workdir))


def comparison(workdir: epath.Path) -> dict[str, Any] | None:
  """The selection beside its rivals; None in runs of older versions."""
  path = tables.COMPARISON.path(workdir)
  is_known = path.name in (checksums.read(path.parent) or {})
  return files.read_json(path) if is_known else None


def answer(
  workdir: epath.Path, records: dict[str, dict[str, Any]]
) -> list[str]:
  """Whether the selection helped, in a sentence, and then what weakens that."""
  if "finetune" not in records:
    missing = [n for n in stages.leading_to("finetune") if n not in records]
    return [
      "Whether the selection helps is not known: stage finetune, which tunes "
      "the base on it and on rivals, was not run. Run the same command with "
      f"--stages={','.join([*missing, 'report'])} at its end."
    ]
  workdir = epath.Path(workdir)
  compared = comparison(workdir)
  if compared is None:
    losses = ", ".join(
      f"{entry['name']} {entry['micro']:.4f}" for entry in evaluations(workdir)
    )
    return [
      "Whether the selection helped cannot be said with an interval: an older "
      "version of ila_jax made stage finetune and kept no loss of each dev "
      "example. Run the same command with --redo=finetune at its end.",
      f"Dev loss in nats a token: {losses}.",
    ]
  scope = [verdict.SCOPE] if compared["rivals"] else []
  cautions = verdict.cautions(compared, _steps(workdir))
  cautions += _aims(records.get("select", {}))
  return [verdict.answer(compared), *cautions, *scope]


def _steps(workdir: epath.Path) -> dict[str, int]:
  """Steps of the training of each model, by its name."""
  lines = files.read_jsonl(tables.METRICS.path(workdir))
  return dict(collections.Counter(line["name"] for line in lines))


def _aims(select: dict[str, Any]) -> list[str]:
  """A caution where the selection is for something else than the dev split."""
  asked = select.get("inputs", {}).get("config", {}).get("select", {})
  strategy = table.METHODS.get(asked.get("strategy"))
  wants = strategy is not None and strategy.wants_target
  is_aimed = "target" in asked and (
    wants or asked.get("cell_weight") == ordering.TARGET
  )
  named = ["config.select.target"] if is_aimed else []
  named += ["config.select.where"] if "where" in asked else []
  if not named:
    return []
  return [
    f"The selection is made for {' and '.join(named)}, and the dev examples "
    "are a random part of the whole pool: these numbers do not tell whether "
    "the model is better at what was asked for. Evaluate the tuned model on "
    "examples of that."
  ]


def headline(
  workdir: epath.Path, records: dict[str, dict[str, Any]]
) -> list[str]:
  """The answer, then the other findings."""
  return [*answer(workdir, records), *found(workdir, records)]


def found(workdir: epath.Path, records: dict[str, dict[str, Any]]) -> list[str]:
  """The findings but for the answer."""
  workdir = epath.Path(workdir)
  told = read(records) + chosen(workdir, records)
  return told + _law(workdir, records)


def read(records: dict[str, dict[str, Any]]) -> list[str]:
  """What was read as what."""
  if "pool" not in records:
    return []
  pool = records["pool"]
  lines = [
    f"Of {pool['read']:,} records, {_are(pool['used'])} usable and "
    f"{_are(pool['rejected'])} not{_left_out(pool)}."
  ]
  lines += findings.sentences(pool)
  lines += tally.sentences(pool)
  if "read_as" in pool:  # Not in runs of older versions.
    lines += unread.sentences(others.unread(pool, records))
  return lines + others.features(records)


def chosen(
  workdir: epath.Path, records: dict[str, dict[str, Any]]
) -> list[str]:
  """What was selected, and what it covers."""
  if "select" not in records:
    return []
  coverage = files.read_json(tables.COVERAGE.path(workdir))
  ours, *rivals = coverage["table"]
  line = (
    f"{ours['strategy']} chose {ours['n_examples']:,} examples with "
    f"{ours['n_tokens']:,} response tokens; they occupy "
    f"{quantities.percent(ours['pool_cells'])} of the pool's cells"
  )
  if rivals:
    name, share = rivals[0]["strategy"], rivals[0]["pool_cells"]
    line += (
      f"; those of {name} occupy {quantities.percent(share)} at the same budget"
    )
  return [
    line + ".",
    *_shares(records["select"]),
    *_tags(ours),
    *_beside(records["select"]),
  ]


def _shares(select: dict[str, Any]) -> list[str]:
  """How the cells share the budget, where the method has them share it."""
  asked = select.get("inputs", {}).get("config", {}).get("select", {})
  weight = asked.get("cell_weight", 0.0)
  strategy = table.METHODS.get(asked.get("strategy"))
  if strategy is None or not strategy.weighs(weight == ordering.TARGET):
    return []
  how = ""
  if weight == ordering.TARGET:
    how = "by the target examples in them"
  elif weight == 1:
    how = "by the numbers of their candidates"
  elif weight:
    how = f"by n^{weight:g}, for n candidates in a cell"
  own = strategy.cell_factor
  if own and not how:
    return [f"The cells share the budget {own}."]
  also = f", and {own}" if own else ""
  return [
    f"The cells share the budget {how or 'alike'} (config.select.cell_weight)"
    f"{also}."
  ]


def _tags(ours: dict[str, Any]) -> list[str]:
  """InsTag's numbers of the selection, where labels were read by name.

  >>> _tags({"tag_diversity": 1.0, "tag_complexity": 3})
  ['The chosen examples have 100.0 % of all labels of the candidates, and 3.00 \
labels each in the mean.']
  """
  if "tag_diversity" not in ours:
    return []
  return [
    f"The chosen examples have {quantities.percent(ours['tag_diversity'])} of "
    f"all labels of the candidates, and {ours['tag_complexity']:.2f} labels "
    "each in the mean."
  ]


def _beside(select: dict[str, Any]) -> list[str]:
  """How the target set lies, and how many are near an evaluation set."""
  lines = []
  if "near_evaluation" in select:
    limit = select["inputs"]["config"]["select"]["exclude_near_evaluation"]
    lines.append(
      f"{select['near_evaluation']:,} candidates are left out, for a prompt of "
      f"an evaluation set has a cosine of {limit:g} or more to them."
    )
  if "target" in select:
    lines += target.sentences(select["target"])
  return lines


def _law(workdir: epath.Path, records: dict[str, dict[str, Any]]) -> list[str]:
  """How well coverage and depth explain the loss."""
  if "scaling" not in records:
    return []
  fits = files.read_json(tables.FITS.path(workdir))
  if not fits["fitted"]:
    return []
  loo = "undefined" if fits["loo_r2"] is None else f"{fits['loo_r2']:.2f}"
  return [
    f"Coverage and depth explain log dev loss over {fits['runs']} subsets "
    f"with R² {fits['r2']:.2f}, leave-one-out {loo}."
  ]


def _are(count: int) -> str:
  return f"{count:,} {'is' if count == 1 else 'are'}"


def _left_out(pool: dict[str, Any]) -> str:
  """How many examples repeat an evaluation set, and are not used for that."""
  count = pool.get("contaminated", 0)
  return f"; {count:,} more are left out as contaminated" if count else ""


def warnings(records: dict[str, dict[str, Any]]) -> list[str]:
  """What of the pool may mislead."""
  pool = records.get("pool")
  if pool is None:
    return []
  lines = others.warnings(records)
  if "distinct_inputs" in records.get("embed", {}):
    unlike = inputs.warning(records["embed"])
    lines += [unlike] if unlike else []
  by_labels = not others.is_depth(records)
  if by_labels and not pool["with_labels"]:
    lines.append(
      "No record has labels (config.pool.fields.labels): K = 1 for all, so "
      "depth is loss reduction alone."
    )
  elif by_labels and pool["with_labels"] < pool["used"]:
    lines.append(
      f"{pool['used'] - pool['with_labels']:,} examples have no labels: K = 1 "
      "for them, which favours the labelled ones."
    )
  if pool["limited"]:
    lines.append(
      "Reading stopped at config.pool.limit; what follows in the sources was "
      "not read."
    )
  lines += [f"pool: {one}" for one in pool.get("warnings", [])]
  return lines + tally.warnings(pool)
