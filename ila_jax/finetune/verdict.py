"""What a comparison says: whether the selection helped, and by how much."""

from collections.abc import Mapping
from typing import Any

from ila_jax.finetune import arms
from ila_jax.finetune import comparison as comparisons

# A base that random examples teach less, in nats a token, tells nothing apart.
LEAST_GAIN = 0.05
# Percentile intervals over fewer dev examples are too narrow.
FEW = 100
# Trainings of so many times the steps of the other are no longer alike.
UNLIKE_STEPS = 1.25
# So few dev prompts show nothing, whatever the interval over them is.
TOO_FEW = 10

_HELPED, _HURT, _NEITHER = "helped", "hurt", "no difference"

# What the intervals are and are not.
SCOPE = (
  "The intervals tell how far other dev examples could move these numbers. "
  "What another seed of the training or another random rival would change is "
  "not in them: run again with another config.seed to see it."
)


def answer(comparison: Mapping[str, Any]) -> str:
  """What the check found, in one sentence: the selection beside chance.

  Args:
    comparison: as `comparison.compare` returns it.

  >>> micro = {"value": -0.031, "low": -0.049, "high": -0.012}
  >>> rival = {"strategy": "random", "equal": "tokens", "micro": micro}
  >>> ila = {"strategy": "ila", "chance": "random", "groups": 300}
  >>> answer(ila | {"rivals": [rival]})
  'ila helped: 0.031 nats a token lower dev loss than random of equal tokens \
(95 % interval 0.012 to 0.049).'
  """
  ours = comparison["strategy"]
  rivals = {
    rival["equal"]: rival
    for rival in comparison["rivals"]
    if rival["strategy"] == comparison["chance"]
  }
  rivals = {
    equal: rivals[equal] for equal in arms.EQUAL[::-1] if equal in rivals
  }
  if not rivals:
    return (
      f"Whether {ours} helped is not known: no rival was tuned on to compare "
      "it with. Name one in config.finetune.compare."
    )
  if comparison["groups"] < TOO_FEW:
    return (
      f"Whether {ours} helped cannot be told: the dev examples have "
      f"{comparison['groups']:,} prompts, and {TOO_FEW} are the least that "
      "show anything. Raise config.pool.dev_examples."
    )
  said = {equal: _kind(rival["micro"]) for equal, rival in rivals.items()}
  numbers = " and ".join(
    f"{_apart(rival['micro'], is_first=not place)} than {rival['strategy']} of "
    f"equal {equal} ({_interval(rival['micro'], is_first=not place)}),"
    for place, (equal, rival) in enumerate(rivals.items())
  )
  return f"{_said(ours, said)}: {numbers.rstrip(',')}."


def _said(ours: str, said: Mapping[str, str]) -> str:
  """The answer in words; `said` has what was found, by what was equal."""
  kinds = list(dict.fromkeys(said.values()))
  if kinds == [_NEITHER]:
    return "No difference that this run can show"
  if len(kinds) == 1:
    return f"{ours} {kinds[0]}"
  words = {_NEITHER: "made no difference that this run can show"}
  parts = (f"{words.get(k, k)} at equal {equal}" for equal, k in said.items())
  return f"{ours} {' and '.join(parts)}"


def _kind(gap: Mapping[str, float]) -> str:
  if gap["high"] < 0:
    return _HELPED
  return _HURT if gap["low"] > 0 else _NEITHER


def _apart(gap: Mapping[str, float], *, is_first: bool = True) -> str:
  """The difference; what it is of stands in the first of a sentence only."""
  side = "lower" if gap["value"] <= 0 else "higher"
  size = f"{abs(gap['value']):.{digits(gap)}f}"
  return (
    f"{size} nats a token {side} dev loss" if is_first else f"{size} {side}"
  )


def _interval(gap: Mapping[str, float], *, is_first: bool = True) -> str:
  """The interval, with the sign of the word that stands before it."""
  ends = (gap["low"], gap["high"])
  if gap["value"] <= 0:
    ends = (-gap["high"], -gap["low"])
  low, high = (f"{end + 0.0:.{digits(gap)}f}" for end in ends)
  said = f"{low} to {high}".replace("-", "−")
  return f"95 % interval {said}" if is_first else said


def digits(gap: Mapping[str, float]) -> int:
  """Decimals that show a difference and its interval: three, or some more.

  >>> digits({"value": -0.03, "low": -0.05, "high": -0.01})
  3
  >>> digits({"value": -0.0003, "low": -0.0006, "high": -0.0001})
  4
  """
  largest = max(abs(gap["low"]), abs(gap["high"]))
  for count, bound in ((3, 5e-3), (4, 5e-4)):
    if largest >= bound or not largest:
      return count
  return 5


def cautions(
  comparison: Mapping[str, Any], steps: Mapping[str, int] | None = None
) -> list[str]:
  """What weakens the answer, in sentences.

  Args:
    comparison: as `comparison.compare` returns it.
    steps: of the training of each model, by its name; None: not known.

  >>> no_chance = {"strategy": "ila", "chance": "longest", "gain": 0.2}
  >>> cautions(no_chance | {"rivals": [], "groups": 300})[0][:33]
  'No rival was drawn by chance: thi'
  """
  found = []
  gain, chance = comparison["gain"], comparison["chance"]
  if chance is not None and not comparisons.by_chance(chance):
    found.append(
      f"No rival was drawn by chance: this is {comparison['strategy']} beside "
      f"{chance}, and not whether selecting helps. Add random to "
      "config.finetune.compare."
    )
  if gain is not None and gain < LEAST_GAIN:
    moved = f"lowered the dev loss by {gain:.3f}"
    if gain < 0:
      moved = f"raised the dev loss by {-gain:.3f}"
    found.append(
      f"This base can hardly tell: tuning on {chance} {moved} nats a token, "
      f"and a base that learns less than {LEAST_GAIN} from any examples cannot "
      "tell good ones from others. Take a larger or longer trained base, a "
      "larger budget, more config.finetune.epochs or another "
      "config.finetune.learning_rate."
    )
  found += _steps(comparison, steps or {})
  for rival in comparison["rivals"]:
    if rival["strategy"] != chance:
      continue
    micro, macro = rival["micro"], rival["macro"]
    if _kind(micro) != _kind(macro):
      found.append(
        f"At equal {rival['equal']} it depends on what is averaged: where "
        "every example counts alike and not every token, the selection has "
        f"{_apart(macro)} than {chance} ({_interval(macro)})."
      )
  if TOO_FEW <= comparison["groups"] < FEW and comparison["rivals"]:
    found.append(
      f"Only {comparison['groups']:,} dev prompts: intervals over fewer than "
      f"{FEW} are too narrow. Raise config.pool.dev_examples."
    )
  return found


def _steps(
  comparison: Mapping[str, Any], steps: Mapping[str, int]
) -> list[str]:
  """That the selection had more steps, or fewer, where that is so."""
  own, chance = steps.get(comparison["strategy"], 0), comparison["chance"]
  theirs = {
    rival["equal"]: steps.get(rival["name"], 0)
    for rival in comparison["rivals"]
    if rival["strategy"] == chance
  }
  unlike = " and ".join(
    f"for {theirs[equal]:,} at equal {equal}"
    for equal in arms.EQUAL[::-1]
    if own and theirs.get(equal) and _are_unlike(own, theirs[equal])
  )
  if not unlike:
    return []
  return [
    f"{comparison['strategy']} was trained for {own:,} steps, {chance} {unlike}"
    ": the number of steps alone can change the dev loss."
  ]


def _are_unlike(one: int, other: int) -> bool:
  return max(one, other) >= UNLIKE_STEPS * min(one, other)
