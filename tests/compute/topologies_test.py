"""Every jitted program compiles for TPUs, as the table says.

A program whose text is the one that was compiled before, by the same compiler,
is not compiled again: the table holds what was found.
"""

import ast
import importlib.util
import pathlib
import platform
import sys

import jax
import pytest

import ila_jax
from ila_jax import errors
from ila_jax.compute import chips, topologies
from ila_jax.compute import mesh as mesh_lib
from tests.support import tpu_facts, tpu_programs

_RENEW = "python -m tests.benchmarks.tpu_compile --renew"
# By another compiler all texts are new: these are compiled, the rest is not.
_FEW = ("score gemma", "train adapter", "Lloyd", "descend, all pairs")
# Compiled anew in each run: quick, and with a collective.
_EACH_TIME = "deepest of a cell"

needs_libtpu = pytest.mark.skipif(
  sys.platform != "linux"
  or platform.machine() != "x86_64"
  or importlib.util.find_spec("libtpu") is None,
  reason="needs Linux on x86 and libtpu: pip install 'ila_jax[tpu-compile]'",
)


@needs_libtpu
@pytest.mark.parametrize("place", tpu_programs.KEPT, ids=lambda p: p.name)
def test_programs_compile_as_the_table_says(place):
  table = tpu_facts.read_table()
  same_compiler = table["versions"] == tpu_facts.versions()
  mesh = place.mesh()
  differ = {}
  for name in tpu_programs.KEPT[place]:
    kept = table["programs"][place.name][name]
    if not same_compiler and name not in _FEW:
      continue
    lowered = tpu_programs.lower(name, mesh)
    text = tpu_facts.text_hash(lowered)
    found = kept
    if text != kept["text"] or name == _EACH_TIME:
      _, facts = tpu_facts.compile_for_tpu(lowered)
      assert not facts.has_float64, name
      found = tpu_facts.entry(facts, text)
    # Interpreted, the fused kernel would be operations of XLA.
    if tpu_programs.OF_MODELS.search(name):
      assert found["kernels"] > 0, name
    if same_compiler and found["collectives"] != kept["collectives"]:
      differ[name] = {"was": kept["collectives"], "is": found["collectives"]}
  assert not differ, f"{differ}\nIf this is meant: {_RENEW}"


@needs_libtpu
def test_the_compiler_refuses_what_does_not_fit():
  mesh = topologies.mesh("v5e:2x2")
  floats = chips.TPUS["v5e"].hbm_bytes // 4
  spec = jax.NamedSharding(mesh, jax.P("data"))
  x = jax.ShapeDtypeStruct((4 * floats // 1024, 1024), "float32", sharding=spec)
  lowered = jax.jit(lambda x: jax.numpy.sort(x, axis=1)).lower(x)
  with pytest.raises(RuntimeError, match=r"exceeds available HBM \(15.75G\)"):
    tpu_facts.compile_for_tpu(lowered)


def test_every_jitted_function_is_a_program():
  """What is jitted at the top of a module is compiled by some program."""
  package = pathlib.Path(ila_jax.__file__).parent
  lowered = ast.unparse(
    ast.parse(pathlib.Path(tpu_programs.__file__).read_text())
  )
  missing = []
  for path in package.rglob("*.py"):
    for node in ast.parse(path.read_text()).body:
      if isinstance(node, ast.FunctionDef):
        is_jitted = any(
          "jax.jit" in ast.unparse(d) for d in node.decorator_list
        )
        if is_jitted and f".{node.name}.lower(" not in lowered:
          missing.append(f"{path.stem}.{node.name}")
  assert not missing


def test_a_chip_that_nobody_makes_is_told():
  with pytest.raises(errors.InputError, match=r"'v5x'.* \(v5e, v6e, v5p\)"):
    topologies.devices("v5x:2x2")


@needs_libtpu
def test_a_topology_that_does_not_exist_is_told():
  with pytest.raises(errors.InputError, match=r"'v5e:3x5': .*tpu-compile"):
    topologies.devices("v5e:3x5")


@needs_libtpu
def test_programs_are_for_the_platform_of_the_mesh():
  assert mesh_lib.platform() == "cpu"
  with jax.set_mesh(topologies.mesh("v5e:2x2")):
    assert mesh_lib.platform() == "tpu"


@needs_libtpu
@pytest.mark.parametrize(
  ("axes", "along"),
  [
    ({}, "data"),
    ({"data": 2, "fsdp": 4}, "data"),
    ({"data": 1, "fsdp": 8}, "fsdp"),
    ({"data": 4, "tensor": 2}, "data"),
  ],
  ids=str,
)
def test_slices_lie_along_an_axis(axes, along):
  mesh = topologies.mesh("v5e:2x2", slices=2, **axes)
  place = mesh_lib.AXES.index(along)
  halves = mesh.devices.swapaxes(0, place).reshape(2, 4)
  assert [{d.slice_index for d in half} for half in halves] == [{0}, {1}]


@needs_libtpu
@pytest.mark.parametrize("topology", ["v5e:4x4", "v6e:4x4", "v5p:2x2x4"])
@pytest.mark.parametrize("fsdp", [2, 4, 8])
def test_meshes_need_not_have_the_shape_of_a_slice(topology, fsdp):
  mesh = topologies.mesh(topology, fsdp=fsdp, tensor=2)
  assert mesh.devices.shape == (8 // fsdp, fsdp, 2)


@needs_libtpu
def test_slices_that_divide_no_axis_are_told():
  with pytest.raises(errors.InputError, match=r"data=1 and fsdp=1.* 2 slices"):
    topologies.mesh("v5e:2x2", slices=2, tensor=8)
