import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, decoder, layers, losses
from ila_jax.models.folders import weights
from tests.support import packed, torch_models

LENGTHS = (7, 1, 12, 2)
TINY = architecture.DecoderConfig(
  vocab=32,
  layers=2,
  width=16,
  heads=4,
  kv_heads=2,
  head_dim=4,
  mlp_width=24,
  qkv_bias=True,
  tied=False,
)


@functools.partial(jax.jit, static_argnums=0)
def _run(graphdef, state, tokens, positions, segment_ids, targets):
  """All logits, and the losses by the way that never makes them."""
  model = nnx.merge(graphdef, state)
  hidden = model.hidden(tokens, positions, segment_ids)
  logits = layers.dot("btd,vd->btv", hidden, model.head_weights())
  return logits, losses.token_nll(
    hidden, model.head_weights(), tokens, targets, chunk_tokens=16
  )


@functools.partial(jax.jit, static_argnums=0)
def _value_and_grad(graphdef, state, *rows):
  return jax.value_and_grad(lambda s: _run(graphdef, s, *rows)[1].sum())(state)


def _examples(vocab):
  rng = np.random.default_rng(0)
  examples = [rng.integers(0, vocab, n).astype(np.int32) for n in LENGTHS]
  targets = [rng.random(n) < 0.6 for n in LENGTHS]
  targets[-1][:] = True
  return examples, targets


def _eight_rows(vocab=32):
  """Four rows of one example, one row of all four, three rows of none."""
  pairs = list(zip(*_examples(vocab), strict=True))
  return packed.batch(
    [*([pair] for pair in pairs), pairs, [], [], []], width=32
  )


@functools.cache
def _tiny():
  return nnx.split(decoder.Decoder(TINY, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module", params=list(torch_models.FAMILIES))
def pair(request, tmp_path_factory):
  theirs = torch_models.make_decoder(request.param)
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("model"))
  config, ours = weights.load_decoder(folder)
  return theirs, config, ours


def test_logits_and_losses_equal_torch_alone_and_packed(pair):
  theirs, config, ours = pair
  rows = _eight_rows(config.vocab)
  logits, nll = _run(*nnx.split(ours), *rows)
  sums, counts = losses.example_nll(nll, rows[3], rows[2], num_segments=4)
  start = 0
  for row, (example, target) in enumerate(
    zip(*_examples(config.vocab), strict=True)
  ):
    n = len(example)
    want = torch_models.torch_logits(theirs, example[None])[0]
    # Logits that were all small would be equal to anything.
    assert want.std() > 0.5
    np.testing.assert_allclose(logits[row, :n], want, atol=1e-4)
    np.testing.assert_allclose(logits[4, start : start + n], want, atol=1e-4)
    start += n
    want = torch_models.torch_nll(theirs, example, target)
    np.testing.assert_allclose(sums[row, 0], want, rtol=1e-5)
    np.testing.assert_allclose(sums[4, row], want, rtol=1e-5)
    assert counts[row, 0] == counts[4, row] == target[1:].sum()


def test_long_rows_equal_torch(tmp_path):
  theirs = torch_models.make_decoder("llama_gqa")
  config, ours = weights.load_decoder(torch_models.save(theirs, tmp_path))
  # Longer than one block of queries, and no multiple of it.
  rng = np.random.default_rng(0)
  example = rng.integers(0, config.vocab, 300).astype(np.int32)
  rows = packed.batch([[(example, np.ones(300, bool))]], width=300)
  got, _ = _run(*nnx.split(ours), *rows)
  want = torch_models.torch_logits(theirs, example[None])
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_the_future_and_other_segments_are_not_seen():
  tokens, *rows = _eight_rows()
  before, _ = _run(*_tiny(), tokens, *rows)
  tokens = tokens.at[4, 10].set((tokens[4, 10] + 1) % TINY.vocab)
  after, _ = _run(*_tiny(), tokens, *rows)
  changed = np.abs(np.asarray(after - before)).max(axis=-1) > 0
  # Token 10 of the packed row is in the third example, which ends before 20.
  want = np.zeros((8, 32), bool)
  want[4, 10:20] = True
  np.testing.assert_array_equal(changed, want)


def test_rows_of_padding_have_no_loss_and_no_gradient():
  rows = packed.batch([[]] * 8, width=32)
  value, grads = _value_and_grad(*_tiny(), *rows)
  assert value == 0
  for leaf in jax.tree.leaves(grads):
    np.testing.assert_array_equal(leaf, 0)


def test_stories_has_its_known_loss_and_tells_the_story(shared):
  transformers = pytest.importorskip("transformers")
  folder = shared / "models" / "stories260K"
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  _, model = weights.load_decoder(folder)
  text = (
    "Once upon a time, there was a little girl named Lily. She loved to play "
    "outside in the park."
  )
  ids = np.array(tokenizer(text).input_ids, np.int32)
  assert len(ids) == 32 and ids[0] == tokenizer.bos_token_id
  rows = packed.batch([[(ids, np.ones(32, bool))]], width=40)
  _, nll = _run(*nnx.split(model), *rows)
  assert abs(float(nll.sum()) / 31 - 0.1804) < 5e-5

  tokens = np.array(rows[0])
  tokens[0, 1:] = 0
  for place in range(1, 32):
    logits, _ = _run(*nnx.split(model), jnp.asarray(tokens), *rows[1:])
    tokens[0, place] = int(logits[0, place - 1].argmax())
  told = tokenizer.decode(tokens[0, :32], skip_special_tokens=True)
  assert told.startswith(text[:60])


def _assert_near(got, want):
  np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
    got[1],
    want[1],
  )


def test_eight_devices_equal_one():
  graphdef, state = _tiny()
  want = _value_and_grad(graphdef, state, *_eight_rows())
  mesh = mesh_lib.make(2, 2, 2)
  placed = jax.device_put(state, decoder.shardings(state, mesh))
  with jax.set_mesh(mesh):
    rows = mesh_lib.put(_eight_rows(), mesh)
    got = _value_and_grad(graphdef, placed, *rows)
  assert got[0].sharding.num_devices == 8
  _assert_near(got, want)


def test_recomputation_changes_no_gradient():
  again = dataclasses.replace(TINY, remat=True)
  graphdef = nnx.split(decoder.abstract(again))[0]
  _, state = _tiny()
  got = _value_and_grad(graphdef, state, *_eight_rows())
  _assert_near(got, _value_and_grad(*_tiny(), *_eight_rows()))


def test_shardings_split_what_the_mesh_divides():
  mesh = mesh_lib.make(2, 2, 2)
  config = dataclasses.replace(TINY, vocab=33)
  placed = decoder.shardings(nnx.state(decoder.abstract(config)), mesh)
  specs = {k: tuple(v) for k, v in _specs(placed).items()}
  assert specs["blocks/query"] == (None, "fsdp", "tensor")
  assert specs["blocks/down"] == (None, "tensor", "fsdp")
  assert specs["blocks/mlp_norm"] == ()
  # 33 rows of vocabulary do not split in two.
  assert specs["embedding"] == specs["output_head"] == (None, "fsdp")


def test_sizes_that_the_mesh_does_not_divide_are_not_split():
  with jax.set_mesh(mesh_lib.make(2, 2, 2)):
    x = layers.constrain(jnp.ones((33, 4)), "tensor", ("data", "fsdp"))
  assert tuple(x.sharding.spec) == (None, ("data", "fsdp"))


def _specs(placed):
  leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(placed))
  name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
  return {name(path): leaf.spec for path, leaf in leaves}


def test_optimizer_state_is_placed_like_its_weights():
  optax = pytest.importorskip("optax")
  mesh = mesh_lib.make(2, 2, 2)
  _, state = _tiny()
  moments = decoder.shardings(optax.adam(1.0).init(state), mesh)
  assert moments[0].mu == decoder.shardings(state, mesh)
  assert tuple(moments[0].count.spec) == ()


def test_bfloat16_is_near_float32_and_sums_in_float32():
  half = decoder.abstract(dataclasses.replace(TINY, dtype="bfloat16"))
  rows = _eight_rows()
  model = nnx.merge(nnx.split(half)[0], _tiny()[1])
  assert jax.eval_shape(model.hidden, *rows[:3]).dtype == jnp.bfloat16
  _, near = _run(nnx.split(half)[0], _tiny()[1], *rows)
  _, exact = _run(*_tiny(), *rows)
  assert near.dtype == jnp.float32
  np.testing.assert_allclose(near, exact, atol=0.02)
  assert np.abs(np.asarray(near - exact)).max() > 0


def test_memory_does_not_grow_with_the_square_of_t():
  config = dataclasses.replace(TINY, heads=8, kv_heads=8)
  graphdef, state = nnx.split(decoder.abstract(config))
  t = 2048
  row = jax.ShapeDtypeStruct((1, t), jnp.int32)

  def total(state, *rows):
    return nnx.merge(graphdef, state).hidden(*rows).sum()

  compiled = jax.jit(jax.grad(total)).lower(state, row, row, row).compile()
  scores = 4 * config.heads * t * t
  assert compiled.memory_analysis().temp_size_in_bytes < scores


def test_count_of_parameters_equals_torch(pair):
  theirs, config, _ = pair
  want = sum(weight.numel() for weight in theirs.parameters())
  assert decoder.count_parameters(config) == want


def test_flops_equal_torchs_count(pair):
  torch = pytest.importorskip("torch")
  flop_counter = pytest.importorskip("torch.utils.flop_counter")
  theirs, config, _ = pair
  theirs.set_attn_implementation("eager")
  b, t = 2, 9
  with flop_counter.FlopCounterMode(display=False) as counter:
    theirs(torch.zeros((b, t), dtype=torch.int64))
  ours = architecture.flops(
    config,
    tokens=b * t,
    attended=config.layers * b * t * t,
    response_tokens=b * t,
  )
  # Older versions of transformers multiply matrices for the angles, too.
  angles = t * config.head_dim
  assert counter.get_total_flops() - ours in (0, angles)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("vocab", 0, "decoder vocab is 0; allowed: 1 or more"),
    ("kv_heads", 3, "kv_heads is 3; allowed: a divisor of heads, which is 4"),
    ("head_dim", 5, "head_dim is 5; allowed: an even number"),
  ],
)
def test_sizes_that_do_not_fit_are_refused(field, value, message):
  with pytest.raises(errors.InputError, match=message):
    dataclasses.replace(TINY, **{field: value})


@pytest.mark.parametrize(
  ("sizes", "published"),
  [
    (
      {"vocab": 151936, "layers": 28, "width": 1536, "heads": 12}
      | {"kv_heads": 2, "mlp_width": 8960, "tied": True},
      1_543_714_304,  # Qwen2-1.5B
    ),
    (
      {"vocab": 128256, "layers": 80, "width": 8192, "heads": 64}
      | {"kv_heads": 8, "mlp_width": 28672, "qkv_bias": False},
      70_553_706_496,  # Llama-3-70B
    ),
  ],
)
def test_large_models_are_counted_without_their_weights(sizes, published):
  config = dataclasses.replace(TINY, head_dim=128, **sizes)
  assert decoder.count_parameters(config) == published
