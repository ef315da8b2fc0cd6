"""Loading a large checkpoint: seconds, and memory beyond the weights.

A random Llama of 1.1 billion weights (2.2 GB in bfloat16, several files and an
index) is written to a temporary folder and loaded in fresh processes, in turn:

* ours: slices of the files go straight to a mesh of 8 CPU devices;
* host_stack: the same mesh, from each matrix of all layers built on the host;
* transformers: torch's from_pretrained, with no mesh. It maps the files and
  reads nothing until the weights are used;
* transformers_read: the same, and each weight copied out of the files into
  memory of its own, as for any device.

Run it with `python -m tests.benchmarks.loading`; the last line is JSON. The
files are in the page cache in all cases. Memory is anonymous memory: pages of
mapped files, which the system takes back when it wants, do not count.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import ml_dtypes
import numpy as np

LOADERS = ("ours", "host_stack", "transformers", "transformers_read")
MESH = (1, 4, 2)
VOCAB, WIDTH = 32_000, 2048
_SAMPLE_SECONDS = 0.002


def write_checkpoint(folder: pathlib.Path, *, layers: int, width: int) -> None:
  """A Llama whose weights are random bits, written a tensor at a time."""
  from ila_jax.models import architecture, decoder
  from ila_jax.models.folders import (
    causal_configs,
    safetensors_files,
    tensor_names,
  )
  from ila_jax.run.disk import files as files_lib

  config = architecture.DecoderConfig(
    vocab=VOCAB,
    layers=layers,
    width=width,
    heads=32,
    kv_heads=4,
    head_dim=64,
    mlp_width=5632,
    tied=False,
    param_dtype="bfloat16",
  )
  rng = np.random.default_rng(0)

  def draw(shape: tuple[int, ...]) -> np.ndarray:
    bits = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    # Any sign and fraction; of the size 1/64 to 1/32.
    return ((bits & 0x807F) | 0x3C80).view(ml_dtypes.bfloat16)

  tensors = []
  for path, leaf in _leaves(decoder.abstract(config)):
    stacked = path.startswith("blocks/")
    for layer in range(leaf.shape[0] if stacked else 1):
      shape = leaf.shape[:0:-1] if stacked else leaf.shape
      name = tensor_names.DECODER[path].format(layer)
      tensors.append(
        safetensors_files.Tensor(
          name, shape, leaf.dtype, lambda s=shape: draw(s)
        )
      )
  files_lib.write_json(folder / "config.json", causal_configs.write(config))
  safetensors_files.save(folder, tensors, max_shard_bytes=500_000_000)


def _leaves(model):
  """(path, weight or shape) of a module, as in `blocks/query`."""
  import jax
  from flax import nnx

  state = nnx.to_pure_dict(nnx.state(model))
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _anonymous_bytes() -> int:
  """Anonymous memory of this process; Linux only."""
  status = pathlib.Path("/proc/self/status").read_text()
  line = next(x for x in status.splitlines() if x.startswith("RssAnon:"))
  return int(line.split()[1]) * 1024


class Peak:
  """The most anonymous memory while the block runs, above what was before."""

  def __enter__(self):
    self._done = threading.Event()
    self.before = self.most = _anonymous_bytes()
    self._thread = threading.Thread(target=self._watch)
    self._thread.start()
    return self

  def _watch(self) -> None:
    while not self._done.wait(_SAMPLE_SECONDS):
      self.most = max(self.most, _anonymous_bytes())

  def __exit__(self, *_) -> None:
    self._done.set()
    self._thread.join()
    self.bytes = max(self.most, _anonymous_bytes()) - self.before


def load(loader: str, folder: pathlib.Path) -> dict[str, float]:
  """Loads once, in this process, and says what it took."""
  prepare = _torch if loader.startswith("transformers") else _jax
  read = prepare(loader, folder)
  with Peak() as peak:
    begin = time.perf_counter()
    # Kept, so that the weights are in memory to the end.
    kept = read()
    seconds = time.perf_counter() - begin
  del kept
  return {"seconds": seconds, "bytes": peak.bytes}


def _torch(loader, folder):
  import torch
  import transformers
  import transformers.models.llama.modeling_llama

  torch.ones(8, 8).mm(torch.ones(8, 8))

  def read():
    model = transformers.AutoModelForCausalLM.from_pretrained(
      folder, dtype=torch.bfloat16
    )
    if loader == "transformers_read":
      for weight in model.parameters():
        weight.data = weight.data.clone()
    return model

  return read


def _jax(loader, folder):
  import jax

  jax.config.update("jax_num_cpu_devices", 8)
  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.models.folders import weights

  mesh = mesh_lib.make(*MESH)
  mesh_lib.put(np.ones(8), mesh)
  if loader == "host_stack":
    return lambda: _host_stack(folder, mesh)
  return lambda: jax.block_until_ready(
    [
      leaf
      for _, leaf in _leaves(
        weights.load_decoder(folder, param_dtype="bfloat16", mesh=mesh)[1]
      )
    ]
  )


def _host_stack(folder, mesh):
  """The plain way: each weight is built whole on the host, then split."""
  import contextlib

  import jax
  from flax import nnx

  from ila_jax.models import decoder
  from ila_jax.models.folders import (
    causal_configs,
    safetensors_files,
    tensor_names,
  )

  config = causal_configs.decoder_config(
    folder, dtype="float32", param_dtype="bfloat16", remat=False
  )
  model = decoder.abstract(config)
  places = decoder.shardings(nnx.state(model), mesh)
  places = jax.tree.leaves(places)
  arrays = []
  with contextlib.ExitStack() as stack:
    found = safetensors_files.open_tensors(folder, stack)
    for (path, leaf), place in zip(_leaves(model), places, strict=True):
      name = tensor_names.DECODER[path]
      if path.startswith("blocks/"):
        host = np.empty(leaf.shape, leaf.dtype)
        for layer, part in enumerate(host):
          part[...] = found[name.format(layer)][:].T
      else:
        host = found[name][:]
      arrays.append(
        jax.make_array_from_callback(
          leaf.shape, place, lambda index, host=host: host[index]
        )
      )
  return jax.block_until_ready(arrays)


def main() -> None:
  """Runs all loaders, or one of them in this process."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--layers", type=int, default=22)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--loader", choices=LOADERS)
  parser.add_argument("--folder", type=pathlib.Path)
  parser.add_argument("--tiny", action="store_true", help="a trial, in seconds")
  flags = parser.parse_args()
  width = WIDTH
  if flags.tiny:
    flags.layers, flags.rounds, width = 1, 1, 64
  if flags.loader:
    print(json.dumps(load(flags.loader, flags.folder)))
    return
  found = {loader: [] for loader in LOADERS}
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    write_checkpoint(folder, layers=flags.layers, width=width)
    files = sorted(folder.glob("*.safetensors"))
    total = sum(file.stat().st_size for file in files)
    print(f"{total / 1e9:.2f} GB in {len(files)} files")
    for _ in range(flags.rounds):
      for loader in LOADERS:
        program = [sys.executable, "-m", "tests.benchmarks.loading"]
        options = [f"--loader={loader}", f"--folder={folder}"]
        done = subprocess.run(
          [*program, *options], capture_output=True, text=True, check=True
        )
        found[loader].append(json.loads(done.stdout.splitlines()[-1]))
        print(loader, found[loader][-1], flush=True)
  _report(found, total, largest=2 * VOCAB * width)


def _report(
  found: dict[str, list[dict[str, float]]], total: int, *, largest: int
) -> None:
  seconds, extra = {}, {}
  for loader, runs in found.items():
    seconds[loader] = statistics.median(run["seconds"] for run in runs)
    extra[loader] = max(run["bytes"] for run in runs) - total
    print(
      f"{loader:>17} {seconds[loader]:6.2f} s, {extra[loader] / 1e6:6.0f} MB "
      f"beyond the weights, {seconds['ours'] / seconds[loader]:.2f} = ours / it"
    )
  rivals = {name: seconds[name] for name in LOADERS[1:]}
  quality = {
    "peak_extra_bytes": extra.pop("ours"),
    "rivals_peak_extra_bytes": extra,
    "largest_tensor_bytes": largest,
  }
  print(
    json.dumps(
      {
        "benchmark": "loading",
        "ours": seconds["ours"],
        "rivals": rivals,
        "quality": quality,
        "work": {"bytes": total, "mesh": MESH},
      }
    )
  )


if __name__ == "__main__":
  main()
