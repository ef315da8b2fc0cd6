"""Attention: one function, several kernels.

`plain` holds all scores at once and is the reference; `blocked` holds a block
of them and is XLA on any device; `cudnn` (NVIDIA) and `splash` (TPU) are the
fused kernels of those devices. `choose` says which one a platform takes.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ila_jax import errors
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import kernels

_RUN = {
  "blocked": kernels.blocked,
  "plain": kernels.plain,
  "cudnn": kernels.on_each_device(kernels.cudnn),
  "splash": kernels.on_each_device(kernels.splash),
}
KERNELS = tuple(_RUN)
CHOICES = ("auto", *KERNELS)

# The kernel of each platform, where it can do what is asked.
_FUSED = {"gpu": "cudnn", "tpu": "splash"}


def choose(
  kernel: str,
  *,
  platform: str | None = None,
  dtype: Any = "float32",
  head_dim: int = 64,
  softcap: float | None = None,
) -> str:
  """Chooses the kernel that "auto" means; checks one that has a name.

  Args:
    kernel: "auto" or one of `KERNELS`.
    platform: "cpu", "gpu" or "tpu"; None is that of the mesh.
    dtype: compute dtype of the model.
    head_dim: width of a head.
    softcap: of the scores, if any.

  Returns:
    One of `KERNELS`; "auto" is the platform's fused kernel where it can do
    what is asked, and else "blocked".

  Raises:
    errors.InputError: no such kernel, or it cannot do what is asked.

  >>> choose("auto", platform="cpu")
  'blocked'
  >>> choose("auto", platform="gpu", dtype="bfloat16", head_dim=128)
  'cudnn'
  """
  platform = platform or mesh_lib.platform()
  asked = {"dtype": dtype, "head_dim": head_dim, "softcap": softcap}
  if kernel == "auto":
    fused = _FUSED.get(platform, "blocked")
    return "blocked" if _refusal(fused, platform, **asked) else fused
  _check(kernel, platform, **asked)
  if kernel == "cudnn" and platform != "gpu":
    _refuse(kernel, f"runs on GPUs only, and this platform is {platform!r}")
  if kernel == "splash" and platform == "gpu":
    _refuse(kernel, "runs on TPUs only, and this platform is 'gpu'")
  return kernel


@dataclasses.dataclass(frozen=True)
class Mask:
  """Which tokens of its own segment a token sees.

  Attributes:
    causal: only itself and those before it.
    window: only itself and the window - 1 before it; None: however far.

  Raises:
    ValueError: a window that would look ahead.
  """

  causal: bool = True
  window: int | None = None

  def __post_init__(self) -> None:
    if self.window is not None and not self.causal:
      raise ValueError("a window looks back: it needs causal=True")


CAUSAL = Mask()


def attend(
  query: Float[Array, "b t h e"],
  key: Float[Array, "b t k e"],
  value: Float[Array, "b t k e"],
  segment_ids: Int[Array, "b t"],
  *,
  kernel: str = "blocked",
  scale: float | None = None,
  softcap: float | None = None,
  mask: Mask = CAUSAL,
) -> Float[Array, "b t f"]:
  """Attends inside each segment: softmax(cap(scale · q·k))·v.

  Scores and softmax are float32. Only `plain` holds them all at once; the
  other kernels compute them again in the backward pass.

  Args:
    query: h heads of width e.
    key: k heads; each serves h / k query heads, and none is repeated.
    value: k heads.
    segment_ids: tokens see only tokens of their own segment; 0 is padding,
      where the result is finite and means nothing.
    kernel: one of `KERNELS`.
    scale: of the scores; None is 1 / sqrt(e).
    softcap: if given, scores s become softcap · tanh(s / softcap).
    mask: which tokens of its segment a token sees.

  Returns:
    What was seen, heads side by side (f = h · e).

  Raises:
    errors.InputError: the kernel cannot do what is asked.

  >>> x = jnp.ones((1, 4, 2, 8))
  >>> attend(x, x, x, jnp.ones((1, 4), jnp.int32)).shape
  (1, 4, 16)
  """
  b, t, h, e = query.shape
  # A window as long as the row hides nothing.
  window = None if mask.window is None or mask.window >= t else mask.window
  _check(
    kernel,
    mesh_lib.platform(),
    dtype=query.dtype,
    head_dim=e,
    softcap=softcap,
  )
  seen = _RUN[kernel](
    query,
    key,
    value,
    segment_ids,
    scale=1 / math.sqrt(e) if scale is None else scale,
    softcap=softcap,
    window=window,
    causal=mask.causal,
  )
  return seen.reshape(b, t, h * e)


def _refusal(
  kernel: str,
  platform: str,
  *,
  dtype: Any,
  head_dim: int,
  softcap: float | None,
) -> str | None:
  """Says what keeps a kernel from doing what is asked, if anything does."""
  # Off TPUs splash attention is interpreted, which multiplies in full.
  halves = kernel == "cudnn" or (kernel == "splash" and platform == "tpu")
  if halves and jnp.dtype(dtype) not in (jnp.bfloat16, jnp.float16):
    return f"multiplies in bfloat16, and the model in {jnp.dtype(dtype)}"
  if kernel == "cudnn" and softcap is not None:
    return f"has no soft cap of scores, and the model's is {softcap}"
  if kernel == "cudnn" and (head_dim > 128 or head_dim % 8):
    return f"takes heads of a multiple of 8 up to 128, not {head_dim}"
  if kernel == "cudnn" and (capability := _older_gpu()):
    return f"needs compute capability 8.0, and this GPU has {capability}"
  return None


def _older_gpu() -> str:
  """The compute capability of a GPU before Ampere; "": there is none here."""
  if jax.default_backend() != "gpu":
    return ""
  capability = str(getattr(jax.local_devices()[0], "compute_capability", ""))
  major = capability.partition(".")[0]
  return capability if major.isdigit() and int(major) < 8 else ""


def _check(kernel: str, platform: str, **asked: Any) -> None:
  if kernel not in KERNELS:
    raise errors.InputError(
      f"config.model.attention or config.encoder.attention is {kernel!r}; "
      "allowed: 'auto', "
      f"{', '.join(map(repr, KERNELS))}."
    )
  if reason := _refusal(kernel, platform, **asked):
    _refuse(kernel, reason)


def _refuse(kernel: str, reason: str) -> None:
  raise errors.InputError(
    f"config.model.attention or config.encoder.attention is {kernel!r}, "
    f"which {reason}. Set it to "
    "'blocked', which can do all, or to 'auto'."
  )
