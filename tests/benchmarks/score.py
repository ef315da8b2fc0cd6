"""Response loss of every example: ours against torch transformers.

The rivals, from what most scripts do to the best that torch can:
  pool order   rows of 16 padded to the longest, all logits
  sorted       the same, sorted by length
  tuned        sorted, batches by a token budget (the best of three), the head
               on response tokens only and in chunks
Weights are random; lengths follow a lognormal law like that of instruction
pools (median 116 tokens, sigma 0.8, at most 1024), or are those of a real one.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from typing import Any

import numpy as np

from tests.benchmarks import harness

_ROWS = 16
_MAX_POSITIONS = 4096
_HEAD_ROWS = 1024
_BUDGETS = (1024, 2048, 4096)
_SIZES = {
  "tiny": {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
  },
  "small": {  # 10.0 M weights
    "vocab_size": 8192,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
  },
  "big": {  # 62.0 M weights
    "vocab_size": 32000,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
  },
}
_EXAMPLES = {"tiny": 8, "small": 300, "big": 100}


@dataclasses.dataclass(frozen=True)
class Examples:
  """Tokens of each example, and which of them are response."""

  tokens: list[np.ndarray]
  is_response: list[np.ndarray]

  @property
  def lengths(self) -> np.ndarray:
    return np.array([len(ids) for ids in self.tokens], np.int64)

  @property
  def response_tokens(self) -> int:
    return int(sum(mask.sum() for mask in self.is_response))


def write_model(
  folder: pathlib.Path, size: str, *, family: str, seed: int, std: float
) -> None:
  """A Hugging Face folder of random weights, made by torch."""
  import torch
  import transformers

  config_class, model_class = {
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
  }[family]
  config = config_class(
    **_SIZES[size],
    max_position_embeddings=_MAX_POSITIONS,
    tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    initializer_range=std,
  )
  torch.manual_seed(seed)
  model_class(config).save_pretrained(folder)


def make_examples(
  n: int,
  *,
  vocab: int,
  max_tokens: int,
  seed: int,
  pool: str,
  tokenizer: str,
) -> Examples:
  """Random tokens, with lengths by the law or from a pool."""
  rng = np.random.default_rng(seed)
  if pool:
    lengths, responses = _pool_lengths(n, max_tokens, pool, tokenizer, rng)
  else:
    drawn = np.exp(rng.normal(np.log(116), 0.8, n))
    lengths = np.clip(drawn.round().astype(int), 8, max_tokens)
    responses = np.ceil(lengths * rng.uniform(0.3, 0.9, n)).astype(int)
  tokens, is_response = [], []
  for length, response in zip(lengths, responses, strict=True):
    tokens.append(rng.integers(0, vocab, length).astype(np.int32))
    is_response.append(np.arange(length) >= max(length - response, 1))
  return Examples(tokens, is_response)


def _pool_lengths(
  n: int,
  max_tokens: int,
  pool: str,
  tokenizer: str,
  rng: np.random.Generator,
) -> tuple[list[int], list[int]]:
  """Tokens of examples of a real pool, drawn at random, and of their answers.

  The tool's own reader, template and marks of the response.
  """
  from ila_jax.pool import examples as examples_lib
  from ila_jax.pool import records
  from ila_jax.pool.tokens import encode
  from ila_jax.pool.tokens import tokenizer as tokenizer_lib

  examples = list(examples_lib.read([pool], rejects=lambda _: None))
  chosen = rng.choice(len(examples), min(n, len(examples)), replace=False)
  encoded = encode.encode_many(
    [examples[i].turns for i in chosen],
    tokenizer_lib.load_tokenizer(tokenizer),
    max_tokens=max_tokens,
  )
  kept = [e for e in encoded if not isinstance(e, records.Reject)]
  lengths = [len(e.ids) for e in kept]
  return lengths, [int(e.is_response.sum()) for e in kept]


def vocabulary(size: str) -> int:
  """Tokens of a model's vocabulary."""
  return _SIZES[size]["vocab_size"]


def necessary_flops(
  folder: str, lengths: np.ndarray, *, response_tokens: int
) -> int:
  """Products of a forward pass that no program can leave out."""
  from ila_jax.models import architecture
  from ila_jax.models.folders import causal_configs

  config = causal_configs.decoder_config(
    pathlib.Path(folder), dtype="float32", param_dtype="float32", remat=False
  )
  return architecture.flops(
    config,
    tokens=int(lengths.sum()),
    attended=config.layers * int((lengths * (lengths + 1) // 2).sum()),
    response_tokens=response_tokens,
  )


def ours(
  folder: str,
  examples: Examples,
  *,
  dtype: str,
  batch_tokens: int,
  layout_kind: str,
) -> harness.Task:
  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.models.folders import weights
  from ila_jax.passes import example_loss, forward, layouts

  mesh = mesh_lib.make()
  _, decoder = weights.load_decoder(
    folder, dtype=dtype, param_dtype=dtype, mesh=mesh
  )
  lengths = examples.lengths.astype(np.int32)
  layout = layouts.choose(
    lengths,
    batch_tokens=batch_tokens,
    kind=layout_kind,
    program_tokens=forward.program_tokens(decoder.config),
  )
  plan = layouts.plan(lengths, layout)
  compilations = harness.Compilations()

  def task(mode: str) -> dict[str, Any]:
    del mode
    nll = example_loss.example_nll(
      decoder,
      examples.tokens,
      examples.is_response,
      layout=layout,
      mesh=mesh,
    )[:, 0]
    return {
      "nll": nll,
      "padding": layouts.padding_fraction(plan, lengths),
      "programs": compilations.programs,
      "compile_seconds": compilations.seconds,
    }

  return task


def torch_padded(
  folder: str, examples: Examples, *, is_sorted: bool
) -> harness.Task:
  """Rows of 16 padded on the right, and the loss of all logits."""
  import torch
  import transformers

  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, attn_implementation="sdpa"
  ).eval()
  order = np.arange(len(examples.tokens))
  if is_sorted:
    order = np.argsort(-examples.lengths, kind="stable")

  @torch.inference_mode()
  def task(mode: str) -> dict[str, Any]:
    del mode
    nll = np.zeros(len(order), np.float32)
    for start in range(0, len(order), _ROWS):
      rows = order[start : start + _ROWS]
      ids, mask, labels = _pad(examples, rows)
      logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
      # Labels move by one, not the logits, which would be copied whole.
      labels = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
      losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), reduction="none"
      )
      nll[rows] = losses.view(labels.shape).sum(1).numpy()
    return {"nll": nll}

  return task


def _pad(examples: Examples, rows: np.ndarray) -> tuple[Any, Any, Any]:
  """ids, attention mask and labels of these examples, padded on the right."""
  import torch

  shape = len(rows), max(len(examples.tokens[row]) for row in rows)
  ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
  labels = np.full(shape, -100)
  for i, row in enumerate(rows):
    tokens, is_response = examples.tokens[row], examples.is_response[row]
    ids[i, : len(tokens)], mask[i, : len(tokens)] = tokens, 1
    labels[i, : len(tokens)] = np.where(is_response, tokens, -100)
  return tuple(map(torch.from_numpy, (ids, mask, labels)))


def torch_tuned(folder: str, examples: Examples, *, dtype: str) -> harness.Task:
  """The strongest torch baseline: nothing is computed that need not be.

  Rows are padded on the right, where causal attention never looks, so no mask
  is made and attention takes its fastest way. The budget is the best of
  `_BUDGETS`, found in the warm-up pass.
  """
  import torch
  import transformers

  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
  ).eval()
  order = np.argsort(-examples.lengths, kind="stable")
  best: list[int] = []

  @torch.inference_mode()
  def score(budget: int) -> np.ndarray:
    nll, start = np.zeros(len(order), np.float32), 0
    while start < len(order):
      rows = order[start:]
      rows = rows[: max(budget // len(examples.tokens[rows[0]]), 1)]
      start += len(rows)
      ids, _, labels = _pad(examples, rows)
      hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
      nll[rows] = _response_nll(hidden, labels, model.lm_head).numpy()
    return nll

  def seconds(budget: int) -> float:
    start = time.perf_counter()
    score(budget)
    return time.perf_counter() - start

  def task(mode: str) -> dict[str, Any]:
    del mode
    if not best:
      score(_BUDGETS[0])
      best.append(min(_BUDGETS, key=seconds))
    return {"nll": score(best[0]), "budget": best[0]}

  return task


def _response_nll(hidden: Any, labels: Any, head: Any) -> Any:
  """Loss of each row, in chunks of its response tokens; float32."""
  import torch

  row, column = (labels[:, 1:] != -100).nonzero(as_tuple=True)
  wanted, targets = hidden[row, column], labels[row, column + 1]
  nll = torch.zeros(len(hidden))
  for start in range(0, len(row), _HEAD_ROWS):
    chunk = slice(start, start + _HEAD_ROWS)
    losses = torch.nn.functional.cross_entropy(
      head(wanted[chunk]).float(), targets[chunk], reduction="none"
    )
    nll.index_add_(0, row[chunk], losses)
  return nll


def contenders(
  folder: str, examples: Examples, options: argparse.Namespace
) -> list[harness.Contender]:
  data = {"folder": folder, "examples": examples}
  torch_needs = ("torch", "transformers")

  def padded(name: str, is_sorted: bool) -> harness.Contender:
    arguments = {**data, "is_sorted": is_sorted}
    return harness.Contender(name, torch_padded, arguments, torch_needs)

  def tuned(dtype: str) -> harness.Contender:
    arguments = {**data, "dtype": dtype}
    return harness.Contender(
      f"torch tuned {dtype}", torch_tuned, arguments, torch_needs
    )

  found = [
    harness.Contender(
      "ours",
      ours,
      {
        **data,
        "dtype": options.dtype,
        "batch_tokens": options.batch_tokens,
        "layout_kind": options.layout,
      },
    ),
    padded("torch pool order b16", False),
    padded("torch sorted b16", True),
    tuned("float32"),
  ]
  return [*found, tuned("bfloat16")] if options.dtype == "bfloat16" else found


def main() -> None:
  flags = harness.parser("score", rounds=3)
  flags.add_argument("--size", choices=tuple(_SIZES), default="small")
  flags.add_argument("--family", choices=("qwen2", "llama"), default="qwen2")
  flags.add_argument("--examples", type=int, help="default by size")
  flags.add_argument("--max-tokens", type=int, default=1024)
  flags.add_argument("--batch-tokens", type=int, default=2048, help="of ours")
  flags.add_argument("--layout", default="auto", help="of ours")
  flags.add_argument(
    "--pool", default="", help="take lengths from this pool, such as a file"
  )
  flags.add_argument(
    "--tokenizer", default="", help="folder of a tokenizer, for --pool"
  )
  options = harness.parse(flags)
  if options.tiny:
    options.size, options.rounds, options.pool = "tiny", 1, ""
    options.max_tokens, options.batch_tokens = 128, 512
  sizes = _SIZES[options.size]
  examples = make_examples(
    options.examples or _EXAMPLES[options.size],
    vocab=sizes["vocab_size"],
    max_tokens=options.max_tokens,
    seed=options.seed,
    pool=options.pool,
    tokenizer=options.tokenizer,
  )
  with tempfile.TemporaryDirectory() as folder:
    write_model(
      pathlib.Path(folder),
      options.size,
      family=options.family,
      seed=options.seed,
      # Unit gain: every block matters to the loss.
      std=sizes["hidden_size"] ** -0.5,
    )
    measured, skipped = harness.run(
      contenders(folder, examples, options), options
    )
    flops = necessary_flops(
      folder, examples.lengths, response_tokens=examples.response_tokens
    )
  found = measured["ours"].found[""]
  nll = {
    name: shown.found[""]["nll"]
    for name, shown in measured.items()
    if "nll" in shown.found[""]
  }
  quality = {
    "largest_relative_difference": {
      name: float(np.max(np.abs(nll["ours"] - losses) / np.abs(losses)))
      for name, losses in nll.items()
      if name != "ours"
    },
    **{k: found[k] for k in ("padding", "programs", "compile_seconds")},
  }
  print(
    f"ours: {found['padding']:.1%} padding, {found['programs']} programs "
    f"compiled in {found['compile_seconds']:.1f} s; relative difference of the "
    f"losses {quality['largest_relative_difference']}"
  )
  harness.report(
    "score",
    measured,
    tables={"": f"score {options.size} {options.family} {options.dtype}"},
    amount=int(examples.lengths.sum()),
    unit="tokens",
    flops=flops,
    quality=quality,
    work={
      **vars(options),
      "examples": len(examples.tokens),
      "response_tokens": examples.response_tokens,
      "torch_budgets": {
        name: shown.found[""]["budget"]
        for name, shown in measured.items()
        if "budget" in shown.found[""]
      },
      "skipped": skipped,
    },
  )


if __name__ == "__main__":
  main()
