"""Files of scores that are joined to a pool, by id and by text."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from ila_jax import errors
from ila_jax.pool import examples
from ila_jax.pool.scores import ids, joined
from tests.support import tiny

RULES = examples.DEFAULT_RULES


def _pool(source, rules=RULES):
  held = list(examples.read([str(source)], rejects=print, rules=rules))
  return joined.Pool(
    np.array([example.id for example in held], np.uint64),
    np.array([example.prompt_id for example in held], np.uint64),
    rules,
  )


@pytest.fixture
def source(tmp_path):
  return tiny.write(tmp_path / "pool.jsonl", tiny.records(40))


def _read(file, fields, pool):
  said = []
  found = joined.read([str(file)], fields, pool=pool, announce=said.append)
  return found.values, said[0]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_by_the_ids_that_records_had(tmp_path, kind):
  """Numbers and texts; of an id that two have nobody knows which is meant."""
  held = [
    row | {"uid": i if i % 2 else f"q-{i}"}
    for i, row in enumerate(tiny.records(40))
  ]
  held[7]["uid"] = held[9]["uid"]
  source = tiny.write(tmp_path / "pool.jsonl", held)
  pool = _pool(source)._replace(
    given_ids=lambda field: ids.numbers(held, field)
  )
  order = np.random.default_rng(0).permutation(40)[:30]
  order = np.append(order[order != 9], 9)
  frame = pd.DataFrame(
    {
      "uid": [held[i]["uid"] for i in order] + ["gone"],
      "quality": [float(i) for i in order] + [0.5],
    }
  )
  file = tmp_path / f"scores.{kind}"
  if kind == "parquet":
    frame.astype({"uid": str}).to_parquet(file)
  elif kind == "csv":
    frame.to_csv(file, index=False)
  else:
    frame.to_json(file, orient="records", lines=True)
  values, said = _read(file, ["quality"], pool)
  clear = [i for i in order if i not in (7, 9)]
  wanted = np.full(40, np.nan, np.float32)
  wanted[clear] = clear
  np.testing.assert_array_equal(values[:, 0], wanted)
  assert f"{len(clear)} belong to {len(clear)} of 40 examples" in said
  assert "no example of the pool, or several, have this 'uid'" in said


def test_a_record_of_another_text_is_not_joined_by_its_id(tmp_path):
  held = [row | {"id": i} for i, row in enumerate(tiny.records(9))]
  source = tiny.write(tmp_path / "pool.jsonl", held)
  pool = _pool(source)._replace(
    given_ids=lambda field: ids.numbers(held, field)
  )
  file = tiny.write(
    tmp_path / "s.jsonl",
    [
      {"id": 2, "quality": 1},
      held[3] | {"id": 4, "output": "No.", "quality": 2},
    ],
  )
  values, said = _read(file, ["quality"], pool)
  assert np.flatnonzero(~np.isnan(values[:, 0])).tolist() == [2]
  assert "line 2: no example of the pool has this text" in said


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "json"])
def test_by_id_in_any_order_and_format(tmp_path, source, kind):
  pool = _pool(source)
  order = np.random.default_rng(0).permutation(40)[:30]
  frame = pd.DataFrame(
    {
      "id": [f"{pool.ids[i]:016x}" for i in order],
      "quality": [float(i) for i in order],
    }
  )
  file = tmp_path / f"scores.{kind}"
  if kind == "parquet":
    frame.to_parquet(file)
  elif kind == "csv":
    frame.to_csv(file, index=False)
  else:
    frame.to_json(file, orient="records", lines=kind == "jsonl")
  values, said = _read(file, ["quality"], pool)
  wanted = np.full(40, np.nan, np.float32)
  wanted[order] = order
  np.testing.assert_array_equal(values[:, 0], wanted)
  assert "of 30 records 30 belong to 30 of 40 examples" in said
  assert joined.paths([str(file)], RULES) == ["quality"]


def test_an_id_as_a_whole_number(tmp_path, source):
  pool = _pool(source)
  rows = [{"id": int(pool.ids[3]), "q": 7}]
  values, _ = _read(tiny.write(tmp_path / "s.jsonl", rows), ["q"], pool)
  assert values[3] == 7 and np.isnan(values).sum() == 39


def test_by_prompt_and_response(tmp_path, source):
  pool = _pool(source)
  rows = [
    row | {"id": f"mine-{i}", "judge": {"score": str(i)}}
    for i, row in enumerate(tiny.records(50))
  ]
  rows[3]["output"] = "Another answer has another score."
  file = tiny.write(tmp_path / "s.jsonl", rows[::-1])
  values, said = _read(file, ["judge.score"], pool)
  wanted = np.arange(40, dtype=np.float32)
  wanted[3] = np.nan
  np.testing.assert_array_equal(values[:, 0], wanted)
  assert "of 50 records 39 belong to 39 of 40 examples" in said
  assert "11 belong to none (the first is" in said and "line 1:" in said


def test_by_prompt_where_there_is_no_response(tmp_path):
  rows = [
    {"question": f"What is {i // 2}?", "answer": f"It is {i}."}
    for i in range(6)
  ]
  pool = _pool(tiny.write(tmp_path / "pool.jsonl", rows))
  scores = [
    {"question": "What is 1?", "hard": 0.5},
    {"question": "?", "hard": 1},
  ]
  file = tiny.write(tmp_path / "s.jsonl", scores)
  values, said = _read(file, ["hard"], pool)
  np.testing.assert_array_equal(
    values[:, 0], np.float32([np.nan, np.nan, 0.5, 0.5, np.nan, np.nan])
  )
  assert "of 2 records 1 belong to 2 of 6 examples" in said
  assert f"1 belong to none (the first is {file} line 2: " in said


def test_a_record_of_its_own_answer_goes_before_one_of_the_prompt(tmp_path):
  rows = [{"question": "What?", "answer": f"It is {i}."} for i in range(3)]
  pool = _pool(tiny.write(tmp_path / "pool.jsonl", rows))
  scores = [{"question": "What?", "q": 1}, rows[1] | {"q": 9}]
  values, _ = _read(tiny.write(tmp_path / "s.jsonl", scores), ["q"], pool)
  assert values[:, 0].tolist() == [1, 9, 1]


def test_repeats_with_other_numbers_are_told(tmp_path, source):
  pool = _pool(source)
  rows = [
    {"id": f"{pool.ids[i]:016x}", "q": q, "r": None}
    for i, q in ((0, 1), (1, 2), (0, 1), (1, 5), (7, 3))
  ]
  file = tiny.write(tmp_path / "s.jsonl", rows)
  values, said = _read(file, ["q", "r"], pool)
  assert values[[0, 1, 7], 0].tolist() == [1, 2, 3]
  assert (
    f"1 repeat an earlier one with other numbers (the first is {file} line 4"
    in (said)
  )


def test_the_first_file_that_has_a_number_counts(tmp_path, source):
  pool = _pool(source)
  ids = [f"{one:016x}" for one in pool.ids]
  first = tiny.write(
    tmp_path / "a.jsonl", [{"id": ids[0], "q": 1}, {"id": ids[1], "q": None}]
  )
  second = tiny.write(
    tmp_path / "b.jsonl",
    [{"id": ids[0], "q": 8, "r": 4}, {"id": ids[1], "q": 9}],
  )
  said = []
  found = joined.read(
    [str(first), str(second)], ["q", "r", "s"], pool=pool, announce=said.append
  )
  assert found.values[0, :2].tolist() == [1, 4] and found.values[1, 0] == 9
  assert found.has.tolist() == [True, True, False]
  assert "for 1 of them an earlier file has other numbers" in said[1]


def test_nothing_that_belongs_is_an_error(tmp_path, source):
  pool = _pool(source)
  file = tiny.write(tmp_path / "s.jsonl", [{"id": "a-1", "q": 3}] * 4)
  with pytest.raises(errors.InputError) as raised:
    _read(file, ["q"], pool)
  said = str(raised.value)
  assert "config.pool.scores is" in said and "none of its 4 records" in said
  assert "line 1:" in said and "select/ranking.parquet" in said
  with pytest.raises(
    errors.InputError, match=r"config\.pool\.scores is .*no su"
  ):
    _read(tmp_path / "gone.jsonl", ["q"], pool)


def test_fields_that_the_pool_is_told_of_are_read_so_in_the_file(tmp_path):
  rules = examples.Rules(fields={"prompt": "ask", "response": "say"})
  rows = [{"ask": f"Who is {i}?", "say": f"He is {i}."} for i in range(5)]
  pool = _pool(tiny.write(tmp_path / "pool.jsonl", rows), rules)
  scored = [row | {"q": i} for i, row in enumerate(rows)]
  values, _ = _read(tiny.write(tmp_path / "s.jsonl", scored), ["q"], pool)
  assert values[:, 0].tolist() == [0, 1, 2, 3, 4]
  # And by the names of its own, where it has others.
  own = [
    {"instruction": row["ask"], "output": row["say"], "q": i}
    for i, row in enumerate(rows)
  ]
  values, _ = _read(tiny.write(tmp_path / "o.jsonl", own), ["q"], pool)
  assert values[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_numeric_answers_are_no_scores(tmp_path):
  rows = [
    {"question": f"What is {i}?", "answer": str(i), "q": i} for i in range(9)
  ]
  file = tiny.write(tmp_path / "s.jsonl", rows)
  assert joined.paths([str(file)], RULES) == ["q"]


def test_a_real_pool_scored_beside_itself(tmp_path, shared):
  with gzip.open(shared / "data/math_train_prompts.jsonl.gz", "rt") as lines:
    rows = [json.loads(next(lines)) for _ in range(600)]
  bare = [{"problem": r["problem"], "answer": r["answer"]} for r in rows]
  pool = _pool(tiny.write(tmp_path / "pool.jsonl", bare))
  rng = np.random.default_rng(1)
  scored = [
    {"question": rows[i]["problem"], "answer": rows[i]["answer"]}
    | {"difficulty": rows[i]["difficulty"]}
    for i in rng.permutation(600)
  ]
  frame = pd.DataFrame(scored)
  frame.to_parquet(tmp_path / "s.parquet")
  values, _ = _read(tmp_path / "s.parquet", ["difficulty"], pool)
  by_text = dict(zip(frame.question, frame.difficulty, strict=True))
  held = examples.read([str(tmp_path / "pool.jsonl")], rejects=print)
  wanted = [by_text[example.turns[0].text] for example in held]
  np.testing.assert_array_equal(values[:, 0], np.float32(wanted))
