"""A run that is asked to stop keeps what it has, and says how to go on."""

import pathlib
import shlex
import signal
import subprocess

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh

from ila_jax.compute import mesh
from ila_jax.models import architecture, decoder
from ila_jax.passes import token_set
from ila_jax.run import interrupts
from ila_jax.run.disk import files as files_lib
from ila_jax.training import loop
from ila_jax.training import recipe as recipe_lib
from tests.support import forked

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_CONFIG = architecture.DecoderConfig(
  vocab=48, layers=1, width=8, heads=2, kv_heads=1, head_dim=4, mlp_width=8
)


@pytest.fixture
def listening(monkeypatch):
  """Signals stop the run, as they do on the command line."""
  before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
  monkeypatch.setattr(interrupts._State, "asked", None)
  interrupts.listen()
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


def _mesh(devices: int) -> Mesh:
  """A mesh of some of the devices, as another machine may have."""
  return jax.make_mesh(
    (devices, 1, 1),
    mesh.AXES,
    axis_types=(AxisType.Auto,) * 3,
    devices=jax.devices()[:devices],
  )


def _train(folder=None, on_step=lambda metrics: None, devices=None):
  text = token_set.TokenSet.of_text(
    [np.arange(i, i + 12, dtype=np.int32) for i in range(30)]
  )
  tuned, history = loop.train(
    decoder.Decoder(_CONFIG, rngs=nnx.Rngs(0)),
    text,
    recipe_lib.Recipe(
      total_steps=9, learning_rate=1e-2, batch_tokens=64, width=16, seed=0
    ),
    mesh=mesh.make() if devices is None else _mesh(devices),
    saving=folder and loop.Saving(folder, steps=3),
    on_step=on_step,
  )
  return jax.tree.leaves(nnx.state(tuned)), history


def _stop_at(step: int, number: int):
  def on_step(metrics):
    if metrics["step"] == step:
      signal.raise_signal(number)

  return on_step


@pytest.fixture(scope="module")
def uninterrupted():
  return _train()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_is_saved_where_it_stops(
  tmp_path, listening, uninterrupted, number
):
  with pytest.raises(interrupts.Stopped) as stop:
    _train(tmp_path / "run", _stop_at(4, number))
  assert stop.value.status == 128 + number
  # The host hears of step 4 while the device is at step 5.
  assert "saved at step 5/9" in stop.value.kept
  interrupts._State.asked = None
  said = []
  found, history = _train(tmp_path / "run", said.append)
  assert [metrics["step"] for metrics in said] == [6, 7, 8, 9]
  wanted, all_steps = uninterrupted
  assert history == all_steps
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("devices", [1, 2])
def test_training_goes_on_with_other_devices(
  tmp_path, listening, uninterrupted, devices
):
  with pytest.raises(interrupts.Stopped):
    _train(tmp_path / "run", _stop_at(4, signal.SIGTERM))
  interrupts._State.asked = None
  said = []
  found, history = _train(tmp_path / "run", said.append, devices=devices)
  assert [metrics["step"] for metrics in said] == [6, 7, 8, 9]
  wanted, all_steps = uninterrupted
  assert history[:5] == all_steps[:5]
  for a, b in zip(found, wanted, strict=True):  # Sums of another order.
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_damaged_checkpoint_costs_steps_and_changes_nothing(
  tmp_path, listening, uninterrupted, capsys
):
  with pytest.raises(interrupts.Stopped):
    _train(tmp_path / "run", _stop_at(4, signal.SIGTERM))
  interrupts._State.asked = None
  files = [file for file in (tmp_path / "run/5").rglob("d/*") if file.is_file()]
  for file in files:  # The arrays; one file may stand for another.
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
  said = []
  found, history = _train(tmp_path / "run", said.append)
  assert said[0]["step"] == 4
  told = capsys.readouterr().err
  assert "5 is damaged" in told
  assert "goes on from step 3" in told
  wanted, all_steps = uninterrupted
  assert history == all_steps
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_array_equal(a, b)


def test_without_checkpoints_a_signal_stops_at_once(listening):
  with pytest.raises(interrupts.Stopped):
    _train(None, _stop_at(2, signal.SIGINT))


def test_a_file_that_is_being_written_stays_as_it_was(tmp_path, listening):
  path = tmp_path / "file"
  files_lib.write_bytes(path, b"old")
  with pytest.raises(interrupts.Stopped), files_lib.create(path) as file:
    file.write(b"half of the n")
    signal.raise_signal(signal.SIGTERM)
  assert files_lib.read_bytes(path) == b"old"
  assert {p.name for p in tmp_path.iterdir()} == {"file", "checksums.json"}


def test_a_second_signal_ends_at_once():
  program = (
    "import signal; from ila_jax.run import interrupts; interrupts.listen()\n"
    "with interrupts.deferred():\n"
    "  signal.raise_signal(signal.SIGTERM)\n"
    # A scheduler signals the group, and then the process in it.
    "  signal.raise_signal(signal.SIGTERM); print('goes on', flush=True)\n"
    "  interrupts._State.at -= 2\n"
    "  signal.raise_signal(signal.SIGTERM); print('never')\n"
  )
  done = forked.run("-c", program)
  assert done.stdout == "goes on\n"
  assert done.returncode == -signal.SIGTERM


def test_the_command_line_ends_in_one_line_that_goes_on(tmp_path):
  words = [
    "--config=configs/quickstart.py",
    f"--workdir={tmp_path / 'a folder'}",
    "--config.pool.source=docstrings:email,logging",
    "--config.pool.dev_examples=9",
    "--config.score.reference_examples=9",
    "--config.select.budget=0.1",
    "--stages=pool,embed",
  ]
  command = ("-m", "ila_jax", *words, "--redo=pool")
  run = forked.start(*command, stderr=subprocess.PIPE)
  with run.stderr as stderr:
    said = [stderr.readline() for _ in range(2)]
    assert said[1] == "[pool]\n"
    run.send_signal(signal.SIGINT)
    said += stderr.readlines()
  run.join()
  assert run.exitcode == 128 + signal.SIGINT
  assert "stopped by SIGINT" in said[-1]
  assert sum("Traceback" in line for line in said) == 0
  # The same command, but for the --redo, which has begun.
  assert shlex.split(said[-1].partition("Go on with: ")[2])[3:] == words
