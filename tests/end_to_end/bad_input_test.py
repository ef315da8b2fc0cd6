"""Bad input ends with exit 2 and one message, and destroys nothing."""

import gzip
import json
import pathlib
import subprocess
import sys

import pytest
from flax import nnx

from ila_jax.models import architecture, decoder
from ila_jax.models.folders import weights
from ila_jax.pool.tokens import tokenizer
from tests.support import forked, forked_runs, tiny

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# As Phi-3 has it; transformers reads it too, for the tokenizer.
_LONGROPE = {
  "rope_type": "longrope",
  "short_factor": [1.0, 1.0],
  "long_factor": [2.0, 4.0],
  "factor": 4.0,
}


def _line(**fields) -> str:
  return json.dumps(fields) + "\n"


def _make_files(folder: pathlib.Path) -> None:
  good = [
    _line(instruction=f"Say {i}.", output=f"{i}, {i}.") for i in range(90)
  ]
  (folder / "good.jsonl").write_text("".join(good))
  (folder / "empty").mkdir()
  packed = gzip.compress("".join(good).encode())
  (folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
  (folder / "latin.jsonl").write_bytes(b'{"instruction": "caf\xe9"}\n' * 9)
  (folder / "array.jsonl").write_text(json.dumps([{"instruction": "a"}]))
  (folder / "file").write_text("I am a file.")
  (folder / "theirs").mkdir()
  (folder / "theirs/thesis.txt").write_text("precious")
  (folder / "unusable.jsonl").write_text(_line(instruction="a", output="") * 9)
  (folder / "t5").mkdir()
  (folder / "t5/config.json").write_text(_line(model_type="t5"))
  for name, changes in (
    ("no_weights", None),
    ("other_shape", {"hidden_size": 12}),
    ("mamba", {"model_type": "mamba"}),
    ("longrope", {"rope_scaling": _LONGROPE}),
  ):
    texts = ("".join(good) for _ in range(2))
    tokenizer.train_bpe(texts, vocab_size=300, folder=folder / name)
    config = architecture.DecoderConfig(
      vocab=300,
      layers=1,
      width=8,
      heads=2,
      kv_heads=1,
      head_dim=4,
      mlp_width=16,
    )
    model = decoder.Decoder(config, rngs=nnx.Rngs(0))
    weights.save_decoder(folder / name, config, model)
    if changes is None:
      (folder / name / "model.safetensors").unlink()
    else:
      path = folder / name / "config.json"
      path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# name -> (flags after --workdir, what the message must hold)
CASES = {
  "missing file": (["--config.pool.source=/no/such.jsonl"], "/no/such.jsonl"),
  "no records": (["--config.pool.source={}/empty"], "no file of a known"),
  "cut gzip": (["--config.pool.source={}/cut.jsonl.gz"], "cut.jsonl.gz"),
  "not UTF-8": (["--config.pool.source={}/latin.jsonl"], "latin.jsonl line 1"),
  "an array": (["--config.pool.source={}/array.jsonl"], "array.jsonl"),
  "wrong field": (
    ["--config.pool.fields.prompt=question"],
    "config.pool.fields.prompt is 'question'",
  ),
  "budget above the pool": (
    ["--config.select.unit=examples", "--config.select.budget=5000"],
    "config.select.budget asks for 5,000",
  ),
  "negative budget": (["--config.select.budget=-1"], "budget is -1"),
  "unknown strategy": (
    ["--config.select.strategy=tirm"],
    "trim, tshirt, zip_fit. Did you mean 'trim'?",
  ),
  "an option that is no share": (
    ["--config.select.options.trim.quantile=2"],
    "config.select.options.trim.quantile is 2.0; allowed: 0 to 1",
  ),
  "an unknown option": (
    ["--config.select.options.trim.quantil=0.2"],
    "options.trim.quantil: no such field; did you mean quantile?",
  ),
  "an option of no method": (
    ["--config.select.options.quantile=0.2"],
    "options.quantile: no such field: they stand by method, as select.options.",
  ),
  "a field that has moved": (
    ["--config.select.trim_quantile=0.2"],
    "select.trim_quantile is now --config.select.options.trim.quantile",
  ),
  "a field that is gone": (
    ["--config.select.kept_per_cell=4"],
    "select.kept_per_cell is gone: a pool of any size is held as numbers.",
  ),
  "unknown stage": (["--stages=pool,bake"], "names 'bake'; allowed: pool"),
  "unknown field": (["--config.select.size=3"], "size"),
  "wrong type": (["--config.select.budget=many"], "many"),
  "no weights": (
    ["--config.model.path={}/no_weights", "--stages=pool,embed,score"],
    "no_weights has no weights; allowed: model.safetensors",
  ),
  "weights of another shape": (
    ["--config.model.path={}/other_shape", "--stages=pool,embed,score"],
    "other_shape",
  ),
  "an unknown family": (
    ["--config.model.path={}/mamba", "--stages=pool,score"],
    "mamba/config.json: model_type is 'mamba'; allowed: 'llama' or",
  ),
  "an unknown rope": (
    ["--config.model.path={}/longrope", "--stages=pool,score"],
    "longrope/config.json: rope_scaling.rope_type is 'longrope'; allowed: ",
  ),
  "an unknown encoder": (
    ["--config.encoder.path={}/t5", "--stages=pool,embed"],
    "t5/config.json: model_type is 't5'; allowed: 'bert' or",
  ),
  "an unknown kernel": (
    ["--config.model.attention=flash"],
    "config.model.attention is 'flash'; allowed: auto, blocked",
  ),
  "an unknown target": (
    ["--config.train.lora_targets=('q_proj',)"],
    "config.train.lora_targets is 'q_proj'; allowed: query, key",
  ),
  "a dry run of no records": (
    ["--dry-run", "--config.pool.source={}/unusable.jsonl"],
    "config.pool.source has no usable example",
  ),
  "a dry run of an unknown rope": (
    ["--dry_run", "--config.model.path={}/longrope", "--stages=score"],
    "rope_scaling.rope_type is 'longrope'",
  ),
  "a broken config file": (["--config={}/file"], "config file"),
  "a file as workdir": (["--workdir={}/file"], "which is a file"),
  "unwritable": (["--workdir=/proc/ila_jax"], "/proc/ila_jax"),
  "another's folder": (["--workdir={}/theirs"], "no manifest.json"),
  "no such config": (["--config=configs/typo.py"], "configs/typo.py"),
  "a seed too large": (
    ["--config.seed=5000000000"],
    "allowed: 0 to 42949",
  ),
  "a workdir on s3": (["--workdir=s3://bucket/run"], "(gs://)"),
  "stray argument": (["quickly"], "'quickly' is no flag"),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  """Runs all cases; (what became of each by name, their folder)."""
  folder = tmp_path_factory.mktemp("bad")
  _make_files(folder)

  commands = {
    name: [
      "--config=configs/quickstart.py",
      f"--workdir={folder}/work{number}",
      f"--config.pool.source={folder}/good.jsonl",
      "--config.pool.dev_examples=5",
      "--config.score.reference_examples=5",
      "--stages=pool",
      *(flag.format(folder) for flag in flags),
    ]
    for number, (name, (flags, _)) in enumerate(CASES.items())
  }
  return forked_runs.run(commands), folder


@pytest.mark.parametrize("name", CASES)
def test_exit_2_and_one_message(ended, name):
  said = ended[0][name]["stderr"]
  assert ended[0][name]["status"] == 2, said
  assert "Traceback" not in said
  messages = [
    line for line in said.splitlines() if line.startswith("ila_jax: ")
  ]
  assert len(messages) == 1
  assert CASES[name][1] in said


def test_nothing_was_destroyed(ended):
  _, folder = ended
  assert (folder / "theirs/thesis.txt").read_text() == "precious"
  assert sorted(p.name for p in (folder / "theirs").iterdir()) == ["thesis.txt"]
  assert (folder / "file").read_text() == "I am a file."


def test_a_dry_run_ends_well_and_makes_nothing(tmp_path):
  tiny.write(tmp_path / "pool.jsonl", tiny.records(120))
  done = forked.run(
    *("-m", "ila_jax", f"--workdir={tmp_path}/work"),
    *(*tiny.flags(tmp_path / "pool.jsonl"), "--dry-run", "--stages=score"),
  )
  assert done.returncode == 0, done.stderr
  first = [line.partition(" ")[0] for line in done.stderr.splitlines()]
  assert "score" in first
  assert not {"embed", "finetune", "scaling"} & set(first)
  assert [path.name for path in tmp_path.iterdir()] == ["pool.jsonl"]


def test_a_full_disk_is_said_and_the_run_goes_on_from_there(tmp_path):
  tiny.write(tmp_path / "pool.jsonl", tiny.records(240))
  command = [
    *("-m", "ila_jax", "--config=configs/quickstart.py"),
    f"--workdir={tmp_path}/work",
    f"--config.pool.source={tmp_path}/pool.jsonl",
    *("--config.pool.dev_examples=5", "--stages=pool"),
    "--config.score.reference_examples=5",
  ]
  # Files may not grow beyond 8 KiB: the operating system's own refusal.
  full = subprocess.run(
    ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", sys.executable, *command],
    cwd=CHECKOUT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert full.returncode == 2, full.stderr
  assert "File too large" in full.stderr
  assert not list((tmp_path / "work").rglob("*.tmp"))
  again = forked.run(*command)
  assert again.returncode == 0, again.stderr
