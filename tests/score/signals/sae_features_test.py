"""Features of a pool: whose tokens have them, resumed, on any mesh."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
import torch
from etils import epath

from ila_jax import config_parsing, errors, pipeline
from ila_jax.compute import mesh as mesh_lib
from ila_jax.forecast import costs, here
from ila_jax.passes import forward, layouts, token_set, windows
from ila_jax.pool import index, shards
from ila_jax.run import account, context, tables
from ila_jax.run.disk import files
from ila_jax.score.sae import features, published, ready, records, top
from ila_jax.score.signals import example_signal, sae_features
from ila_jax.selection import inputs
from ila_jax.training import base
from tests.support import model_folders, planned, tiny, torch_models

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


def test_methods_read_the_rows_that_they_ask_for(made):
  row = np.array([41, 3, 59, 33])
  held = inputs.Inputs(made[2], row)[sae_features.NAME]
  places = np.array([3, 0, 1])
  found = features.unpack(held[places])
  np.testing.assert_array_equal(found, _bits(made[2])[row[places]])
  assert len(held) == 4 and held[places[:0]].shape == (0, 8)


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


def test_on_one_device_packed_and_resumed_it_is_the_same(
  made, tmp_path, monkeypatch
):
  """The same autoencoder, read as a published one; a shard is lost between."""
  config, workdir = made[1], made[2]
  given = str(tables.SAE.path(workdir))
  threshold = _note(workdir)["threshold"]
  plain = config.plain()
  plain["sae"] |= {"path": given, "threshold": threshold}
  plain["score"]["layout"] = "pack"
  again, other = config_parsing.build(plain), _another(made, tmp_path)
  with monkeypatch.context() as patch:
    calls = iter(range(9))

    def dies(self, parts, row):
      if next(calls) == 1:
        raise KeyboardInterrupt
      return over(self, parts, row)

    over = records.Pass.over
    patch.setattr(records.Pass, "over", dies)
    with pytest.raises(KeyboardInterrupt):
      _run(again, other, devices=mesh_lib.jax.devices()[:1])
  first = tables.SIGNAL.path(other, name=sae_features.NAME, shard=0)
  written = first.stat().mtime
  _run(again, other, devices=mesh_lib.jax.devices()[:1])
  assert first.stat().mtime == written
  # Another layout rounds otherwise: what lies at the threshold may differ.
  differ = (_bits(other) != _bits(workdir)).mean()
  assert differ < 1e-3
  note = _note(other)
  assert note["layout"] == "sparsify" and note["dead_share"] is None
  wanted = _note(workdir)["explained_variance"]
  assert note["explained_variance"] == pytest.approx(wanted, rel=1e-4)


def test_windows_of_a_record_count_together(made, tmp_path):
  """What is read in windows has the features of all of them."""
  config, workdir = made[1], made[2]
  table = shards.read_records(workdir, 0, ["tokens"])
  lengths = index.lengths(workdir)[: len(table)]
  decoder = base.load(
    context.Run(config, workdir, mesh_lib.make()), account.Account()
  )
  held = published.read(tables.SAE.path(workdir), width=48)
  mesh = mesh_lib.make()
  layout = layouts.choose(lengths, batch_tokens=1024)
  reader = features.reader(held.weights, mesh)
  one = records.Pass(decoder, 1, reader, 64, 0.5, layout, mesh)
  tokens = token_set.tokens_of(
    shards.read_records(workdir, 0, ["tokens", "is_response"])
  )
  text = token_set.TokenSet.of_text(tokens.tokens)
  parts = windows.split(text, max_tokens=int(lengths.max()) // 2)
  assert len(parts.data) > len(text)
  row = np.arange(len(text)) + 7
  found = one.over(parts, row)
  each = one.over(
    windows.Parts(parts.data, np.arange(len(parts.data)), len(parts.data)),
    np.arange(len(parts.data)),
  )
  wanted = np.zeros_like(found.bits)
  np.bitwise_or.at(wanted, parts.example, each.bits)
  np.testing.assert_array_equal(found.bits, wanted)
  assert set(np.unique(found.top.row[found.top.peak > 0])) <= set(row.tolist())


def test_what_is_not_finite_has_no_features_and_is_told(made, capsys):
  config, workdir = made[1], made[2]
  held = published.read(tables.SAE.path(workdir), width=48)
  decoder = base.load(
    context.Run(config, workdir, mesh_lib.make()), account.Account()
  )
  vocab = decoder.config.vocab
  embedding = decoder.embedding[...].at[vocab - 1].set(np.nan)
  decoder.embedding[...] = embedding
  tokens = [np.arange(3, 9, dtype=np.int32) + i for i in range(6)]
  tokens[2][3] = vocab - 1
  mesh = mesh_lib.make()
  layout = layouts.choose(np.full(6, 6), batch_tokens=256, kind="pack")
  reader = features.reader(held.weights, mesh)
  one = records.Pass(decoder, 1, reader, 64, 0.5, layout, mesh)
  text = token_set.TokenSet.of_text(tokens)
  found = one.over(windows.split(text, max_tokens=16), np.arange(6))
  np.testing.assert_array_equal(found.not_finite, np.arange(6) == 2)
  assert (
    not found.bits[2].any() and found.bits[[0, 1, 3, 4, 5]].any(axis=1).all()
  )
  assert np.isfinite(found.top.peak).all()


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"explained_variance": 0.1}, "explains 10.0 % of the variance: its"),
    ({"dead_share": 0.9}, "90 % of the latents are dead"),
    ({"records_without": 3}, "3 records have no latent on"),
  ],
)
def test_an_autoencoder_of_little_use_is_told(made, changes, said):
  good = _note(made[2]) | {
    "explained_variance": 0.8,
    "dead_share": 0.0,
    "records_without": 0,
  }
  assert sae_features.warnings(good) == []
  (told,) = sae_features.warnings(good | changes)
  assert said in told
  assert "--config.sae" in told and "--redo=sae_features" in told


@pytest.mark.parametrize(("fill", "many"), [(0, "none"), (255, "all")])
def test_features_that_tell_nothing_apart_are_refused(made, fill, many):
  run = context.Run(made[1], made[2], mesh_lib.make())
  values = iter(
    [np.full((32, 8), fill, np.uint8), np.full((28, 8), fill, np.uint8)]
  )
  with pytest.raises(errors.InputError, match=f"{many} of 64 latents are on"):
    sae_features._about(run, values)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("layer", 1),
    ("latents", 128),
    ("k", 5),
    ("tokens", 5),
    ("epochs", 2),
    ("batch_tokens", 64),
    ("learning_rate", 0.5),
    ("warmup_fraction", 0.5),
    ("auxiliary_k", 3),
    ("dead_tokens", 7),
    ("threshold", 1.0),
    ("threshold_quantile", 0.5),
  ],
)
def test_each_field_makes_other_features(made, field, value):
  run = context.Run(made[1], made[2], mesh_lib.make())
  plain = made[1].plain()
  plain["sae"][field] = value
  other = context.Run(config_parsing.build(plain), made[2], run.mesh)
  before, after = map(sae_features.SIGNAL.made_from, (run, other))
  assert before != after


def test_a_layer_that_the_model_has_not_is_refused(made):
  plain = made[1].plain()
  plain["sae"]["layer"] = 99
  config = config_parsing.build(plain)
  sizes = base.sizes(config)
  with pytest.raises(errors.InputError, match=r"config\.sae\.layer is 99"):
    ready.layers(config, sizes)
  assert ready.layers(made[1], sizes) == sizes.layers


class _Counting(here.Here):
  """A machine on which nothing is tried."""

  def passes(self, work):
    return costs.Cost(0.0, flops=work.flops)

  def products(self, flops, dtype):
    assert dtype == "float32"
    return costs.Cost(0.0, flops=flops)


def test_a_plan_counts_reading_and_training(tmp_path):
  """FLOPs of hidden states after one of two layers, and of the products."""
  decoder = dataclasses.replace(planned.SMALL, layers=2)
  fields = _SAE | {"sae__layer": 1, "sae__tokens": 2000}
  run = planned.run(decoder, **fields)
  run.machine = _Counting(mesh_lib.make())
  lengths = run.sample.data.lengths
  lower = dataclasses.replace(decoder, layers=1)
  pool = forward.flops(lower, lengths) * 1000 / len(lengths)
  drawn = round(2000 / (lengths.mean() - 1)) / 1000
  steps = 6 * 8  # Of 256 tokens, 6 times.
  sae = 2 * 64 * 16 * 1000 * lengths.mean() + 12 * 64 * 16 * 256 * steps
  found = sae_features.SIGNAL.cost(run)
  assert found.flops == pytest.approx(pool * (1 + drawn) + sae, rel=1e-6)
  published.save(
    tmp_path,
    ready.autoencoder.Weights(
      *(np.ones(s, np.float32) for s in ((16, 24), 24, (24, 16), 16, 24))
    ),
    k=2,
  )
  given = planned.run(decoder, **fields, sae__path=str(tmp_path))
  given.machine = _Counting(mesh_lib.make())
  found = sae_features.SIGNAL.cost(given)
  wanted = pool + 2 * 24 * 16 * 1000 * lengths.mean()
  assert found.flops == pytest.approx(wanted, rel=1e-6)
  known = planned.known(**_SAE)
  assert sae_features.SIGNAL.need(known).kept == 64 // 8 * 10_000
