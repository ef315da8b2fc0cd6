"""Every kernel of attention against NumPy's float64, and against the mesh."""

import functools
import types

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import attention, kernels, layers

HEADS = {"as many": (4, 4), "half": (4, 2), "one": (3, 1)}
SIGHTS = (
  {},
  {"scale": 0.7},
  {"softcap": 1.5},
  {"causal": False},
  {"causal": False, "softcap": 1.5, "scale": 0.3},
  {"window": 1},
  {"window": 2, "softcap": 1.5},
  {"window": 9},
  {"window": 37},
  {"window": 42},
)
MESHES = [
  (data, fsdp, 8 // data // fsdp)
  for data in (1, 2, 4, 8)
  for fsdp in (1, 2, 4, 8)
  if data * fsdp <= 8
]


def _rows(*, b=2, t=37, h=4, k=2, e=8, dtype=jnp.float32):
  """Queries, keys, values, what their result weighs, and their segments."""
  rng = np.random.default_rng(0)
  query, weight = rng.normal(size=(2, b, t, h, e))
  key, value = rng.normal(size=(2, b, t, k, e))
  segments = np.sort(rng.integers(0, 4, (b, t)), axis=1)
  # Numbers rise from 1, and the padding 0 stands at the end.
  segments = np.where(segments == 3, 0, segments + 1).astype(np.int32)
  rows = [jnp.asarray(x, dtype) for x in (query, key, value)]
  return (*rows, jnp.asarray(weight, jnp.float32), jnp.asarray(segments))


def _dense(
  query,
  key,
  value,
  weight,
  segments,
  *,
  scale=None,
  softcap=None,
  window=None,
  causal=True,
):
  """Attention and the gradients of its weighted sum, head by head."""
  query, key, value, weight = map(np.float64, (query, key, value, weight))
  segments = np.asarray(segments)
  b, t, h, e = query.shape
  scale = e**-0.5 if scale is None else scale
  seen, d_query = np.zeros((2, *query.shape))
  d_key, d_value = np.zeros((2, *key.shape))
  back = np.arange(t)[:, None] - np.arange(t)[None]
  for row, head in np.ndindex(b, h):
    k = head * key.shape[2] // h
    q, keys, values = query[row, :, head], key[row, :, k], value[row, :, k]
    visible = segments[row][:, None] == segments[row][None]
    visible &= (back >= 0) | (not causal)
    visible &= (back < window) if window else True
    scores = scale * q @ keys.T
    slope = np.ones_like(scores)
    if softcap:
      scores = softcap * np.tanh(scores / softcap)
      slope = 1 - (scores / softcap) ** 2
    p = np.exp(np.where(visible, scores, -np.inf))
    p /= p.sum(axis=1, keepdims=True)
    seen[row, :, head] = p @ values
    # Padding has no say.
    w = weight[row, :, head] * (segments[row] > 0)[:, None]
    d_p = w @ values.T
    d_scores = scale * slope * p * (d_p - (d_p * p).sum(axis=1, keepdims=True))
    d_query[row, :, head] = d_scores @ keys
    d_key[row, :, k] += d_scores.T @ q
    d_value[row, :, k] += p.T @ w
  return seen.reshape(b, t, -1), d_query, d_key, d_value


def _attend(*rows, window=None, causal=True, **options):
  mask = attention.Mask(causal=causal, window=window)
  return attention.attend(*rows, mask=mask, **options)


def _ours(attend, query, key, value, weight, segments):
  """What `attend` sees, and the gradients of its weighted sum."""

  def total(*rows):
    seen = attend(*rows, segments)
    weighed = seen.reshape(weight.shape).astype(jnp.float32) * weight
    real = (segments > 0)[:, :, None, None]
    return jnp.where(real, weighed, 0.0).sum(), seen

  run = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
  (_, seen), gradients = run(query, key, value)
  return seen, *gradients


def _equals_dense(attend, rows, **sight):
  seen, *gradients = _ours(functools.partial(attend, **sight), *rows)
  want, *want_gradients = _dense(*rows, **sight)
  assert np.isfinite(seen).all()
  real = np.asarray(rows[-1]) > 0
  assert real.any()
  np.testing.assert_allclose(np.asarray(seen)[real], want[real], atol=2e-6)
  for ours, theirs in zip(gradients, want_gradients, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.fixture
def small_blocks(monkeypatch):
  """Several spans of several blocks, and several tiles, in short rows."""
  monkeypatch.setattr(kernels, "_QUERY_BLOCK", 4)
  monkeypatch.setattr(kernels, "_WINDOW_SPANS", 5)
  monkeypatch.setattr(kernels, "_SPLASH_BLOCKS", (128,))


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
@pytest.mark.parametrize("kernel", ["plain", "blocked"])
def test_kernels_equal_dense_numpy(kernel, sight, small_blocks):
  attend = functools.partial(_attend, kernel=kernel)
  _equals_dense(attend, _rows(), **sight)


@pytest.mark.parametrize("kernel", ["plain", "blocked"])
def test_no_rows_see_nothing(kernel):
  query, key, value, _, segments = _rows(b=0)
  seen = attention.attend(query, key, value, segments, kernel=kernel)
  assert seen.shape == (0, 37, 4 * 8)
  assert layers.project(seen, "up", {"up": jnp.ones((32, 3))}).shape == (
    (0, 37, 3)
  )


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("t", [1, 4, 5])
def test_blocks_of_any_length_and_heads_of_any_group(t, heads, small_blocks):
  h, k = heads
  _equals_dense(_attend, _rows(b=3, t=t, h=h, k=k))


@pytest.mark.parametrize(
  "sight, heads",
  [
    ({}, (4, 2)),
    ({"window": 5, "softcap": 1.5}, (4, 4)),
    ({"window": 135, "scale": 0.7}, (2, 1)),
    ({"causal": False, "softcap": 1.5}, (4, 2)),
  ],
  ids=str,
)
def test_splash_equals_dense_numpy(sight, heads, small_blocks):
  attend = functools.partial(_attend, kernel="splash")
  h, k = heads
  _equals_dense(attend, _rows(t=140, h=h, k=k), **sight)


@pytest.mark.parametrize(
  "sight", [{}, {"window": 5, "scale": 0.7}, {"causal": False}], ids=str
)
def test_cudnn_is_told_what_to_see(sight, monkeypatch):
  # cuDNN itself needs a GPU; XLA's version takes the same arguments.
  monkeypatch.setattr(kernels, "_CUDNN", "xla")

  def attend(*rows, scale=8**-0.5, window=None, causal=True):
    options = {"scale": scale, "window": window, "causal": causal}
    return kernels.cudnn(*rows, softcap=None, **options).reshape(2, 37, -1)

  _equals_dense(attend, _rows(), **sight)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs a GPU")
@pytest.mark.parametrize("sight", [{}, {"window": 5}, {"causal": False}])
def test_cudnn_equals_plain_on_a_gpu(sight):
  rows = _rows(t=301, e=64, dtype=jnp.bfloat16)
  runs = [
    _ours(functools.partial(_attend, kernel=name, **sight), *rows)
    for name in ("cudnn", "plain")
  ]
  real = np.asarray(rows[-1]) > 0
  for ours, theirs in zip(*runs, strict=True):
    ours, theirs = (np.float32(x)[real] for x in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=0.05)


@pytest.mark.parametrize("kernel", ["plain", "blocked", "cudnn", "splash"])
def test_bfloat16_stays_near(kernel, small_blocks, monkeypatch):
  monkeypatch.setattr(kernels, "_CUDNN", "xla")
  rows = _rows(dtype=jnp.bfloat16)
  seen = attention.attend(*rows[:3], rows[-1], kernel=kernel)
  assert seen.dtype == jnp.bfloat16
  real = np.asarray(rows[-1]) > 0
  error = np.float32(seen)[real] - _dense(*rows)[0][real]
  # A bfloat16 has 8 bits: values of about 1 are rounded by up to 2^-9.
  assert 1e-4 < np.abs(error).max() < 3e-2
  assert np.sqrt((error**2).mean()) < 4e-3


@functools.cache
def _alone():
  """Rows, and what is seen in them on one device."""
  rows = _rows(b=8, t=18, h=8, k=4)
  return rows, _ours(attention.attend, *rows)


@pytest.mark.parametrize(
  "kernel, shape",
  [("blocked", shape) for shape in MESHES]
  + [("splash", shape) for shape in ((8, 1, 1), (1, 2, 4), (1, 1, 8))],
  ids=str,
)
def test_every_mesh_sees_the_same(kernel, shape, monkeypatch):
  rows, alone = _alone()
  attend = functools.partial(_attend, kernel=kernel)
  # Two spans of three blocks.
  monkeypatch.setattr(kernels, "_QUERY_BLOCK", 3)
  monkeypatch.setattr(kernels, "_CAUSAL_SPANS", 2)
  mesh = mesh_lib.make(*shape)
  with jax.set_mesh(mesh):
    spread = _ours(attend, *mesh_lib.put(rows, mesh))
  for ours, theirs in zip(spread, alone, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
  # Each device has its rows and its heads; 8 devices do not divide 4 heads.
  heads = 1 if shape[2] == 8 else shape[2]
  if kernel == "splash":
    piece = spread[0].sharding.shard_shape(spread[0].shape)
    assert piece == (8 // shape[0] // shape[1], 18, 64 // heads)


def _products(jaxpr):
  """Multiplications in matrix products, with those of loops."""
  total = 0
  for equation in jaxpr.eqns:
    times = equation.params.get("length", 1)
    if equation.primitive.name == "dot_general":
      (summed, _), _ = equation.params["dimension_numbers"]
      left = equation.invars[0].aval.shape
      total += equation.outvars[0].aval.size * left[summed[0]]
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      total += times * _products(inner)
  return total


@pytest.mark.parametrize(
  "sight, most",
  [({}, 0.63), ({"window": 64}, 0.13), ({"causal": False}, 1.0)],
  ids=str,
)
def test_what_no_query_sees_costs_nothing(sight, most):
  rows = _rows(b=1, t=1024, h=2, k=1)
  counts = {
    kernel: _products(
      jax.make_jaxpr(functools.partial(_attend, kernel=kernel, **sight))(
        *rows[:3], rows[-1]
      ).jaxpr
    )
    for kernel in ("blocked", "plain")
  }
  assert counts["plain"] == 2 * 2 * 1024 * 1024 * 8
  assert 0 < counts["blocked"] <= most * counts["plain"]


def test_memory_grows_with_the_length_and_not_its_square():
  def bytes_of(kernel, t):
    rows = _rows(b=1, t=t, h=2, k=1, e=16)
    attend = functools.partial(_attend, kernel=kernel)

    def total(*rows):
      return (attend(*rows) ** 2).sum()

    run = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    compiled = run.lower(*rows[:3], rows[-1]).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert bytes_of("plain", 2048) > 2.9 * bytes_of("plain", 1024)
  assert bytes_of("blocked", 2048) < 2.5 * bytes_of("blocked", 1024)
  assert bytes_of("blocked", 2048) < bytes_of("plain", 2048) / 8


@pytest.mark.parametrize(
  "platform, asked, want",
  [
    ("cpu", {}, "blocked"),
    ("gpu", {"dtype": "bfloat16", "head_dim": 128}, "cudnn"),
    ("gpu", {"dtype": "float32"}, "blocked"),
    ("gpu", {"dtype": "bfloat16", "head_dim": 256}, "blocked"),
    ("gpu", {"dtype": "bfloat16", "head_dim": 20}, "blocked"),
    ("gpu", {"dtype": "bfloat16", "softcap": 50.0}, "blocked"),
    ("tpu", {"dtype": "bfloat16", "softcap": 50.0}, "splash"),
    ("tpu", {"dtype": "float32"}, "blocked"),
  ],
)
def test_auto_is_the_fastest_kernel_that_can(platform, asked, want):
  assert attention.choose("auto", platform=platform, **asked) == want
  assert attention.choose(want, platform=platform, **asked) == want


@pytest.mark.parametrize(
  "kernel, platform, asked, words",
  [
    ("flash", "cpu", {}, "'flash'; allowed: 'auto', 'blocked'"),
    ("cudnn", "cpu", {"dtype": "bfloat16"}, "GPUs only.*'cpu'.*'blocked'"),
    ("cudnn", "gpu", {"dtype": "float32"}, "float32.*'blocked'"),
    ("cudnn", "gpu", {"dtype": "bfloat16", "softcap": 5.0}, "soft cap.*5.0"),
    ("cudnn", "gpu", {"dtype": "bfloat16", "head_dim": 256}, "128, not 256"),
    ("splash", "gpu", {"dtype": "bfloat16"}, "TPUs only.*'blocked'"),
    ("splash", "tpu", {"dtype": "float32"}, "float32.*'blocked'"),
  ],
)
def test_a_kernel_that_cannot_says_so(kernel, platform, asked, words):
  with pytest.raises(errors.InputError, match=f"config.model.atten.*{words}"):
    attention.choose(kernel, platform=platform, **asked)


@pytest.mark.parametrize(
  ("capability", "want"),
  [
    ("7.5", "blocked"),
    ("8.0", "cudnn"),
    ("12.0", "cudnn"),
    ("gfx90a", "cudnn"),
  ],
)
def test_fused_attention_needs_a_gpu_from_ampere_on(
  monkeypatch, capability, want
):
  gpu = types.SimpleNamespace(compute_capability=capability)
  here = {"default_backend": lambda: "gpu", "local_devices": lambda: [gpu]}
  monkeypatch.setattr(attention, "jax", types.SimpleNamespace(**here))
  asked = {"platform": "gpu", "dtype": "bfloat16"}
  assert attention.choose("auto", **asked) == want
  if want == "blocked":
    with pytest.raises(errors.InputError, match=r"8\.0, and this GPU has 7\.5"):
      attention.choose("cudnn", **asked)


def test_what_cannot_be_seen_is_refused_before_compiling():
  query, key, value, _, segments = _rows()
  with pytest.raises(errors.InputError, match=r"'cudnn'.*float32.*'blocked'"):
    attention.attend(query, key, value, segments, kernel="cudnn")
  with pytest.raises(ValueError, match="causal=True"):
    attention.Mask(window=3, causal=False)
