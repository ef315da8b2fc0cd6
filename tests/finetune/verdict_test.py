"""The answer of a run, in words."""

import pytest

from ila_jax.finetune import verdict

BELOW = {"value": -0.0312, "low": -0.0491, "high": -0.0118}
ABOVE = {"value": 0.04, "low": 0.011, "high": 0.0689}
WITHIN = {"value": 0.004, "low": -0.0104, "high": 0.018}


def _comparison(tokens=None, examples=None, **changes):
  rivals = [
    {"name": f"random-equal-{equal}", "strategy": "random", "equal": equal,
     "micro": gap, "macro": gap}
    for equal, gap in (("examples", examples), ("tokens", tokens)) if gap
  ]  # fmt: skip
  fields = {"strategy": "ila", "chance": "random" if rivals else None}
  fields |= {"rivals": rivals, "gain": 0.2 if rivals else None, "groups": 400}
  return fields | changes


@pytest.mark.parametrize(
  ("tokens", "examples", "wanted"),
  [
    (
      BELOW,
      BELOW,
      "ila helped: 0.031 nats a token lower dev loss than random of equal "
      "tokens (95 % interval 0.012 to 0.049), and 0.031 lower than random of "
      "equal examples (0.012 to 0.049).",
    ),
    (
      ABOVE,
      ABOVE,
      "ila hurt: 0.040 nats a token higher dev loss than random of equal "
      "tokens (95 % interval 0.011 to 0.069), and 0.040 higher than random of"
      " equal examples (0.011 to 0.069).",
    ),
    (
      WITHIN,
      WITHIN,
      "No difference that this run can show: 0.004 nats a token higher dev "
      "loss than random of equal tokens (95 % interval −0.010 to 0.018), and "
      "0.004 higher than random of equal examples (−0.010 to 0.018).",
    ),
    (
      BELOW,
      WITHIN,
      "ila helped at equal tokens and made no difference that this run can "
      "show at equal examples: 0.031 nats a token lower dev loss than random "
      "of equal tokens (95 % interval 0.012 to 0.049), and 0.004 higher than "
      "random of equal examples (−0.010 to 0.018).",
    ),
    (
      BELOW,
      ABOVE,
      "ila helped at equal tokens and hurt at equal examples: 0.031 nats a "
      "token lower dev loss than random of equal tokens (95 % interval 0.012 "
      "to 0.049), and 0.040 higher than random of equal examples (0.011 to "
      "0.069).",
    ),
    (
      None,
      ABOVE,
      "ila hurt: 0.040 nats a token higher dev loss than random of equal "
      "examples (95 % interval 0.011 to 0.069).",
    ),
    (
      None,
      None,
      "Whether ila helped is not known: no rival was tuned on to compare it "
      "with. Name one in config.finetune.compare.",
    ),
  ],
)
def test_the_answer_is_a_sentence(tokens, examples, wanted):
  assert verdict.answer(_comparison(tokens, examples)) == wanted


def test_other_rivals_do_not_answer():
  other = {"strategy": "longest", "equal": "tokens", "micro": ABOVE}
  found = _comparison(BELOW)
  found["rivals"].insert(0, other | {"macro": ABOVE})
  assert verdict.answer(found) == verdict.answer(_comparison(BELOW))
  assert not verdict.cautions(found)


def test_small_differences_keep_their_digits():
  gap = {"value": -0.0021, "low": -0.0031, "high": -0.0011}
  assert "0.0021 nats a token lower" in verdict.answer(_comparison(gap))
  nothing = dict.fromkeys(("value", "low", "high"), 0.0)
  said = verdict.answer(_comparison(nothing))
  assert said.startswith("No difference that this run can show: 0.000 nats")
  assert "(95 % interval 0.000 to 0.000)" in said


@pytest.mark.parametrize(
  ("gain", "words"), [(0.0123, "lowered the dev loss by 0.012"),
                      (-0.2, "raised the dev loss by 0.200")]
)  # fmt: skip
def test_a_base_that_learns_nothing_cannot_tell(gain, words):
  (said,) = verdict.cautions(_comparison(BELOW, gain=gain))
  assert said.startswith(f"This base can hardly tell: tuning on random {words}")
  assert not verdict.cautions(_comparison(BELOW, gain=0.05))


def test_few_dev_prompts_are_a_caution():
  (said,) = verdict.cautions(_comparison(BELOW, groups=99))
  assert said.startswith("Only 99 dev prompts")
  assert not verdict.cautions(_comparison(BELOW, groups=100))


def test_averages_that_disagree_are_a_caution():
  found = _comparison(BELOW, BELOW)
  found["rivals"][1]["macro"] = ABOVE
  (said,) = verdict.cautions(found)
  assert said.startswith("At equal tokens it depends on what is averaged")
  assert "0.040 nats a token higher dev loss than random" in said


def test_a_rival_not_drawn_by_chance_does_not_tell_whether_selecting_helps():
  base = {"strategy": "ila", "gain": 0.2, "groups": 300, "rivals": []}
  (said,) = verdict.cautions(base | {"chance": "longest"})
  assert "not whether selecting helps" in said
  assert verdict.cautions(base | {"chance": "random"}) == []


def test_a_handful_of_dev_prompts_tells_nothing():
  gap = {"value": -0.03, "low": -0.03, "high": -0.03}
  rival = {"strategy": "random", "equal": "tokens", "micro": gap}
  rival |= {"name": "random-equal-tokens", "macro": gap}
  found = {"strategy": "ila", "chance": "random", "rivals": [rival]}
  found |= {"gain": 0.2, "groups": 9}
  assert verdict.answer(found).startswith("Whether ila helped cannot be told")
  assert verdict.cautions(found) == []  # The answer says it.
  found["groups"] = 10
  assert verdict.answer(found).startswith("ila helped")
  assert "Only 10 dev prompts" in verdict.cautions(found)[0]


@pytest.mark.parametrize(
  ("tokens", "examples", "said"),
  [
    (64, 90, "random for 64 at equal tokens"),
    (94, 200, "random for 200 at equal examples"),
    (64, 200, "random for 64 at equal tokens and for 200 at equal examples"),
    (90, 100, None),
    (0, 90, None),
  ],
)
def test_trainings_of_unlike_length_are_told(tokens, examples, said):
  steps = {"random-equal-tokens": tokens, "random-equal-examples": examples}
  found = verdict.cautions(_comparison(BELOW, BELOW), {"ila": 94} | steps)
  end = ": the number of steps alone can change the dev loss."
  told = [f"ila was trained for 94 steps, {said}{end}"] if said else []
  assert found == told
