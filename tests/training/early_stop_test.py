"""When a training ends, on what it is held out, and which weights it keeps."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.passes import token_set
from ila_jax.training import early_stop

_STOP = early_stop.EarlyStop(share=0.25, steps=2, patience=2)


def _data(*lengths):
  # The first token is the number of the example.
  return token_set.TokenSet.of_text(
    [np.array([i, *[99] * (n - 1)], np.int32) for i, n in enumerate(lengths)]
  )


def _watch(losses, total=20):
  left = iter(losses)
  return early_stop.Watch(_STOP, lambda params: next(left), total=total)


def test_it_ends_after_patience_and_keeps_the_best():
  watch, said = _watch([3.0, 2.0, 2.5, 2.0]), []
  params = {"w": np.zeros(2)}
  for step in range(1, 9):
    params["w"] += 1  # The next step takes its place.
    said.append(watch.after(step, params).get("held_out_loss"))
    assert watch.is_over == (step == 8)
  assert said == [None, 3.0, None, 2.0, None, 2.5, None, 2.0]
  # As low again is no better.
  np.testing.assert_array_equal(watch.chosen(params)["w"], 4.0)


def test_the_last_step_is_looked_at_too():
  watch = _watch([3.0, 2.0], total=3)
  for step in (1, 2, 3):
    watch.after(step, {"w": np.full(2, step)})
  assert not watch.is_over
  assert watch.chosen({"w": 0})["w"].tolist() == [3, 3]


@pytest.mark.parametrize("at", range(1, 8))
def test_one_that_goes_on_ends_where_it_would_have(at):
  losses = [3.0, 2.0, 2.5, 2.6]
  watch = _watch(losses)
  for step in range(1, at + 1):
    watch.after(step, {"w": np.full(2, step)})
  state = watch.kept({"params": {"w": np.full(2, at)}, "optimizer": ()})
  again = _watch(losses[at // 2 :])
  assert again.resume(state, watch.record()).keys() == {"params", "optimizer"}
  for step in range(at + 1, 9):
    again.after(step, {"w": np.full(2, step)})
  assert again.is_over
  assert again.chosen({"w": None})["w"].tolist() == [4, 4]


def test_without_a_stop_nothing_is_looked_at():
  watch = early_stop.Watch(None, lambda params: 1 / 0, total=1)
  assert watch.after(1, {}) == {} == watch.record()
  assert watch.kept({"params": 1}) == {"params": 1}
  assert (watch.chosen(7), watch.is_over) == (7, False)


def test_every_example_is_on_one_side_with_all_its_windows():
  data = _data(*[3, 25] * 8)
  trained, held_out = early_stop.split(data, _STOP, seed=1, width=10)

  def examples(part):
    # Windows but the first begin with a token of the example before.
    return {int(ids[0]) for ids in part.tokens if ids[0] != 99}

  assert examples(trained) | examples(held_out) == set(range(16))
  assert not examples(trained) & examples(held_out)
  assert len(examples(held_out)) == 4
  targets = sum(int(m[1:].sum()) for m in data.is_response)
  kept = sum(
    int(m[1:].sum()) for d in (trained, held_out) for m in d.is_response
  )
  assert kept == targets
  assert max(map(len, held_out.tokens)) <= 10
  other = early_stop.split(data, _STOP, seed=2, width=10)[1]
  assert examples(other) != examples(held_out)


def test_one_example_cannot_be_split():
  with pytest.raises(errors.InputError, match=r"stop_patience.*1 examples"):
    early_stop.split(_data(3), _STOP, seed=0, width=8)
  parts = early_stop.split(_data(3, 3), _STOP, seed=0, width=8)
  assert [len(part) for part in parts] == [1, 1]
  whole, nothing = early_stop.split(_data(3), None, seed=0, width=8)
  assert (len(whole), nothing) == (1, None)
