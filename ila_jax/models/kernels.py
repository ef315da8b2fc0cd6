"""The kernels of attention; `attention.attend` is how to call them.

Each takes queries [b, t, h, e], keys and values [b, t, k, e] and segment ids
[b, t], and returns what the heads saw: [b, t, h, e], or [b, t, k, g, e] with
the heads in groups under the head of their keys.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import layers

# Queries whose scores are held at one time: few enough to stay in the cache.
_QUERY_BLOCK = 64

# Spans of queries that share one static slice of keys. More of them skip more
# of what no query sees, and compile longer.
_CAUSAL_SPANS = 4
_WINDOW_SPANS = 16

# The argument of `jax.nn.dot_product_attention`; tests put "xla" here.
_CUDNN = "cudnn"

# Splash attention works on tiles of 128 by 128.
_LANES = 128
_SPLASH_BLOCKS = (512, 256, 128)


def _visible(
  query_segments: Int[Array, "b q"],
  key_segments: Int[Array, "b s"],
  *,
  ahead: int | Int[Array, ""] = 0,
  causal: bool,
  window: int | None,
) -> Bool[Array, "b q s"]:
  """Says which query sees which key; query 0 is `ahead` places after key 0."""
  visible = query_segments[:, :, None] == key_segments[:, None, :]
  places = ahead + jnp.arange(query_segments.shape[1])
  back = places[:, None] - jnp.arange(key_segments.shape[1])[None]
  if causal:
    visible &= (back >= 0)[None]
  if window is not None:
    visible &= (back < window)[None]
  return visible


def _see(
  query: Float[Array, "b k g q e"],
  key: Float[Array, "b k s e"],
  value: Float[Array, "b k s e"],
  visible: Bool[Array, "b q s"],
  *,
  scale: float,
  softcap: float | None,
) -> Float[Array, "b k g q e"]:
  """Computes what queries see of the keys that are visible to them."""
  (b, k, g, q, e), s = query.shape, key.shape[2]
  # The queries of a group are rows of one product: of five axes, XLA would
  # copy the transposes that the backward pass multiplies.
  rows = query.reshape(b, k, g * q, e)
  scores = layers.dot("bkqe,bkse->bkqs", rows, key, dtype=jnp.float32)
  scores = layers.softcap(scores * scale, softcap).reshape(b, k, g, q, s)
  # Finite, so that a query that sees nothing (padding) has no NaN.
  scores = jnp.where(visible[:, None, None], scores, -1e30)
  weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
  seen = layers.dot("bkqs,bkse->bkqe", weights.reshape(b, k, g * q, s), value)
  return seen.reshape(query.shape)


def _group(
  query: Float[Array, "b t h e"], *others: Float[Array, "b t k e"]
) -> tuple[Array, ...]:
  """Puts time next to the width, and query heads in groups by their key's.

  Sums then run over what lies side by side; measured, it halves the time.
  """
  b, t, h, e = query.shape
  kv_heads = others[0].shape[2]
  grouped = query.reshape(b, t, kv_heads, h // kv_heads, e)
  return grouped.transpose(0, 2, 3, 1, 4), *(
    jnp.swapaxes(x, 1, 2) for x in others
  )


def plain(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
  *,
  scale: float,
  softcap: float | None,
  causal: bool,
  window: int | None,
) -> Float[Array, "b t k g e"]:
  """Attends with all scores at once: the reference; memory grows with t²."""
  query, key, value = _group(query, key, value)
  visible = _visible(segment_ids, segment_ids, causal=causal, window=window)
  seen = _see(query, key, value, visible, scale=scale, softcap=softcap)
  return seen.transpose(0, 3, 1, 2, 4)


def blocked(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
  *,
  scale: float,
  softcap: float | None,
  causal: bool,
  window: int | None,
) -> Float[Array, "b t k g e"]:
  """Attends block by block: holds the scores of one block of queries.

  A block meets the keys that its span of blocks can see. Blocks of one span
  run in a loop and so hold their scores one after another, in the backward
  pass too; spans have static slices of the keys, which skip what none of their
  queries sees.
  """
  t = query.shape[1]
  blocks = -(-t // _QUERY_BLOCK)
  size = -(-t // blocks)
  query, key, value = _group(query, key, value)
  query = _pad(query, size, axis=3)
  queries_from = _pad(segment_ids, size, axis=1)
  spans = _WINDOW_SPANS if window else _CAUSAL_SPANS if causal else 1
  span = -(-blocks // spans) * size
  seen = []
  for start in range(0, blocks * size, span):
    own = slice(start, min(start + span, blocks * size))
    first = max(0, start - window + 1) if window else 0
    keys = slice(first, min(own.stop, t) if causal else t)

    @jax.checkpoint
    def see(
      block: tuple[Array, Array, Array], keys: slice = keys
    ) -> Float[Array, "b k g q e"]:
      part, segments, ahead = block
      visible = _visible(
        *(segments, segment_ids[:, keys]),
        ahead=ahead,
        causal=causal,
        window=window,
      )
      them = key[:, :, keys], value[:, :, keys]
      return _see(part, *them, visible, scale=scale, softcap=softcap)

    parts = (
      _split(query[:, :, :, own], size, axis=3),
      _split(queries_from[:, own], size, axis=1),
      jnp.arange(start - first, own.stop - first, size),
    )
    done = jax.lax.map(see, parts)
    # Blocks [n, b, k, g, q, e] to rows [b, n · q, k, g, e].
    done = done.transpose(1, 0, 4, 2, 3, 5)
    b, n, q = done.shape[:3]
    seen.append(done.reshape(b, n * q, *done.shape[3:]))
  return jnp.concatenate(seen, axis=1)[:, :t]


def _split(x: Array, size: int, *, axis: int) -> Array:
  """Stacks blocks of a size along an axis on a new first one."""
  blocks = x.shape[axis] // size
  x = x.reshape(*x.shape[:axis], blocks, size, *x.shape[axis + 1 :])
  return jnp.moveaxis(x, axis, 0)


def _pad(x: Array, multiple: int, *, axis: int) -> Array:
  """Appends zeros, which is padding as a segment, up to a multiple."""
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, -x.shape[axis] % multiple)
  return jnp.pad(x, widths)


def on_each_device(kernel: Callable[..., Array]) -> Callable[..., Array]:
  """Runs a kernel on each device's rows and heads.

  XLA splits its own operations over a mesh, but not a kernel that it cannot
  look into. Axes that the mesh does not divide are not split.
  """

  def run(
    query: Float[Array, "b t h e"],
    key: Float[Array, "b t k e"],
    value: Float[Array, "b t k e"],
    segment_ids: Int[Array, "b t"],
    **options: Any,
  ) -> Float[Array, "b t h e"]:
    one = functools.partial(kernel, **options)
    mesh = jax.sharding.get_abstract_mesh()
    if "fsdp" not in mesh.axis_names:
      return one(query, key, value, segment_ids)
    heads = layers.fit(
      PartitionSpec(("data", "fsdp"), None, "tensor"), key.shape, mesh.shape
    )
    return jax.shard_map(
      one,
      in_specs=(heads, heads, heads, PartitionSpec(heads[0])),
      out_specs=heads,
      check_vma=False,
    )(query, key, value, segment_ids)

  return run


def cudnn(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
  *,
  scale: float,
  softcap: float | None,
  causal: bool,
  window: int | None,
) -> Float[Array, "b t h e"]:
  """Runs cuDNN's fused attention; segments and window are a mask to it."""
  assert softcap is None
  t = query.shape[1]
  # Its backward pass wants an even number of tokens where there is a mask.
  query, key, value = (_pad(x, 2, axis=1) for x in (query, key, value))
  segments = _pad(segment_ids, 2, axis=1)
  # The window is in the mask: a mask beside cuDNN's own is not always taken.
  mask = _visible(segments, segments, causal=causal, window=window)
  return jax.nn.dot_product_attention(
    query,
    key,
    value,
    mask=mask[:, None],
    scale=scale,
    is_causal=causal,
    implementation=_CUDNN,
  )[:, :t]


def splash(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
  *,
  scale: float,
  softcap: float | None,
  causal: bool,
  window: int | None,
) -> Float[Array, "b t h e"]:
  """Runs Pallas' splash attention, which skips tiles that no query sees.

  Off TPUs it is interpreted: right, and slow.
  """
  from jax.experimental.pallas.ops.tpu import splash_attention as splash

  t, h, e = query.shape[1:]
  rows = (_pad(x, _LANES, axis=1) for x in (query * scale, key, value))
  query, key, value = (
    jnp.swapaxes(_pad(x, _LANES, axis=3), 1, 2) for x in rows
  )
  segments = _pad(segment_ids, _LANES, axis=1)
  square = (query.shape[2],) * 2
  if window is not None:
    mask = splash.LocalMask(square, (window - 1, 0), offset=0)
  else:
    mask = splash.CausalMask(square) if causal else splash.FullMask(square)
  size = next(n for n in _SPLASH_BLOCKS if square[0] % n == 0)
  passes = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute")
  names = [f"block_{name}" for name in (*passes, "q_dq", "kv_dq")]
  kernel = splash.make_splash_mha(
    splash.MultiHeadMask([mask] * h),
    block_sizes=splash.BlockSizes(**dict.fromkeys(names, size)),
    head_shards=1,
    q_seq_shards=1,
    attn_logits_soft_cap=softcap,
    interpret=mesh_lib.platform() != "tpu",
  )
  segments = splash.SegmentIds(q=segments, kv=segments)
  seen = jax.vmap(kernel)(query, key, value, segments)
  return jnp.swapaxes(seen, 1, 2)[:, :t, :, :e]
