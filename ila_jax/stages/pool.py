"""Stage `pool`: records become tokenized examples with ids, or rejects."""

import collections
import hashlib
import importlib.metadata
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from jax.sharding import Mesh

from ila_jax import (
  artifacts,
  draws,
  errors,
  metrics,
  pool,
  records,
  shards,
  tokens,
)
from ila_jax import config as config_lib
from ila_jax import mesh as mesh_lib
from ila_jax.stages import base

INDEX = "index.parquet"
REJECTS = "rejects.jsonl"
# Bytes at each end of a source file that tell whether it is still the same.
_SIGNATURE_BYTES = 65536
# Examples that are tokenized in one call, by all threads.
_TOKENIZE_EXAMPLES = 1024


def run(config: config_lib.Config, workdir: epath.Path, mesh: Mesh) -> None:
  """Writes `pool/index.parquet`, `rejects.jsonl` and the record shards.

  used + rejected = read, always. The dev split is drawn here: whole prompts,
  keyed by seed and prompt, so that no prompt is on both sides.

  Raises:
    errors.InputError: sources that cannot be read, too many rejects, or a
      pool too small for the dev split, the reference or the budget.
  """
  del mesh
  stage = artifacts.Stage(
    workdir,
    "pool",
    {
      "config": config.section("pool", "tokens"),
      "tokenizer": _tokenizer_inputs(config),
      "sources": [_signature(source) for source in config.pool.sources],
      "seed": config.seed,
    },
  )
  if stage.open():
    return
  if mesh_lib.is_writer():
    _read_and_write(config, workdir, stage)
  mesh_lib.barrier("pool read")
  index = artifacts.read_table(stage.folder / INDEX, ["id"])
  counts = artifacts.read_json(stage.folder / "counts.json")
  stage.account.add(tokens=counts["tokens"])
  stage.finish(
    output=artifacts.fingerprint(index["id"].tolist()),
    read=counts["read"],
    used=counts["used"],
    rejected=counts["rejected"],
    with_labels=counts["with_labels"],
    with_domain=counts["with_domain"],
    reasons=counts["reasons"],
  )


def _tokenizer_inputs(config: config_lib.Config) -> dict[str, Any]:
  if config.model.path == base.SCRATCH:
    return {"scratch_vocab": config.model.scratch.vocab}
  return {"path": config.model.path}


def _signature(source: str) -> dict[str, Any]:
  """What tells whether a source is what it was: sizes, both ends, versions."""
  if source.startswith("docstrings:"):
    names = source.partition(":")[2].split(",")
    packages = importlib.metadata.packages_distributions()
    return {
      name: importlib.metadata.version(packages[name][0])
      for name in (n.strip() for n in names)
      if name in packages
    } | {"source": source}
  path = epath.Path(source)
  if not path.exists() or path.is_dir():
    return {"source": source}
  size = path.stat().length
  with path.open("rb") as file:
    head = file.read(_SIGNATURE_BYTES)
    file.seek(max(size - _SIGNATURE_BYTES, 0))
    ends = hashlib.sha256(head + file.read()).hexdigest()[:16]
  return {"source": source, "bytes": size, "ends": ends}


def _read_and_write(
  config: config_lib.Config, workdir: epath.Path, stage: artifacts.Stage
) -> None:
  tokenizer = base.tokenizer(config, workdir)
  columns: dict[str, list] = collections.defaultdict(list)
  labelled = 0
  with (
    artifacts.atomic(stage.folder / REJECTS) as temporary,
    temporary.open("w") as file,
  ):
    rejects = pool.RejectCounter(
      lambda rejected: file.write(artifacts.json_line(rejected._asdict())),
      max_reject_fraction=config.pool.max_reject_fraction,
    )
    for shard, kept in enumerate(_shards(config, tokenizer, rejects)):
      _write_shard(workdir, shard, len(columns["id"]), kept)
      for example, encoded in kept:
        _add_to_index(columns, example, encoded)
        labelled += example.has_labels
  # The rejects are on disk by now, also when they end the run here.
  _say_rejects(stage.folder, rejects, len(columns["id"]))
  rejects.check(n_used=len(columns["id"]))
  index = _index(config, columns)
  artifacts.write_table(stage.folder / INDEX, index)
  used = len(index["id"])
  artifacts.write_json(
    stage.folder / "counts.json",
    {
      "read": used + rejects.reasons.total(),
      "used": used,
      "rejected": rejects.reasons.total(),
      "reasons": dict(rejects.reasons.most_common()),
      "with_labels": labelled,
      "with_domain": sum(bool(domain) for domain in columns["domain"]),
      "tokens": int(
        index["n_prompt_tokens"].sum() + index["n_response_tokens"].sum()
      ),
    },
  )


def _shards(
  config: config_lib.Config, tokenizer: Any, rejects: pool.RejectCounter
) -> Iterator[list[tuple[pool.Example, tokens.Encoded]]]:
  """Yields the usable examples, a shard at a time."""
  examples = metrics.progress(
    pool.read(
      config.pool.sources,
      rejects=rejects,
      fields=config.pool.fields,
      overrides=config.pool.overrides,
      limit=config.pool.limit,
      announce=lambda message: metrics.say(f"  {message}"),
    ),
    desc="pool",
    unit="examples",
  )
  pending: list[tuple[pool.Example, tokens.Encoded]] = []
  size = config.pool.shard_examples
  while batch := tuple(itertools.islice(examples, _TOKENIZE_EXAMPLES)):
    pending += _tokenized(config, tokenizer, rejects, batch)
    while len(pending) >= size:
      yield pending[:size]
      pending = pending[size:]
  if pending:
    yield pending


def _tokenized(
  config: config_lib.Config,
  tokenizer: Any,
  rejects: pool.RejectCounter,
  batch: tuple[pool.Example, ...],
) -> Iterator[tuple[pool.Example, tokens.Encoded]]:
  encoded = tokens.encode_many(
    [example.turns for example in batch],
    tokenizer,
    max_tokens=config.tokens.max_tokens,
    overflow=config.tokens.overflow,
  )
  for example, result in zip(batch, encoded, strict=True):
    if isinstance(result, records.Reject):
      rejects(
        pool.Rejected(
          example.file,
          example.line,
          example.source,
          result.reason,
          result.detail,
        )
      )
    else:
      yield example, result


def _write_shard(
  workdir: epath.Path,
  shard: int,
  first_row: int,
  kept: list[tuple[pool.Example, tokens.Encoded]],
) -> None:
  table = pa.table(
    {
      "row": np.arange(first_row, first_row + len(kept)),
      "id": [example.id for example, _ in kept],
      "record": [example.record_json for example, _ in kept],
      "prompt": [
        "\n\n".join(turn.text for turn in example.turns[:-1])
        for example, _ in kept
      ],
      "response": [example.turns[-1].text for example, _ in kept],
      "tokens": [encoded.ids for _, encoded in kept],
      "is_response": [encoded.is_response for _, encoded in kept],
    },
    schema=shards.SCHEMA,
  )
  shards.write_records(workdir, shard, table)


def _add_to_index(
  columns: dict[str, list], example: pool.Example, encoded: tokens.Encoded
) -> None:
  n_response = int(encoded.is_response.sum())
  columns["id"].append(example.id)
  columns["prompt_id"].append(example.prompt_id)
  columns["source"].append(example.source)
  columns["n_prompt_tokens"].append(len(encoded.ids) - n_response)
  columns["n_response_tokens"].append(n_response)
  columns["n_labels"].append(example.n_labels)
  columns["domain"].append(example.domain)
  columns["truncated"].append(encoded.truncated)


def _index(
  config: config_lib.Config, columns: dict[str, list]
) -> dict[str, np.ndarray]:
  """The index with its dev split; refuses a pool too small for the rest."""
  n = len(columns["id"])
  integers = ("n_prompt_tokens", "n_response_tokens", "n_labels")
  index = {"row": np.arange(n)} | {
    name: np.array(values, np.int32 if name in integers else None)
    for name, values in columns.items()
  }
  _check_size(config, n)
  dev = draws.draw(
    index["prompt_id"],
    count=config.pool.dev_examples,
    seed=config.seed,
    purpose="dev",
    allowed=np.ones(n, np.bool_),
  )
  index["split"] = np.where(dev, "dev", "pool")
  return index


def _check_size(config: config_lib.Config, n: int) -> None:
  """What is set apart and what is chosen must fit, before hours of scoring."""
  reference = config.score.reference_examples
  apart = config.pool.dev_examples + reference
  free = n - apart
  wanted = 1
  if config.select.unit == "examples":
    wanted = config.select.budget
  if free < wanted:
    raise errors.InputError(
      f"the pool has {n} usable examples; config.pool.dev_examples "
      f"({config.pool.dev_examples}) and config.score.reference_examples "
      f"({reference}) leave {max(free, 0)}, and config.select.budget asks for "
      f"{wanted:g}. Lower these, or give a larger config.pool.source."
    )


def _say_rejects(
  folder: epath.Path, rejects: pool.RejectCounter, used: int
) -> None:
  total = rejects.reasons.total()
  line = f"  read {used + total:,}, used {used:,}, rejected {total:,}"
  reasons = ", ".join(f"{n:,} {r}" for r, n in rejects.reasons.most_common(3))
  metrics.say(line + (f" ({reasons}; see {folder / REJECTS})" if total else ""))
