"""What is told of long examples, against plain lists of them."""

import statistics

import numpy as np
import pytest

from ila_jax.pool.tokens import encode, overflow, tally


def _results(seed):
  """(source, result, response tokens as read) of many examples."""
  rng = np.random.default_rng(seed)
  for _ in range(400):
    source = str(rng.choice(["short", "mixed", "long"], p=[0.5, 0.3, 0.2]))
    response = int(rng.integers(1, 60)) * (3 if source == "long" else 1)
    if response > 140:
      ids = np.arange(response + 2, dtype=np.int32)
      yield source, encode.Encoded(ids, ids > 1, n_left_out=1), response
      continue
    if response > 100:
      yield source, overflow.TooLong("too long", "", response), response
      continue
    cut = (int(rng.integers(0, 9)), max(response - 40, 0))
    if source == "short":
      response, cut = min(response, 40), (0, 0)
    ids = np.arange(response - cut[1] + 2, dtype=np.int32)
    yield source, encode.Encoded(ids, ids > 1, cut=cut, n_left_out=1), response


def _told(results):
  counted = tally.Tally(max_tokens=100)
  for source, result, _ in results:
    counted.add(source, result)
  return counted.told()


def test_counts_medians_means_and_shares_are_those_of_the_examples():
  results = list(_results(0))
  told = _told(results)
  fate = {"rejected": [], "cut": [], "windows": [], "kept": []}
  for one in results:
    result = one[1]
    if isinstance(result, overflow.TooLong):
      name = "rejected"
    elif len(result.ids) > 100:
      name = "windows"
    else:
      name = "cut" if any(result.cut) else "kept"
    fate[name].append(one)
  lengths = told["lengths"]
  for name, examples in fate.items():
    assert lengths[name]["examples"] == len(examples) > 9
    assert lengths[name]["median_response"] == statistics.median_low(
      [response for *_, response in examples]
    )
  cut = np.array([result.cut for _, result, _ in fate["cut"]])
  assert lengths["cut"]["prompt_tokens"] == cut[:, 0].sum()
  assert lengths["cut"]["response_tokens"] == cut[:, 1].sum()
  assert lengths["cut"]["median_cut"] == statistics.median_low(cut.sum(axis=1))
  pool = [one for one in results if not isinstance(one[1], overflow.TooLong)]
  assert lengths["mean_response"] == pytest.approx(
    [
      statistics.mean(response for *_, response in results),
      statistics.mean(int(result.is_response.sum()) for _, result, _ in pool),
    ]
  )
  long = [one["long"] for one in lengths["sources"]]
  assert len(long) == 2 and long == sorted(long, reverse=True)
  assert sum(long) == len(results) - len(fate["kept"])
  for one in lengths["sources"]:
    shares = [
      sum(source == one["source"] for source, *_ in examples) / len(examples)
      for examples in (results, pool)
    ]
    assert one["share"] == pytest.approx(shares)
  assert told["truncated"] == len(fate["cut"])
  assert told["answers_left_out"] == len(pool)
  assert told["largest_token"] == max(result.ids.max() for _, result, _ in pool)


def test_the_order_of_the_pool_changes_nothing():
  results = list(_results(1))
  assert _told(results) == _told(results[::-1])


def test_the_sentences_say_what_was_long_and_what_shifts():
  counted = tally.Tally(max_tokens=64)
  ids = np.arange(11, dtype=np.int32)
  for _ in range(90):
    counted.add("alpaca", encode.Encoded(ids, ids > 0))
  for _ in range(5):
    counted.add("wild", overflow.TooLong("too long", "", 90))
  for _ in range(5):
    counted.add("wild", encode.Encoded(ids, ids > 0, cut=(3, 20)))
  assert tally.sentences(counted.told()) == [
    "Too long: 5 of 100 examples (5.0 %) have more than 64 tokens and are "
    "rejected. Their responses have 90 tokens in the median, those of the "
    "examples that fit 10.",
    "Cut: 5 of 100 examples (5.0 %) had more than 64 tokens and lost 15 "
    "tokens of prompts and 100 of responses, 23 in the median. Their responses "
    "have 30 tokens in the median, those of the examples that fit 10. "
    "pool/truncated.parquet lists them.",
    "So the mean response has 10 tokens instead of 15, wild is 5.3 % of the "
    "pool instead of 10.0 %.",
  ]
  (warning,) = tally.warnings(counted.told())
  assert warning.startswith("5 examples were cut, and lost 100 response tokens")


def test_the_sentence_of_windows():
  counted = tally.Tally(max_tokens=64)
  for count in (10, 10, 90):
    ids = np.arange(count + 1, dtype=np.int32)
    counted.add("wild", encode.Encoded(ids, ids > 0))
  assert tally.sentences(counted.told()) == [
    "In windows: 1 of 3 examples (33.3 %) has more than 64 tokens and is read "
    "in windows of 64 tokens. Their responses have 90 tokens in the median, "
    "those of the examples that fit 10."
  ]
  assert tally.warnings(counted.told()) == []


def test_nothing_is_said_of_a_pool_that_fits_or_of_an_older_run():
  counted = tally.Tally(max_tokens=64)
  ids = np.arange(11, dtype=np.int32)
  counted.add("alpaca", encode.Encoded(ids, ids > 0))
  assert tally.sentences(counted.told()) == []
  assert tally.sentences({"truncated": 0}) == []
  assert tally.warnings({"truncated": 2}) == [
    "The prompts of 2 examples were cut to fit config.tokens.max_tokens."
  ]


def test_a_pool_of_nothing_but_long_examples_is_told():
  counted = tally.Tally(max_tokens=64)
  counted.add("wild", overflow.TooLong("too long", "", 90))
  assert tally.sentences(counted.told()) == [
    "Too long: 1 of 1 examples (100.0 %) has more than 64 tokens and is "
    "rejected. Their responses have 90 tokens in the median."
  ]


@pytest.mark.parametrize(
  ("rule", "count", "said"),
  [
    ("reject", 90, "has more than 64 tokens and is"),
    ("windows", 64 * 16 + 1, "has more than 1,024 tokens (16 windows of 64)"),
    ("truncate_prompt", 90, "has more than 64 tokens from the first answer on"),
  ],
)
def test_the_sentence_names_the_bound_that_was_passed(rule, count, said):
  ids = np.arange(count, dtype=np.int32)
  counted = tally.Tally(max_tokens=64)
  with pytest.raises(overflow.TooLong) as found:
    overflow.kept(ids, ids > 3, bos_id=0, max_tokens=64, overflow=rule)
  counted.add("wild", found.value)
  counts = {"reasons": {found.value.reason: 1}, **counted.told()}
  assert said in tally.sentences(counts)[0]
