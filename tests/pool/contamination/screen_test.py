"""The screen: planted leaks are found, and what is alike by chance is not."""

import collections
import gzip
import itertools
import json
import random

import pytest

from ila_jax.pool import records
from ila_jax.pool.contamination import evaluation, screen, words
from tests.support import leaks, tiny

ASK = "How many legs do three cats and two birds have when all stand together?"


def _record(prompt, answer="", line=1, source="set"):
  said = "\n\n".join(filter(None, (prompt, answer)))
  return evaluation.Record(source, "set.jsonl", line, prompt, said, answer)


def _turns(*texts):
  roles = ("user", "assistant") * len(texts)
  return tuple(map(records.Turn, roles, texts))


def _how(sets, *texts, width=13):
  match = screen.Screen(sets, width=width).match(_turns(*texts))
  return match and match.how


def _shared_rows(shared, name, prompt, answer):
  with gzip.open(shared / f"data/{name}.jsonl.gz", "rt") as file:
    rows = [json.loads(line) for line in file]
  return [(row[prompt], row[answer]) for row in rows if row[answer]]


def test_each_way_in_which_an_example_repeats_a_record():
  sets = [_record(ASK, "Sixteen, for 3 * 4 + 2 * 2 = 16.")]
  assert _how(sets, ASK.upper(), "sixteen for 3*4 + 2*2 = 16") == screen.BOTH
  assert _how(sets, ASK.upper(), "No idea.") == screen.PROMPT
  assert _how(sets, f"Hello! {ASK} Thanks.", "No.") == screen.NGRAM
  assert _how(sets, "Hi", f"You ask: {ASK}") == screen.NGRAM
  assert _how(sets, "Hi", "Yes?", ASK, "No.") == screen.PROMPT
  assert _how(sets, "How many legs do three cats have?", "12") is None


def test_a_short_text_counts_whole_and_between_words():
  sets = [_record("Name the three largest cities of Peru today.")]
  assert len(words.words(sets[0].prompt)) == screen.SHORT_WORDS
  longer = "Please name the three largest cities of Peru today, dear."
  assert _how(sets, longer, "Lima.") == screen.SHORT
  assert _how(sets, longer.replace("today", "todayish"), "Lima.") is None
  assert _how(sets, longer.replace("Peru ", ""), "Lima.") is None
  # One word fewer: it counts alone, and within no other text.
  sets = [_record("Name the three largest cities of Peru.")]
  assert _how(sets, "Please name the three largest cities of Peru.", "") is None
  assert _how(sets, "name the three largest cities of peru", "") == (
    screen.PROMPT
  )


def test_a_leak_of_one_of_two_turns_is_found(tmp_path):
  # As question.jsonl of MT-Bench has them.
  first = "Describe a quiet harbour town in two paragraphs."
  second = "Now tell the same again, and begin each sentence with an S."
  rows = [
    {"question_id": 81, "category": "writing", "turns": [first, second]},
    {"question_id": 82, "category": "math", "turns": ["2 + 2?", "Tell me why."],
     "reference": ["4", "It is so."]},
  ]  # fmt: skip
  path = tiny.write(tmp_path / "question.jsonl", rows)
  sets = list(evaluation.read([str(path)], overrides={}))
  looking = screen.Screen(sets, width=13)
  both = _turns(first, "A town.", second, "So it is.")
  for turns in (both, _turns(first, "A town."), _turns(second, "So it is.")):
    found = looking.match(turns)
    assert (found.how, found.line) == (screen.PROMPT, 1)
  # The first within a longer text, and the second as a later turn of another.
  assert _how(sets, f"Please: {first} Thanks.", "A town.") == screen.SHORT
  assert _how(sets, "Hello there, you!", "Yes?", second, "So.") == screen.PROMPT
  # A short turn that follows says nothing without its answer.
  assert _how(sets, "I am no thief.", "Sure.", "Tell me why.", "So.") is None


def test_questions_with_answers_count_one_by_one_too(tmp_path):
  turns = ["Name a river.", "The Nile.", "Why?", "It is long."]
  roles = ("user", "assistant", "user", "assistant")
  said = [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]
  path = tiny.write(tmp_path / "chats.jsonl", [{"messages": said}])
  sets = list(evaluation.read([str(path)], overrides={}))
  assert _how(sets, *turns) == screen.BOTH
  assert _how(sets, "name a river", "the nile") == screen.BOTH
  assert _how(sets, "Name a river.", "The Rhine.") == screen.PROMPT
  assert _how(sets, "Why?", "It is long.") == screen.BOTH
  assert _how(sets, "Why?", "It is wide.") is None


def test_a_word_matches_nothing_but_the_same_question_and_answer():
  sets = [_record("Yes", "No"), _record("Continue")]
  assert _how(sets, "Yes", "Of course.") is None
  assert _how(sets, "Continue", "Yes") is None
  assert _how(sets, "Yes No", "") is None
  assert _how(sets, "yes!", "no.") == screen.BOTH
  # Without a word nothing is asked.
  assert _how([_record("?!", "No")], "...", "No") is None


def test_a_template_of_many_prompts_is_no_leak():
  template = (
    "Read the question below with care and answer with one letter and nothing "
    "else at all please."
  )
  things = [f"{a} {b}" for a in "abcdef" for b in "uvwxyz"]
  sets = [
    _record(f"{template} Which {t} of them is it?", line=n)
    for n, t in enumerate(things, 1)
  ]
  whole = screen.Screen(sets, width=13)
  assert whole.templates["set"].ngrams == 6
  assert whole.templates["set"].line == 1
  assert whole.match(_turns(f"{template} What is a river?", "A")) is None
  leaked = whole.match(_turns(f"So: {sets[7].prompt} Well?", "A"))
  assert (leaked.how, leaked.line) == (screen.NGRAM, 8)
  # In ten prompts it is none yet: it may be a passage with ten questions.
  few = screen.Screen(sets[: screen.COMMON_PROMPTS], width=13)
  assert not few.templates
  # And a problem with twenty answers is one prompt.
  again = [_record(ASK, f"Answer {n}") for n in range(20)]
  assert _how(again, f"Hello! {ASK} Thanks.", "No.") == screen.NGRAM


def test_a_set_is_judged_by_its_own_templates():
  template = "one two three four five six seven eight nine ten eleven twelve 13"
  many = [_record(f"{template} {n}", line=n) for n in range(30)]
  other = _record(f"{template} in words", line=1, source="other")
  match = screen.Screen([*many, other], width=13).match(_turns(template, ""))
  assert match.source == "other"


def test_the_width_is_what_was_asked_for():
  text = "a b c d e f g h i j k l m n o p"
  for width in (4, 8, 13):
    part = " ".join(text.split()[:width])
    assert _how([_record(text)], f"0 {part} 0", "", width=width)
    shorter = " ".join(text.split()[: width - 1])
    assert _how([_record(text)], f"0 {shorter} 0", "", width=width) is None


def _by_plain_sets(sets, turns, width=13):
  """The rules again, of tuples of words in Python's sets."""
  prompts = {tuple(words.words(one.prompt)) for one in sets}
  wholes = prompts | {tuple(words.words(one.said)) for one in sets}
  grams, shorts = set(), set()
  for text in wholes:
    grams |= {text[i : i + width] for i in range(len(text) - width + 1)}
    if 8 <= len(text) < width:
      shorts.add(text)
  lengths = {width, *map(len, shorts)}
  found = []
  for said in turns:
    text = tuple(w for turn in said for w in words.words(turn.text))
    asked = tuple(words.words(said[0].text))
    windows = {
      text[i : i + n] for n in lengths for i in range(len(text) - n + 1)
    }
    found.append(
      bool(windows & (grams | shorts)) or (len(asked) > 2 and asked in prompts)
    )
  return found


@pytest.mark.parametrize(
  ("name", "prompt", "answer", "least"),
  [
    ("gsm8k_train", "question", "answer", (1, 1, 1)),
    # A question of fewer than eight words within a longer text is let pass.
    ("dolly_3k", "instruction", "output", (1, 0.99, 0.6)),
  ],
)
def test_planted_leaks_are_found(shared, name, prompt, answer, least):
  draw = random.Random(0)
  rows = _shared_rows(shared, name, prompt, answer)
  inside, outside = leaks.split(rows[:1200], draw)
  with gzip.open(shared / "data/alpaca_52k.jsonl.gz", "rt") as file:
    pool = [json.loads(line) for line in itertools.islice(file, 3000)]
  sets = [_record(*row, line=n) for n, row in enumerate(inside, 1)]
  # One of ten of the pool is a leak.
  planted = leaks.plant(pool, inside[:333], outside[:333], draw)
  looking = screen.Screen(sets, width=13)
  said = [
    _turns(
      f"{p.record['instruction']}\n\n{p.record['input']}", p.record["output"]
    )
    for p in planted
  ]
  matches = [looking.match(turns) for turns in said]
  hits, total = collections.Counter(), collections.Counter()
  for one, match in zip(planted, matches, strict=True):
    total[one.kind, one.is_leak] += 1
    hits[one.kind, one.is_leak] += match is not None
  recall = [hits[kind, True] / total[kind, True] for kind in leaks.KINDS]
  assert [r >= low for r, low in zip(recall, least, strict=True)] == [True] * 3
  # Of those that are none, and of the pool as it was.
  alarms = sum(hits[kind, False] for kind in leaks.KINDS)
  assert alarms <= 0.01 * 333 and hits["", False] <= 0.001 * 3000
  found = [match is not None for match in matches]
  assert not looking.templates
  assert found == _by_plain_sets(sets, said)


def test_the_record_that_is_named_is_the_one_that_was_planted(shared):
  rows = _shared_rows(shared, "gsm8k_train", "question", "answer")[:300]
  looking = screen.Screen(
    [_record(*row, line=n) for n, row in enumerate(rows)], width=13
  )
  draw = random.Random(1)
  others = [f"Some other text of number {n}." for n in range(9)]
  for line, (question, _) in enumerate(rows[:50]):
    for text in (
      leaks.reworded(question, draw),
      leaks.embedded(question, others, draw),
    ):
      assert looking.match(_turns(text, "No.")).line == line
