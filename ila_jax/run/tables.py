"""The artifacts of the workdir: name, content, columns and writer of each.

All modules take names from here, and read by the format: a `.parquet` with
`files.read_table` or `read_parts`, a `.jsonl` with `read_jsonl`, a `.json`
with `read_json`, a `.npy` with `read_array`. Files in the folder of a model or
a tokenizer are named as Hugging Face names them.

Ids are 64-bit integers, and 16 hex digits in what people read: the ranking,
rejects and the report (`f"{id:016x}"`).
"""

from ila_jax.run.disk import artifact

Artifact = artifact.Artifact


def _columns(text: str) -> dict[str, str]:
  """Columns and their types, from words such as `row:int64`."""
  return dict(word.split(":") for word in text.split())


# The first columns of a table with a row an example.
_EXAMPLE = _columns("row:int64 id:uint64")

# Of the run.
MANIFEST = Artifact(
  "manifest.json", "pipeline", "config, versions, seeds, device and costs"
)
# The key of a manifest by which it is known as ours.
OURS = "ila_jax"
LOG = Artifact("log.txt", "run.log", "what all runs here have said, with times")
PROGRESS = Artifact(
  "progress.json", "run.log", "what the run is at", is_passing=True
)
HASHES = Artifact(
  "hashes.json", "run.disk.hashes", "hashes of large files; may be removed"
)
COMPILED = Artifact(
  "compiled/", "pipeline", "compiled programs; may be removed"
)

GIVEN = Artifact("records-{name}.jsonl", "api", "records of `ila_jax.select`")

# Of every folder, and of every stage.
CHECKSUMS = Artifact(
  "{folder}checksums.json", "run.disk.checksums", "size and CRC-32C"
)
RECORD = Artifact(
  "{stage}/stage.json", "run.stage_record", "made from what, done, its cost"
)
HISTORY = Artifact(
  "{stage}/metrics-{name}.jsonl",
  "training.trial",
  "loss, learning rate and tokens of each step of one training",
)
CHECKPOINTS = Artifact(
  "{stage}/checkpoints-{name}/",
  "training.trial",
  "where a training that was killed goes on",
  is_passing=True,
)
LIVE = Artifact("live/", "training.metrics", "for config.train.metrics")

# Of the base that is made from scratch.
BASE = Artifact("model/", "training.base", "the base as a Hugging Face folder")

# Of stage `pool`.
INDEX = Artifact(
  "pool/index.parquet",
  "pool.index",
  "the used examples: where they come from, how long they are, their split",
  _EXAMPLE
  | _columns(
    "prompt_id:uint64 source:string n_prompt_tokens:int32 "
    "n_response_tokens:int32 n_labels:int32 domain:string truncated:bool "
    "split:string"
  ),
)
RECORDS = Artifact(
  "pool/records-{shard:05d}.parquet",
  "pool.shards",
  "the used examples: record as read, turns, tokens",
  {
    **_EXAMPLE,
    "record": "string",
    "turns": "list<element: struct<role: string, text: string, is_learnt: "
    "bool, thought: string, calls: string, call_id: string, name: string>>",
    **{"tokens": "list<element: int32>", "is_response": "list<element: bool>"},
  },
)
REJECTS = Artifact("pool/rejects.jsonl", "pool.stage", "rejects, and why")
TRUNCATED = Artifact(
  "pool/truncated.parquet",
  "pool.stage",
  "the used examples that were cut, and how many tokens of prompt and response",
  _EXAMPLE | _columns("prompt:int32 response:int32"),
)
CONTAMINATION = Artifact(
  "pool/contamination.jsonl", "pool.stage", "what repeats an evaluation set"
)
COUNTS = Artifact("pool/counts.json", "pool.stage", "how much was read")
TOKENIZER = Artifact(
  "pool/tokenizer/", "pool.base_tokenizer", "of a base from scratch"
)

_TASK = "pool.splits.task"
SPLIT = Artifact(
  "pool_splits/{shard:05d}/split.json", _TASK, "what it was made from", {}, True
)
SPLIT_OUTCOMES = Artifact(
  "pool_splits/{shard:05d}/outcomes.parquet", _TASK, "of each record", {}, True
)
SPLIT_RECORDS = Artifact(
  "pool_splits/{shard:05d}/records.parquet", _TASK, "the usable ones", {}, True
)

# Of stage `embed`.
EMBEDDINGS = Artifact(
  "embed/embeddings-{shard:05d}.npy", "embed.rows", "unit vectors of prompts"
)
INPUTS = Artifact(
  "embed/inputs-{shard:05d}.parquet",
  "embed.rows",
  "fingerprints of each prompt and of what was read, tokens read and cut off",
  _columns("prompt:uint64 seen:uint64 tokens:int32 lost:int32"),
)

# Of stage `score`.
REFERENCE = Artifact(
  "score/reference.parquet",
  "score.stage",
  "the reference set of each seed",
  _columns("seed:int64 row:int64 id:uint64"),
)
LOSSES = Artifact(
  "score/{losses}-{shard:05d}.parquet",
  "score.losses",
  "losses under one model, or under several in one pass",
  _columns("row:int64 nll_{model}:float"),
)
SCORES = Artifact(
  "score/scores.parquet",
  "score.losses",
  "losses under base and tuned model",
  _EXAMPLE
  | _columns("nll_base:float nll_sft:float nll_sft_std:float n_tokens:int32"),
)
NOT_FINITE = Artifact(
  "score/rejects.jsonl", "score.losses", "what has no finite loss"
)
TUNED = Artifact(
  "score/reference-{seed}/",
  "score.stage",
  "the reference-tuned model as Hugging Face has it, or its adapter as peft",
)

# Of signals.
SIGNAL = Artifact(
  "signals/{name}/values-{shard:05d}.npy",
  "score.signals.example_signal",
  "a signal that some methods need, a file for each shard of the pool",
)
TAG_NAMES = Artifact(
  "signals/tags/names.parquet",
  "score.signals.tags",
  "the name of each tag",
  {"tag": "int32", "name": "string"},
)
_OF_SAE = "signals/sae_features/"
_TOP = _columns("latent:int32 rank:int32 row:int64 id:uint64 activation:float")
_SHARE = {"share": "double"}
SAE = Artifact(f"{_OF_SAE}autoencoder/", "score.sae.ready", "the autoencoder")
SHARD_TOP = Artifact(
  _OF_SAE + "top-{shard:05d}.parquet", "score.sae.top", "of a shard", _TOP
)
TOP = Artifact(
  f"{_OF_SAE}top.parquet", "score.sae.top", "of each latent", _TOP | _SHARE
)

# Of sets beside the pool.
BESIDE = Artifact(
  "beside/{name}/", "score.target", "the target set, as a pool of its own"
)
WARMED_UP = Artifact(
  "beside/less_warmup/epoch-{epoch}.safetensors",
  "score.gradients.warmup",
  "an adapter and its moments",
)
TARGET_GRADIENTS = Artifact(
  "beside/target_gradients/values.npy", "score.gradients.of_target", "projected"
)
EARLY_LOSSES = Artifact(
  "beside/early_losses/losses.parquet",
  "score.early_losses",
  "losses of a sample under a model tuned on a part of the reference set, and "
  "under that of all of it",
  _EXAMPLE | _columns("nll_early:float nll_tuned:float"),
)
OTHER_CELLS = Artifact(
  "beside/other_maps/cells-{seed}.npy", "landscape.trust.other_maps", "cells"
)
NEAR_EVALUATION = Artifact(
  "beside/evaluation/near_evaluation.parquet",
  "landscape.duplicates.near_reference",
  "the evaluation prompt nearest to every example; cosine -1: not compared",
  _EXAMPLE | _columns("file:string line:int64 cosine:float"),
)

# Of stage `landscape`.
CELLS = Artifact(
  "landscape/cells.parquet",
  "landscape.stage",
  "position, cell, depth, its deviation by reference sets, rank, domain",
  _EXAMPLE
  | _columns(
    "{axis}:float cell:int32 depth:float depth_std:float relative_depth:float "
    "domain:int32"
  ),
)
MAP = Artifact(
  "landscape/map.json", "landscape.stage", "what the map and its cells are"
)
JOINED = Artifact(
  "landscape/joined.json", "landscape.join", "`map.json` of the joined map"
)
FITTED_FOLDER = "map"
FITTED = Artifact(
  "landscape/map/projection.json",
  "landscape.maps.projections",
  "the fitted map: its kind, width and notes",
)
FITTED_ARRAYS = Artifact(
  "landscape/map/projection.safetensors",
  "landscape.maps.projections",
  "the fitted map: what it has learnt",
)
CENTERS = Artifact(
  "landscape/centers.npy", "landscape.place", "centres of k-means cells"
)
PLACES = Artifact(
  "landscape/places-{shard:05d}.npy",
  "landscape.place",
  "positions of 65,536 examples each, while they are placed",
  is_passing=True,
)
GROUPS = Artifact(
  "landscape/duplicates.parquet",
  "landscape.duplicates.write",
  "what has a near-duplicate: the row that stays, the nearest row, cosine",
  _EXAMPLE | _columns("group:int64 nearest_row:int64 cosine:float"),
)
PAIRS = Artifact(
  "landscape/duplicate_pairs.parquet",
  "landscape.duplicates.write",
  "pairs of near-duplicates, a row a prompt",
  _columns("row_a:int64 row_b:int64 cosine:float"),
)
NEAR_REFERENCE = Artifact(
  "landscape/near_reference.parquet",
  "landscape.duplicates.near_reference",
  "cosine of every example to the reference set",
  _EXAMPLE | _columns("reference_row:int64 cosine:float"),
)
DUPLICATES = Artifact(
  "landscape/duplicates.json", "landscape.duplicates.write", "for the report"
)
STABILITY = Artifact(
  "landscape/stability.json",
  "landscape.trust.write",
  "how far other maps agree with this one, if that was asked for",
)

# Of stage `select`.
RANKING = Artifact(
  "select/ranking.parquet",
  "selection.stage",
  "the total order",
  _columns("row:int64 id:string rank:int64 cell:int32 round:int32 depth:float"),
)
TARGET_PLACES = Artifact(
  "select/target.parquet",
  "selection.scored_pool",
  "where each target example lies: position, cell, nearest candidate, cosine",
  _EXAMPLE | _columns("{axis}:float cell:int32 nearest_row:int64 cosine:float"),
)
SELECTED = Artifact("select/selected.jsonl", "selection.stage", "the chosen")
COVERAGE = Artifact(
  "select/coverage.json", "selection.stage", "coverage of it and of rivals"
)

# Of stage `finetune`.
MODEL = Artifact(
  "finetune/model/", "finetune.stage", "the base tuned on the selection"
)
EVALUATIONS = Artifact(
  "finetune/evaluations.jsonl", "finetune.stage", "dev loss of each model"
)
DEV_LOSSES = Artifact(
  "finetune/dev_losses.parquet",
  "finetune.stage",
  "loss of each dev example under each of these models, a sum over its tokens",
  _EXAMPLE | _columns("n_tokens:int32 nll_{name}:float"),
)
COMPARISON = Artifact(
  "finetune/comparison.json", "finetune.stage", "the selection less each rival"
)
METRICS = Artifact(
  "finetune/metrics.jsonl", "finetune.stage", "the steps of all trainings"
)

# Of stage `scaling`.
RUNS = Artifact("scaling/runs.jsonl", "scaling.stage", "a line per subset")
SUBSETS = Artifact(
  "scaling/subsets.parquet",
  "scaling.stage",
  "the examples of each subset",
  _columns("subset:string row:int64 id:uint64"),
)
FITS = Artifact("scaling/fits.json", "scaling.stage", "the law")

# Of stage `laboratory`.
LABORATORY = Artifact(
  "laboratory/runs.jsonl",
  "laboratory.stage",
  "a line per run: arm, budget, draw, what it was tuned on, its dev losses",
)
LABORATORY_LOSSES = Artifact(
  "laboratory/losses-{name}.npy",
  "laboratory.stage",
  "loss of each held-out example after one run, a sum over its tokens",
)
LABORATORY_BASE = Artifact(
  "laboratory/base.json",
  "laboratory.stage",
  "dev losses of the base, before any tuning",
)
CONTRASTS = Artifact(
  "laboratory/contrasts.json",
  "laboratory.stage",
  "each arm less each rival, with intervals, and the verdict",
)

# Of stage `report`.
PAGE = Artifact("report/index.html", "report.page", "all of it on one page")
MAP_PAGE = Artifact("report/map.html", "report.page", "the map to explore")
FIGURE = Artifact("report/{name}.png", "report.page", "a figure of the page")

# Of the command `ila export`.
EXPORT = Artifact(
  "export/{name}/", "export.command", "the selection for a trainer"
)

ARTIFACTS = tuple(
  value for value in tuple(globals().values()) if isinstance(value, Artifact)
)
