"""What a training of a stage takes from the config, and how it is read back."""

import jax
import pytest
from etils import epath
from flax import nnx

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, decoder, lora
from ila_jax.models.folders import weights
from ila_jax.training import early_stop, trial
from ila_jax.training import recipe as recipe_lib
from tests.support import tiny

# Each is another than the default, of the config and of the recipe.
_TRAIN = {
  "batch_tokens": 1024,
  "schedule": "linear",
  "micro_batch_tokens": 512,
  "warmup_fraction": 0.125,
  "weight_decay": 0.25,
  "clip_norm": 0.5,
}
_ADAPTER = {
  "method": "lora",
  "lora_rank": 3,
  "lora_alpha": 5.0,
  "lora_targets": ("query", "up"),
}
_LORA = lora.LoraConfig(rank=3, alpha=5.0, targets=("query", "up"))
_FIELDS = {
  "seed": 7,
  "tokens__max_tokens": 128,
  "finetune__epochs": 2.0,
  "finetune__learning_rate": 0.5,
  "finetune__stop_patience": 4,
  "finetune__stop_steps": 9,
  "finetune__stop_share": 0.3,
  "score__epochs": 3.0,
  "score__learning_rate": 0.75,
  **{f"train__{name}": value for name, value in (_TRAIN | _ADAPTER).items()},
}
_SHARED = {**_TRAIN, "width": 128, "lora": _LORA}


def test_a_recipe_has_every_setting_of_the_config():
  default = recipe_lib.Recipe(
    learning_rate=0.1, batch_tokens=16, width=16, seed=0
  )
  for name, value in _SHARED.items():
    assert getattr(default, name) != value, name
  config = tiny.config("none", **_FIELDS)
  tuning = recipe_lib.Recipe(
    **_SHARED,
    seed=7,
    epochs=2.0,
    learning_rate=0.5,
    early_stop=early_stop.EarlyStop(share=0.3, steps=9, patience=4),
  )
  assert trial.tuning(config) == tuning
  reference = recipe_lib.Recipe(
    **_SHARED, seed=5, epochs=3.0, learning_rate=0.75
  )
  assert trial.reference(config, seed=5) == reference
  full = tiny.config("none", **_FIELDS | {"train__method": "full"})
  assert trial.tuning(full).lora is None
  assert trial.adapter(full) == _LORA


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_is_read_back_as_the_config_computes(tmp_path, dtype):
  """Whatever its weights are on the disk, here float32."""
  sizes = {"vocab": 40, "layers": 1, "width": 16, "heads": 2, "kv_heads": 1}
  own = architecture.DecoderConfig(
    **sizes, head_dim=8, mlp_width=16, tied=False
  )
  folder = epath.Path(tmp_path)
  weights.save_decoder(folder, own, decoder.Decoder(own, rngs=nnx.Rngs(0)))
  config = tiny.config(
    "none",
    model__dtype=dtype,
    model__attention="plain",
    train__remat=True,
  )
  found = trial.load(folder, config=config, mesh=mesh_lib.make())
  assert found.adapter is None and found.lora is None
  held = {str(leaf.dtype) for leaf in jax.tree.leaves(found.decoder)}
  assert held == {dtype}
  made = found.decoder.config
  assert (made.dtype, made.param_dtype) == (dtype, dtype)
  assert (made.remat, made.attention) == (True, "plain")
