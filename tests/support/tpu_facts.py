"""What the compiler of TPUs says of a program: memory, collectives, kernels."""

import collections
import hashlib
import importlib.metadata
import json
import math
import pathlib
import re
import time
from typing import Any, NamedTuple

from jax.sharding import Mesh

from ila_jax.compute import topologies

_TABLE = pathlib.Path(__file__).with_name("tpu_programs.json")
_KINDS = (
  *("all-gather", "all-reduce", "all-to-all", "collective-permute"),
  "reduce-scatter",
)
_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(_KINDS)})(?:-start)?\((.*)")
# One that goes on while others work stands there once for each of these.
_CHAIN = re.compile(r"channel_id=(\d+),.*\bchain_id=\"(\d+)\"")
_BETWEEN_SLICES = re.compile(
  r" = (.*?) send\(.*?_xla_megascale_transfer_type=\"(\w+)\""
)
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")


class Facts(NamedTuple):
  """What is known of a compiled program, by device.

  Attributes:
    collectives: "kind dtype[shape of the result]" and how many of it stand in
      the program; what is in a loop counts once.
    kernels: Mosaic kernels.
    arguments: bytes.
    temporaries: bytes, with the results that take no place of an argument.
    peak: bytes at the fullest moment, arguments included.
    seconds: of a processor's time, to compile.
    has_float64: there is some.
  """

  collectives: dict[str, int]
  kernels: int
  arguments: int
  temporaries: int
  peak: int
  seconds: float
  has_float64: bool


def versions() -> dict[str, str]:
  """The compiler that the facts are of."""
  return {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}


def compile_for_tpu(lowered: Any) -> tuple[Any, Facts]:
  """Compiles a program that was lowered for a TPU, and reads it.

  The compiler refuses what does not fit in the memory of a device.
  """
  began = time.process_time()
  with topologies.uncached():
    compiled = lowered.compile()
  seconds = time.process_time() - began
  text, memory = compiled.as_text(), compiled.memory_analysis()
  kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
  return compiled, Facts(
    collectives=collectives(text),
    kernels=text.count('custom_call_target="tpu_custom_call"'),
    arguments=memory.argument_size_in_bytes,
    temporaries=memory.temp_size_in_bytes + kept,
    peak=memory.peak_memory_in_bytes,
    seconds=seconds,
    has_float64=bool(re.search(r"\b(f64|c128)\[", text)),
  )


def collectives(text: str) -> dict[str, int]:
  """Counts the collectives of a compiled program, by kind and result.

  >>> collectives("%a = (f32[8,2]{1,0}, u32[]) all-gather-start(%x), dim")
  {'all-gather f32[8,2]': 1}
  """
  found = {}
  for line in text.splitlines():
    if match := _COLLECTIVE.search(line):
      chain = _CHAIN.search(match[3])
      name = f"{match[2]} {_largest(match[1])}"
      found[(name, *chain.groups()) if chain else line] = name
    elif match := _BETWEEN_SLICES.search(line):
      kind = match[2].lower().replace("_", "-")
      found[line] = f"{kind} between slices {_largest(match[1])}"
  return dict(sorted(collections.Counter(found.values()).items()))


def bytes_of(collective: str) -> int:
  """Bytes of the result of a collective.

  >>> bytes_of("all-gather bf16[8,2]")
  32
  """
  dtype, shape = _ARRAY.search(collective).groups()
  bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])
  return math.prod(int(n) for n in shape.split(",") if n) * bits // 8


def _largest(shapes: str) -> str:
  """The largest of the arrays of a type; unit axes are left out."""
  arrays = [
    f"{dtype}[{','.join(n for n in shape.split(',') if n not in ('', '1'))}]"
    for dtype, shape in _ARRAY.findall(shapes)
  ]
  return max(arrays, key=bytes_of)


class Place(NamedTuple):
  """Devices, and how they are arranged: data, fsdp, tensor."""

  topology: str
  axes: tuple[int, int, int]
  slices: int = 1

  @property
  def name(self) -> str:
    slices = f"{self.slices} × " if self.slices > 1 else ""
    return f"{slices}{self.topology}, {' × '.join(map(str, self.axes))}"

  def mesh(self) -> Mesh:
    axes = dict(zip(("data", "fsdp", "tensor"), self.axes, strict=True))
    return topologies.mesh(self.topology, slices=self.slices, **axes)


def text_hash(lowered: Any) -> str:
  """Tells whether a program is the one that was compiled before."""
  return hashlib.sha256(lowered.as_text().encode()).hexdigest()[:16]


def read_table() -> dict[str, Any]:
  """The facts that are kept: `versions`, and `programs` by place and name."""
  return json.loads(_TABLE.read_text())


def write_table(programs: dict[str, dict[str, Any]]) -> None:
  """Keeps facts, those of other programs included."""
  kept = {"versions": versions(), "programs": {}}
  if _TABLE.exists():
    kept["programs"] = read_table()["programs"]
  for place, found in programs.items():
    kept["programs"].setdefault(place, {}).update(found)
  _TABLE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def entry(facts: Facts, text: str) -> dict[str, Any]:
  """What the table says of a program."""
  return {
    "text": text,
    "kernels": facts.kernels,
    "arguments": facts.arguments,
    "temporaries": facts.temporaries,
    "collectives": facts.collectives,
  }
