"""Other prompts by plain loops; neither order nor shards change them."""

import numpy as np
import pytest

from ila_jax.passes import token_set
from ila_jax.run import draws
from ila_jax.score.signals.tuned import other_prompts


def _records(n, seed):
  """Several records of a prompt, a domain of one, and lengths by prompt."""
  rng = np.random.default_rng(seed)
  prompt = rng.integers(0, n, n)
  domain = np.where(prompt == prompt.max(), 3, prompt % 3)
  length = 1 + prompt * 7 % 5
  tokens = [
    np.r_[np.full(k, p), 1000 + np.arange(2)].astype(np.int32)
    for p, k in zip(prompt, length, strict=True)
  ]
  masks = [np.arange(k + 2) >= k for k in length]
  ids = rng.choice(10**6, n, replace=False).astype(np.uint64)
  return {
    "ids": ids,
    "prompt": prompt.astype(np.uint64),
    "domain": domain.astype(np.int64),
    "data": token_set.TokenSet(tokens, masks),
  }


def _have(r, seed=0):
  rows, bank = other_prompts.drawn(
    r["ids"], r["prompt"], r["domain"], seed=seed
  )
  return other_prompts.prompts(r["data"].subset(rows), r["prompt"][rows], bank)


def _choose(r, have, rows, count, seed=0):
  data = r["data"].subset(rows)
  bank = other_prompts.banks(r["prompt"], r["domain"])
  place = other_prompts.choose(
    have,
    r["ids"][rows],
    r["prompt"][rows],
    bank[rows],
    other_prompts.first_answer(data),
    count=count,
    seed=seed,
  )
  # A prompt of these records is one number, again and again.
  return [[int(have.tokens[p][0]) for p in own] for own in place]


def _uniform(id_, purpose):
  one = np.array([id_], np.uint64)
  return float(draws.keyed_uniform(one, seed=0, purpose=purpose)[0])


def _slowly(r, row, count):
  """What one record gets: its bank, those of like length, one after another."""
  pairs = list(zip(r["prompt"].tolist(), r["domain"].tolist(), strict=True))
  own, domain = pairs[row]
  of_domain = sorted({p for p, d in pairs if d == domain})
  if len(of_domain) == 1:
    of_domain = sorted({p for p, _ in pairs})
  purpose = "bank of other prompts"
  of_domain.sort(key=lambda p: (_uniform(p, purpose), p))
  bank = of_domain[: other_prompts.BANK]
  bank.sort(key=lambda p: (1 + p * 7 % 5, p))
  length = 1 + own * 7 % 5
  shorter = sum(1 + p * 7 % 5 < length for p in bank)
  begin = max(
    min(shorter - other_prompts.LIKE // 2, len(bank) - other_prompts.LIKE), 0
  )
  like = [p for p in bank[begin : begin + other_prompts.LIKE] if p != own]
  left, found = list(like), []
  for number in range(count):
    left = left or list(like)
    u = _uniform(r["ids"][row], f"other prompt {number}")
    found.append(left.pop(int(u * len(left))))
  return found


@pytest.mark.parametrize(("bank", "like"), [(512, 16), (6, 4), (3, 2)])
def test_they_are_those_of_plain_loops(monkeypatch, bank, like):
  monkeypatch.setattr(other_prompts, "BANK", bank)
  monkeypatch.setattr(other_prompts, "LIKE", like)
  for seed in range(4):
    r = _records(40, seed)
    have, rows = _have(r), np.arange(40)
    got = _choose(r, have, rows, 3)
    assert got == [_slowly(r, row, 3) for row in range(40)]
    assert all(own not in g for own, g in zip(r["prompt"], got, strict=True))


def test_neither_order_nor_parts_of_the_pool_change_them():
  r = _records(60, 1)
  want = _choose(r, _have(r), np.arange(60), 2)
  mix = np.random.default_rng(5).permutation(60)
  mixed = {k: r[k][mix] for k in ("ids", "prompt")}
  # Domains are numbered as they come.
  mixed["domain"] = (3 - r["domain"])[mix]
  mixed["data"] = r["data"].subset(mix)
  have = _have(mixed)
  got = _choose(mixed, have, np.arange(25), 2)
  got += _choose(mixed, have, np.arange(25, 60), 2)
  assert got == [want[row] for row in mix]


def test_another_seed_draws_others():
  r = _records(60, 2)
  have = _have(r)
  one, two = (_choose(r, have, np.arange(60), 1, seed) for seed in (0, 1))
  assert one != two


@pytest.mark.parametrize("prompts", [[], [7], [7, 7, 7]])
def test_a_pool_of_one_prompt_has_no_other(prompts):
  n = len(prompts)
  prompt = np.array(prompts, np.uint64)
  ids, domain = np.arange(n, dtype=np.uint64), np.zeros(n, np.int64)
  rows, bank = other_prompts.drawn(ids, prompt, domain, seed=0)
  data = token_set.TokenSet.of_text([np.arange(3, dtype=np.int32)] * len(rows))
  have = other_prompts.prompts(data, prompt[rows], bank)
  own = other_prompts.banks(prompt, domain)
  got = other_prompts.choose(have, ids, prompt, own, domain, count=2, seed=0)
  assert got.shape == (n, 2) and (got == other_prompts.NONE).all()


def test_prompts_come_by_chance_and_each_as_often():
  """Of ten prompts of one length each of the nine others is drawn alike."""
  prompt = np.repeat(np.arange(10), 300).astype(np.uint64)
  r = {
    "ids": np.arange(3000, dtype=np.uint64),
    "prompt": prompt,
    "domain": np.zeros(3000, np.int64),
    "data": token_set.TokenSet(
      [np.array([p, 0], np.int32) for p in prompt],
      [np.array([False, True])] * 3000,
    ),
  }
  got = np.array(_choose(r, _have(r), np.arange(3000), 2))
  assert (got[:, 0] != got[:, 1]).all()
  for drawn in got.T:
    counts = np.bincount(drawn, minlength=10)
    assert np.abs(counts - 300).max() < 5 * np.sqrt(300)
