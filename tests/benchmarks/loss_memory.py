"""The masked loss at a vocabulary of 151,936: seconds and bytes, in turn.

    python -m tests.benchmarks.loss_memory

Ours against full logits in JAX and in torch, and against torch on the response
rows alone, a chunk of them at a time. Every contender has a process of its own
and does the work once to warm up; then they take turns. Bytes are what the
process held at most in that first pass beyond what it held before and beyond
the two gradients; for the compiled ones also what the compiler planned
(`memory_analysis`). The last line is one JSON object; its seconds are medians
of forward and backward together.
"""

import argparse
import json
import multiprocessing
import pathlib
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

_VOCAB = 151_936
_TORCH_CHUNK = 256
_MODES = ("forward", "both")
# A mode in; the losses of the targets, and the two gradients in "both".
Task = Callable[[str], list[np.ndarray]]


def make_case(args: argparse.Namespace) -> dict[str, np.ndarray]:
  """States, a head, tokens, and one response to the end of each row."""
  rng = np.random.default_rng(args.seed)
  shape = (args.rows, args.tokens)
  first = rng.integers(1, int(0.8 * args.tokens), (args.rows, 1))
  return {
    "hidden": rng.normal(size=(*shape, args.width)).astype(np.float32),
    "head": 0.05 * rng.normal(size=(_VOCAB, args.width)).astype(np.float32),
    "tokens": rng.integers(0, _VOCAB, shape).astype(np.int32),
    "targets": np.arange(args.tokens)[None] >= first,
  }


def _compiled(
  nll_of: Callable, case: dict[str, np.ndarray]
) -> tuple[Task, int]:
  import jax

  def mean(hidden, head, tokens, targets):
    nll = nll_of(hidden, head, tokens, targets)
    return nll.sum() / targets.sum(), nll

  def both(*arrays):
    run = jax.value_and_grad(mean, argnums=(0, 1), has_aux=True)
    (_, nll), gradients = run(*arrays)
    return nll, *gradients

  arrays = jax.block_until_ready(jax.tree.map(jax.numpy.array, case))
  arrays = tuple(arrays[name] for name in case)
  runs = {
    "forward": jax.jit(lambda *x: (mean(*x)[1],)).lower(*arrays).compile(),
    "both": jax.jit(both).lower(*arrays).compile(),
  }
  temporary = runs["both"].memory_analysis().temp_size_in_bytes

  def task(mode: str) -> list[np.ndarray]:
    nll, *gradients = map(np.asarray, runs[mode](*arrays))
    return [nll[case["targets"]], *gradients]

  return task, temporary


def ours(case: dict[str, np.ndarray]) -> tuple[Task, int]:
  from ila_jax.models import losses

  return _compiled(losses.token_nll, case)


def naive_jax(case: dict[str, np.ndarray]) -> tuple[Task, int]:
  import jax
  import jax.numpy as jnp

  def nll_of(hidden, head, tokens, targets):
    logits = jnp.einsum("btd,vd->btv", hidden[:, :-1], head)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    chosen = jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
    nll = jnp.where(targets[:, 1:], -chosen, 0.0)
    return jnp.pad(nll, ((0, 0), (1, 0)))

  return _compiled(nll_of, case)


def torch_task(
  case: dict[str, np.ndarray], *, is_chunked: bool
) -> tuple[Task, None]:
  import torch

  torch.set_num_threads(multiprocessing.cpu_count())
  kept = torch.tensor(case["targets"][:, 1:])
  labels = torch.tensor(case["tokens"]).long()[:, 1:][kept]
  hidden, head = (
    torch.tensor(case[name], requires_grad=True) for name in ("hidden", "head")
  )

  def one(rows: Any, labels: Any, mode: str) -> Any:
    nll = torch.nn.functional.cross_entropy(
      rows @ head.T, labels, reduction="none"
    )
    if mode == "both":
      # At once, so that the logits of a chunk can go before the next come.
      (nll.sum() / kept.sum()).backward()
    return nll.detach()

  def full(mode: str) -> Any:
    logits = hidden[:, :-1] @ head.T
    nll = torch.nn.functional.cross_entropy(
      logits.flatten(0, 1),
      torch.tensor(case["tokens"]).long()[:, 1:].flatten(),
      reduction="none",
    )
    nll = nll.reshape(kept.shape)[kept]
    if mode == "both":
      nll.mean().backward()
    return nll.detach()

  def chunked(mode: str) -> Any:
    rows = hidden[:, :-1][kept]
    leaf = rows.detach().requires_grad_(mode == "both")
    chunks = zip(
      leaf.split(_TORCH_CHUNK), labels.split(_TORCH_CHUNK), strict=True
    )
    nll = torch.cat([one(*chunk, mode) for chunk in chunks])
    if mode == "both":
      rows.backward(leaf.grad)
    return nll

  def task(mode: str) -> list[np.ndarray]:
    hidden.grad = head.grad = None
    with torch.set_grad_enabled(mode == "both"):
      nll = (chunked if is_chunked else full)(mode).numpy()
    gradients = (hidden.grad, head.grad) if mode == "both" else ()
    return [nll, *(x.numpy() for x in gradients)]

  return task, None


def torch_full(case: dict[str, np.ndarray]) -> tuple[Task, None]:
  return torch_task(case, is_chunked=False)


def torch_chunked(case: dict[str, np.ndarray]) -> tuple[Task, None]:
  return torch_task(case, is_chunked=True)


_CONTENDERS = {
  "ours": ours,
  "jax, full logits": naive_jax,
  "torch, full logits": torch_full,
  f"torch, response rows by {_TORCH_CHUNK}": torch_chunked,
}


def _resident(field: str) -> int | None:
  """Bytes of this process by Linux: VmRSS now, VmHWM at most."""
  status = pathlib.Path("/proc/self/status")
  if not status.exists():
    return None
  line = next(x for x in status.read_text().splitlines() if field in x)
  return 1024 * int(line.split()[1])


def _work(name: str, args: argparse.Namespace, pipe: Connection) -> None:
  """One contender: warms up, then passes when it is told to."""
  case = make_case(args)
  try:
    task, planned = _CONTENDERS[name](case)
  except ImportError as error:
    pipe.send(error.name)
    return
  before = _resident("VmRSS")
  if before is not None:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  nll, for_hidden, for_head = task("both")
  held = None
  if before is not None:
    held = _resident("VmHWM") - before - for_hidden.nbytes - for_head.nbytes
  # A tenth of a gigabyte need not be sent: its sums along random directions.
  direction = np.random.default_rng(0).normal(size=args.width)
  pipe.send((held, planned, [nll, for_hidden, for_head @ direction]))
  del nll, for_hidden, for_head
  task("forward")
  while (mode := pipe.recv()) is not None:
    start = time.perf_counter()
    task(mode)
    pipe.send(time.perf_counter() - start)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rows", type=int, default=4)
  parser.add_argument("--tokens", type=int, default=256, help="of a row")
  parser.add_argument("--width", type=int, default=256)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  args = parser.parse_args()
  if args.tiny:
    args.rows, args.tokens, args.width, args.rounds = 1, 16, 8, 1
  context = multiprocessing.get_context("spawn")
  pipes, shown, workers = {}, {}, []
  for name in _CONTENDERS:
    pipe, theirs = context.Pipe()
    workers.append(context.Process(target=_work, args=(name, args, theirs)))
    workers[-1].start()
    first = pipe.recv()
    if isinstance(first, str):
      print(f"{name}: left out, {first} is not installed")
    else:
      pipes[name], shown[name] = pipe, first
  seconds = {name: {mode: [] for mode in _MODES} for name in pipes}
  for _ in range(args.rounds):
    for mode in _MODES:
      for name, pipe in pipes.items():
        pipe.send(mode)
        seconds[name][mode].append(pipe.recv())
  for pipe in pipes.values():
    pipe.send(None)
  for worker in workers:
    worker.join()
  _report(args, shown, seconds)


def _report(
  args: argparse.Namespace, shown: dict[str, Any], seconds: dict[str, Any]
) -> None:
  full = 4 * args.rows * args.tokens * _VOCAB
  targets = int(make_case(args)["targets"].sum())
  print(
    f"vocabulary {_VOCAB:,}, width {args.width}, {args.rows} x {args.tokens} "
    f"tokens, {targets} targets; full logits {full / 1e6:.0f} MB"
  )
  print(f"{'':28} forward s  both s  held MB  planned MB")
  medians = {}
  for name, (held, planned, _) in shown.items():
    medians[name] = {m: statistics.median(seconds[name][m]) for m in _MODES}
    forward, both = medians[name].values()
    cells = ["-" if x is None else f"{x / 1e6:.1f}" for x in (held, planned)]
    print(f"{name:28}{forward:10.3f}{both:8.3f}{cells[0]:>9}{cells[1]:>12}")
  errors = [
    float(np.abs(x - y).max())
    for x, y in zip(shown["ours"][2], shown["jax, full logits"][2], strict=True)
  ]
  record = {
    "benchmark": "loss_memory",
    "ours": medians["ours"]["both"],
    "rivals": {n: m["both"] for n, m in medians.items() if n != "ours"},
    "quality": {
      "temp_bytes": shown["ours"][1],
      "full_logits_bytes": full,
      "max_abs_error": max(errors),
    },
    "work": {
      "vocab": _VOCAB,
      "width": args.width,
      "tokens": args.rows * args.tokens,
      "targets": targets,
      # Logits, logits again, and a product for each gradient.
      "flops": 4 * 2 * targets * args.width * _VOCAB,
      "forward_seconds": {n: m["forward"] for n, m in medians.items()},
    },
  }
  print(json.dumps(record))


if __name__ == "__main__":
  main()
