"""What is kept of long examples, against what trainers keep."""

import numpy as np
import pytest

from ila_jax.pool.tokens import overflow

BOS = 1_000


def _example(rng, *, bos):
  """Prompt and response tokens in turns, each token its own place."""
  ids = np.arange(int(rng.integers(30, 90)), dtype=np.int32)
  is_response = np.zeros(len(ids), np.bool_)
  first = int(rng.integers(1, len(ids)))
  is_response[first:] = rng.random(len(ids) - first) < 0.8
  is_response[first] = True
  if bos:
    ids[0] = BOS
  return ids, is_response, first


def _kept(ids, is_response, rule, max_tokens):
  return overflow.kept(
    ids,
    is_response,
    bos_id=BOS,
    max_tokens=max_tokens,
    overflow=rule,
  )


@pytest.mark.parametrize("bos", [True, False])
def test_truncate_response_is_what_trainers_do(bos):
  rng = np.random.default_rng(0)
  whole, parted = 0, 0
  for _ in range(300):
    ids, is_response, first = _example(rng, bos=bos)
    limit = int(rng.integers(8, len(ids)))
    kept = _kept(ids, is_response, "truncate_response", limit)
    assert len(kept) == limit
    share = int(overflow.PROMPT_SHARE * limit)
    if first <= share:
      whole += 1
      # TRL and Axolotl: the first max_length tokens.
      np.testing.assert_array_equal(ids[kept], ids[:limit])
      continue
    parted += 1
    # A longer prompt loses its oldest tokens, and never more than it must.
    assert is_response[kept].any() and not is_response[kept[0]]
    prompt = kept[kept < first]
    answers = kept[kept >= first]
    np.testing.assert_array_equal(answers, first + np.arange(len(answers)))
    newest = prompt[1:] if bos else prompt
    np.testing.assert_array_equal(
      newest, first - len(newest) + np.arange(len(newest))
    )
    if bos:
      assert ids[kept[0]] == BOS
    assert len(answers) == min(len(ids) - first, limit - share)
  assert whole > 50 and parted > 50


def test_truncate_response_keeps_a_token_to_predict_at_any_limit():
  for first in range(1, 12):
    ids = np.arange(12, dtype=np.int32)
    for limit in range(2, 12):
      kept = _kept(ids, ids >= first, "truncate_response", limit)
      assert len(kept) == limit
      assert kept[0] < first <= kept[-1]


@pytest.mark.parametrize("rule", overflow.RULES)
def test_what_fits_stays_as_it_is(rule):
  ids = np.arange(9, dtype=np.int32)
  assert _kept(ids, ids > 3, rule, 9) is None


def test_a_refusal_knows_the_answer_that_is_lost():
  ids = np.arange(9, dtype=np.int32)
  with pytest.raises(overflow.TooLong, match="longer than max_tokens") as told:
    _kept(ids, ids > 3, "reject", 8)
  assert told.value.n_response_tokens == 5
  assert told.value.detail == "9 tokens, 8 allowed"
  with pytest.raises(overflow.TooLong, match="answers longer") as told:
    _kept(ids, ids > 3, "truncate_prompt", 5)
  assert told.value.n_response_tokens == 5
