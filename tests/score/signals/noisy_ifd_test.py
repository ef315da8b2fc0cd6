"""T-SHIRT's numbers against torch, with the same noise, and by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ila_jax.compute import mesh
from ila_jax.forecast import costs, work
from ila_jax.passes import noisy_loss
from ila_jax.pool import base_tokenizer, shards
from ila_jax.run import account as account_lib
from ila_jax.run import context
from ila_jax.score.signals import example_signal, nll_without_prompt, noisy_ifd
from tests.support import conversations, planned, tiny

_COPIES, _ALPHA, _WIDTH = 3, 20.0, 48


@pytest.fixture(scope="module")
def config(run):
  return tiny.config(
    run[1].pool.sources,
    model__path=run[1].model.path,
    select__options__tshirt__neighbours=_COPIES,
    select__options__tshirt__alpha=_ALPHA,
  )


@jax.jit
def _drawn(words, seed, folded):
  key = jax.random.wrap_key_data(words, impl="threefry2x32")
  key = jax.random.fold_in(jax.random.fold_in(key, seed), folded)
  return jax.random.uniform(key, (_WIDTH,), minval=-1, maxval=1)


def _noise(setting, number, places, length):
  """One example's noise [neighbour, token, width], a token at a time."""
  words = jnp.array([int(number) & 0xFFFFFFFF, int(number) >> 32], jnp.uint32)
  scale = setting.alpha / (length * _WIDTH) ** 0.5
  return np.stack(
    [
      [
        scale * _drawn(words, setting.seed, neighbour * 2**20 + int(place))
        for place in places
      ]
      for neighbour in range(setting.neighbours)
    ]
  )


def _torch_losses(theirs, ids, noise):
  """Losses of all tokens but the first, with noise on the embeddings."""
  torch = pytest.importorskip("torch")
  with torch.no_grad():
    tokens = torch.from_numpy(ids.astype(np.int64))
    embedded = theirs.get_input_embeddings()(tokens)[None]
    logits = theirs(inputs_embeds=embedded + torch.from_numpy(noise)).logits
    return np.stack(
      [
        torch.nn.functional.cross_entropy(
          own[:-1].double(), tokens[1:], reduction="none"
        ).numpy()
        for own in logits
      ]
    )


def _changes(theirs, setting, start, number, ids, parts):
  """D of each neighbour and response token, as the paper defines it."""
  assert theirs.config.hidden_size == _WIDTH
  whole = _noise(setting, number, np.arange(len(ids)), len(ids))
  given = _torch_losses(theirs, ids, whole)
  found = []
  for begin, end in parts:
    answer = np.array([start, *ids[begin:end]], np.int32)
    noise = np.concatenate(
      [np.zeros_like(whole[:, :1]), whole[:, begin:end]], axis=1
    )
    alone = _torch_losses(theirs, answer, noise)
    found.append(given[:, begin - 1 : end - 1] - alone)
  return np.concatenate(found, axis=1)


def _brute_force(change):
  """Mean and deviation of S-IFD and tokens above, for each threshold."""
  found = []
  for threshold in noisy_ifd.THRESHOLDS:
    each, count = [], 0
    for own in change:
      above = own[np.abs(own) > threshold]
      count += len(above)
      each.append(np.exp(above.mean()) if len(above) else 1.0)
    found.append([np.mean(each), np.std(each), count])
  return np.array(found)


def test_what_is_kept_is_s_ifd_at_every_threshold():
  for seed in range(20):
    random = np.random.default_rng(seed)
    shape = int(random.integers(1, 5)), int(random.integers(1, 30))
    change = random.normal(size=shape) * random.choice([0.01, 1.0, 5.0])
    found = noisy_ifd.of_changes(np.float32(change))
    wanted = _brute_force(np.float32(change))
    found = found.reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
  assert np.isnan(noisy_ifd.of_changes(np.float32([[1.0, np.nan]]))).all()


def test_losses_are_those_of_torch_with_the_same_noise(run, config):
  """Some examples of the pool, conversations among them."""
  theirs, _, workdir = run
  example_signal.run(noisy_ifd.SIGNAL, tiny.run(config, workdir))
  tokenizer = base_tokenizer.tokenizer(config, workdir)
  (start,) = nll_without_prompt.start_token(config, tokenizer)
  setting = noisy_ifd._setting(config)
  assert setting == noisy_loss.Noise(_ALPHA, _COPIES, config.seed)
  table = shards.read_records(
    workdir, 0, ["id", "tokens", "is_response"]
  ).to_pydict()
  rows, several = np.arange(0, 32, 5), set()
  found = example_signal.read(workdir, noisy_ifd.NAME, rows)
  for row, own in zip(rows.tolist(), found, strict=True):
    ids = np.array(table["tokens"][row], np.int32)
    parts = conversations.answers(table["is_response"][row])
    several.add(len(parts))
    change = _changes(theirs, setting, start, table["id"][row], ids, parts)
    wanted = _brute_force(change)
    own = own.reshape(wanted.shape)
    # The mean IFD of all tokens, and its deviation over the neighbours.
    np.testing.assert_allclose(own[0], wanted[0], rtol=2e-4)
    assert own[0, 1] > 1e-3
    # A token next to a threshold may fall on its other side.
    close = np.isclose(own[:, 2], wanted[:, 2])
    assert close.mean() > 0.9
    np.testing.assert_allclose(own[close, 0], wanted[close, 0], rtol=1e-3)
  assert len(several) > 1


def test_batches_windows_and_devices_change_no_noise(run, config):
  _, _, workdir = run
  whole = example_signal.read(workdir, noisy_ifd.NAME, np.arange(20))
  table = shards.read_records(workdir, 0, list(noisy_ifd.SIGNAL.reads)).slice(
    3, 9
  )
  fewer = context.Run(config, workdir, mesh.make(devices=jax.devices()[:2]))
  account, told = account_lib.Account(), []
  found = noisy_ifd.SIGNAL.compute(fewer, account, told.append)(table)
  first = slice(0, noisy_ifd.COLUMNS)
  np.testing.assert_allclose(found[:, first], whole[3:12, first], rtol=1e-4)
  totals = account.totals(matrix_rate=1.0)
  assert totals["flops"] > 0 and totals["tokens"] > 0
  assert sum(told) == len(table)


def test_places_are_those_of_the_tokens_also_in_windows():
  ids = np.arange(100, 112, dtype=np.int32)
  mask = np.arange(12) % 6 > 2
  data = noisy_ifd.token_set.TokenSet([ids], [mask])
  before = np.array([7], np.int32)
  for parts, places in (
    noisy_ifd.with_prompt(data, max_tokens=5),
    noisy_ifd.without_prompt(data, before, max_tokens=3),
  ):
    assert len(parts.data) > 1
    predicted = []
    for own, place, is_response in zip(
      parts.data.tokens,
      places.data.tokens,
      parts.data.is_response,
      strict=True,
    ):
      wanted = np.where(place == noisy_loss.CLEAN, 7, place + 100)
      np.testing.assert_array_equal(own, wanted)
      predicted += place[is_response].tolist()
    assert predicted == np.flatnonzero(mask).tolist()


def test_it_costs_two_passes_for_each_neighbour(monkeypatch):
  asked = []

  def scoring(self, data, *, examples, models=1):
    asked.append(len(data))
    return costs.Cost(1.0, flops=10.0)

  monkeypatch.setattr(work.PlannedRun, "scoring", scoring)
  monkeypatch.setattr(
    nll_without_prompt, "start_token", lambda *_: np.ones(1, np.int32)
  )
  run = planned.run(select__options__tshirt__neighbours=7)
  cost = noisy_ifd.SIGNAL.cost(run)
  assert (cost.seconds, cost.flops, len(asked)) == (14.0, 140.0, 2)
  assert cost.left_out == ("the noise",)
