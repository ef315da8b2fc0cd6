"""AdamW steps of a large model of random weights, on the devices here.

    python -m tests.benchmarks.device_train --model qwen2_1_5b
    python -m tests.benchmarks.device_train --model qwen2_7b --lora-rank 16

Rows of 2,048 tokens packed with examples, products in bfloat16, weights and
moments in float32 (of an adapter only its own), blocks computed again in the
backward pass. FLOPs are those that the step needs: three forward passes, or two
where only an adapter has gradients; what is computed again does not count.
"""

import statistics

import jax
import jax.numpy as jnp
from flax import nnx

from ila_jax.compute import hardware
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import lora as lora_lib
from ila_jax.passes import forward
from ila_jax.training import optim, step
from ila_jax.training import recipe as recipe_lib
from tests.benchmarks import device


def main() -> None:
  """Times the steps, and prints the rate beside that of matrices."""
  flags = device.flags(__doc__)
  flags.add_argument(
    "--model", choices=sorted(device.MODELS), default="qwen2_1_5b"
  )
  flags.add_argument("--lora-rank", type=int, help="of an adapter; else full")
  flags.add_argument("--batch-tokens", type=int, default=16384)
  flags.add_argument("--steps", type=int, default=8)
  options = flags.parse_args()
  if options.tiny:
    options.model, options.batch_tokens, options.steps = "tiny", 512, 3
  width = 256 if options.tiny else 2048
  dtype = "float32" if options.tiny else "bfloat16"
  lora = options.lora_rank and lora_lib.LoraConfig(
    rank=options.lora_rank, alpha=16, targets=lora_lib.TARGETS
  )
  config = device.model(
    options.model,
    dtype=dtype,
    param_dtype=dtype if lora else "float32",
    remat=True,
  )
  mesh = mesh_lib.make()
  optimizer = optim.adamw()
  batches = device.packs(
    config.vocab,
    tokens=options.batch_tokens,
    width=width,
    count=options.steps + 2,
    mesh=mesh,
  )
  first, times, tokens, flops, losses = [], [], 0, 0, []
  with jax.set_mesh(mesh):
    graphdef, params = device.random_params(config, mesh)
    params = nnx.to_pure_dict(params)
    if lora:
      start, base = lora_lib.init(config, lora, jax.random.key(0)), params
    else:
      start, base = params, {}
    state = {"params": start, "optimizer": optimizer.init(start)}
    state = jax.device_put(state, step.shardings(state, mesh, lora))
    for number, (_, arrays, lengths, predicted) in enumerate(batches):
      seconds, (state, metrics) = device.seconds(
        lambda state=state, arrays=arrays: step.train_step(
          graphdef,
          optimizer,
          mesh,
          lora,
          state,
          base,
          arrays,
          jnp.float32(1e-5),
        )
      )
      losses.append(metrics["loss"].item())
      if number < 2:  # Compiles, and shows whether the second step does again.
        first.append(seconds)
        continue
      times.append(seconds)
      tokens += int(lengths.sum())
      flops += recipe_lib.passes(lora) * forward.flops(
        config, lengths, response_tokens=predicted
      )
  rate = hardware.matrix_rate(mesh, dtype)
  quality = {
    "tokens_per_second": tokens / sum(times),
    "of_the_matrix_rate": flops / sum(times) / rate,
    "matrix_rate": rate,
    "attention": config.attention,
    "losses": [round(loss, 4) for loss in losses],
    "first_seconds": first,
    "peak_bytes": device.peak_bytes(),
  }
  work = vars(options) | {"tokens": tokens, "dtype": dtype}
  device.report("device_train", statistics.median(times), quality, work)


if __name__ == "__main__":
  main()
