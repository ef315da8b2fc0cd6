"""Metrics of a training as it runs, for TensorBoard and Weights & Biases.

The files of the run have them anyway; this shows them while they come. It is
no part of a result: what cannot be written is told once, and the run goes on.
"""

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from etils import epath

from ila_jax import errors
from ila_jax.compute import mesh
from ila_jax.run import progress, tables
from ila_jax.run.disk import buckets

# What is known of each step beside its metrics.
_OF_THE_STEP = ("step", "total_steps")
# Seconds until TensorBoard sees a step, and until W&B must have answered.
_FLUSH_SECONDS = 10
_ANSWER_SECONDS = 30
# Writers that have failed in this process; they are not tried again.
_failed: set[str] = set()


def steps_left(step: Mapping[str, float | int]) -> int:
  """Steps from this one on: all of a training, or those after a checkpoint.

  >>> steps_left({"step": 7, "total_steps": 9})
  3
  """
  return int(step["total_steps"]) - int(step["step"]) + 1


class _Opened(NamedTuple):
  """A writer of one training."""

  write: Callable[[int, dict[str, float]], object]
  close: Callable[[], object]


def _tensorboard(workdir: epath.Path, name: str, purge: int) -> _Opened:
  """One run of TensorBoard; what it has of step `purge` and later ones goes.

  Those are of an attempt that was killed, or of one before a `--redo`.
  """
  import tensorboardX

  folder = tables.LIVE.path(workdir) / "tensorboard" / name
  writer = tensorboardX.SummaryWriter(
    os.fspath(folder),
    purge_step=purge,
    flush_secs=_FLUSH_SECONDS,
    filename_suffix=f".{purge}",  # Attempts of one second are two files.
  )

  def write(step: int, values: dict[str, float]) -> None:
    for key, value in values.items():
      writer.add_scalar(key, value, step)

  return _Opened(write, writer.close)


def _wandb(workdir: epath.Path, name: str, purge: int) -> _Opened:
  """One run of W&B, in a group named after the folder; it never asks.

  Another attempt is another run, so nothing is purged.
  """
  import wandb

  is_online = os.environ.get("WANDB_MODE", "online") == "online"
  if is_online and not wandb.login(prompt=False):
    raise RuntimeError(
      "no API key: run `wandb login`, or set WANDB_MODE=offline"
    )
  folder = tables.LIVE.path(workdir)
  is_local = not buckets.is_remote(folder)
  if is_local:
    folder.mkdir(parents=True, exist_ok=True)
  settings = {"silent": True, "console": "off", "init_timeout": _ANSWER_SECONDS}
  run = wandb.init(
    project=os.environ.get("WANDB_PROJECT", "ila_jax"),
    group=os.environ.get("WANDB_RUN_GROUP", workdir.name),
    name=name,
    config={"workdir": os.fspath(workdir), "training": name},
    dir=os.fspath(folder) if is_local else None,
    settings=wandb.Settings(**settings),
  )
  # Its own count of steps could not go back, after a kill or a --redo.
  run.define_metric("*", step_metric="step")
  if run.url:
    progress.say(f"  Weights & Biases: {run.url}")
  return _Opened(
    lambda step, values: run.log(values | {"step": step}), run.finish
  )


class _Kind(NamedTuple):
  package: str
  wanted: str  # as pip takes it
  open: Callable[[epath.Path, str, int], _Opened]


_KINDS = {
  "tensorboard": _Kind("tensorboardX", "tensorboardX>=2.6.2", _tensorboard),
  "wandb": _Kind("wandb", "wandb>=0.31", _wandb),
}
# As config.train.metrics names them.
WRITERS = tuple(_KINDS)


def check(writers: Sequence[str]) -> None:
  """Refuses a writer whose package is not installed.

  Raises:
    errors.InputError: names the package.
  """
  for name in writers:
    kind = _KINDS[name]
    if importlib.util.find_spec(kind.package) is None:
      raise errors.InputError(
        f"config.train.metrics has {name!r}, and the package {kind.package} is "
        f"not installed. Run `pip install '{kind.wanted}'`, or leave it out: "
        "metrics.jsonl in the folder of the run has the same numbers."
      )


class Recorder:
  """Gives the metrics of one training to writers.

  A writer is opened by the first metrics: a resumed training begins late.
  """

  def __init__(
    self, writers: Sequence[str], *, workdir: epath.Path, name: str
  ) -> None:
    """Opens nothing yet.

    Args:
      writers: of `WRITERS`.
      workdir: folder of the run.
      name: of the training, such as "finetune/random".
    """
    self._workdir, self._name = workdir, name
    self._writers = tuple(writers) if mesh.is_writer() else ()
    self._opened: dict[str, _Opened] = {}
    self._time = time.monotonic()

  def step(self, metrics: Mapping[str, float | int]) -> None:
    """Writes what `loop.train` tells of a step, and targets a second."""
    before, self._time = self._time, time.monotonic()
    values = {k: v for k, v in metrics.items() if k not in _OF_THE_STEP}
    seconds = self._time - before
    # The first step compiles, and a rate of it says nothing.
    if self._opened and seconds > 0:
      values["tokens_per_second"] = metrics["tokens"] / seconds
    step = int(metrics["step"])
    self._write(values, step, purge=step)

  def add(self, values: Mapping[str, float | int], *, step: int) -> None:
    """Writes more numbers of a step, of which some may be written already."""
    self._write(values, step, purge=step + 1)

  def _write(
    self, values: Mapping[str, float | int], step: int, *, purge: int
  ) -> None:
    for writer in self._writers:
      if writer in _failed:
        continue
      with self._telling(writer):
        if writer not in self._opened:
          opened = _KINDS[writer].open(self._workdir, self._name, purge)
          self._opened[writer] = opened
        self._opened[writer].write(step, dict(values))

  def close(self) -> None:
    """Writes what waits to be written."""
    for writer, opened in self._opened.items():
      with self._telling(writer):
        opened.close()

  @contextlib.contextmanager
  def _telling(self, writer: str) -> Iterator[None]:
    """Tells of the first failure of a writer, which is then left alone."""
    try:
      yield
    except Exception as error:  # Whatever a network or a disk may raise.
      if writer in _failed:
        return
      _failed.add(writer)
      said = (str(error).splitlines() or [type(error).__name__])[0][:300]
      progress.say(
        f"  warning: metrics cannot be given to {writer} ({said}); the run "
        "goes on without it, and metrics.jsonl has them"
      )


@contextlib.contextmanager
def recorder(
  writers: Sequence[str], *, workdir: epath.Path, name: str
) -> Iterator[Recorder]:
  """Yields a `Recorder`, which is closed at the end of the block.

  >>> with recorder((), workdir=epath.Path("."), name="base") as record:
  ...   record.step({"step": 1, "total_steps": 1, "loss": 2.0, "tokens": 9})
  """
  made = Recorder(writers, workdir=workdir, name=name)
  try:
    yield made
  finally:
    made.close()
