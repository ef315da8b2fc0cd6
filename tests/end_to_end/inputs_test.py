"""Every field and every file that a stage reads is an input of it.

What each stage says it is made from is asked for without running it.
"""

import json
import os
import pathlib
import shutil

import pytest
from etils import epath

from ila_jax import config as config_lib
from ila_jax import config_parsing, errors, pipeline, redo
from ila_jax.pool import revisions
from ila_jax.pool.sources import sources
from ila_jax.run import stage_record, tables
from ila_jax.run import stages as stages_lib
from ila_jax.run.disk import files
from ila_jax.score.signals import scores
from ila_jax.sections import checked
from ila_jax.selection import needs
from tests.support import tiny

STAGES = stages_lib.NAMES[:-1]  # The report is made anew, always.
# None: it changes how fast a run is, how it is arranged, or what it lets pass.
FIELDS = {
  "seed": (1, "pool"),
  "pool.source": ("en/train.jsonl", "pool"),
  "pool.limit": (7, "pool"),
  "pool.answers": ("longest", "pool"),
  "pool.decontaminate": ("scratch.jsonl", "pool"),
  "pool.contaminated": ("report", "pool"),
  "pool.contamination_ngram": (8, "pool"),
  "pool.max_reject_fraction": (0.5, None),
  "pool.dev_examples": (7, "pool"),
  "pool.shard_examples": (7, "pool"),
  "pool.workers": (1, None),
  "pool.split_bytes": (1000, None),
  "pool.scores": ("scratch.jsonl", None),  # Of a signal.
  "pool.fields": ({"labels": "tags"}, "pool"),
  "pool.overrides": ({"train": {"prompt": "instruction"}}, "pool"),
  "tokens.max_tokens": (128, "pool"),
  "tokens.overflow": ("reject", "pool"),
  "model.path": ("other", "pool"),
  "model.dtype": ("bfloat16", "score"),
  "model.attention": ("plain", None),
  "model.scratch.source": ("docstrings:email", "score"),
  "model.scratch.vocab": (300, "pool"),
  "model.scratch.layers": (2, "score"),
  "model.scratch.width": (16, "score"),
  "model.scratch.heads": (1, "score"),
  "model.scratch.kv_heads": (2, "score"),
  "model.scratch.mlp_width": (16, "score"),
  "model.scratch.epochs": (2.0, "score"),
  "model.scratch.learning_rate": (0.5, "score"),
  "encoder.path": ("encoder", "embed"),
  "encoder.dtype": ("bfloat16", "embed"),
  "encoder.attention": ("plain", None),
  "encoder.prefix": ("query: ", "embed"),
  "encoder.system": (True, "embed"),
  "encoder.max_tokens": (16, "embed"),
  "encoder.batch_tokens": (16, None),
  "encoder.layout": ("buckets", None),
  "encoder.lsa_width": (8, "embed"),
  "mesh.data": (1, None),
  "mesh.fsdp": (2, None),
  "mesh.tensor": (2, None),
  "train.batch_tokens": (512, "score"),
  "train.micro_batch_tokens": (256, None),
  "train.runs_a_device": (2, None),
  "train.schedule": ("linear", "score"),
  "train.warmup_fraction": (0.5, "score"),
  "train.weight_decay": (0.5, "score"),
  "train.clip_norm": (0.5, "score"),
  "train.checkpoint_steps": (7, None),
  "train.checkpoint_minutes": (2.0, None),
  "train.remat": (True, None),
  "train.method": ("lora", "score"),
  "train.lora_rank": (4, None),  # The whole model is trained.
  "train.lora_alpha": (4.0, None),
  "train.lora_targets": (("query",), None),
  "train.metrics": (("tensorboard",), None),
  "score.reference_examples": (20, "score"),
  "score.reference_seeds": ((5,), "score"),
  "score.exclude_reference": (False, "landscape"),
  "score.epochs": (2.0, "score"),
  "score.learning_rate": (0.5, "score"),
  "score.batch_tokens": (64, None),
  "score.layout": ("buckets", None),
  "sae.path": ("llama", None),  # All of them are of a signal.
  "sae.layer": (1, None),
  "sae.latents": (64, None),
  "sae.k": (3, None),
  "sae.tokens": (70, None),
  "sae.epochs": (7, None),
  "sae.batch_tokens": (70, None),
  "sae.learning_rate": (0.5, None),
  "sae.warmup_fraction": (0.7, None),
  "sae.auxiliary_k": (7, None),
  "sae.dead_tokens": (7, None),
  "sae.threshold": (7.0, None),
  "sae.threshold_quantile": (0.7, None),
  "signals.other_prompts": (7, None),
  "signals.early_share": (0.7, None),
  "signals.early_examples": (7, None),
  "signals.token_clip": (7.0, None),
  "landscape.projection": ("pca", "landscape"),
  "landscape.dimensions": (3, "landscape"),
  "landscape.map": ("map", "landscape"),
  "landscape.perplexity": (7.0, "landscape"),
  "landscape.iterations": (100, "landscape"),
  "landscape.fit_examples": (100, "landscape"),
  "landscape.cells": ("kmeans", "landscape"),
  "landscape.grid": (5, "landscape"),
  "landscape.clusters": (5, "landscape"),
  "landscape.depth": ("ila_length", "landscape"),
  "landscape.domain_blocks": (5, "landscape"),
  "landscape.duplicate_cosine": (0.5, "landscape"),
  "landscape.duplicate_search": ("all", "landscape"),
  "landscape.consensus_maps": (7, "select"),
  "landscape.stability": (("map_seed",), None),
  "select.strategy": ("random", "select"),
  "select.budget": (0.3, "landscape"),  # The grid is 'auto'.
  "select.unit": ("tokens", "landscape"),
  "select.options": ({"ila": {"rank_by": "relative_depth"}}, "select"),
  "select.drop_duplicates": (True, "select"),
  "select.exclude_near_reference": (0.5, "select"),
  "select.exclude_near_evaluation": (0.5, "select"),
  "select.target": ("en/train.jsonl", "select"),
  "select.cell_weight": (0.5, "select"),
  "select.where": ("n_labels > 1", "select"),
  "select.tie_break": ("n_labels", "select"),
  "select.compare": (("longest",), "select"),
  "finetune.epochs": (2.0, "finetune"),
  "finetune.learning_rate": (0.5, "finetune"),
  "finetune.stop_patience": (3, "finetune"),
  "finetune.stop_steps": (7, "finetune"),
  "finetune.stop_share": (0.3, "finetune"),
  "finetune.compare": (("longest",), "finetune"),
  "scaling.subsets": (7, "scaling"),
  "scaling.held_out": (2, "scaling"),
  "scaling.mixtures": (2, "scaling"),
  "scaling.repeats": (2, "scaling"),
  "scaling.mixture_tokens": ((20, 30), "scaling"),
  "scaling.sizes": ((10,), "scaling"),
  "scaling.min_cell_share": (0.9, "scaling"),
  "scaling.depth_band": (0.9, "scaling"),
  "scaling.resamples": (700, "scaling"),
  "laboratory.arms": ({"covered": {"strategy": "coverage_only"}}, "laboratory"),
  "laboratory.rivals": (("random", "ours"), "laboratory"),
  "laboratory.draws": (3, "laboratory"),
  "laboratory.draw_share": (0.5, "laboratory"),
  "laboratory.budgets": ((70,), "laboratory"),
  "laboratory.equal": (("tokens",), "laboratory"),
  "laboratory.curve": ((1.0,), "laboratory"),
  "laboratory.dev": ("en/train.jsonl", "laboratory"),
  "laboratory.dev_half": ("second", "laboratory"),
  "laboratory.resamples": (700, "laboratory"),
}
# What a field cannot be set without.
_WITH = {
  "select.exclude_near_evaluation": {"pool.decontaminate": "scratch.jsonl"},
  "landscape.consensus_maps": {"select.strategy": "ila_consensus"},
  "select.cell_weight": {"select.target": "en/train.jsonl"},
} | {
  name: {"laboratory.arms": {"ours": {"strategy": "ila"}}}
  for name in FIELDS
  if name.startswith("laboratory.")
}
_LEADING = stages_lib.leading_to("select")
# Files say what they are; rivals and sets beside are no settings of the stage.
_BESIDE = (
  *("pool.overrides", "landscape.map"),
  *("select.compare", "landscape.consensus_maps"),
)
# Where an adapter is trained they change the model.
_OF_ADAPTERS = {"train.lora_rank", "train.lora_alpha", "train.lora_targets"}
_OF_SIGNALS = {"pool.scores"} | {
  name for name in FIELDS if name.startswith(("sae.", "signals."))
}
_RIVAL = {
  "select.strategy": "random",
  "select.compare": ("longest",),
  "finetune.compare": ("longest",),
}
# The same, where an adapter is trained, and where the grid is given.
OTHERWISE = {
  "train.lora_rank": ({"train.method": "lora"}, "score"),
  "train.lora_alpha": ({"train.method": "lora"}, "score"),
  "train.lora_targets": ({"train.method": "lora"}, "score"),
  "select.budget": ({"landscape.grid": 4}, "select"),
  "select.unit": ({"landscape.grid": 4}, "select"),
  # Of the methods that a stage ranks by, and of no others.
  "select.options": (
    _RIVAL | {"select.compare": ("random", "ila")},
    "select",
  ),
  "select.options ": (_RIVAL | {"finetune.compare": ("ila",)}, "finetune"),
  "select.options  ": (_RIVAL, None),
  "select.cell_weight": (
    {"select.target": "en/train.jsonl", "select.cell_weight": "target"},
    "select",
  ),
  # No method takes the mean over maps.
  "landscape.consensus_maps": ({}, None),
  # Of a base that embeds, and is made for that.
  "model.dtype": ({"encoder.path": "base"}, "embed"),
  "model.scratch.layers": ({"encoder.path": "base"}, "embed"),
  "train.batch_tokens": ({"encoder.path": "base"}, "embed"),
  "train.lora_rank ": ({"encoder.path": "base"}, None),
  # One that is given was not trained here.
  "train.batch_tokens ": (
    {"encoder.path": "base", "model.path": "llama"},
    "score",
  ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Sources, models and a map; large enough to have a middle."""
  folder = tmp_path_factory.mktemp("inputs")
  large = bytes(300_000)
  for name in ("en/train.jsonl", "zh/train.jsonl", "scratch.jsonl"):
    tiny.write(_made(folder / name), tiny.records(2000))
  for model in ("llama", "other", "encoder"):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
      _made(folder / model / name).write_bytes(large)
    (folder / model / "README.md").write_text("Read by nobody.")
  (folder / "llama/chat_template.jinja").write_text("{{ messages }}")
  _made(folder / "encoder/1_Pooling/config.json").write_text("{}")
  _made(folder / "map/map/projection.safetensors").write_bytes(large)
  _made(folder / "map/map.json").write_text("{}")
  return folder


def _made(path: pathlib.Path) -> pathlib.Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  return path


def _config(folder: pathlib.Path, changes: dict) -> config_lib.Config:
  """The tiny config; paths are below the folder."""
  found = tiny.config(str(folder / "zh/train.jsonl")).plain()
  for name, value in changes.items():
    *sections, field = name.split(".")
    section = found
    for part in sections:
      section = section[part]
    if isinstance(value, str) and (folder / value).exists():
      value = str(folder / value)
    section[field] = value
  return config_parsing.build(found)


def _inputs(
  config: config_lib.Config, workdir: pathlib.Path, monkeypatch
) -> dict[str, dict]:
  """What each stage is made from, its parents included."""
  asked: dict[str, dict] = {}

  def open_(stage, *, replace="nothing", quiet=False):
    del replace, quiet
    asked[stage.name] = stage._inputs | {"scope": stage._scope}
    return True

  def output(workdir, name):
    made = dict(asked[name])
    for name in ("compare", "rivals"):  # As the selection's own output.
      made.pop(name, None)
    return stage_record.fingerprint(made)

  with monkeypatch.context() as patch:
    patch.setattr(stage_record.Stage, "begin", open_)
    patch.setattr(stage_record, "output", output)
    patch.setattr("ila_jax.landscape.stage._report_stability", _nothing)
    for name in STAGES:
      for needed in needs.before(config, name):
        needs.make(tiny.run(config, workdir), needed)
      module = f"ila_jax.{stages_lib.GRAPH[name].code}.stage"
      stage = pipeline.importlib.import_module(module)
      stage.run(tiny.run(config, workdir))
  return asked


def _nothing(*_):
  pass


def _first(before: dict[str, dict], after: dict[str, dict]) -> str | None:
  changed = [name for name in STAGES if before[name] != after[name]]
  return changed[0] if changed else None


def test_the_table_has_every_field():
  """And is what the fields themselves say of what they change."""
  fields = {one.name: one.field for one in checked.walk(config_lib.Config)}
  records = {name for name in fields if name.startswith("pool.fields.")}
  assert fields.keys() - records | {"pool.fields"} == set(FIELDS)
  for name in fields.keys() - records - _OF_ADAPTERS - _OF_SIGNALS:
    is_nothing = fields[name].metadata["changes"] == checked.NOTHING
    assert is_nothing == (FIELDS[name][1] is None), name


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_changes_its_stage_first(folder, tmp_path, monkeypatch, name):
  value, stage = FIELDS[name]
  base = _WITH.get(name, {})
  before = _config(folder, base)
  after = _config(folder, base | {name: value})
  assert before != after
  made = [_inputs(c, tmp_path, monkeypatch) for c in (before, after)]
  assert _first(*made) == stage
  # Who goes on from a stage that is not asked for is told of it, too.
  workdir = epath.Path(tmp_path)
  for one, inputs in made[0].items():
    record = {"stage": one, "done": True, "inputs": inputs}
    files.write_json(tables.RECORD.path(workdir, stage=one), record)
  redo.check_kept(before, workdir, ["finetune"])
  if stage in _LEADING and name not in _BESIDE:
    # What makes a tokenizer is a setting of the base, and files of the pool.
    said = "score" if name.startswith("model.") else stage
    with pytest.raises(errors.InputError, match=f"/{said} was made by another"):
      redo.check_kept(after, workdir, ["finetune"])
  else:
    redo.check_kept(after, workdir, ["finetune"])


@pytest.mark.parametrize(
  ("before", "after"),
  [
    ({}, {"pool.fields": {"scores": "weight"}}),
    ({"pool.scores": "scratch.jsonl"}, {"pool.scores": "en/train.jsonl"}),
  ],
)
def test_scores_change_their_signal_and_no_stage(
  folder, tmp_path, monkeypatch, before, after
):
  configs = [_config(folder, changes) for changes in (before, after)]
  made = [_inputs(c, tmp_path, monkeypatch) for c in configs]
  assert _first(*made) is None
  signed = [
    scores.SIGNAL.made_from(tiny.run(c, tmp_path)) for c in configs[-1:]
  ]
  assert signed[0]["names"] == {"weight": "weight"}
  if before:
    signed += [scores.SIGNAL.made_from(tiny.run(configs[0], tmp_path))]
    assert signed[0]["files"] != signed[1]["files"]


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_field_counts_where_it_is_read(folder, tmp_path, monkeypatch, name):
  base, stage = OTHERWISE[name]
  name = name.strip()
  value = FIELDS[name][0]
  before, after = _config(folder, base), _config(folder, base | {name: value})
  made = [_inputs(c, tmp_path, monkeypatch) for c in (before, after)]
  assert _first(*made) == stage


# What else a field changes by itself: the stages after its first are made anew
# for their parents, but other stages may have been made by other fields.
_TUNE = ("finetune", "scaling", "laboratory")
_CHOOSE = ("select", *_TUNE)
_OWN = {
  "seed": STAGES,
  "model.path": ("pool", "score", *_TUNE),
  "model.dtype": ("score", *_TUNE),
  "model.scratch.source": ("score", *_TUNE),
  "train.schedule": ("score", *_TUNE),
  "score.epochs": ("score",),
  # The check has no other pool than that of the selection.
  "score.exclude_reference": ("landscape", "select", "scaling", "laboratory"),
  "select.drop_duplicates": ("select", "scaling", "laboratory"),
  "select.exclude_near_reference": ("select", "scaling", "laboratory"),
  "select.exclude_near_evaluation": _CHOOSE,
  "select.target": ("select", "finetune"),
  "select.cell_weight": ("select", "laboratory"),
  "select.options": ("select", "laboratory"),
  "select.where": _CHOOSE,
  "select.tie_break": _CHOOSE,
  "select.compare": ("select",),
  "finetune.epochs": _TUNE,
  "finetune.learning_rate": _TUNE,
  "finetune.stop_share": _TUNE,
  "finetune.compare": ("finetune",),
  "laboratory.dev": ("laboratory",),
}
_ARM = {"laboratory.arms": {"ours": {"strategy": "ila"}}}


def _own(asked: dict[str, dict]) -> dict[str, dict]:
  """The same without what tells of parents; of sets beside their names."""
  found = {}
  for stage in STAGES:
    parents = set(stages_lib.GRAPH[stage].made_from) & set(STAGES)
    found[stage] = {k: v for k, v in asked[stage].items() if k not in parents}
    if "beside" in asked[stage]:
      found[stage]["beside"] = sorted(asked[stage]["beside"])
  return found


@pytest.mark.parametrize("name", _OWN)
def test_a_field_changes_all_stages_that_read_it(
  folder, tmp_path, monkeypatch, name
):
  base = _ARM | _WITH.get(name, {})
  before = _config(folder, base)
  after = _config(folder, base | {name: FIELDS[name][0]})
  one, two = (_own(_inputs(c, tmp_path, monkeypatch)) for c in (before, after))
  assert (
    tuple(stage for stage in STAGES if one[stage] != two[stage]) == (_OWN[name])
  )


def test_the_sets_beside_are_told_by_all_stages_that_read_them(
  folder, tmp_path, monkeypatch
):
  changes = _ARM | {
    "pool.decontaminate": "scratch.jsonl",
    "select.exclude_near_evaluation": 0.5,
    "select.target": "en/train.jsonl",
    "laboratory.dev": "en/train.jsonl",
  }
  made = _own(_inputs(_config(folder, changes), tmp_path, monkeypatch))
  told = {
    stage: own["beside"] for stage, own in made.items() if "beside" in own
  }
  assert told == {
    "select": ["evaluation", "target"],
    "finetune": ["evaluation", "target"],
    "scaling": ["evaluation"],
    "laboratory": ["dev", "evaluation"],
  }


# file -> (config, the first stage that it changes).
FILES = [
  ("zh/train.jsonl", {}, "pool"),
  ("zh/train.jsonl", {"pool.source": "zh"}, "pool"),
  ("scratch.jsonl", {"model.scratch.source": "scratch.jsonl"}, "score"),
  ("en/train.jsonl", {"pool.decontaminate": "en"}, "pool"),
  ("en/train.jsonl", {"select.target": "en"}, "select"),
  ("llama/tokenizer.json", {"model.path": "llama"}, "pool"),
  ("llama/chat_template.jinja", {"model.path": "llama"}, "pool"),
  ("llama/config.json", {"model.path": "llama"}, "score"),
  ("llama/model.safetensors", {"model.path": "llama"}, "score"),
  (
    "llama/model.safetensors",
    {"model.path": "llama", "encoder.path": "base"},
    "embed",
  ),
  ("llama/README.md", {"model.path": "llama"}, None),
  ("encoder/model.safetensors", {"encoder.path": "encoder"}, "embed"),
  ("encoder/tokenizer.json", {"encoder.path": "encoder"}, "embed"),
  ("encoder/1_Pooling/config.json", {"encoder.path": "encoder"}, "embed"),
  ("map/map.json", {"landscape.map": "map"}, "landscape"),
  ("map/map/projection.safetensors", {"landscape.map": "map"}, "landscape"),
]

# Without these there is nothing to read.
_NEEDED = ("zh/train.jsonl", "en/train.jsonl", "scratch.jsonl", "map/map.json")


def _edit(path: pathlib.Path, place: str) -> None:
  """Changes one byte of a file, removes it, or adds one beside it."""
  size = path.stat().st_size
  if place == "gone":
    path.unlink()
  elif place == "another":
    shutil.copy(path, path.with_stem("another"))
  else:
    at = {"head": 0, "middle": size // 2, "tail": size - 1}[place]
    with path.open("r+b") as stream:
      stream.seek(at)
      stream.write(b"\x01")


@pytest.mark.parametrize(
  ("file", "changes", "stage", "place"),
  [
    *((*row, place) for row in FILES for place in ("head", "middle", "tail")),
    *((*row, "gone") for row in FILES if row[0] not in _NEEDED),
    (*FILES[1], "another"),
  ],
)
def test_a_file_changes_its_stage_first(
  folder, tmp_path, monkeypatch, file, changes, stage, place
):
  copy = shutil.copytree(folder, tmp_path / "inputs")
  config = _config(copy, changes)
  before = _inputs(config, tmp_path, monkeypatch)
  assert _inputs(config, tmp_path, monkeypatch) == before
  _edit(copy / file, place)
  assert _first(before, _inputs(config, tmp_path, monkeypatch)) == stage


def test_two_files_of_one_name(tmp_path):
  for language in ("en", "zh"):
    path = _made(tmp_path / language / "train.jsonl")
    tiny.write(path, tiny.records(3))
  specs = [str(tmp_path), f"{tmp_path}/*/train.jsonl"]
  before = [sources.signature(spec) for spec in specs]
  names = {"en/train.jsonl", "zh/train.jsonl"}
  assert [set(signed) for signed in before] == [names, names]
  tiny.write(tmp_path / "en/train.jsonl", tiny.records(4))
  for spec, signed in zip(specs, before, strict=True):
    after = sources.signature(spec)
    assert after["en/train.jsonl"] != signed["en/train.jsonl"]
    assert after["zh/train.jsonl"] == signed["zh/train.jsonl"]
  # The two change places: the same contents under other names.
  os.rename(tmp_path / "en", tmp_path / "x")
  os.rename(tmp_path / "zh", tmp_path / "en")
  os.rename(tmp_path / "x", tmp_path / "zh")
  assert sources.signature(specs[0]) != after


def test_a_folder_may_move_with_all_that_is_in_it(tmp_path, monkeypatch):
  tiny.write(_made(tmp_path / "a/data/en/x[1].jsonl"), tiny.records(3))
  monkeypatch.chdir(tmp_path / "a")
  specs = ["data", "data/en/x[1].jsonl", "data/*/*.jsonl"]
  before = [sources.signature(spec) for spec in specs]
  assert [list(signed) for signed in before] == [
    ["en/x[1].jsonl"],
    ["x[1].jsonl"],
    ["en/x[1].jsonl"],
  ]
  os.rename(tmp_path / "a", tmp_path / "b")
  monkeypatch.chdir(tmp_path / "b")
  assert [sources.signature(spec) for spec in specs] == before


def test_a_package_edited_in_place_is_another(tmp_path, monkeypatch):
  package = tmp_path / "odd_package"
  (package / "inner").mkdir(parents=True)
  (package / "__init__.py").write_text('"""Odd."""\n')
  (package / "inner/work.py").write_text("def f():\n  pass\n")
  monkeypatch.syspath_prepend(tmp_path)
  before = sources.signature("docstrings:odd_package,json")
  assert before["odd_package"]["files"] == 2
  (package / "inner/work.py").write_text("def g():\n  pass\n")
  after = sources.signature("docstrings:odd_package,json")
  assert after["odd_package"] != before["odd_package"]
  assert after["json"] == before["json"]
  with pytest.raises(errors.InputError, match="no package of that name"):
    sources.signature("docstrings:none_such")


def test_a_data_set_of_tfds_is_known_by_version_and_files(
  tmp_path, monkeypatch
):
  tfds = pytest.importorskip("tensorflow_datasets")

  class Builder:
    version = "1.2.0"
    data_path = tmp_path

  (tmp_path / "toy-train.array_record-00000-of-00001").write_bytes(b"one")
  monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Builder)
  before = sources.signature("tfds:toy/train")
  assert before["version"] == "1.2.0" and len(before["files"]) == 1
  (tmp_path / "toy-train.array_record-00000-of-00001").write_bytes(b"two")
  assert sources.signature("tfds:toy/train") != before


def test_a_data_set_that_tfds_does_not_have(tmp_path, monkeypatch):
  pytest.importorskip("tensorflow_datasets")
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  with pytest.raises(errors.InputError, match="source is 'tfds:no"):
    sources.signature("tfds:none_such_set/train")


def test_a_data_set_of_the_hub_is_known_by_its_commit(
  tmp_path, monkeypatch, capsys
):
  huggingface_hub = pytest.importorskip("huggingface_hub")
  asked = []

  def info(api, name):
    asked.append(name)
    if name.startswith("org/"):
      return type("Info", (), {"sha": "0a1b"})
    raise ConnectionError("offline")

  monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
  monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
  assert revisions.of_hub("org/set/main/train") == "0a1b"
  assert revisions.of_hub("set/train") is None
  assert "its revision cannot be told (ConnectionError)" in (
    capsys.readouterr().err
  )
  _made(tmp_path / "datasets--set/refs/main").write_text("0c2d\n")
  assert revisions.of_hub("set/train") == "0c2d"
  assert asked == ["org/set", "set", "set"]


def test_what_cannot_be_compared_counts_as_it_was(
  tmp_path, monkeypatch, capsys
):
  from ila_jax.pool import stage as pool_stage

  source = tmp_path / "pool.jsonl"
  tiny.write(source, tiny.records(5))
  config = tiny.config((str(source), "hf:org/set/train"))
  told = ["0a1b", None, "0c2d"]
  monkeypatch.setattr(revisions, "of_hub", lambda name: told[0])
  workdir = epath.Path(tmp_path / "work")
  first = pool_stage._inputs(tiny.run(config, workdir))
  stage = stage_record.Stage(workdir, "pool", first)
  stage.begin()
  stage.finish()
  source.unlink()
  told.pop(0)
  assert json.loads(
    json.dumps(pool_stage._inputs(tiny.run(config, workdir)))
  ) == (json.loads(json.dumps(first)))
  said = capsys.readouterr().err
  assert said.count("cannot be compared: taken to be what it was") == 2
  told.pop(0)  # The Hub is back, and has another commit.
  assert pool_stage._inputs(tiny.run(config, workdir))["sources"][
    "hf:org/set/train"
  ] == ("0c2d")
