"""The command line: paths are those that a shell would have made."""

import sys
import typing

import pytest
from absl.testing import flagsaver

from ila_jax import config as config_lib
from ila_jax import main, pipeline
from ila_jax.run import interrupts
from ila_jax.sections import checked
from tests.support import forked, forked_runs

# Every field that may be None but for paths of models, which must be there.
OPTIONAL = {
  "pool.limit": ("None", None),
  "mesh.data": ("2", 2),
  "train.micro_batch_tokens": ("64", 64),
  "sae.path": ("None", None),
  "sae.layer": ("9", 9),
  "sae.k": ("3", 3),
  "sae.learning_rate": ("1", 1.0),
  "sae.threshold": ("None", None),
  "landscape.map": ("None", None),
  "finetune.stop_patience": ("2", 2),
  "train.runs_a_device": ("None", None),
  "landscape.clusters": ("9", 9),
  "landscape.duplicate_cosine": ("1", 1.0),
  "select.exclude_near_reference": ("None", None),
  "select.exclude_near_evaluation": ("None", None),
}


def test_the_optional_fields_are_all_here():
  optional = {
    one.name
    for one in checked.walk(config_lib.Config)
    if type(None) in typing.get_args(one.hint)
  }
  assert optional == {*OPTIONAL, "model.path", "encoder.path"}


_PLANS = """
import sys
import jax
from ila_jax import main
from ila_jax.dry_run import dry_run
jax.config.update("jax_platforms", None)  # As without JAX_PLATFORMS.
dry_run.run = lambda *words, **options: print(jax.config.jax_platforms)
sys.argv[1:] = ["--config=quickstart", "--workdir=x", *sys.argv[1:]]
sys.exit(main.main())
"""


def test_chips_that_are_not_here_are_planned_on_the_cpu():
  done = forked.run("-c", _PLANS, "--dry-run", "--topology=h100:8")
  assert (done.returncode, done.stdout) == (0, "cpu\n"), done.stderr


def test_home_folders_are_found(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "mine.py").write_text(
    "from ila_jax.configs import quickstart\n\n\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    "  config.seed = 77\n"
    "  return config\n"
  )
  found = {}

  def run(config, workdir, **options):
    found.update(options, config=config, workdir=workdir)

  monkeypatch.setattr(pipeline, "run", run)
  # Who listens in the process of the tests does so for all that follow.
  monkeypatch.setattr(interrupts, "listen", lambda: None)
  command = ["ila_jax", "--config=~/mine.py", "--workdir=~/run"]
  command.append("--config.pool.source=~/pool.jsonl")
  command += [
    f"--config.{name}={value}" for name, (value, _) in OPTIONAL.items()
  ]
  monkeypatch.setattr(sys, "argv", command)  # Where overrides are looked for.
  main._run(command)
  assert found["config"].seed == 77
  assert found["config"].pool.source == f"{tmp_path}/pool.jsonl"
  for name, (_, value) in OPTIONAL.items():
    section, field = name.split(".")
    read = getattr(getattr(found["config"], section), field)
    assert read == value and type(read) is type(value), name
  assert found["workdir"] == f"{tmp_path}/run"
  assert len(found["stages"]) == 9


@pytest.fixture(autouse=True)
def _flags():
  """No test leaves a flag to the next."""
  with flagsaver.flagsaver():
    yield


CONFIGS = {
  "syntax.py": ("x = 1\ndef get_config(:\n", "syntax.py line 2: SyntaxError"),
  "zero.py": (
    "def get_config():\n  return 1 / 0\n",
    "zero.py line 2: ZeroDivisionError: division by zero. Correct",
  ),
  "value.py": (
    "def get_config():\n  raise ValueError('mine\\nmore')\n",
    "value.py line 2: ValueError: mine. Correct the config file",
  ),
  "none.py": ("x = 1\n", "none.py has no function get_config()"),
  "field.py": (
    "from ila_jax.configs import quickstart\n\n\ndef get_config():\n"
    "  config = quickstart.get_config()\n  config.pool.sorce = 1\n",
    "field.py line 6: 'sorce': config has no such field. Did you mean "
    "'source'? Correct",
  ),
  "type.py": (
    "from ila_jax.configs import quickstart\n\n\ndef get_config():\n"
    "  config = quickstart.get_config()\n  config.select.budget = 'all'\n",
    "type.py line 6: 'budget' is 'all'; allowed for config.select.budget: a "
    "number above 0, ",
  ),
  "library.py": ("import no_such_library\n", "library.py line 1: ModuleNotF"),
  "exit.py": (
    "import sys\n\n\ndef get_config():\n  sys.exit(0)\n",
    "exit.py line 5: SystemExit: 0",
  ),
  "dict.py": (
    "def get_config():\n  return {}\n",
    "dict.py returns a dict; allowed: a ConfigDict",
  ),
  "nothing.py": ("def get_config():\n  pass\n", "returns a NoneType; allowed"),
  "config.json": ("{}", "config.json has no function get_config()"),
}
FLAGS = {
  "--config.pool.sorce=x": "--config.pool.sorce: no such field; did you mean "
  "source?",
  "--config.nosuch.field=x": "--config.nosuch.field: no such field. ila --h",
  "--config.pool=x": "--config.pool is 'x'; allowed: no value, for it is a sec",
  "--config.pool.limit=3.5": "is '3.5'; allowed: a whole number, or None.",
  "--config.score.epochs=a": "--config.score.epochs is 'a'; allowed: a number",
  "--config.train.remat=maybe": "is 'maybe'; allowed: true or false",
  "--stage=pool": "--stage is no flag; did you mean --stages?",
  "--config.select.options.ila.rank=depth": "--config.select.options.ila.rank: "
  "no such field: ila has rank_by. ila --help",
  "--config.pool.source my.jsonl": "write --config.pool.source=my.jsonl.",
  "--nothing": "--nothing is no flag. ila --help has the flags",
  "--workdir": "--workdir has no value",
  "--redo=pool --stages=embed,score": "Add pool to --stages, or leave --redo",
}
COMMANDS = {
  "--config={}/gone.py": "gone.py: no such file from",
  "--config={}": ": a folder. Allowed: a Python file",
  "--config=quickstrat": "--config is 'quickstrat', which is neither a preset "
  "(did you mean quickstart?) nor a file. Presets: ila, laboratory, laptop, ",
  "--copy-preset=nothing {}/copy.py": "--copy-preset is 'nothing', which is",
  "--copy-preset=ila": "wants the name of one file to write, and has 0",
  "--copy-preset=ila {}/value.py": "value.py is there already, and is left",
  "--copy-preset=ila {}/no/such.py": "such.py cannot be written (No such file",
  "--config=": "--config is empty: a shell variable that is not set?",
  "--config.seed=1": "--config.seed needs a config file. Set --config",
  "--workdir={}/x": "--config is not set",
  "--fields=landscap": "--fields is 'landscap'; allowed: seed, pool, tokens, ",
  **{
    f"--config={{}}/{name} --workdir={{}}/x": said
    for name, (_, said) in CONFIGS.items()
  },
  **{
    f"--config configs/quickstart.py --workdir={{}}/x {flag}": said
    for flag, said in FLAGS.items()
  },
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  """Runs all of COMMANDS; what became of each."""
  folder = tmp_path_factory.mktemp("configs")
  for name, (text, _) in CONFIGS.items():
    (folder / name).write_text(text)
  commands = {
    command: command.replace("{}", str(folder)).split() for command in COMMANDS
  }
  return forked_runs.run(commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_wrong_is_said_in_the_words_of_the_user(ended, command):
  said = ended[command]["stderr"]
  assert ended[command]["status"] == 2, said
  assert COMMANDS[command] in said
  assert len(said.splitlines()) <= 2
