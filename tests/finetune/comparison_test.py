"""The comparison of a selection with its rivals."""

import numpy as np

from ila_jax.finetune import comparison
from ila_jax.passes import dev_loss

N_TOKENS = np.array([3, 8, 1, 20], np.int32)


def _compare(strategies, *, nll=None, **changes):
  """Evaluations and losses of made-up arms, compared."""
  names = ["base", "ila"]
  labels = [{}, {"strategy": "ila", "equal": "selection"}]
  for strategy in strategies:
    for equal in ("examples", "tokens"):
      names.append(f"{strategy}-equal-{equal}")
      labels.append({"strategy": strategy, "equal": equal})
  rng = np.random.default_rng(0)
  nll = nll or {name: N_TOKENS * rng.uniform(1, 3, 4) for name in names}
  evaluations = [
    {"name": name}
    | label
    | dev_loss.summarise(nll[name], N_TOKENS)
    | {"train_examples": 9, "train_tokens": 80 + place}
    for place, (name, label) in enumerate(zip(names, labels, strict=True))
  ]
  fields = {"groups": np.arange(4), "seed": 0} | changes
  return evaluations, comparison.compare(evaluations, nll, N_TOKENS, **fields)


def test_differences_are_those_of_the_evaluations():
  evaluations, found = _compare(["random", "longest"])
  ours, *rivals = evaluations[1:]
  assert [row["name"] for row in found["rivals"]] == [
    rival["name"] for rival in rivals
  ]
  for row, rival in zip(found["rivals"], rivals, strict=True):
    for kind in ("micro", "macro"):
      gap = row[kind]
      assert abs(gap["value"] - (ours[kind] - rival[kind])) < 1e-8
      assert gap["low"] <= gap["value"] <= gap["high"]
    assert row["train_tokens"] == rival["train_tokens"]
    assert row["equal"] == rival["equal"]
  assert found["examples"] == found["groups"] == 4
  assert found["tokens"] == 32
  assert found["train_tokens"] == ours["train_tokens"]


def test_the_measure_is_the_rival_that_was_drawn_by_chance():
  evaluations, found = _compare(["longest", "random"])
  assert found["chance"] == "random"
  base, at_tokens = evaluations[0], evaluations[-1]
  assert at_tokens["name"] == "random-equal-tokens"
  assert abs(found["gain"] - (base["micro"] - at_tokens["micro"])) < 1e-8
  assert _compare(["longest", "trim"])[1]["chance"] == "longest"
  assert _compare(["a user's own"])[1]["chance"] == "a user's own"


def test_without_rivals_nothing_is_compared():
  found = _compare([])[1]
  assert found["rivals"] == [] and found["chance"] is found["gain"] is None


def test_prompts_are_drawn_and_not_examples():
  found = _compare(["random"], groups=np.array([7, 7, 7, 7]))[1]
  assert found["groups"] == 1
  for row in found["rivals"]:
    assert row["micro"]["low"] == row["micro"]["high"]
