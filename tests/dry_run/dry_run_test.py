"""What a dry run foretells, by the sizes of the models alone."""

import json
import shutil

import pytest
from etils import epath

from ila_jax import errors
from ila_jax.dry_run import dry_run
from ila_jax.forecast import here, pool_sample
from ila_jax.models import decoder
from tests.support import model_folders, tiny

_BERT = {
  "model_type": "bert",
  "hidden_act": "gelu",
  "vocab_size": 400,
  "num_hidden_layers": 2,
  "hidden_size": 24,
  "num_attention_heads": 2,
  "intermediate_size": 40,
  "max_position_embeddings": 64,
  "type_vocab_size": 2,
  "layer_norm_eps": 1e-12,
}
# So that weights are more than what lies between them.
_LARGER = {
  "num_hidden_layers": 2,
  "hidden_size": 512,
  "intermediate_size": 2048,
  "num_attention_heads": 8,
  "num_key_value_heads": 2,
  "head_dim": 64,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A pool, a Llama, and what of a BERT a dry run reads: no weights."""
  folder = tmp_path_factory.mktemp("dry_run")
  rows = tiny.records(120)
  tiny.write(folder / "pool.jsonl", rows)
  model_folders.llama(folder / "llama", [row["instruction"] for row in rows])
  (folder / "llama/model.safetensors").unlink()
  path = folder / "llama/config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | _LARGER))
  (folder / "bert").mkdir()
  for path in (folder / "llama").glob("*token*"):
    shutil.copy(path, folder / "bert")
  (folder / "bert/config.json").write_text(json.dumps(_BERT))
  return folder


@pytest.fixture
def untried(monkeypatch):
  """For what does not depend on a trial; compiling is enough then."""
  monkeypatch.setattr(here, "_MOST_SECONDS", 0.0)


def _costs(folder, *, stages, **overrides):
  """The costs by stage; a dry run must make nothing."""
  overrides = {"model__path": str(folder / "llama")} | overrides
  config = tiny.config(
    folder / "pool.jsonl",
    score__batch_tokens=64,
    train__batch_tokens=256,
    **overrides,
  )
  before = sorted(folder.rglob("*"))
  found = dry_run.run(config, folder / "work", stages=stages)
  assert sorted(folder.rglob("*")) == before
  return found


def _weights(folder) -> int:
  config = tiny.config(folder / "pool.jsonl", model__path=str(folder / "llama"))
  return decoder.count_parameters(dry_run.base.sizes(config))


def test_only_the_stages_that_are_asked_for(folder, capsys, untried):
  found = _costs(folder, stages=("score",))
  assert list(found) == ["score"]
  assert found["score"].device_bytes > 4 * _weights(folder)
  printed = capsys.readouterr().err
  lines = [line.split()[0] for line in printed.splitlines() if line.strip()]
  assert lines[lines.index("stage") :][:3] == ["stage", "score", "all"]
  for other in ("embed", "finetune", "scaling"):
    assert f"\n{other}" not in printed


@pytest.mark.parametrize("encoder", ["bert", "base"])
def test_an_encoder_costs_a_pass_over_the_prompts(folder, encoder, monkeypatch):
  path = str(folder / "bert") if encoder == "bert" else "base"
  found = _costs(folder, stages=("embed",), encoder__path=path)
  monkeypatch.setattr(here, "_MOST_SECONDS", 0.0)
  found |= _costs(folder, stages=("score",), encoder__path=path)
  embed, score = found["embed"], found["score"]
  assert embed.flops > 0 and embed.seconds > 0
  if encoder == "base":
    # Prompts alone, without a head, and once; not under three models.
    assert embed.flops < score.flops / 3
    assert embed.device_bytes >= 4 * _weights(folder)


def test_a_host_costs_seconds_alone(folder, capsys):
  stages = ("pool", "embed", "landscape", "select", "report")
  more = {"encoder__path": "lsa", "landscape__stability": ("grid",)}
  found = _costs(folder, stages=stages, **more)
  assert "On top of landscape: landscape.stability." in capsys.readouterr().err
  assert tuple(found) == stages
  for cost in found.values():
    assert cost.seconds > 0 and cost.flops == cost.device_bytes == 0
  assert found["landscape"].compile_seconds > 0


def test_a_base_from_scratch_is_counted_once(folder, monkeypatch):
  stages = ("score", "finetune")
  found = _costs(folder, stages=stages, model__path="scratch")
  assert tuple(found) == ("model", *stages)
  # One program trains them all: it is compiled for the first.
  train = found["model"].compile_seconds
  assert train > 0
  assert all(cost.tried for cost in found.values())
  monkeypatch.setattr(here, "_MOST_SECONDS", 0.0)
  twice = _costs(
    folder, stages=("score",), model__path="scratch", score__epochs=2.0
  )
  more = twice["score"].flops - found["score"].flops
  assert 0 < more < found["score"].flops
  assert twice["model"].flops == found["model"].flops


@pytest.mark.parametrize("field", ["model__path", "encoder__path"])
def test_a_model_that_is_missing_is_told_before_the_pool_is_read(
  folder, monkeypatch, field
):
  monkeypatch.setattr(pool_sample, "draw", lambda *_: pytest.fail("was read"))
  with pytest.raises(errors.InputError, match="nowhere"):
    _costs(
      folder, stages=("embed", "score"), **{field: str(folder / "nowhere")}
    )


def test_the_map_of_an_encoder_has_its_width(folder, capsys):
  stages = ("embed", "landscape")
  bert = {"encoder__path": str(folder / "bert"), "landscape__iterations": 20}
  assert tuple(_costs(folder, stages=stages, **bert)) == stages
  lines = {
    line.split()[0]: line.split()[-2:]
    for line in capsys.readouterr().err.splitlines()
    if line.startswith(("embed ", "all "))
  }
  # 120 embeddings of 24 numbers, and what was read of them.
  assert lines["embed"][1] == "kB" and 11 < float(lines["embed"][0]) < 25


def test_a_dev_set_of_its_own_is_counted(folder, tmp_path):
  # One of them has no answer.
  tiny.write(tmp_path / "dev.jsonl", [*tiny.records(30), {"instruction": "?"}])
  arms = {"laboratory__arms": {"ours": {"strategy": "ila"}}}
  own = arms | {"laboratory__dev": str(tmp_path / "dev.jsonl")}
  for fields, judges in (({}, None), (own, 30)):
    config = tiny.config(
      folder / "pool.jsonl", model__path=str(folder / "llama"), **fields
    )
    found = pool_sample.draw(config, epath.Path(tmp_path / "work"))
    assert found.judges == judges
  missing = tiny.config(
    folder / "pool.jsonl",
    **own | {"laboratory__dev": str(tmp_path / "none.jsonl")},
  )
  with pytest.raises(errors.InputError, match=r"config\.laboratory\.dev"):
    pool_sample.draw(missing, epath.Path(tmp_path / "work"))


def test_what_was_read_as_what_is_told(folder, capsys, untried):
  _costs(folder, stages=("pool",))
  assert "pool: prompt = instruction" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_told(folder, capsys, monkeypatch, untried):
  monkeypatch.setattr(dry_run.disk, "free", lambda folder: 10**6)
  _costs(folder, stages=("score",))
  said = capsys.readouterr().err
  assert "warning: the disk of --workdir" in said and "1.00 MB free" in said


def test_what_is_too_large_is_not_tried(folder, capsys, monkeypatch):
  small = {"model__path": "scratch"}
  tried = _costs(folder, stages=("score",), **small)["score"]
  monkeypatch.setattr(here.hardware, "device_bytes", lambda: 1000)
  monkeypatch.setattr(here.hardware, "matrix_rate", lambda mesh, dtype: 1e9)
  found = _costs(folder, stages=("score",), **small)["score"]
  assert tried.tried and not found.tried
  assert (found.flops, found.device_bytes) == (tried.flops, tried.device_bytes)
  # By hand: three passes at a half of 1 GFLOP/s, and two trainings on 30 of
  # 120 examples at 0.35 of it, of three passes each.
  one = found.flops / (3 + 2 * 3 * 30 / 120)
  seconds = (3 * one / 0.5 + 2 * 3 * one * 30 / 120 / 0.35) / 1e9
  assert found.seconds == pytest.approx(seconds, rel=1e-6)
  assert "too large for a trial" in capsys.readouterr().err


def test_training_holds_the_weights_and_its_state(folder, untried):
  stages = ("finetune", "scaling")
  weights = 4 * _weights(folder)
  full = _costs(folder, stages=stages)
  # The base that is kept, and in float32 weights and two moments of Adam.
  for name in stages:
    assert 4 < full[name].device_bytes / weights < 8
  adapters = _costs(
    folder, stages=stages, train__method="lora", train__lora_rank=2
  )
  for name in stages:
    assert 1 < adapters[name].device_bytes / weights < 3
  # A subset of 20 is trained on, and its model evaluated on 20: frozen weights
  # have no gradient, so that is 2 + 1 passes and not 3 + 1.
  lora, whole = adapters["scaling"].flops, full["scaling"].flops
  assert lora == pytest.approx(0.75 * whole, rel=1e-6)
  split = _costs(folder, stages=("finetune",), mesh__fsdp=4, mesh__data=2)
  assert split["finetune"].flops == full["finetune"].flops
  assert split["finetune"].device_bytes < full["finetune"].device_bytes / 2
