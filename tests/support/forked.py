"""Python programs in processes that have most imports behind them.

To import JAX, transformers and torch takes four seconds, and the tests start a
hundred programs. These fork from one process, which has imported that much and
has neither a device nor a thread.
"""

import atexit
import contextlib
import gc
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import reduction
from typing import IO, Any

_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
  [
    *("ila_jax.main", "ila_jax.pipeline", "ila_jax.dry_run"),
    *("ila_jax.pool.stage", "ila_jax.embed.stage", "ila_jax.score.stage"),
    *("ila_jax.landscape.stage", "ila_jax.finetune.stage", "sklearn.utils"),
    "transformers.tokenization_utils_tokenizers",
    "transformers.models.auto.tokenization_auto",
  ]
)


class _Process(_SERVER.Process):
  """Gives its open files to the process that is forked."""

  def __init__(self, *arguments: Any, files: list[int]):
    super().__init__(target=_run, args=arguments, daemon=True)
    self._files = files

  def send_signal(self, number: int) -> None:
    os.kill(self.pid, number)

  def end(self) -> None:
    """Kills it and waits until it is gone; another thread may `join` it."""
    with contextlib.suppress(ProcessLookupError):
      self.send_signal(signal.SIGKILL)
      while True:
        os.kill(self.pid, 0)
        time.sleep(0.01)

  def __getstate__(self) -> dict[str, Any]:
    there = [reduction.DupFd(number) for number in self._files]
    return self.__dict__ | {"_files": there}

  def run(self) -> None:
    for number, file in enumerate(self._files, start=1):
      os.dup2(file.detach(), number)
    super().run()


def _run(words: tuple[str, ...], cwd: str, env: dict[str, str]) -> None:
  # It may have processes of its own.
  multiprocessing.current_process()._config["daemon"] = False
  gc.freeze()  # A collection would copy all that was imported.
  os.chdir(cwd)
  os.environ.clear()
  os.environ.update(env)
  sys.path.insert(0, cwd)
  kind, what, *more = words
  sys.argv = [kind, *more]
  try:
    if kind == "-m":
      runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
      exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
  finally:
    atexit._run_exitfuncs()


def start(
  *words: Any,
  cwd: str | os.PathLike[str] = _CHECKOUT,
  env: dict[str, str] | None = None,
  stdout: IO | int | None = None,
  stderr: IO | int | None = None,
) -> _Process:
  """Starts `python WORDS`; its exit status is its `exitcode` after `join()`.

  Args:
    *words: of the command line: `-m MODULE ...` or `-c PROGRAM ...`.
    cwd: the folder it begins in.
    env: its environment. What JAX reads when it is imported is as here.
    stdout: an open file, or `subprocess.PIPE`, which the attribute of that name
      reads; as here if not given.
    stderr: likewise.
  """
  env = dict(os.environ if env is None else env)
  there, here = (
    {name: value for name, value in names.items() if name.startswith("JAX_")}
    for names in (env, os.environ)
  )
  assert there == here, "JAX has been imported with the environment of here"
  files, pipes = [], []
  for number, file in enumerate((stdout, stderr), start=1):
    pipes.append(os.pipe() if file == subprocess.PIPE else None)
    files.append(
      pipes[-1][1] if pipes[-1] else number if file is None else file.fileno()
    )
  started = _Process(tuple(map(str, words)), os.fspath(cwd), env, files=files)
  started.start()
  for name, pipe in zip(("stdout", "stderr"), pipes, strict=True):
    if pipe:
      os.close(pipe[1])
      setattr(started, name, os.fdopen(pipe[0], encoding="utf-8"))
  return started


def run(
  *words: Any, seconds: float = 400, **options: Any
) -> subprocess.CompletedProcess:
  """Runs `python WORDS` to its end.

  Args:
    *words: as of `start`.
    seconds: after which it is killed; its exit status is -9 then.
    **options: `cwd` and `env` of `start`.
  """
  with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as wrong:
    started = start(*words, stdout=said, stderr=wrong, **options)
    started.join(seconds)
    started.kill()
    started.join()
    texts = []
    for file in (said, wrong):
      file.seek(0)
      texts.append(file.read().decode())
  return subprocess.CompletedProcess(words, started.exitcode, *texts)
