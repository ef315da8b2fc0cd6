"""What the stage gives the design and the laws, without any training."""

import inspect
import types

import pytest

from ila_jax.scaling import stage as scaling_stage
from ila_jax.selection import scored_pool
from tests.selection import stage_test as selected
from tests.support import tiny

workdir = selected.workdir


def _config(**overrides):
  settings = {
    "seed": 5,
    "select__budget": 60.0,
    "select__unit": "examples",
    "scaling__resamples": 300,
    "scaling__repeats": 3,
  }
  return tiny.config("none", **(settings | overrides))


@pytest.fixture
def asked(monkeypatch):
  """What design and laws are asked for, by their names."""
  noted = {}

  def note(name, module, result):
    def called(*_, **given):
      noted[name] = given
      return result

    monkeypatch.setattr(module, name, called)

  note("design", scaling_stage.design, [])
  note("mixtures", scaling_stage.mixtures, [])
  note("fit_law", scaling_stage.law, {"fitted": False, "reason": "few"})
  note("fits", scaling_stage.judged, {"fitted": False})
  return noted


def test_the_design_has_every_setting_of_the_config(asked, workdir):
  fields = {
    "subsets": 9,
    "held_out": 2,
    "sizes": (7, 11),
    "min_cell_share": 0.3,
    "depth_band": 0.4,
    "mixtures": 3,
    "mixture_tokens": (20, 30),
  }
  config = _config(**{f"scaling__{k}": v for k, v in fields.items()})
  pool = scored_pool.load(tiny.run(config, workdir))
  assert scaling_stage._design(config, pool) == []
  count, tokens = fields.pop("mixtures"), fields.pop("mixture_tokens")
  assert asked["design"] == {**fields, "seed": 5}
  assert asked["mixtures"] == {"count": count, "tokens": tokens, "seed": 5}


def test_the_laws_are_resampled_with_the_seed_of_the_run(
  asked, workdir, tmp_path, monkeypatch
):
  for stage in ("pool", "embed", "score", "landscape"):
    (tmp_path / stage).symlink_to(workdir / stage)
  monkeypatch.setattr(scaling_stage, "_domains", lambda run: None)
  # Subsets beyond the candidates: nothing is trained.
  config = _config(scaling__sizes=(10**5,))
  scaling_stage.run(tiny.run(config, tmp_path))
  for name in ("fit_law", "fits"):
    assert asked[name] == {"resamples": 300, "seed": 5}


def test_a_subset_is_tuned_on_again_with_other_seeds(monkeypatch):
  seeds = []

  def fit(decoder, data, recipe, *, keep, **_):
    assert not keep
    seeds.append(recipe.seed)

  monkeypatch.setattr(scaling_stage.trial, "fit", fit)
  losses = iter([3.0, 1.0, 2.0])
  monkeypatch.setattr(
    scaling_stage, "_evaluated", lambda *_: {"micro": next(losses)}
  )
  run = types.SimpleNamespace(config=_config())
  again = inspect.unwrap(scaling_stage._again)
  found = again(run, None, None, None, "n_00", None)
  assert found == [3.0, 1.0, 2.0] and seeds == [6, 7, 8]
