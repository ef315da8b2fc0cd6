"""The stages: their order, what each is made from, where its code lies.

Running, resuming, --redo, --dry-run, `ila status` and the manifest read it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ila_jax import errors
from ila_jax.run.disk import folders


class Node(NamedTuple):
  """A stage in the graph; it has a folder of its name in the workdir.

  Attributes:
    code: folder of `ila_jax` that has its code; a stage's `stage.py` is in it.
    made_from: stages whose output it is made from.
    uses_base: whether it always runs the base model.
  """

  code: str
  made_from: tuple[str, ...] = ()
  uses_base: bool = False


# Numbers that some methods need, and sets beside the pool: a folder each, made
# before the first stage that wants one. They are no stage, and none that
# --stages names.
SIGNALS, BESIDE = folders.SIGNALS, folders.BESIDE
# Names are the user's, in the order of the run.
GRAPH = {
  "pool": Node("pool"),
  "embed": Node("embed", ("pool",)),
  "score": Node("score", ("pool",), uses_base=True),
  SIGNALS: Node("score/signals", ("pool",), uses_base=True),
  BESIDE: Node("score", ("pool", "embed", "score"), uses_base=True),
  "landscape": Node("landscape", ("embed", "score", SIGNALS)),
  "select": Node("selection", ("landscape", SIGNALS, BESIDE)),
  "finetune": Node("finetune", ("select",), uses_base=True),
  "scaling": Node("scaling", ("landscape", SIGNALS), uses_base=True),
  "laboratory": Node(
    "laboratory", ("landscape", SIGNALS, BESIDE), uses_base=True
  ),
  # It reads all of them, and is made anew whenever one of them changed, so
  # that it is never refused.
  "report": Node("report"),
}
NAMES = tuple(name for name in GRAPH if name not in folders.ON_DEMAND)
# A base from scratch belongs to the run, and to no stage. Its folder has a
# record as theirs have.
BASE = "model"
RECORDED = (*NAMES, BASE)


def check(names: Iterable[str], *, also: Sequence[str] = ()) -> None:
  """Refuses a name that no stage has.

  Args:
    names: of stages.
    also: names that --redo may have besides.

  Raises:
    errors.InputError: names it and those that are allowed.

  >>> check(["pool", "select"])
  """
  more = f", and --redo: {', '.join(also)}" if also else ""
  for name in names:
    if name not in NAMES:
      raise errors.InputError(
        f"--stages or --redo names {name!r}; allowed: {', '.join(NAMES)}{more}."
      )


def made_with(name: str) -> tuple[str, ...]:
  """A stage and all that is made from it, in their order.

  >>> made_with("landscape")
  ('landscape', 'select', 'finetune', 'scaling', 'laboratory')
  """
  made = [name]
  for other, stage in GRAPH.items():
    if set(made) & set(stage.made_from):
      made.append(other)
  return tuple(made)


def leading_to(name: str) -> tuple[str, ...]:
  """A stage and all that it is made from, in their order.

  >>> leading_to("select")
  ('pool', 'embed', 'score', 'landscape', 'select')
  """
  found, left = {name}, [name]
  while left:
    new = set(GRAPH[left.pop()].made_from) - found
    found |= new
    left += new
  return in_order(found)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
  """Some stages in the order of the run.

  >>> in_order(["select", "pool"])
  ('pool', 'select')
  """
  names = set(names)
  return tuple(name for name in NAMES if name in names)


def use_base(names: Iterable[str]) -> bool:
  """Whether one of some stages always runs the base model.

  `embed` runs it only where config.encoder.path says so.

  >>> use_base(["pool", "score"]), use_base(["embed"])
  (True, False)
  """
  return any(GRAPH[name].uses_base for name in names)
