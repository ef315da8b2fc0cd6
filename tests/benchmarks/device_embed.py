"""Embedding prompts by an encoder of random weights, on the devices here.

    python -m tests.benchmarks.device_embed --model bge_base

Prompts of the lengths that real pools have, packed into rows of 512 tokens; the
rate is compared with how fast the same devices multiply matrices.
"""

import numpy as np
from flax import nnx

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.embed import encode
from ila_jax.models import attention, encoder
from ila_jax.passes import forward
from ila_jax.sections import models as sections
from tests.benchmarks import device

_BERT = {"vocab": 30522, "max_positions": 512}
_MODELS = {
  "minilm": _BERT | {"layers": 6, "width": 384, "heads": 12, "mlp_width": 1536},
  "bge_base": _BERT
  | {"layers": 12, "width": 768, "heads": 12, "mlp_width": 3072},
  "tiny": {"vocab": 500, "max_positions": 128, "layers": 2, "width": 32}
  | {"heads": 2, "mlp_width": 64},
}


def main() -> None:
  """Times a pass over the prompts, after one that compiles."""
  flags = device.flags(__doc__)
  flags.add_argument("--model", choices=sorted(_MODELS), default="bge_base")
  flags.add_argument("--prompts", type=int, default=100_000)
  flags.add_argument("--batch-tokens", type=int, default=65_536)
  options = flags.parse_args()
  if options.tiny:
    options.model, options.prompts, options.batch_tokens = "tiny", 300, 512
  dtype = "float32" if options.tiny else "bfloat16"
  sizes = _MODELS[options.model]
  kernel = attention.choose(
    "auto", dtype=dtype, head_dim=sizes["width"] // sizes["heads"]
  )
  config = encoder.EncoderConfig(
    **sizes, dtype=dtype, param_dtype=dtype, attention=kernel
  )
  mesh = mesh_lib.make()
  model = encoder.Encoder(config, rngs=nnx.Rngs(0))
  random = np.random.default_rng(0)
  lengths = np.exp(random.normal(np.log(30), 0.9, options.prompts))
  lengths = np.clip(lengths, 3, sizes["max_positions"]).astype(np.int32)
  tokens = [random.integers(0, sizes["vocab"], n, np.int32) for n in lengths]
  settings = sections.Encoder(
    path=options.model, layout="pack", batch_tokens=options.batch_tokens
  )
  layout = encode.layout(config, lengths, settings)

  def embed() -> np.ndarray:
    return encode.encode(
      model, tokens, pooling="mean", layout=layout, mesh=mesh
    )

  first, _ = device.seconds(embed)
  seconds, x = device.seconds(embed)
  norms = np.linalg.norm(x, axis=1)
  if not np.allclose(norms, 1, atol=1e-3):
    raise SystemExit(f"device_embed: norms from {norms.min()} to {norms.max()}")
  rate = hardware.matrix_rate(mesh, dtype)
  flops = forward.flops(config, lengths)
  quality = {
    "prompts_per_second": options.prompts / seconds,
    "tokens_per_second": int(lengths.sum()) / seconds,
    "of_the_matrix_rate": flops / seconds / rate,
    "matrix_rate": rate,
    "attention": config.attention,
    "first_seconds": first,
    "peak_bytes": device.peak_bytes(),
  }
  work = vars(options) | {"tokens": int(lengths.sum()), "dtype": dtype}
  device.report("device_embed", seconds, quality, work)


if __name__ == "__main__":
  main()
