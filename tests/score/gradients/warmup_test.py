"""The warm-up of LESS and what is made by it, killed and whole."""

import os

import jax
import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.compute import mesh as mesh_lib
from ila_jax.passes import example_gradients, token_set, windows
from ila_jax.pool import index, shards
from ila_jax.run import account as account_lib
from ila_jax.run import interrupts, stage_record, tables
from ila_jax.run.disk import files
from ila_jax.score import target
from ila_jax.score.gradients import features, of_target, warmup
from ila_jax.score.signals import example_signal, gradients
from ila_jax.training import base, loop
from tests.support import planned, tiny

_OPTIONS = {
  "less": {"share": 0.4, "epochs": 2, "width": 64, "learning_rate": 1e-2}
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run whose pool is read, and whose adapter is warmed up."""
  folder = tmp_path_factory.mktemp("run")
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", tiny.records(90)),
    pool__shard_examples=40,
    pool__dev_examples=10,
    score__reference_examples=10,
    tokens__max_tokens=64,
    train__batch_tokens=512,
    train__lora_rank=4,
    select__options=_OPTIONS,
  )
  pipeline.run(config, folder / "work", stages=["pool"])
  found = tiny.run(config, folder / "work")
  warmup.run(found)
  return found


def _equal(one, two):
  jax.tree.map(np.testing.assert_array_equal, one, two)


def test_the_last_epoch_is_what_training_ends_with(run):
  account = stage_record.Stage(run.workdir / "beside", "x", {}).account
  prompts = index.column(run.workdir, "prompt_id")
  drawn = warmup._drawn(run)
  assert 0.4 * len(prompts) <= len(drawn) < len(prompts)
  data = windows.split(drawn, max_tokens=64).data
  recipe = warmup.recipe(run.config)
  seen = {}
  saving = loop.Saving(
    run.workdir / "elsewhere", at=lambda step, _: seen.update({step: step})
  )
  adapter, history = loop.train(
    base.load(run, account), data, recipe, mesh=run.mesh, saving=saving
  )
  states = list(warmup.states(run))
  assert len(states) == 2
  _equal(states[-1][0], mesh_lib.fetch(adapter))
  with pytest.raises(AssertionError):
    _equal(states[0][0], states[1][0])
  assert [*seen] == [step["step"] for step in history]
  # The weights are mean learning rates, of halves of the steps.
  half = round(len(history) / 2)
  rates = np.array([step["learning_rate"] for step in history])
  means = np.array([rates[:half].mean(), rates[half:].mean()])
  np.testing.assert_allclose(warmup.weights(run.workdir), means / means.sum())
  # Adam's moments, of the steps: none is 0 all over.
  for _, moments in states:
    assert all(np.any(leaf) for leaf in jax.tree.leaves(moments))


def test_killed_and_resumed_it_is_the_same_to_the_bit(
  run, tmp_path, monkeypatch
):
  """A signal stops it in the second epoch; a checkpoint is all that is left."""
  other = tiny.run(run.config, tmp_path / "work")
  pipeline.run(run.config, other.workdir, stages=["pool"])
  steps = stage_record.read_record(run.workdir / "beside/less_warmup")["steps"]
  asked = iter(range(1, 10**6))
  monkeypatch.setattr(
    interrupts, "is_requested", lambda: next(asked) > steps - 1
  )
  with pytest.raises(interrupts.Stopped):
    warmup.run(other)
  monkeypatch.undo()
  first = tables.WARMED_UP.path(other.workdir, epoch=1)
  assert first.exists()
  assert not tables.WARMED_UP.path(other.workdir, epoch=2).exists()
  warmup.run(other)
  for one, two in zip(warmup.states(run), warmup.states(other), strict=True):
    _equal(one, two)


def _paths(run):
  count = shards.count(run.workdir)
  return [
    tables.SIGNAL.path(run.workdir, name="gradients", shard=n)
    for n in range(count)
  ]


def test_a_shard_is_the_unit_of_resuming_and_is_made_to_the_bit(run):
  example_signal.run(gradients.SIGNAL, run)
  before = [files.read_array(path) for path in _paths(run)]
  assert len(before) == 3 and before[0].dtype == np.float16
  assert before[0].shape == (40, 2 * 64)
  norms = np.linalg.norm(before[0].astype(float).reshape(80, 64), axis=1)
  np.testing.assert_allclose(norms, 1, atol=1e-3)
  _paths(run)[1].unlink()
  kept = _paths(run)[0].stat().mtime
  example_signal.run(gradients.SIGNAL, run)
  for path, values in zip(_paths(run), before, strict=True):
    np.testing.assert_array_equal(files.read_array(path), values)
  assert _paths(run)[0].stat().mtime == kept


def _directions(run, data, *, with_moments):
  """Unit vectors of each epoch, from a pass over one example a row."""
  decoder = base.load(run, account_lib.Account())
  lengths = index.lengths(run.workdir)  # As the stages, to share programs.
  layout = features._layout(run.config, decoder.config, lengths)
  found = []
  for adapter, moments in warmup.states(run):
    adapter, moments = mesh_lib.put(
      (adapter, moments if with_moments else None),
      run.mesh,
      mesh_lib.REPLICATED,
    )
    each = example_gradients.example_gradients(
      decoder,
      data,
      features._recipe(run.config),
      adapter=adapter,
      moments=moments,
      layout=layout,
      mesh=run.mesh,
    )
    found.append(each / np.linalg.norm(each, axis=1, keepdims=True))
  return np.concatenate(found, axis=1)


def test_the_target_has_plain_gradients_and_the_pool_those_of_adam(run):
  """The target set is the pool itself, so that one reading tells of both."""
  workdir = run.workdir
  own = stage_record.Stage(workdir / "beside", target.NAME, {})
  own.begin()
  own.finish()
  os.symlink(workdir / "pool", own.folder / "pool")
  of_target.run(run)
  example_signal.run(gradients.SIGNAL, run)
  # Of examples that no window cuts.
  rows = np.flatnonzero(index.lengths(workdir) <= 64)[:16]
  assert len(rows) == 16
  data = token_set.of_rows(workdir, rows)
  plain, adam = (
    _directions(run, data, with_moments=is_adam) for is_adam in (False, True)
  )
  assert np.abs(plain - adam).max() > 0.05
  found = files.read_array(tables.TARGET_GRADIENTS.path(workdir))[rows]
  np.testing.assert_allclose(found, plain, atol=2e-3)
  found = example_signal.read(workdir, gradients.NAME, rows)
  np.testing.assert_allclose(found, adam, atol=2e-3)


def test_it_is_read_row_by_row(run):
  rows = np.array([80, 3, 41])
  reader = example_signal.rows(run.workdir, gradients.SIGNAL, np.arange(90))
  found = reader[rows]
  assert len(reader) == 90 and found.dtype == np.float16
  whole = np.concatenate([files.read_array(path) for path in _paths(run)])
  np.testing.assert_array_equal(found, whole[rows])


def test_too_few_steps_for_its_epochs_are_refused(run):
  config = tiny.config(
    run.config.pool.source, select__options={"less": {"epochs": 50}}
  )
  data = token_set.TokenSet.of_text([np.arange(9, dtype=np.int32)] * 3)
  with pytest.raises(
    errors.InputError, match=r"has 7 steps of .* 50 epochs; a"
  ):
    warmup._epoch_ends(data, warmup.recipe(config))


@pytest.mark.parametrize(
  ("change", "same"),
  [
    ({"score__epochs": 7.0}, True),
    ({"train__method": "lora"}, True),
    ({"select__target": "another.jsonl"}, True),
    ({"train__lora_rank": 2}, False),
    ({"seed": 3}, False),
  ],
)
def test_what_it_is_made_from(run, change, same):
  fields = {
    "tokens__max_tokens": 64,
    "train__batch_tokens": 512,
    "train__lora_rank": 4,
    "select__options": _OPTIONS,
  }
  one, two = (
    warmup.made_from(
      tiny.run(tiny.config(run.config.pool.source, **f), epath.Path("x"))
    )
    for f in (fields, fields | change)
  )
  assert (one == two) == same


def test_a_plan_says_the_bytes_of_the_gradients():
  need = gradients.SIGNAL.need(planned.known())
  assert need.kept == 10_000 * 4 * 8192 * 2  # Examples, epochs, width, float16.
