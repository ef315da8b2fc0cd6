"""What of the prompts is read: cut where it should be, and counted."""

import numpy as np
import pytest

from ila_jax import errors
from ila_jax.embed import encode
from ila_jax.embed import inputs as inputs_lib
from ila_jax.embed import lsa as lsa_lib
from tests.support import model_folders

WORDS = [
  *("one", "two", "three", "four", "five"),
  *("six", "seven", "eight", "nine", "ten"),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  """A BERT tokenizer of whole words; [CLS] and [SEP] around each text."""
  from transformers import AutoTokenizer

  pytest.importorskip("torch")
  folder = tmp_path_factory.mktemp("bert")
  model_folders.bert(folder, [" ".join(WORDS)] * 3)
  return AutoTokenizer.from_pretrained(folder)


def _tokenize(tokenizer, prompts, *, most=8, prefix="", lower=False):
  return inputs_lib.tokenize(
    tokenizer, prompts, prefix=prefix, lower=lower, max_tokens=most
  )


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_far_end_is_cut_and_counted(tokenizer, side):
  tokenizer.truncation_side = side
  prompts = [" ".join(WORDS * times) for times in (1, 9, 2)] + ["one", ""]
  ids, read = _tokenize(tokenizer, prompts, prefix="two ")
  cls, sep = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
  for prompt, row, tokens, lost in zip(
    prompts, ids, read.tokens, read.lost, strict=True
  ):
    whole = tokenizer.tokenize(f"two {prompt}")
    whole = tokenizer.convert_tokens_to_ids(whole)
    np.testing.assert_array_equal(row, [cls, *whole[:6], sep])
    assert tokens == len(row)
    assert lost == max(len(whole) - 6, 0)
  assert read.lost.max() > 60 and (read.lost == 0).sum() == 2
  assert row.dtype == np.int32


def test_who_differs_is_counted_by_what_is_read(tokenizer):
  long = " ".join(WORDS)
  prompts = [f"{long} one", f"{long} two", "one", "ONE", "two", "two"]
  _, read = _tokenize(tokenizer, prompts, lower=True)
  assert len(set(read.prompt.tolist())) == 5
  assert len(set(read.seen.tolist())) == 3
  counts = inputs_lib.tally(read)
  pieces = [len(tokenizer.tokenize(f"{long} {word}")) for word in WORDS[:2]]
  share = (sum(pieces) - 12) / (sum(pieces) + 4)
  assert counts == {
    "examples": 6,
    "distinct_prompts": 5,
    "distinct_inputs": 3,
    "cut": 2,
    "cut_share": pytest.approx(share),
    "unread": 0,
  }
  assert inputs_lib.told(counts) == (
    "distinct inputs 3 of 6; cut: 33.3 % of the prompts lost "
    f"{100 * share:.3g} % of their tokens; prompts that differ from another "
    "only in what was not read: 2"
  )


def test_lsa_reads_all_words_and_only_those_it_knows():
  texts = ["a red fox", "a red dog", "the sea"]
  lsa = lsa_lib.fit_lsa(texts, width=2, seed=0)
  prompts = [*texts, "A red FOX!", "zzz", "yyy", "red fox a " * 500]
  read = inputs_lib.of_terms(prompts, encode.lsa_terms(lsa, prompts))
  assert read.seen[0] == read.seen[3] and read.seen[4] == read.seen[5]
  assert len(set(read.seen.tolist())) == 5
  # a, red, fox, a red, red fox.
  assert read.tokens[0] == 5 and not read.lost.any()
  counts = inputs_lib.tally(read)
  assert (counts["unread"], counts["distinct_inputs"]) == (2, 5)
  assert "prompts without a known word: 2" in inputs_lib.told(counts)


def _counts(examples, prompts, inputs):
  return {
    "examples": examples,
    "distinct_prompts": prompts,
    "distinct_inputs": inputs,
    "cut": 0,
    "cut_share": 0.0,
    "unread": 0,
  }


@pytest.mark.parametrize("counts", [(103, 103, 1), (90, 2, 1), (400, 300, 150)])
def test_a_model_that_does_not_tell_prompts_apart_is_refused(counts):
  with pytest.raises(errors.InputError, match=r"encoder\.path: of .*Do this"):
    inputs_lib.check_told_apart(_counts(*counts), remedy="Do this.")


@pytest.mark.parametrize(
  "counts", [(1, 1, 1), (400, 300, 151), (400, 4, 4), (9000, 80, 80)]
)
def test_prompts_that_repeat_are_no_fault_of_the_model(counts):
  inputs_lib.check_told_apart(_counts(*counts), remedy="")


def test_a_pool_of_few_prompts_is_refused():
  for counts in [(103, 1, 1), (2, 1, 1), (5000, 9, 9)]:
    with pytest.raises(errors.InputError, match=r"'Classify'.*pool\.fields"):
      inputs_lib.check_enough(_counts(*counts), such_as="Classify")
  # Ten are a map, and so are few where all differ, or nearly.
  for counts in [(5000, 10, 10), (7, 7, 7), (1, 1, 1), (9, 5, 5)]:
    inputs_lib.check_enough(_counts(*counts), such_as="Classify")


def test_one_prompt_in_a_hundred_is_worth_a_warning():
  few = _counts(5000, 1000, 991)
  assert inputs_lib.warning(few) is None
  assert "990 of 1,000 distinct prompts apart" in (
    inputs_lib.warning(_counts(5000, 1000, 990))
  )
  assert inputs_lib.warning(few | {"unread": 10})


def test_a_set_of_which_nothing_is_read_is_refused():
  assert inputs_lib.check_read(np.ones(3, np.bool_), field="f") is None
  some = np.array([True, False, False])
  assert "nothing of 2 of 3 prompts of f" in inputs_lib.check_read(
    some, field="f"
  )
  with pytest.raises(
    errors.InputError, match="nothing of any of its 2 prompts"
  ):
    inputs_lib.check_read(np.zeros(2, np.bool_), field="f")
