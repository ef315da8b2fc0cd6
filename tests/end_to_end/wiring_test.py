"""What stages hand to each other: whose rows, whose loss, how many epochs.

The pool is one in which records share prompts, so that a draw by record and a
draw by prompt are two things.
"""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest
from etils import epath

from ila_jax import pipeline
from ila_jax.compute import mesh as mesh_lib
from ila_jax.finetune import comparison
from ila_jax.models import lora
from ila_jax.models.folders import weights
from ila_jax.passes import dev_loss, layouts, token_set
from ila_jax.pool import shards
from ila_jax.run import account
from ila_jax.run.disk import files
from ila_jax.scaling import design
from ila_jax.score import split
from ila_jax.selection import scored_pool
from ila_jax.training import loop, trial
from ila_jax.training import recipe as recipe_lib
from tests.support import tiny

_STAGES = ("pool", "embed", "score", "landscape", "select", "finetune")
_SIZE = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run whose records share prompts by threes: (config, workdir)."""
  folder = tmp_path_factory.mktemp("run")
  rows = tiny.records(240)
  for i, row in enumerate(rows):
    row |= {k: rows[i - i % 3][k] for k in ("instruction", "input")}
    row["output"] += f" {i}"
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", rows),
    pool__fields__labels="tags",
    pool__dev_examples=30,  # Ten prompts: fewer give no answer.
    finetune__epochs=2.0,
    finetune__compare=("random", "longest"),
    scaling__subsets=6,
    scaling__held_out=1,
    scaling__sizes=(_SIZE,),
    scaling__mixtures=2,
    scaling__mixture_tokens=(60, 150),
    scaling__repeats=1,
  )
  workdir = epath.Path(folder / "work")
  pipeline.run(config, workdir, stages=(*_STAGES, "scaling"))
  return config, workdir


def _table(workdir, name):
  return files.read_table(workdir / name)


def test_dev_and_reference_are_drawn_by_prompt(run):
  _, workdir = run
  index = _table(workdir, "pool/index.parquet")
  reference = _table(workdir, "score/reference.parquet")["row"]
  ranked = _table(workdir, "select/ranking.parquet")["row"]
  prompt = index["prompt_id"]
  assert len(set(prompt)) == len(prompt) / 3
  sides = [
    set(prompt[index["split"] == "dev"]),
    set(prompt[reference]),
    set(prompt[ranked]),
  ]
  assert all(sides)
  assert sum(map(len, sides)) == len(set.union(*sides)) == len(set(prompt))


def test_arms_are_equal_in_what_their_names_say(run):
  config, workdir = run
  lines = files.read_jsonl(workdir / "finetune/evaluations.jsonl")
  arms = {line["name"]: line for line in lines}
  assert list(arms) == [
    *("base", "ila", "random-equal-examples", "random-equal-tokens"),
    *("longest-equal-examples", "longest-equal-tokens"),
  ]
  pool = scored_pool.load(tiny.run(config, workdir))
  n_tokens = pool.candidates.n_tokens
  chosen = scored_pool.rank(config, pool, "ila").order
  k = arms["ila"]["train_examples"]
  assert k == round(0.1 * len(chosen))
  budget = int(n_tokens[chosen[:k]].sum())
  assert arms["ila"]["train_tokens"] == budget
  for rival in ("random", "longest"):
    order = scored_pool.rank(config, pool, rival).order
    examples, tokens = (
      arms[f"{rival}-equal-{e}"] for e in ("examples", "tokens")
    )
    assert examples["train_examples"] == k
    assert examples["train_tokens"] == n_tokens[order[:k]].sum()
    size = tokens["train_examples"]
    assert tokens["train_tokens"] == n_tokens[order[:size]].sum() <= budget
    assert n_tokens[order[: size + 1]].sum() > budget


def test_the_loss_of_each_dev_example_is_kept_and_compared(run):
  config, workdir = run
  losses = _table(workdir, "finetune/dev_losses.parquet")
  rows = losses["row"]
  index = _table(workdir, "pool/index.parquet")
  assert rows.tolist() == _dev_rows(workdir).tolist()
  assert losses["id"].tolist() == index["id"][rows].tolist()
  lines = files.read_jsonl(workdir / "finetune/evaluations.jsonl")
  assert list(losses)[3:] == [f"nll_{line['name']}" for line in lines]
  nll = {line["name"]: losses[f"nll_{line['name']}"] for line in lines}
  for line in lines:
    found = dev_loss.summarise(nll[line["name"]], losses["n_tokens"])
    assert found == {name: line[name] for name in found}
  compared = files.read_json(workdir / "finetune/comparison.json")
  order = np.argsort(losses["id"])
  assert compared == comparison.compare(
    lines,
    {name: values[order] for name, values in nll.items()},
    losses["n_tokens"][order],
    groups=index["prompt_id"][rows][order],
    seed=config.seed,
  )
  assert compared["groups"] < len(rows)  # Three records share a prompt.


def test_a_run_of_an_older_version_says_what_it_lacks(run, tmp_path, capsys):
  config, workdir = run
  old = shutil.copytree(workdir, tmp_path / "old")
  for name in ("dev_losses.parquet", "comparison.json"):
    files.remove(old / "finetune" / name)
  pipeline.run(config, old, stages=["finetune"])
  assert "skipped: it is done" in capsys.readouterr().err
  pipeline.run(config, old, stages=["report"], redo="report")
  said = capsys.readouterr().err.splitlines()
  assert said[-1].startswith("  Whether the selection helped cannot be said")
  assert "--redo=finetune" in said[-1]
  assert (old / "report/evaluation.png").exists()
  # A new run ends with the answer.
  pipeline.run(config, workdir, stages=["report"])
  last = capsys.readouterr().err.splitlines()[-1]
  assert re.search(r"ila (helped|hurt)|No difference that this run", last)
  assert "than random of equal tokens (95 % interval" in last


def _design(config, workdir):
  """The subsets of the laboratory, made again from the run's tables."""
  cells = _table(workdir, "landscape/cells.parquet")
  candidates = scored_pool.load(tiny.run(config, workdir)).candidates
  pool = dataclasses.replace(
    candidates,
    cell=cells["cell"],
    relative_depth=cells["relative_depth"],
    n_tokens=_table(workdir, "score/scores.parquet")["n_tokens"],
  )
  return cells, design.design(
    pool,
    subsets=6,
    held_out=1,
    sizes=(_SIZE,),
    min_cell_share=config.scaling.min_cell_share,
    depth_band=config.scaling.depth_band,
    seed=config.seed,
  )


def test_every_line_of_the_laboratory_can_be_computed_again(run):
  config, workdir = run
  lines = files.read_jsonl(workdir / "scaling/runs.jsonl")
  n_tokens = _table(workdir, "score/scores.parquet")["n_tokens"]
  cells, made = _design(config, workdir)
  mixtures = ["mixture_00", "mixture_01"]
  names = [subset.name for subset in made] + mixtures
  assert [line["name"] for line in lines] == names
  occupied = len(np.unique(cells["cell"]))
  for line, subset in zip(lines[: len(made)], made, strict=True):
    rows = subset.rows
    held = np.bincount(cells["domain"][rows], n_tokens[rows])
    assert sorted(held[held > 0]) == sorted(
      count for count in line["domain_tokens"] if count
    )
    assert line["in_design"] == line["name"].startswith("designed")
    assert line["n"] == len(rows) == _SIZE
    assert line["tokens"] == n_tokens[rows].sum()
    assert line["coverage"] == len(np.unique(cells["cell"][rows])) / occupied
    assert line["depth"] == pytest.approx(cells["relative_depth"][rows].mean())


def test_the_landscape_law_reads_the_domains_of_the_run(run):
  workdir = run[1]
  fits = files.read_json(workdir / "scaling/fits.json")["landscape"]
  assert fits["fitted"] and fits["runs"] == 9
  lines = files.read_jsonl(workdir / "scaling/runs.jsonl")
  again = {line["name"]: line.get("repeats") for line in lines}
  assert [name for name in again if again[name]] == [
    *("designed_00", "random_00", "mixture_00")
  ]
  assert fits["ceiling"] < 1
  cells, scores = (
    _table(workdir, f"{name}.parquet")
    for name in ("landscape/cells", "score/scores")
  )
  dev = np.isin(cells["row"], _dev_rows(workdir))
  for place, domain in enumerate(np.unique(cells["domain"])):
    inside = cells["domain"] == domain
    own = scores["n_tokens"][inside & dev].sum()
    weight = own / scores["n_tokens"][dev].sum()
    assert fits["domains"]["weight"][place] == pytest.approx(weight)
    rest = inside & ~dev
    fallen = scores["nll_base"] - scores["nll_sft"]
    reducible = fallen[rest].sum() / scores["n_tokens"][rest].sum()
    found = fits["domains"]["reducible"][place]
    assert found == pytest.approx(reducible, rel=1e-4)


def test_a_subset_of_the_laboratory_is_trained_as_the_config_says(run):
  config, workdir = run
  line = files.read_jsonl(workdir / "scaling/runs.jsonl")[0]
  subset = _design(config, workdir)[1][0]
  mesh = mesh_lib.make()
  row = _table(workdir, "landscape/cells.parquet")["row"][subset.rows]
  columns = ["tokens", "is_response"]
  data, dev = (
    token_set.tokens_of(shards.gather(workdir, rows, columns))
    for rows in (row, _dev_rows(workdir))
  )
  _, decoder = weights.load_decoder(workdir / "model", mesh=mesh)
  tuned, _ = loop.train(
    decoder,
    data,
    recipe_lib.Recipe(
      epochs=2.0,
      learning_rate=config.finetune.learning_rate,
      batch_tokens=config.train.batch_tokens,
      width=config.tokens.max_tokens,
      seed=config.seed,
      warmup_fraction=config.train.warmup_fraction,
      weight_decay=config.train.weight_decay,
      clip_norm=config.train.clip_norm,
    ),
    mesh=mesh,
  )
  layout = layouts.choose(dev.lengths, batch_tokens=1024)
  loss = dev_loss.summarise(
    *dev_loss.losses(tuned, dev, layout=layout, mesh=mesh)
  )
  assert line["loss"] == pytest.approx(loss["micro"], rel=1e-5)
  assert line["loss_macro"] == pytest.approx(loss["macro"], rel=1e-5)
  assert abs(loss["micro"] - loss["macro"]) > 1e-3  # They are two things.


def _dev_rows(workdir):
  index = _table(workdir, "pool/index.parquet")
  return index["row"][index["split"] == "dev"]


def test_the_dev_loss_of_an_adapter_is_that_of_its_merged_model(run):
  config, workdir = run
  here = tiny.run(config, workdir)
  _, decoder = weights.load_decoder(workdir / "model", mesh=here.mesh)
  recipe = lora.LoraConfig(rank=2, alpha=4, targets=("query", "down"))
  adapter = lora.init(decoder.config, recipe, jax.random.key(0))
  adapter = jax.tree.map(lambda leaf: leaf + 0.1, adapter)
  dev = trial.dev_set(workdir)

  def loss(tuned):
    found = trial.dev_losses(tuned, dev, run=here, account=account.Account())
    return dev_loss.summarise(*found)["micro"]

  merged = lora.merge(decoder, recipe, adapter)
  found = loss(trial.Tuned(decoder, recipe, adapter))
  assert found == pytest.approx(loss(trial.Tuned(merged)), rel=1e-5)
  assert abs(found - loss(trial.Tuned(decoder))) > 1e-3


@pytest.mark.parametrize(
  ("unit", "budget", "examples"),
  [("examples", 3, 3), ("fraction", 0.5, 4), ("tokens", 55, 2)],
)
def test_a_budget_of_any_unit_becomes_examples(run, unit, budget, examples):
  config = tiny.config(
    run[1] / "../pool.jsonl", select__unit=unit, select__budget=budget
  )
  # Of eight candidates, 25 tokens each in the mean.
  n_tokens = np.array([10, 40] * 4)
  assert split.budget_examples(config, n_tokens) == examples
