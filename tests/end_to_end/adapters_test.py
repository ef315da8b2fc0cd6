"""A whole run with adapters: trained, scored in one pass, written for peft."""

import dataclasses

import numpy as np
from etils import epath

from ila_jax import pipeline
from ila_jax.compute import mesh as mesh_lib
from ila_jax.models import lora
from ila_jax.models.folders import peft, weights
from ila_jax.passes import example_loss, layouts, token_set
from ila_jax.pool import shards
from ila_jax.run.disk import files
from tests.support import artifacts, tiny


def test_adapters_are_scored_in_one_pass(tmp_path):
  config = tiny.config(
    tiny.write(tmp_path / "pool.jsonl", tiny.records(120)),
    train__method="lora",
    train__lora_rank=2,
    score__learning_rate=1e-2,
    finetune__compare=(),
  )
  workdir = epath.Path(tmp_path / "work")
  stages = ("pool", "embed", "score", "landscape", "select", "finetune")
  pipeline.run(config, workdir, stages=stages)
  mesh = mesh_lib.make()
  # Each model alone, its update added to the base's weights.
  _, base = weights.load_decoder(workdir / "model", mesh=mesh)
  models = [base]
  for seed in config.score.reference_seeds:
    folder = workdir / "score" / f"reference-{seed}"
    found = peft.load(folder, base.config, mesh=mesh)
    models.append(lora.merge(base, *found))
  table = shards.read_records(workdir, 0, ["row", "tokens", "is_response"])
  data = token_set.tokens_of(table)
  layout = layouts.choose(data.lengths, batch_tokens=512, kind="pack")
  alone = [
    example_loss.example_nll(
      model, data.tokens, data.is_response, layout=layout, mesh=mesh
    )[:, 0]
    for model in models
  ]
  scores = files.read_table(workdir / "score/scores.parquet")
  first = scores["row"] < len(data)
  tuned = np.stack(alone[1:])
  wanted = {
    "nll_base": alone[0],
    "nll_sft": tuned.mean(axis=0),
    "nll_sft_std": tuned.std(axis=0, ddof=1),
  }
  for name, nll in wanted.items():
    np.testing.assert_allclose(scores[name][first], nll, rtol=1e-4, atol=1e-4)
  assert np.median(scores["nll_sft_std"]) > 1e-2  # The seeds differ.
  # What is written is an adapter, as peft names it.
  written = {path.name for path in (workdir / "finetune/model").iterdir()}
  assert {"adapter_config.json", "adapter_model.safetensors"} <= written
  assert "model.safetensors" not in written
  assert artifacts.faults(workdir) == []
  _check_side_by_side(config, workdir)


def _check_side_by_side(config, workdir):
  """Subsets of the laboratory are tuned side by side as one by one."""
  found = {}
  for count in (None, 1):
    scaling = dataclasses.replace(config.scaling, subsets=2, held_out=0)
    train = dataclasses.replace(config.train, runs_a_device=count)
    pipeline.run(
      dataclasses.replace(config, scaling=scaling, train=train),
      workdir,
      stages=("scaling",),
      redo="scaling" if count else None,
    )
    lines = files.read_jsonl(workdir / "scaling/runs.jsonl")
    record = files.read_json(workdir / "scaling/stage.json")
    found[count] = [line["loss"] for line in lines], record
  np.testing.assert_allclose(found[1][0], found[None][0], rtol=1e-5)
  for name in ("flops", "tokens"):
    one, other = found[1][1][name], found[None][1][name]
    np.testing.assert_allclose(one, other, rtol=1e-3)
