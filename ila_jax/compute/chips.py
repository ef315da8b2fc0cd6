"""Accelerators by their published numbers, and how a number of them is named.

Rates are peaks that nothing reaches; `forecast.roofline` says which share of
them it counts on.
"""

import re
from typing import NamedTuple

from ila_jax import errors

_GIB = 2**30
# JAX takes so much of a GPU's memory, unless XLA_PYTHON_CLIENT_MEM_FRACTION
# says more (docs.jax.dev/en/latest/gpu_memory_allocation.html).
_SHARE_OF_JAX = 0.75
# Sides of a slice. The compiler ends the process where there is one more.
_SIDES = {"v5e": 2, "v6e": 2, "v5p": 3}
# GPUs of one server, which all reach each other at the same rate.
_MOST_GPUS = 8
_NVIDIA = "https://www.nvidia.com/en-us/"
_GOOGLE = "https://docs.cloud.google.com/tpu/docs/"


class Chip(NamedTuple):
  """A kind of accelerator.

  Attributes:
    platform: "tpu" or "gpu".
    bfloat16: FLOP/s of products, without sparsity.
    float32: FLOP/s of products of float32 as float32.
    hbm_bytes: memory of a chip that programs may take.
    hbm_rate: bytes/s from and to that memory.
    link_rate: bytes/s that a chip can send to others, over all its links.
    source: page of the maker that has the numbers.
    accelerator: how libtpu calls a slice of it; "" of a GPU.
  """

  platform: str
  bfloat16: float
  float32: float
  hbm_bytes: int
  hbm_rate: float
  link_rate: float
  source: str
  accelerator: str = ""

  def flops(self, dtype: str) -> float:
    """Peak FLOP/s of products in a dtype.

    >>> TPUS["v5e"].flops("bfloat16")
    197000000000000.0
    """
    return getattr(self, dtype)


def _tpu(
  page: str, accelerator: str, rate: float, hbm: float, *more: float
) -> Chip:
  # float32 takes six products of bfloat16.
  memory = int(hbm * _GIB)
  return Chip(
    *("tpu", rate, rate / 6, memory, *more), _GOOGLE + page, accelerator
  )


def _gpu(
  page: str, rate: float, float32: float, hbm: float, *more: float
) -> Chip:
  memory = int(_SHARE_OF_JAX * hbm)
  return Chip("gpu", rate, float32, memory, *more, _NVIDIA + page)


# The memory is what the compiler says that it has when a program needs more.
# Links: half of the published sum of both directions.
TPUS = {
  "v5e": _tpu("v5e", "v5litepod-16", 197e12, 15.75, 819e9, 200e9),
  "v6e": _tpu("v6e", "v6e-16", 918e12, 31.25, 1638e9, 400e9),
  "v5p": _tpu("v5p", "v5p-32", 459e12, 95.74, 2765e9, 600e9),
}
# Where a data sheet gives rates with sparsity, half of them. Without NVLink:
# PCIe 4.0 × 16.
GPUS = {
  "a100-40": _gpu("data-center/a100/", 312e12, 19.5e12, 40e9, 1555e9, 300e9),
  "a100-80": _gpu("data-center/a100/", 312e12, 19.5e12, 80e9, 2039e9, 300e9),
  "h100": _gpu("data-center/h100/", 989e12, 67e12, 80e9, 3350e9, 450e9),
  "h200": _gpu("data-center/h200/", 989e12, 67e12, 141e9, 4800e9, 450e9),
  "l4": _gpu("data-center/l4/", 121e12, 30.3e12, 24e9, 300e9, 32e9),
  "rtx4090": _gpu(
    "geforce/graphics-cards/40-series/rtx-4090/",
    *(165.2e12, 82.6e12, 24e9, 1008e9, 32e9),
  ),
}
_ALLOWED = (
  f"Allowed: a kind of TPU ({', '.join(TPUS)}), a colon and the sides of the "
  "slice, two or for v5p three, as in 'v5e:4x4' or 'v5p:2x2x1'; or a kind of "
  f"GPU ({', '.join(GPUS)}), a colon and their number in one server, 1 to "
  f"{_MOST_GPUS}, as in 'h100:8'"
)


def of(topology: str) -> tuple[Chip, int]:
  """The kind of chip that a topology names, and how many there are.

  Args:
    topology: kind and sides of a TPU slice, "v5e:4x4"; or kind and number of
      GPUs, "h100:8".

  Raises:
    errors.InputError: it names no kind that is known, or no number.

  >>> of("v5e:4x4")[1], of("h100:8")[1]
  (16, 8)
  """
  name, _, size = topology.partition(":")
  chip = (TPUS | GPUS).get(name)
  if chip is None:
    raise errors.InputError(
      f"topology {topology!r} names the kind of chip {name!r}, which is not "
      f"known. {_ALLOWED}."
    )
  number = r"[1-9]\d{0,3}"
  more = _SIDES[name] - 1 if name in TPUS else 0
  count = 0
  if re.fullmatch(rf"{number}(x{number}){{{more}}}", size):
    count = 1
    for side in size.split("x"):
      count *= int(side)
  if not count or (name in GPUS and count > _MOST_GPUS):
    raise errors.InputError(
      f"topology {topology!r} gives {name} the size {size!r}, which is not "
      f"possible. {_ALLOWED}."
    )
  return chip, count
