"""What the points of a sweep have found, as JSON lines and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from ila_jax.laboratory import verdict
from ila_jax.report import gather, sentences
from ila_jax.run import tables, units
from ila_jax.run.disk import checksums, files

_EQUAL = ("tokens", "examples")


def of_run(workdir: epath.PathLike) -> dict[str, Any]:
  """What a run that is done has found, as a JSON value.

  Args:
    workdir: of the run.

  Returns:
    `sentence`; `law`: runs, r2 and loo_r2 of the fitted law, None where no law
    was fitted; `check`: for each rival name, strategy, equal, and the
    difference in dev loss by token (`micro`) and by example (`macro`), each
    with value, low and high; `laboratory`: a sentence for each of its arms.

  Raises:
    errors.InputError: an artifact of the run is damaged.
  """
  workdir = epath.Path(workdir)
  answer = sentences.answer(workdir, gather.stage_records(workdir))[0]
  fits = _json(tables.FITS.path(workdir)) or {}
  law = None
  if fits.get("fitted"):
    law = {name: fits[name] for name in ("runs", "r2", "loo_r2")}
  compared = sentences.comparison(workdir) or {"rivals": []}
  kept = ("name", "strategy", "equal", "micro", "macro")
  check = [{name: one[name] for name in kept} for one in compared["rivals"]]
  judged = (_json(tables.CONTRASTS.path(workdir)) or {}).get("verdict", [])
  arms = [verdict.sentence(one) for one in judged]
  return {"sentence": answer, "law": law, "check": check, "laboratory": arms}


def _json(path: epath.Path) -> Any:
  is_known = path.name in (checksums.read(path.parent) or {})
  return files.read_json(path) if is_known else None


def told(lines: Sequence[Mapping[str, Any]]) -> str:
  """Tells people what became of each point, and what each has found.

  Args:
    lines: one dict a point: point, state, seconds, status, message and answer.

  >>> gap = {"value": -0.03, "low": -0.05, "high": -0.01}
  >>> check = [{"strategy": "random", "equal": "tokens", "micro": gap}]
  >>> found = {"sentence": "It helped.", "law": None, "check": check,
  ...   "laboratory": ["ila: better than its rivals; ..."]}
  >>> print(told([
  ...   {"point": "depth=a", "state": "done", "seconds": 75.0, "status": 0,
  ...    "message": "", "answer": found},
  ...   {"point": "depth=b", "state": "failed", "seconds": 2.0, "status": 2,
  ...    "message": "config.x is 1.", "answer": None}]))
  point    state         time  R²  leave-one-out  tokens: less than random
  depth=a  done    1 min 15 s                       -0.030 [-0.050, -0.010]
  depth=b  failed       2.0 s
  <BLANKLINE>
  depth=a: It helped.
    ila: better than its rivals; ...
  depth=b: failed with exit status 2: config.x is 1.
  """
  columns = sorted(
    {
      (_EQUAL.index(one["equal"]), one["strategy"])
      for line in lines
      for one in (line["answer"] or {}).get("check", ())
    }
  )
  head = ["point", "state", "time", "R²", "leave-one-out"]
  head += [f"{_EQUAL[equal]}: less than {name}" for equal, name in columns]
  rows = [head, *(_row(line, columns) for line in lines)]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  # Words to the left, numbers to the right.
  shown = [
    "  ".join(
      f"{cell:{'<' if at < 2 else '>'}{width}}"
      for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  ]
  return "\n".join([*shown, "", *map(_sentence, lines)])


def _row(
  line: Mapping[str, Any], columns: Sequence[tuple[int, str]]
) -> list[str]:
  answer = line["answer"] or {}
  law = answer.get("law") or {}
  gaps = {
    (one["equal"], one["strategy"]): one["micro"]
    for one in answer.get("check", ())
  }
  seconds = line["seconds"]
  return [
    line["point"],
    line["state"],
    "" if seconds is None else units.duration(seconds),
    *(_number(law.get(name)) for name in ("r2", "loo_r2")),
    *(_gap(gaps.get((_EQUAL[equal], name))) for equal, name in columns),
  ]


def _number(value: float | int | None) -> str:
  return "" if value is None else f"{value:.2f}"


def _gap(gap: Mapping[str, float] | None) -> str:
  if gap is None:
    return ""
  return f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"


def _sentence(line: Mapping[str, Any]) -> str:
  said = f"{line['point']}: "
  if line["state"] == "done":
    arms = line["answer"].get("laboratory", [])
    return "\n  ".join([said + line["answer"]["sentence"], *arms])
  if line["state"] == "failed":
    return f"{said}failed with exit status {line['status']}: {line['message']}"
  return f"{said}{line['state']}"
