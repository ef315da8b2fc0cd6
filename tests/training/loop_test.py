"""Training against torch, and against itself: killed, resumed, spread out."""

import copy
import dataclasses
import functools
import json
import shutil
import signal
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import memory as memory_lib
from ila_jax.models import architecture
from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.models.folders import peft as peft_lib
from ila_jax.models.folders import weights
from ila_jax.passes import dev_loss, layouts, token_set
from ila_jax.training import batches, early_stop, loop, optim
from ila_jax.training import recipe as recipe_lib
from ila_jax.training import step as step_lib
from tests.support import forked, torch_models

_CONFIG = architecture.DecoderConfig(
  vocab=48,
  layers=2,
  width=16,
  heads=4,
  kv_heads=2,
  head_dim=4,
  mlp_width=24,
  tied=False,
  max_positions=64,
)
_LORA = lora_lib.LoraConfig(rank=2, alpha=4, targets=("query", "value", "down"))
_RECIPE = {
  "learning_rate": 1e-2,
  "batch_tokens": 64,
  "width": 16,
  "seed": 3,
  "weight_decay": 0.1,
  "clip_norm": 0.5,
  "warmup_fraction": 0.25,
}


def _decoder(config=_CONFIG, seed: int = 0) -> decoder_lib.Decoder:
  decoder = decoder_lib.Decoder(config, rngs=nnx.Rngs(seed))
  # Sharper than a fresh start, so that gradients are clipped.
  state = jax.tree.map(lambda p: p * 4, nnx.state(decoder))
  nnx.update(decoder, state)
  return decoder


def _data(n: int, *, seed: int = 0, low: int = 2, high: int = 17):
  rng = np.random.default_rng(seed)
  tokens, masks = [], []
  for _ in range(n):
    length = rng.integers(low, high)
    tokens.append(rng.integers(0, 48, length).astype(np.int32))
    mask = np.arange(length) >= rng.integers(1, length)
    masks.append(mask)
  return token_set.TokenSet(tokens, masks)


def _one_device() -> Mesh:
  devices = np.array(jax.devices()[:1]).reshape(1, 1, 1)
  return Mesh(devices, mesh_lib.AXES, axis_types=(AxisType.Auto,) * 3)


def _train(data, decoder=None, **changes):
  """Trains by `_RECIPE`; changes are of it, or arguments of `train`."""
  others = {"mesh": _one_device()}
  for name in {"mesh", "held_out", "saving", "on_step"} & changes.keys():
    others[name] = changes.pop(name)
  recipe = recipe_lib.Recipe(**(_RECIPE | changes))
  return loop.train(decoder or _decoder(), data, recipe, **others)


def _leaves(trained) -> list[np.ndarray]:
  """Weights of a decoder, or of an adapter."""
  is_decoder = isinstance(trained, decoder_lib.Decoder)
  tree = nnx.state(trained) if is_decoder else trained
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _assert_same_bits(found, wanted) -> None:
  for a, b in zip(_leaves(found), _leaves(wanted), strict=True):
    np.testing.assert_array_equal(a, b)


def _rival(folder, lora):
  """Our decoder as torch has it, and peft's adapter with our numbers."""
  torch = pytest.importorskip("torch")
  torch.set_num_threads(1)  # tiny products: threads only wait for each other
  import transformers

  weights.save_decoder(folder, _CONFIG, _decoder())
  rival = transformers.LlamaForCausalLM.from_pretrained(
    folder, attn_implementation="eager", dtype=torch.float32
  )
  if lora is None:
    return rival
  peft = pytest.importorskip("peft")
  first = lora_lib.init(_CONFIG, lora, jax.random.key(_RECIPE["seed"]))
  peft_lib.save(folder / "lora", lora, first, base_name=str(folder))
  return peft.PeftModel.from_pretrained(
    rival, folder / "lora", is_trainable=True
  )


def _torch_steps(rival, data, history):
  """Updates torch's model as ours was, and compares what is told of each."""
  torch = pytest.importorskip("torch")
  parameters = {n: p for n, p in rival.named_parameters() if p.requires_grad}
  decayed = [
    (optim.decayed({name: 0})[name], p) for name, p in parameters.items()
  ]
  adamw = torch.optim.AdamW(
    [
      {"params": [p for d, p in decayed if d], "weight_decay": 0.1},
      {"params": [p for d, p in decayed if not d], "weight_decay": 0.0},
    ],
  )
  steps = batches.plan(data.lengths, width=16, rows=4, seed=3, total_steps=3)
  assert [len(step) for step in steps] == [4, 4, 4]
  for step, ours in zip(steps, history, strict=True):
    nll, count = 0.0, 0
    for row in step:
      (example,) = row
      ids = torch.tensor(data.tokens[example], dtype=torch.long)
      logp = torch.log_softmax(rival(ids[None]).logits[0], -1)
      for i in np.flatnonzero(data.is_response[example]):
        nll, count = nll - logp[i - 1, ids[i]], count + 1
    loss = nll / count
    adamw.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 0.5)
    for group in adamw.param_groups:
      group["lr"] = ours["learning_rate"]
    adamw.step()
    assert ours["tokens"] == count
    assert ours["grad_norm"] > 0.5  # so clipping is at work
    np.testing.assert_allclose(ours["loss"], loss.item(), rtol=1e-5)
    np.testing.assert_allclose(ours["grad_norm"], norm.item(), rtol=1e-4)


# peft reads a property that transformers means to rename.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
@pytest.mark.parametrize("lora", [None, _LORA], ids=["full", "lora"])
def test_steps_equal_torch(tmp_path, lora):
  rival = _rival(tmp_path, lora)
  # More than half a row each: nothing is packed, as torch cannot.
  data = _data(8, low=9)
  # A high rate would let Adam's first, sign-like steps magnify rounding.
  trained, history = _train(data, total_steps=3, learning_rate=1e-3, lora=lora)
  _torch_steps(rival, data, history)
  if lora:
    rival.save_pretrained(tmp_path / "theirs")
    _, theirs = peft_lib.load(tmp_path / "theirs", _CONFIG)
    for ours, want in zip(_leaves(trained), _leaves(theirs), strict=True):
      assert ours.any()
      np.testing.assert_allclose(ours, want, atol=2e-6)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
  """A torch Gemma 2 whose window is shorter than the rows, and its folder."""
  rival = torch_models.causal(
    "gemma2",
    num_hidden_layers=2,
    sliding_window=4,
    query_pre_attn_scalar=20,
    attn_logit_softcapping=2.0,
    final_logit_softcapping=3.0,
    pad_token_id=96,  # torch gives it no gradient; no example holds it
  )
  return rival, torch_models.save(rival, tmp_path_factory.mktemp("gemma"))


def test_steps_of_gemma_equal_torch(gemma):
  rival, folder = gemma
  config, decoder = weights.load_decoder(folder)
  assert config.sandwich_norms and config.window < 9
  assert config.local == (True, False)
  data = _data(8, low=9)
  trained, history = _train(data, decoder, total_steps=3, learning_rate=1e-3)
  rival = copy.deepcopy(rival).train()
  _torch_steps(rival, data, history)
  rival.save_pretrained(folder.parent / "theirs")
  theirs = weights.load_decoder(folder.parent / "theirs")[1]
  for ours, want in zip(_leaves(trained), _leaves(theirs), strict=True):
    np.testing.assert_allclose(ours, want, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_step_in_bfloat16_is_near_one_in_float32(gemma, family):
  def first(dtype):
    if family == "gemma2":
      decoder = weights.load_decoder(gemma[1], dtype=dtype)[1]
    else:
      decoder = _decoder(dataclasses.replace(_CONFIG, dtype=dtype))
    assert decoder.config.dtype == dtype
    return _train(_data(8, low=9), decoder, total_steps=1)[1][0]

  near, exact = first("bfloat16"), first("float32")
  assert near["tokens"] == exact["tokens"]
  for name, bound in (("loss", 0.01), ("grad_norm", 0.05)):
    error = abs(near[name] / exact[name] - 1)
    assert 0 < error < bound


def test_a_step_holds_no_logits_and_few_tables():
  b, t, d, v = 8, 512, 16, 151_936
  config = architecture.DecoderConfig(
    vocab=v,
    layers=1,
    width=d,
    heads=2,
    kv_heads=1,
    head_dim=8,
    mlp_width=32,
  )
  optimizer, mesh = optim.adamw(), _one_device()
  graphdef, params = nnx.split(decoder_lib.abstract(config))
  state = jax.eval_shape(
    lambda params: step_lib.first_state(optimizer, params), params
  )
  batch = {
    name: jax.ShapeDtypeStruct((b, t), dtype)
    for name, dtype in (
      *((x, jnp.int32) for x in ("tokens", "positions", "segment_ids")),
      ("targets", jnp.bool_),
    )
  }
  rate = jax.ShapeDtypeStruct((), jnp.float32)
  with jax.set_mesh(mesh):
    lowered = step_lib.train_step.lower(
      graphdef, optimizer, mesh, None, state, {}, batch, rate
    )
  memory = lowered.compile().memory_analysis()
  logits, table = 4 * b * t * v, 4 * v * d
  # Weights and both moments come in, and go out in the same place.
  assert 3 * table < memory.argument_size_in_bytes < 3.1 * table
  assert memory.alias_size_in_bytes > 3 * table
  # The gradients of the head and of the lookup, before they are added, are
  # all that has a row for each token of the vocabulary.
  assert memory.temp_size_in_bytes - 2 * table < 0.005 * logits


@pytest.mark.parametrize("lora", [None, _LORA], ids=["full", "lora"])
def test_runs_of_any_length_share_one_program(caplog, lora):
  with jax.log_compiles():
    for n, steps in [(30, 5), (50, 9), (7, 2)]:
      # A norm that no other test clips to: nothing is compiled yet.
      _train(
        _data(n, seed=n),
        total_steps=steps,
        learning_rate=1e-2 / n,
        clip_norm=0.123,
        seed=n,
        lora=lora,
      )
  compiled = [
    record.getMessage()
    for record in caplog.records
    if record.getMessage().startswith("Compiling jit(train_step)")
  ]
  assert len(compiled) == 1


def test_metrics_tell_of_every_step_in_order():
  data = _data(30)
  said = []
  _, history = _train(data, epochs=2, on_step=said.append)
  assert said == history
  assert [m["step"] for m in said] == list(range(1, len(said) + 1))
  assert {m["total_steps"] for m in said} == {len(said)}
  targets = sum(int(mask.sum()) for mask in data.is_response)
  assert sum(m["tokens"] for m in said) == 2 * targets
  rate = optim.cosine(
    learning_rate=1e-2, warmup_fraction=0.25, total_steps=len(said)
  )
  np.testing.assert_allclose(
    [m["learning_rate"] for m in said], rate(np.arange(len(said))), rtol=1e-6
  )


def test_packed_loss_is_the_loss_of_examples_alone():
  data = _data(10, high=7)
  _, history = _train(data, epochs=1)
  assert len(history) == 1
  wanted = dev_loss.summarise(
    *dev_loss.losses(
      _decoder(),
      data,
      layout=layouts.choose(data.lengths, batch_tokens=64),
      mesh=_one_device(),
    )
  )
  assert history[0]["tokens"] == wanted["n_tokens"]
  np.testing.assert_allclose(history[0]["loss"], wanted["micro"], rtol=1e-5)


@pytest.mark.parametrize("lora", [None, _LORA], ids=["full", "lora"])
def test_it_learns_and_leaves_the_base_alone(lora):
  base, data = _decoder(), _data(8)
  before = [leaf.copy() for leaf in _leaves(base)]
  tuned, history = _train(data, base, total_steps=60, lora=lora)
  assert history[-1]["loss"] < history[0]["loss"] * (0.9 if lora else 0.5)
  for a, b in zip(_leaves(base), before, strict=True):
    np.testing.assert_array_equal(a, b)
  if lora:
    tuned = lora_lib.merge(base, lora, tuned)
    found = dev_loss.summarise(
      *dev_loss.losses(
        tuned,
        data,
        layout=layouts.choose(data.lengths, batch_tokens=64),
        mesh=_one_device(),
      )
    )
    assert found["micro"] < history[0]["loss"] * 0.9
  assert nnx.graphdef(tuned) == nnx.graphdef(base)


def test_an_adapter_starts_from_the_seed():
  first = [
    # The rate of the first step moves nothing by more than itself.
    _train(_data(4), total_steps=1, learning_rate=1e-9, seed=s, lora=_LORA)[0]
    for s in (3, 4)
  ]
  for seed, adapter in zip((3, 4), first, strict=True):
    want = lora_lib.init(_CONFIG, _LORA, jax.random.key(seed))
    for a, b in zip(_leaves(adapter), _leaves(want), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-8)
  assert not (first[0]["query"]["a"] == first[1]["query"]["a"]).any()


@pytest.mark.parametrize(
  ("axes", "lora"),
  [((8, 1, 1), None), ((2, 2, 2), None), ((2, 2, 2), _LORA)],
  ids=["data", "data×fsdp×tensor", "lora"],
)
def test_eight_devices_equal_one(axes, lora):
  data = _data(30)
  # Four rows: less than devices.
  fields = {"total_steps": 4, "lora": lora}
  alone, one = _train(data, **fields)
  # With an adapter, blocks are computed again too: that changes nothing.
  decoder = _decoder(dataclasses.replace(_CONFIG, remat=lora is not None))
  spread, eight = _train(data, decoder, mesh=mesh_lib.make(*axes), **fields)
  for name in ("loss", "grad_norm"):
    np.testing.assert_allclose(
      [m[name] for m in eight], [m[name] for m in one], rtol=1e-5
    )
  for a, b in zip(_leaves(spread), _leaves(alone), strict=True):
    # Adam divides by tiny moments: relative to the step that was made.
    np.testing.assert_allclose(a, b, atol=1e-5)
  spread = spread if lora else nnx.state(spread)
  table = lora_lib if lora else decoder_lib
  wanted = table.shardings(spread, mesh_lib.make(*axes))
  for leaf, sharding in zip(
    *map(jax.tree.leaves, (spread, wanted)), strict=True
  ):
    assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)


@pytest.mark.parametrize(
  ("axes", "lora"),
  [((1, 1, 1), None), ((1, 1, 1), _LORA), ((2, 2, 2), None)],
  ids=["full", "lora", "mesh"],
)
def test_micro_batches_equal_the_whole_batch(axes, lora):
  # Seven rows of 1 to 15 targets: no two micro-batches have equally many, the
  # last of them has an empty row, and the last step fewer rows.
  data = _data(24, low=9)
  fields = {"epochs": 1, "lora": lora, "batch_tokens": 7 * 16}
  alone, one = _train(data, **fields)
  mesh = mesh_lib.make(*axes) if max(axes) > 1 else _one_device()
  split, two = _train(data, mesh=mesh, micro_batch_tokens=2 * 16, **fields)
  steps = [{k: v for k, v in m.items() if k == "tokens"} for m in one]
  assert [{k: v for k, v in m.items() if k == "tokens"} for m in two] == steps
  for name in ("loss", "grad_norm"):
    np.testing.assert_allclose(
      [m[name] for m in two], [m[name] for m in one], rtol=1e-5
    )
  for a, b in zip(_leaves(split), _leaves(alone), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_mean_of_means_would_be_seen():
  # What the test above would let pass if all rows had as many targets.
  data = _data(24, low=9)
  targets = [int(mask.sum()) for mask in data.is_response]
  assert max(targets) > 4 * min(targets)


def test_micro_batches_hold_the_activations_of_one():
  config = dataclasses.replace(_CONFIG, max_positions=512)
  held = {}
  for parts in (1, 8):
    recipe = recipe_lib.Recipe(
      **_RECIPE
      | {
        "batch_tokens": 64 * 512,
        "width": 512,
        "micro_batch_tokens": 64 * 512 // parts,
      }
    )
    mesh = _one_device()
    arguments = memory_lib.training_arguments(config, recipe, mesh)
    with jax.set_mesh(mesh):
      analysis = step_lib.train_step.lower(*arguments).compile()
    held[parts] = analysis.memory_analysis().temp_size_in_bytes
  assert held[8] < held[1] / 5


def test_other_micro_batches_go_on_with_a_run(tmp_path):
  def kill(metrics):
    if metrics["step"] == 5:
      raise _Killed

  data, saving = _data(30), loop.Saving(tmp_path / "run", steps=3)
  with pytest.raises(_Killed):
    _train(data, on_step=kill, total_steps=8, saving=saving)
  said = []
  found, _ = _train(
    data,
    on_step=said.append,
    total_steps=8,
    saving=saving,
    micro_batch_tokens=32,
  )
  assert said[0]["step"] == 4
  wanted, _ = _uninterrupted()
  for a, b in zip(_leaves(found), _leaves(wanted), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


class _Killed(Exception):
  pass


@functools.cache
def _uninterrupted(lora=None):
  return _train(_data(30), total_steps=8, lora=lora)


@pytest.mark.parametrize(
  ("killed_at", "lora"),
  [*((step, None) for step in (1, 4, 5, 7, 8)), (5, _LORA)],
  ids=lambda value: "lora" if value == _LORA else str(value or "full"),
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, killed_at, lora):
  def kill(metrics):
    if metrics["step"] == killed_at:
      raise _Killed

  data = _data(30)
  fields = {"total_steps": 8, "lora": lora}
  fields["saving"] = loop.Saving(tmp_path / "run", steps=3)
  wanted, history = _uninterrupted(lora)
  with pytest.raises(_Killed):
    _train(data, on_step=kill, **fields)
  said = []
  found, resumed = _train(data, on_step=said.append, **fields)
  assert resumed == history
  # Only what no checkpoint holds is done again.
  assert said == history[(killed_at - 1) // 3 * 3 :]
  _assert_same_bits(found, wanted)
  again, resumed = _train(data, on_step=said.clear, **fields)
  assert resumed == history
  _assert_same_bits(again, wanted)
  if lora:
    (kept,) = {p.read_text() for p in tmp_path.rglob("_METADATA")}
    assert "query" in kept and "embedding" not in kept


def test_checkpoints_by_time_lose_little_and_change_nothing(tmp_path):
  """With a moment between them, every step has one."""

  def kill(metrics):
    if metrics["step"] == 5:
      raise _Killed

  data, saved, said = _data(30), [], []
  saving = loop.Saving(
    tmp_path / "run",
    steps=1000,
    minutes=1e-9,
    before=lambda: saved.append(None),
  )
  fields = {"total_steps": 8, "saving": saving}
  wanted, history = _uninterrupted()
  with pytest.raises(_Killed):
    _train(data, on_step=kill, **fields)
  assert len(saved) == 4
  found, resumed = _train(data, on_step=said.append, **fields)
  assert resumed == history and said == history[4:]
  _assert_same_bits(found, wanted)


# Ends before its last step, for it learns its few examples by heart.
_STOPS = {
  "total_steps": 40,
  "learning_rate": 3e-2,
  "early_stop": early_stop.EarlyStop(share=0.3, steps=2, patience=2),
}


@functools.cache
def _stopped(lora=None):
  return _train(_data(12), held_out=_data(12, seed=1), lora=lora, **_STOPS)


@pytest.mark.parametrize("lora", [None, _LORA], ids=["full", "lora"])
def test_an_early_stop_keeps_the_weights_of_the_lowest_loss(lora):
  tuned, history = _stopped(lora)
  looked = {
    m["step"]: m["held_out_loss"] for m in history if "held_out_loss" in m
  }
  assert list(looked) == list(range(2, len(history) + 1, 2))
  best = min(looked, key=looked.get)
  assert best < len(history) == best + 4 < 40
  base, adapters = tuned, None
  if lora:
    base, adapters = _decoder(), lora_lib.stack(lora, [tuned])
  data = _data(12, seed=1)
  found = dev_loss.losses(
    base,
    data,
    layout=layouts.choose(data.lengths, batch_tokens=64),
    mesh=_one_device(),
    adapters=adapters,
  )
  micro = dev_loss.summarise(*found)["micro"]
  np.testing.assert_allclose(micro, looked[best], rtol=1e-5)
  # To look changes nothing: the steps are those of a run without.
  fields = {name: v for name, v in _STOPS.items() if name != "early_stop"}
  fields["lora"] = lora
  steps = []

  def note(metrics):
    steps.append(metrics)
    if len(steps) == len(history):
      raise _Killed

  with pytest.raises(_Killed):
    _train(_data(12), on_step=note, **fields)
  for plain, seen in zip(steps, history, strict=True):
    assert seen | plain == seen


@pytest.mark.parametrize("killed_at", [1, 3, 5, "end"])
def test_an_early_stop_that_was_killed_is_the_same(tmp_path, killed_at):
  wanted, history = _stopped()
  at = len(history) if killed_at == "end" else killed_at

  def kill(metrics):
    if metrics["step"] == at:
      raise _Killed

  fields = {**_STOPS, "held_out": _data(12, seed=1)}
  fields["saving"] = loop.Saving(tmp_path / "run", steps=1)
  with pytest.raises(_Killed):
    _train(_data(12), on_step=kill, **fields)
  found, resumed = _train(_data(12), **fields)
  assert resumed == history
  _assert_same_bits(found, wanted)
  # One that has ended trains nothing more.
  said = []
  again, resumed = _train(_data(12), on_step=said.append, **fields)
  assert (said, resumed) == ([], history)
  _assert_same_bits(again, wanted)


_SCRIPT = """
import sys
import time
import jax, numpy as np
from flax import nnx
from ila_jax.compute import mesh
from ila_jax.passes import token_set
from ila_jax.training import loop as train
from ila_jax.training import recipe
from ila_jax.models import architecture, decoder

config = architecture.DecoderConfig(
  vocab=48, layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=16
)
text = token_set.TokenSet.of_text(
  [np.arange(i, i + 12, dtype=np.int32) for i in range(30)]
)

def run(folder, on_step):
  tuned, history = train.train(
    decoder.Decoder(config, rngs=nnx.Rngs(0)), text,
    recipe.Recipe(
      total_steps=20, learning_rate=1e-2, batch_tokens=64, width=16, seed=0
    ),
    mesh=mesh.make(), saving=folder and train.Saving(folder, steps=5),
    on_step=on_step,
  )
  return jax.tree.leaves(nnx.state(tuned)), history

def wait_for_the_kill(metrics):
  if metrics["step"] == 13:
    print("ready", flush=True)
    time.sleep(600)

if sys.argv[2] == "first":
  run(sys.argv[1], wait_for_the_kill)
else:
  said = []
  resumed, history = run(sys.argv[1], said.append)
  whole, wanted = run(None, lambda metrics: None)
  same = all((a == b).all() for a, b in zip(resumed, whole, strict=True))
  print(bool(same), history == wanted, said[0]["step"])
"""


def test_a_run_killed_by_the_system_resumes_to_the_bit(tmp_path):
  command = ("-c", _SCRIPT, tmp_path / "run")
  child = forked.start(*command, "first", stdout=subprocess.PIPE)
  with child.stdout as stdout:
    assert stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
  child.join()
  assert child.exitcode == -signal.SIGKILL
  done = forked.run(*command, "second")
  assert done.returncode == 0, done.stderr
  same, same_history, first_step = done.stdout.split()
  assert (same, same_history) == ("True", "True")
  assert int(first_step) in (6, 11)  # 10 may not have been whole yet


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory):
  """A folder with the checkpoints of a run of three steps."""
  folder = tmp_path_factory.mktemp("steps")
  _train(_data(30), total_steps=3, saving=loop.Saving(folder), lora=_LORA)
  return folder


@pytest.mark.parametrize(
  "change",
  [
    *({"learning_rate": 2e-2}, {"warmup_fraction": 0.5}, {"seed": 4}),
    *({"weight_decay": 0.3}, {"clip_norm": 0.3}, {"total_steps": 4}),
    *({"schedule": "linear"}, {"lora": None}),
    {"lora": dataclasses.replace(_LORA, alpha=5)},
    *("data", "base"),
  ],
  ids=str,
)
def test_checkpoints_of_another_run_are_refused(three_steps, tmp_path, change):
  shutil.copytree(three_steps, tmp_path, dirs_exist_ok=True)
  fields = {"total_steps": 3, "saving": loop.Saving(tmp_path), "lora": _LORA}
  before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
  data, base = _data(30), _decoder()
  if change == "data":
    data.tokens[-1][-1] = (data.tokens[-1][-1] + 1) % 48
  elif change == "base":
    base = _decoder(seed=1)
  else:
    fields |= change
  with pytest.raises(errors.InputError, match="another run"):
    _train(data, base, **fields)
  after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
  assert after == before


def test_a_loss_that_is_not_finite_is_told_and_not_kept(tmp_path):
  with pytest.raises(
    errors.InputError, match=r"nan|inf.*step \d+ of 40, at learning rate"
  ):
    _train(
      _data(30),
      total_steps=40,
      learning_rate=1e30,
      saving=loop.Saving(tmp_path, steps=1),
    )
  for path in tmp_path.glob("*/run/metadata"):
    for metrics in json.loads(path.read_text())["record"]["history"]:
      assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (token_set.TokenSet([], []), "no examples"),
    (_data(3, low=17, high=18), "example 0 has 17 tokens.*up to.*16"),
    (
      token_set.TokenSet(
        [np.arange(3, dtype=np.int32)] * 2,
        [np.array([False, True, True]), np.zeros(3, bool)],
      ),
      "example 1 has 3 tokens and none to predict",
    ),
    (
      token_set.TokenSet([np.arange(1, dtype=np.int32)], [np.array([True])]),
      "example 0 has 1 tokens and none to predict",
    ),
    (
      token_set.TokenSet([np.zeros(0, np.int32)], [np.zeros(0, bool)]),
      "example 0 has 0 tokens and none to predict",
    ),
  ],
  ids=["none", "too long", "no target", "only the first token", "no tokens"],
)
def test_data_that_cannot_be_trained_on_is_refused(data, message):
  with pytest.raises(errors.InputError, match=message):
    _train(data, epochs=1)


@pytest.mark.parametrize("lora", [None, _LORA], ids=["full", "lora"])
def test_weights_held_in_bfloat16_are_trained_in_float32(lora):
  base = _decoder()
  half = nnx.clone(base)
  nnx.update(
    half, jax.tree.map(lambda p: p.astype("bfloat16"), nnx.state(half))
  )
  rounded = nnx.clone(base)
  nnx.update(
    rounded, jax.tree.map(lambda p: p.astype("float32"), nnx.state(half))
  )
  data = _data(30)
  tuned, history = _train(data, half, total_steps=5, lora=lora)
  _, wanted = _train(data, rounded, total_steps=5, lora=lora)
  assert history == wanted
  kept = "float32" if lora else "bfloat16"
  assert {leaf.dtype for leaf in _leaves(tuned)} == {np.dtype(kept)}
  assert {leaf.dtype for leaf in _leaves(half)} == {np.dtype("bfloat16")}
