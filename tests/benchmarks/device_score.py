"""Scoring by a large model of random bfloat16 weights, on the devices here.

    python -m tests.benchmarks.device_score --model qwen2_7b

Rows of 2,048 tokens packed with examples of the lengths that real pools have;
the rate is compared with how fast the same devices multiply matrices. With
--adapters=4 four adapters of rank 16 score the same batch in one pass.
"""

import statistics

import jax
import jax.numpy as jnp

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import architecture, lora
from ila_jax.passes import example_loss, forward
from tests.benchmarks import device


def _adapters(
  config: architecture.DecoderConfig, count: int
) -> lora.Adapter | None:
  """Adapters of the base, stacked; None: the base scores alone."""
  if not count:
    return None
  recipe = lora.LoraConfig(rank=16, alpha=16, targets=lora.TARGETS)
  keys = jax.random.split(jax.random.key(1), count)
  return lora.stack(recipe, [lora.init(config, recipe, key) for key in keys])


def main() -> None:
  """Times the passes, and prints the rate beside that of matrices."""
  flags = device.flags(__doc__)
  flags.add_argument(
    "--model", choices=sorted(device.MODELS), default="qwen2_7b"
  )
  flags.add_argument("--batch-tokens", type=int, default=32768)
  flags.add_argument("--batches", type=int, default=12)
  flags.add_argument("--attention", default="auto")
  flags.add_argument("--adapters", type=int, default=0)
  options = flags.parse_args()
  if options.tiny:
    options.model, options.batch_tokens, options.batches = "tiny", 512, 3
  width = 256 if options.tiny else 2048
  dtype = "float32" if options.tiny else "bfloat16"
  config = device.model(
    options.model,
    dtype=dtype,
    param_dtype=dtype,
    attention_kernel=options.attention,
  )
  mesh = mesh_lib.make()
  graphdef, params = device.random_params(config, mesh)
  adapters, models = _adapters(config, options.adapters), options.adapters or 1
  times, tokens, flops, cells = [], 0, 0, 0
  batches = device.packs(
    config.vocab,
    tokens=options.batch_tokens // models,
    width=width,
    count=options.batches + 1,
    mesh=mesh,
  )
  with jax.set_mesh(mesh):
    for number, (batch, arrays, lengths, predicted) in enumerate(batches):
      seconds, nll = device.seconds(
        lambda arrays=arrays: example_loss.batch_nll(
          graphdef, 64, params, adapters, arrays
        )
      )
      if not bool(jnp.isfinite(nll).all()):
        raise SystemExit("device_score: a loss is not finite.")
      if number == 0:
        first_seconds = seconds  # Most of it compiles.
        continue
      times.append(seconds)
      tokens += models * int(lengths.sum())
      cells += models * batch.cells
      flops += models * forward.flops(
        config, lengths, response_tokens=predicted
      )
  rate = hardware.matrix_rate(mesh, dtype)
  quality = {
    "tokens_per_second": tokens / sum(times),
    "of_the_matrix_rate": flops / sum(times) / rate,
    "matrix_rate": rate,
    "padding": 1 - tokens / cells,
    "attention": config.attention,
    "first_seconds": first_seconds,
    "peak_bytes": device.peak_bytes(),
  }
  work = vars(options) | {"tokens": tokens, "dtype": dtype}
  device.report("device_score", statistics.median(times), quality, work)


if __name__ == "__main__":
  main()
