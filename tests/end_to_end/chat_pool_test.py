"""A pool of chats, read twice in different orders: embedded, mapped, selected.

Most begin with "Hi", all have one long system text, and some ask the same.
"""

import json
import shutil
import types

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.embed import rows as rows_lib
from ila_jax.embed import stage as embed_stage
from ila_jax.pool import shards
from ila_jax.pool.conversations import conversation
from ila_jax.report import map_points
from ila_jax.run import draws, stage_record, tables
from ila_jax.run.disk import files
from tests.support import tiny

N, REPEATED = 150, 20
SYSTEM = "You are a helpful assistant with many tools. " * 200
STAGES = ("landscape", "select")


def _chats():
  """Each asks something else in its last turn, but for the repeated ones."""
  rng = np.random.default_rng(0)
  words = np.array([f"word{i}" for i in range(60)])
  questions = [" ".join(words[rng.choice(60, 9)]) for _ in range(N - REPEATED)]
  questions += questions[:REPEATED]
  return [
    {
      "messages": [
        {"role": "system", "content": SYSTEM},
        {
          "role": "user",
          "content": f"Hi, {number}" if 50 <= number < 90 else "Hi",
        },
        {"role": "assistant", "content": "Hello. What can I do?"},
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"Answer {number}."},
      ]
    }
    for number, question in enumerate(questions)
  ]


def _config(source, **overrides):
  settings = {
    "pool__dev_examples": 1,
    "pool__shard_examples": 64,
    "pool__max_reject_fraction": 0.1,
    "tokens__max_tokens": 4096,
    "score__reference_examples": 1,
    "landscape__iterations": 60,
    "landscape__duplicate_search": "all",
    "select__budget": 40.0,
    "select__unit": "examples",
    "select__compare": ("coverage_only",),
  }
  return tiny.config(source, **(settings | overrides))


def _score(workdir):
  """Scores that follow from the ids, as any order of reading has them."""
  index = files.read_table(workdir / "pool/index.parquet")
  names = "nll_base", "nll_sft"
  columns = {
    name: draws.keyed_uniform(index["id"], seed=0, purpose=name)
    for name in names
  }
  columns |= {"row": index["row"], "id": index["id"]}
  columns["n_tokens"] = index["n_response_tokens"]
  columns["nll_sft_std"] = np.zeros(len(index["id"]))
  files.write_table(workdir / "score/scores.parquet", columns)
  files.write_table(
    workdir / "score/reference.parquet", {"row": np.zeros(0, np.int64)}
  )
  files.write_json(
    workdir / "score" / stage_record.RECORD,
    {"stage": "score", "inputs": {}, "done": True, "output": "by hand"},
  )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Two runs, of the chats in order and shuffled."""
  folder, chats = tmp_path_factory.mktemp("chats"), _chats()
  order = np.random.default_rng(1).permutation(N)
  made = []
  for name, rows in (("ordered", np.arange(N)), ("shuffled", order)):
    path = tiny.write(folder / f"{name}.jsonl", [chats[row] for row in rows])
    config, workdir = _config(path), epath.Path(folder / name)
    pipeline.run(config, workdir, stages=["pool", "embed"])
    _score(workdir)
    pipeline.run(config, workdir, stages=STAGES)
    index = files.read_table(workdir / "pool/index.parquet")
    made.append(types.SimpleNamespace(workdir=workdir, id=index["id"]))
  assert made[0].id.tolist() != made[1].id.tolist()
  return made


def _turns(workdir):
  tables = shards.iterate(workdir, ["turns"])
  return [turns for table in tables for turns in shards.turns_of(table)]


def test_the_order_of_the_pool_moves_no_embedding_by_a_bit(runs):
  one, two = (rows_lib.load(run.workdir, np.argsort(run.id)) for run in runs)
  np.testing.assert_array_equal(one, two)
  assert len(np.unique(one, axis=0)) == N - REPEATED


def test_a_fit_to_some_of_the_pool_draws_them_by_id(
  runs, tmp_path, monkeypatch
):
  monkeypatch.setattr(embed_stage.lsa_lib, "LSA_FIT_EXAMPLES", 50)
  found = []
  for run in runs:
    work = tmp_path / run.workdir.name
    shutil.copytree(run.workdir, work)
    config = _config(f"{run.workdir}.jsonl")
    pipeline.run(config, work, stages=["pool", "embed"], redo="embed")
    found.append(rows_lib.load(epath.Path(work), np.argsort(run.id)))
  np.testing.assert_array_equal(*found)
  whole = rows_lib.load(runs[0].workdir, np.argsort(runs[0].id))
  assert np.abs(whole @ whole.T - found[0] @ found[0].T).max() > 0.1


def test_the_order_of_the_pool_changes_no_selection(runs):
  chosen, places = [], []
  for run in runs:
    lines = (run.workdir / "select/selected.jsonl").read_text().splitlines()
    chosen.append([json.loads(line) for line in lines])
    cells = files.read_table(run.workdir / "landscape/cells.parquet")
    order = np.argsort(cells["id"])
    places.append(np.stack([cells[name][order] for name in "xy"]))
  assert len(chosen[0]) == 40 and chosen[0] == chosen[1]
  np.testing.assert_array_equal(*places)


def test_chats_that_begin_alike_are_not_near_each_other(runs):
  run = runs[0]
  found = files.read_json(tables.DUPLICATES.path(run.workdir))
  # By the prompt before the first answer most are one.
  index = files.read_table(run.workdir / "pool/index.parquet")
  assert len(set(index["prompt_id"])) == 41
  x = rows_lib.load(run.workdir, np.arange(N))
  near = x @ x.T >= np.float32(0.95)
  np.fill_diagonal(near, False)
  assert found["prompts"] == N - REPEATED
  assert found["near_another"] == near.any(axis=1).sum() >= 2 * REPEATED
  assert REPEATED <= found["removable"] < N / 4


def test_the_record_tells_what_was_read(runs):
  for run in runs:
    record = files.read_json(run.workdir / "embed" / stage_record.RECORD)
    requests = {conversation.request(t) for t in _turns(run.workdir)}
    assert record["examples"] == N
    assert record["distinct_prompts"] == record["distinct_inputs"]
    assert record["distinct_prompts"] == len(requests) == N - REPEATED
    assert (record["cut"], record["unread"]) == (0, 0)


def test_the_map_shows_who_asked_what_and_the_answer(runs):
  run = runs[1]
  points = map_points.points(run.workdir, selected=True)
  said = dict(zip(run.id.tolist(), _turns(run.workdir), strict=True))
  for i, text in enumerate(points.id.tolist()):
    name = int(text, 16)
    lines = points.instruction[i].split("\n")
    roles = ["system", "user", "assistant", "user"]
    assert len(lines) == len(roles)
    for line, role, turn in zip(lines, roles, said[name], strict=False):
      # What is cut ends in a mark; the question has the most room.
      assert f"{role}: {turn.text}".startswith(line.rstrip("…"))
      assert len(line) <= (120 if turn is said[name][3] else 40)
    assert lines[3].startswith(f"user: {said[name][3].text[:100]}")
    assert points.response[i] == said[name][4].text
    assert points.roles[i] == "system, user, assistant, user, assistant"


def test_few_prompts_are_refused_and_the_remedy_works(tmp_path):
  records = [
    {"instruction": f"Do {i % 3}.", "text": f"Case {i}.", "output": f"So {i}."}
    for i in range(90)
  ]
  path = tiny.write(tmp_path / "pool.jsonl", records)
  match = r"30 of 90 .* share the prompt 'Do 0\.' .* different prompts: 3\."
  with pytest.raises(errors.InputError, match=match):
    pipeline.run(_config(path), tmp_path / "run", stages=["pool", "embed"])
  config = _config(path, pool__fields__input="text")
  pipeline.run(config, tmp_path / "run", stages=["pool", "embed"], redo="pool")
  record = files.read_json(tmp_path / "run/embed" / stage_record.RECORD)
  assert record["distinct_inputs"] == 90


def test_tasks_in_the_system_text_are_embedded_when_asked_for(tmp_path):
  records = [
    {
      "system": f"Play a pirate of ship {i}.",
      "prompt": "Go ahead!",
      "response": "Ay",
    }
    for i in range(60)
  ]
  path = tiny.write(tmp_path / "pool.jsonl", records)
  with pytest.raises(
    errors.InputError, match=r"1 distinct.*'Go ahead!'.*\.system="
  ):
    pipeline.run(_config(path), tmp_path / "run", stages=["pool", "embed"])
  config = _config(path, encoder__system=True)
  pipeline.run(config, tmp_path / "run", stages=["pool", "embed"], redo="embed")
  record = files.read_json(tmp_path / "run/embed" / stage_record.RECORD)
  assert record["distinct_inputs"] == 60


def test_many_answers_to_a_prompt_are_not_refused(tmp_path):
  records = [
    {"instruction": f"Name river {i % 12}.", "output": f"So {i}."}
    for i in range(240)
  ]
  path = tiny.write(tmp_path / "pool.jsonl", records)
  pipeline.run(_config(path), tmp_path / "run", stages=["pool", "embed"])
  record = files.read_json(tmp_path / "run/embed" / stage_record.RECORD)
  assert (record["distinct_inputs"], record["examples"]) == (12, 240)
