"""What a run that has not begun will take, by hand."""

import pytest

from ila_jax.forecast import costs, here, trials, work
from ila_jax.passes import forward, windows
from ila_jax.training import trial
from tests.support import planned


@pytest.fixture
def untried(monkeypatch):
  """Shares of 1 GFLOP/s are assumed; nothing is compiled."""
  monkeypatch.setattr(here, "_MOST_SECONDS", 0.0)
  monkeypatch.setattr(here.hardware, "matrix_rate", lambda mesh, dtype: 1e9)
  for name in ("scoring_bytes", "training_bytes", "together_bytes"):
    monkeypatch.setattr(here.memory_lib, name, lambda *_, **__: 7)


def _pass_flops(run):
  data = run.sample.data
  return forward.flops(
    run.decoder, data.lengths, response_tokens=data.response_tokens
  )


def test_a_pass_of_models_together_and_after_one_another(untried):
  run = planned.run(train__method="lora")
  data = run.sample.data
  one = run.scoring(data, examples=1000)
  assert one.flops == pytest.approx(25 * _pass_flops(run))
  assert one.seconds == pytest.approx(one.flops / (0.5 * 1e9))
  assert run.scoring(data, examples=1000, models=3).flops == 3 * one.flops
  assert one.times(3).flops == 3 * one.flops
  assert not one.tried and one.device_bytes == 7


def test_training_is_that_of_its_recipe(untried):
  run = planned.run(score__epochs=2.0, finetune__epochs=1.0)
  data, one = run.sample.data, _pass_flops(run) / 40
  twice = run.training(
    data, trial.reference(run.config, seed=0), examples=30, runs=2
  )
  # Three passes for each of two runs, of two epochs of 30 examples.
  assert twice.flops == pytest.approx(3 * 2 * 2 * 30 * one)
  assert twice.seconds == pytest.approx(twice.flops / (0.35 * 1e9))
  adapter = planned.run(train__method="lora", score__epochs=2.0)
  frozen = adapter.training(
    data, trial.reference(adapter.config, seed=0), examples=30, runs=2
  )
  assert frozen.flops == pytest.approx(2 / 3 * twice.flops)
  # A dev loss of each of 3 models, on 20 examples.
  tuned = run.tuning(examples=30, runs=2, evaluations=3)
  assert tuned.flops == pytest.approx(3 * 2 * 30 * one + 3 * 20 * one)


def test_an_early_stop_is_foretold_as_if_none_came(untried):
  run = planned.run(
    finetune__epochs=1.0, finetune__stop_patience=2, finetune__stop_steps=1000
  )
  one = _pass_flops(run) / 40
  tuned = run.tuning(examples=30, runs=2, evaluations=3)
  # Three of 30 are held out, and looked at once in each of two runs.
  wanted = 3 * 2 * 27 * one + 3 * 20 * one + 2 * 3 * one
  assert tuned.flops == pytest.approx(wanted)


def test_what_is_read_in_windows_costs_its_windows(untried):
  run = planned.run(tokens__max_tokens=16, finetune__epochs=1.0)
  data = run.sample.data
  parts = windows.split(data, max_tokens=16).data
  assert len(parts) > 2 * len(data)
  flops = forward.flops(
    run.decoder, parts.lengths, response_tokens=data.response_tokens
  )
  assert parts.response_tokens == data.response_tokens
  assert run.scoring(data, examples=1000).flops == pytest.approx(25 * flops)
  tuned = run.training(data, trial.tuning(run.config), examples=80)
  assert tuned.flops == pytest.approx(3 * 2 * flops)


def test_a_program_is_tried_once_and_compiled_once(monkeypatch):
  tried = []

  def training(config, data, recipe, *, mesh, beside):
    assert beside == 0
    tried.append(recipe)
    return trials.Training(step=2.0, start=3.0, compile_seconds=10.0)

  monkeypatch.setattr(trials, "training", training)
  monkeypatch.setattr(
    here.memory_lib, "training_bytes", lambda config, recipe, mesh: 1000
  )
  run = planned.run(
    tokens__max_tokens=64, train__batch_tokens=64, finetune__epochs=1.0
  )
  recipe, data = trial.tuning(run.config), run.sample.data
  steps = len(
    work.batches.plan(data.lengths, width=64, rows=1, seed=0, epochs=1.0)
  )
  first, second = (
    run.training(data, recipe, examples=40, runs=runs) for runs in (1, 2)
  )
  weights = 4 * here.memory_lib.decoder.count_parameters(run.decoder)
  assert tried == [recipe]
  assert first.seconds == 10 + 3 + 2 * steps
  assert second.seconds == 2 * (3 + 2 * steps)
  assert (first.compile_seconds, second.compile_seconds) == (10.0, 0.0)
  # Beside the base, which is kept.
  assert first.device_bytes == 1000 + weights


def test_runs_side_by_side_are_tried_and_held_in_groups(monkeypatch):
  tried = []

  def training(config, data, recipe, *, mesh, beside):
    tried.append(beside)
    return trials.Training(step=2.0, start=3.0, compile_seconds=10.0)

  monkeypatch.setattr(trials, "training", training)
  monkeypatch.setattr(
    here.memory_lib, "together_bytes", lambda *_, beside, **__: 500 * beside
  )
  run = planned.run(
    tokens__max_tokens=64, train__batch_tokens=64, finetune__epochs=1.0
  )
  recipe, data = trial.tuning(run.config), run.sample.data
  steps = len(
    work.batches.plan(data.lengths, width=64, rows=1, seed=0, epochs=1.0)
  )
  count = 2 * run.mesh.size + 1  # More than a group on all devices.
  turns = [(2, 80.0), (1, 20.0)]
  found = run.training(data, recipe, examples=40, runs=count, turns=turns)
  assert tried == [2]
  # A group takes as long as its longest run.
  assert found.seconds == 10 + 2 * 3 + 2 * (2 * steps + steps / 2)
  weights = 4 * here.memory_lib.decoder.count_parameters(run.decoder)
  assert found.device_bytes == 1000 + weights


def test_what_is_not_tried_waits_for_the_longest_of_a_group(untried):
  run = planned.run(finetune__epochs=1.0)
  recipe, data = trial.tuning(run.config), run.sample.data
  devices = run.mesh.size
  asked = {"examples": 40, "runs": devices}
  even, uneven = (
    run.training(data, recipe, turns=[(1, longest)], **asked)
    for longest in (40.0, 80.0)
  )
  assert uneven.seconds == pytest.approx(2 * even.seconds)
  assert even.seconds == pytest.approx(even.flops / (0.35 * 1e9))


def test_costs_add_up():
  pass_ = costs.Cost(5.0, 1.0, 10.0, 300, left_out=("a",))
  both = pass_.times(3).and_also(costs.Cost(2.0, 0.5, 1.0, 400, tried=False))
  assert both == costs.Cost(15.0, 1.5, 31.0, 400, tried=False, left_out=("a",))
  assert both.plus(1.0).seconds == 16.0
