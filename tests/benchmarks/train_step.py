"""One optimizer step of a 10 M model: ours against torch AdamW.

Both clip the gradient to norm 1 and use AdamW without decay, on the same
weights and batches of 8 rows of 256 tokens, 60 % of them response. Of torch
there is what scripts do (the loss of `model(labels=...)`, all logits) and the
head on response tokens only.
"""

import pathlib
import tempfile
from typing import Any

import numpy as np

from tests.benchmarks import harness, score

_RESPONSE = 0.6
_BATCHES = 4
_LEARNING_RATE = 1e-3


def make_batches(
  *, vocab: int, rows: int, width: int, seed: int
) -> list[dict[str, np.ndarray]]:
  """Batches of random tokens; each pass trains on the same ones again."""
  rng = np.random.default_rng(seed)
  shape = rows, width
  targets = np.broadcast_to(
    np.arange(width) >= round(width * (1 - _RESPONSE)), shape
  ).copy()
  return [
    {
      "tokens": rng.integers(0, vocab, shape).astype(np.int32),
      "targets": targets,
      "segment_ids": np.ones(shape, np.int32),
      "positions": np.tile(np.arange(width, dtype=np.int32), (rows, 1)),
    }
    for _ in range(_BATCHES)
  ]


def ours(
  folder: str, batches: list[dict[str, np.ndarray]], *, dtype: str, steps: int
) -> harness.Task:
  import jax
  import jax.numpy as jnp
  from flax import nnx

  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.models import decoder as decoder_lib
  from ila_jax.models.folders import weights
  from ila_jax.training import optim
  from ila_jax.training import step as step_lib

  mesh = mesh_lib.make()
  _, decoder = weights.load_decoder(folder, dtype=dtype, mesh=mesh)
  flops = score.necessary_flops(
    folder,
    np.full(len(batches[0]["tokens"]), batches[0]["tokens"].shape[1]),
    response_tokens=int(batches[0]["targets"].sum()),
  )
  optimizer = optim.adamw(weight_decay=0.0, clip_norm=1.0)
  graphdef, params = nnx.split(decoder)
  params = nnx.to_pure_dict(params)
  state = {"params": params, "optimizer": optimizer.init(params)}
  # In their places from the start, or the second step would compile again.
  states = [jax.device_put(state, decoder_lib.shardings(state, mesh))]
  rate = jnp.float32(_LEARNING_RATE)
  compilations = harness.Compilations()
  losses: list[Any] = []

  def task(mode: str) -> dict[str, Any]:
    del mode
    state = states.pop()
    with jax.set_mesh(mesh):
      for step in range(steps):
        batch = mesh_lib.put(batches[step % len(batches)], mesh)
        state, metrics = step_lib.train_step(
          graphdef, optimizer, mesh, None, state, {}, batch, rate
        )
        losses.append(metrics["loss"])
    states.append(jax.block_until_ready(state))
    return {
      "first_losses": [float(loss) for loss in losses[:steps]],
      "programs": compilations.programs,
      "compile_seconds": compilations.seconds,
      "flops": 3 * flops,  # A backward pass costs two forward passes.
    }

  return task


def torch_adamw(
  folder: str,
  batches: list[dict[str, np.ndarray]],
  *,
  steps: int,
  response_only: bool,
) -> harness.Task:
  import torch
  import transformers

  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, attn_implementation="sdpa"
  ).train()
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=_LEARNING_RATE, weight_decay=0.0, fused=True
  )

  def loss_of(ids: Any, labels: Any) -> Any:
    if not response_only:
      return model(input_ids=ids, labels=labels, use_cache=False).loss
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    row, column = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    return torch.nn.functional.cross_entropy(
      model.lm_head(hidden[row, column]), labels[row, column + 1]
    )

  losses: list[Any] = []

  def task(mode: str) -> dict[str, Any]:
    del mode
    for step in range(steps):
      batch = batches[step % len(batches)]
      ids = torch.from_numpy(batch["tokens"]).long()
      labels = torch.where(torch.from_numpy(batch["targets"]), ids, -100)
      loss = loss_of(ids, labels)
      optimizer.zero_grad(set_to_none=True)
      loss.backward()
      torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      losses.append(loss.detach())
    return {"first_losses": [float(loss) for loss in losses[:steps]]}

  return task


def main() -> None:
  flags = harness.parser("train_step", rounds=3)
  flags.add_argument("--size", choices=("tiny", "small"), default="small")
  flags.add_argument("--steps", type=int, default=6, help="of one pass")
  flags.add_argument("--rows", type=int, default=8)
  flags.add_argument("--width", type=int, default=256)
  options = harness.parse(flags)
  if options.tiny:
    options.size, options.rounds, options.steps = "tiny", 1, 2
    options.rows, options.width = 8, 16
  vocab = score.vocabulary(options.size)
  shape = {"rows": options.rows, "width": options.width}
  batches = make_batches(vocab=vocab, seed=options.seed, **shape)
  with tempfile.TemporaryDirectory() as folder:
    score.write_model(
      pathlib.Path(folder),
      options.size,
      family="qwen2",
      seed=options.seed,
      std=0.02,
    )
    measured, skipped = harness.run(
      _contenders(folder, batches, options), options
    )
  found = {n: s.found[""] for n, s in measured.items() if n != harness.MATRIX}
  first = {name: found[name]["first_losses"] for name in found}
  quality = {
    "first_losses": first,
    "largest_difference": max(
      abs(a - b)
      for losses in first.values()
      for a, b in zip(first["ours"], losses, strict=True)
    ),
    **{k: found["ours"][k] for k in ("programs", "compile_seconds")},
  }
  for shown in measured.values():
    shown.seconds[""] = [s / options.steps for s in shown.seconds[""]]
  harness.report(
    "train_step",
    measured,
    tables={"": f"one step, {options.size} model, {options.dtype}"},
    amount=options.rows * options.width,
    unit="tokens",
    flops=found["ours"]["flops"],
    quality=quality,
    work={**vars(options), "skipped": skipped},
  )


def _contenders(
  folder: str, batches: list[dict[str, np.ndarray]], options: Any
) -> list[harness.Contender]:
  data = {"folder": folder, "batches": batches, "steps": options.steps}
  needs = ("torch", "transformers")
  return [
    harness.Contender("ours", ours, {**data, "dtype": options.dtype}),
    *(
      harness.Contender(
        f"torch {name}", torch_adamw, {**data, "response_only": only}, needs
      )
      for name, only in (("all logits", False), ("response head", True))
    ),
  ]


if __name__ == "__main__":
  main()
