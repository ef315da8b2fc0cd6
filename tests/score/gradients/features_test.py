"""Memory of the gradients of examples, by arithmetic and by a compiler."""

import pytest

from ila_jax.compute import mesh as mesh_lib
from ila_jax.dry_run import meshes
from ila_jax.forecast import shapes
from ila_jax.models import architecture
from ila_jax.passes import layouts
from ila_jax.score.gradients import features, warmup
from tests.support import planned

_MODEL = architecture.DecoderConfig(
  **{"vocab": 4096, "layers": 4, "width": 256, "heads": 4, "kv_heads": 2},
  **{"head_dim": 64, "mlp_width": 1024, "tied": False},
)


@pytest.mark.parametrize("rank", [8, 128])
def test_bytes_by_shapes_are_about_those_of_xla(rank):
  run = planned.run(_MODEL, train__lora_rank=rank)
  layout = layouts.Layout((64,), batch_tokens=512, packed=False)
  mesh = mesh_lib.make(data=8)
  compiled = features._device_bytes(
    run.decoder, features._recipe(run.config), layout, mesh
  )
  found = features._by_shapes(
    shapes.of(_MODEL),
    shapes.Axes(8, 1, 1),
    layout,
    adapter=warmup.adapter_size(run.config, run.decoder),
  )
  assert compiled / meshes.FACTOR < found < compiled * meshes.FACTOR
