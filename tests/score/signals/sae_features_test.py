"""Features of a pool: whose tokens have them, resumed, on any mesh."""

import numpy as np
import pytest
import safetensors.numpy
import torch
from etils import epath

from ila_jax import pipeline
from ila_jax.compute import mesh as mesh_lib
from ila_jax.pool import index, shards
from ila_jax.run import context, tables
from ila_jax.run.disk import files
from ila_jax.score.sae import features, top
from ila_jax.score.signals import example_signal, sae_features
from tests.support import model_folders, tiny, torch_models

_SAE = {
  "sae__latents": 64,
  "sae__k": 4,
  "sae__tokens": 3000,
  "sae__epochs": 6,
  "sae__batch_tokens": 256,
  "sae__learning_rate": 3e-3,
  "sae__dead_tokens": 2000,
  "sae__auxiliary_k": 16,
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
  """The pool of a torch model: (torch's model, config, folder of the run)."""
  folder = tmp_path_factory.mktemp("run")
  (folder / "model").mkdir()
  texts = [str(row) for row in tiny.records(60)]
  model_folders.llama(folder / "model", texts)
  theirs = torch_models.causal("llama", vocab_size=320)
  torch_models.save(theirs, folder / "model")
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", tiny.records(60)),
    model__path=str(folder / "model"),
    pool__shard_examples=32,
    pool__dev_examples=5,
    score__reference_examples=5,
    **_SAE,
  )
  workdir = epath.Path(folder / "work")
  pipeline.run(config, workdir, stages=["pool"])
  return theirs, config, workdir


@pytest.fixture(scope="module")
def made(pool):
  _, config, workdir = pool
  _run(config, workdir)
  return pool


def _run(config, workdir, devices=None):
  mesh = mesh_lib.make(devices=devices)
  run = context.Run(config, workdir, mesh)
  example_signal.run(sae_features.SIGNAL, run)


def _another(pool, folder):
  """Another run on the same pool."""
  (folder / "pool").symlink_to(pool[2] / "pool")
  files.write_json(folder / "manifest.json", {"ila_jax": "0"})
  return epath.Path(folder)


def _bits(workdir):
  row = np.arange(len(index.lengths(workdir)))
  held = example_signal.read(workdir, sae_features.NAME, row)
  assert held.dtype == np.uint8
  return features.unpack(held)


def _note(workdir):
  record = files.read_json(workdir / "signals/sae_features/stage.json")
  return record["sae"]


def test_features_are_those_of_torch_token_by_token(made):
  """An autoencoder on disk and torch's hidden states say the same."""
  theirs, _, workdir = made
  held = safetensors.numpy.load_file(
    tables.SAE.path(workdir) / "sae.safetensors"
  )
  threshold, bits = _note(workdir)["threshold"], _bits(workdir)
  records = shards.iterate(workdir, ["tokens"])
  ids = [t for table in records for t in table["tokens"].to_pylist()]
  peaks = []
  for one in ids:
    told = {}
    hook = theirs.model.norm.register_forward_hook(
      lambda _, given, __, told=told: told.update(x=given[0])
    )
    with torch.no_grad():
      theirs(torch.tensor([one]))
    hook.remove()
    x = told["x"][0, 1:].numpy() - held["b_dec"]
    z = np.maximum(x @ held["encoder.weight"].T + held["encoder.bias"], 0)
    peaks.append(z.max(axis=0))
  peaks = np.array(peaks)
  clear = np.abs(peaks - threshold) > 1e-4 * threshold
  assert clear.mean() > 0.99
  np.testing.assert_array_equal(bits[clear], (peaks > threshold)[clear])
  found = top.read(workdir)
  latent, row = found["latent"], found["row"]
  np.testing.assert_allclose(found["activation"], peaks[row, latent], rtol=1e-4)
  np.testing.assert_array_equal(found["share"], bits.mean(axis=0)[latent])
  np.testing.assert_array_equal(found["id"], index.column(workdir, "id")[row])
  for one in np.unique(latent):
    on = np.sort(peaks[bits[:, one], one])[::-1][: top.RECORDS]
    np.testing.assert_allclose(
      found["activation"][latent == one], on, rtol=1e-4
    )


def test_its_record_tells_how_good_it_is(made):
  workdir = made[2]
  note, bits = _note(workdir), _bits(workdir)
  count, lengths = bits.sum(axis=1), index.lengths(workdir)
  assert 0.2 < note["explained_variance"] < 1
  assert note["latents_a_token"] == 4 and note["latents"] == 64
  assert note["latents_a_record"] == count.mean()
  assert note["never_on_share"] == (~bits.any(axis=0)).mean()
  wanted = np.corrcoef(count, lengths)[0, 1]
  assert note["richness_by_length"] == pytest.approx(wanted)
  assert 0 <= note["dead_share"] < 1
