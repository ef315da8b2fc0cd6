"""Used + rejected = read, whatever the records are."""

import json
import random

import pytest

from ila_jax import errors
from ila_jax.pool import examples, unread
from tests.support import forked


def write_lines(path, lines):
  path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
  return str(path)


def read(*specs, **options):
  """Options are those of `examples.read`, and the fields of its rules."""
  rejected = []
  own = {"fields", "overrides", "answers"} & options.keys()
  rules = examples.Rules(**{name: options.pop(name) for name in own})
  used = list(
    examples.read(specs, rejects=rejected.append, rules=rules, **options)
  )
  return used, rejected


def test_an_example(tmp_path):
  line = '{"question": "1 + 1?", "answer": "2", "n": 1e400, "t": ["a", "b"]}'
  path = write_lines(tmp_path / "sums.jsonl", ["", line])
  announced = []
  (used,), rejected = read(
    path, fields={"labels": "t", "domain": "t"}, announce=announced.append
  )
  assert rejected == []
  assert used.record_json == line
  assert [turn[:2] for turn in used.turns] == [
    ("user", "1 + 1?"),
    ("assistant", "2"),
  ]
  assert (used.n_labels, used.has_labels, used.domain) == (2, True, "a")
  assert (used.source, used.file, used.line) == ("sums", path, 2)
  assert announced == [
    "sums: prompt = question, response = answer, labels = t, domain = t",
    "sums: not read: `n`",
  ]


def test_every_bad_line_is_a_reject_with_its_place(tmp_path):
  good = '{"prompt": "q", "response": "a"}'
  lines = [
    good,
    '{"response": "a", "prompt": "q", "more": 1}',
    '{"prompt": "q", "response": ""}',
    '{"prompt": "q"}',
    '{"prompt": "q", "response": "a"',
    '{"prompt": "q", "prompt": "q", "response": "a"}',
    '{"prompt": "\\ud800", "response": "a"}',
    "[1, 2]",
    '{"prompt": "q", "response": "b"}',
  ]
  path = write_lines(tmp_path / "a.jsonl", lines)
  used, rejected = read(path)
  assert [example.line for example in used] == [1, 9]
  assert [(r.line, r.reason) for r in rejected] == [
    (2, "duplicate"),
    (3, "empty response"),
    (4, "no known record shape"),
    (5, "not JSON"),
    (6, "key occurs twice"),
    (7, "text is not Unicode"),
    (8, "not a JSON object"),
  ]
  assert rejected[0].detail == f"of the earlier {used[0].id:016x}"
  assert {r.file for r in rejected} == {path}


def test_random_lines_are_all_accounted_for(tmp_path):
  """A pool of damaged records: whatever a field holds, nothing else fails."""
  rng = random.Random(0)
  values = ["x", "", None, 3, 1e999, True, [], {}, ["a", "b"], "\ud800"]
  values += [{"role": "user", "content": "u"}, [{"from": "gpt", "value": "g"}]]
  values += [[{"role": "user", "content": "u"}], [["p", "q"]], {"from": ["a"]}]
  values += [f"text {i}" for i in range(12)]
  names = ["instruction", "input", "output", "prompt", "response", "history"]
  names += ["messages", "conversations", "system", "tools", "question", "k"]
  names += ["\ud800"]
  lines = []
  for _ in range(5000):
    chosen = rng.sample(names, rng.randint(0, 5))
    line = json.dumps({name: rng.choice(values) for name in chosen})
    lines.append(line[: rng.choice([None, None, None, 10])])
  path = write_lines(tmp_path / "a.jsonl", lines)
  fields = {"labels": "k", "domain": "k"}
  used, rejected = read(path, fields=fields)
  n_lines = sum(bool(line) for line in lines)
  assert len(used) + len(rejected) == n_lines
  assert len(used) > 50
  written = [e.domain + e.record_json for e in used]
  written += [turn.text for e in used for turn in e.turns]
  written += [json.dumps(r._asdict(), ensure_ascii=False) for r in rejected]
  assert "".join(written).encode()
  places = [item.line for item in used] + [item.line for item in rejected]
  assert len(set(places)) == n_lines
  assert all(example.record_json == lines[example.line - 1] for example in used)


def test_sources_overrides_and_duplicates_across_files(tmp_path):
  a = write_lines(tmp_path / "a.jsonl", ['{"prompt": "q", "response": "r"}'])
  b = write_lines(tmp_path / "b.jsonl", ['{"x": "q", "y": "r", "z": "d"}'] * 2)
  overrides = {"b*": {"prompt": "x", "response": "y"}}
  used, rejected = read(a, b, overrides=overrides)
  assert [example.source for example in used] == ["a"]
  assert [(r.source, r.line, r.reason) for r in rejected] == [
    ("b", 1, "duplicate"),
    ("b", 2, "duplicate"),
  ]
  used, _ = read(
    b,
    a,
    fields={"domain": "z"},
    overrides={
      "a": {"domain": ""},
      "b": {"prompt": "x", "response": "y"},
    },
  )
  assert [(e.source, e.domain) for e in used] == [("b", "d")]


def test_ids_are_those_of_earlier_versions(tmp_path):
  """Scores, maps and selections of older runs are known by these ids."""
  told = {"type": "text", "text": "a"}
  lines = [
    {"instruction": "Add.", "input": "1 2", "output": "3"},
    {
      "conversations": [
        {"from": "human", "value": "é"},
        {"from": "gpt", "value": "b"},
      ],
      "system": "s",
    },
    {
      "messages": [
        {"role": "user", "content": [told]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
      ]
    },
    {"question": "q", "answer": "a", "history": [["x", "y"]]},
  ]
  used, _ = read(write_lines(tmp_path / "a.jsonl", map(json.dumps, lines)))
  assert [f"{example.id:016x}" for example in used] == [
    "cbfab8e05c201299",
    "413c43bcdfed4041",
    "e9090a957d1421f5",
    "5772a1032f477355",
  ]


def test_permuted_records_keep_their_ids(tmp_path):
  lines = [
    json.dumps({"prompt": f"q{i % 50}", "response": f"a{i}"})
    for i in range(200)
  ]
  forward, _ = read(write_lines(tmp_path / "a.jsonl", lines))
  backward, _ = read(write_lines(tmp_path / "b.jsonl", lines[::-1]))
  assert {e.id: e.turns for e in forward} == {e.id: e.turns for e in backward}
  assert len({e.id for e in forward}) == 200
  assert len({e.prompt_id for e in forward}) == 50


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_limit(tmp_path, limit):
  lines = ["bad"] + [f'{{"prompt": "{i}", "response": "a"}}' for i in range(3)]
  path = write_lines(tmp_path / "a.jsonl", lines)
  used, _ = read(path, path, limit=limit)
  assert len(used) == limit


def test_wrong_field_name_lists_the_fields(tmp_path):
  lines = [f'{{"prompt": "{i}", "response": "a"}}' for i in range(1500)]
  path = write_lines(tmp_path / "a.jsonl", lines)
  message = (
    r"config\.pool\.fields\.prompt is 'promt', but none of the first 1000 "
    r"records of a has that field\. Allowed: prompt, response\. Correct the "
    r"name, name none with --config\.pool\.fields\.prompt=, or set it for one"
  )
  with pytest.raises(errors.InputError, match=message):
    read(path, fields={"prompt": "promt"})
  with pytest.raises(errors.InputError, match=r"fields\.labels is 'tags'"):
    read(path, fields={"labels": "tags"})
  with pytest.raises(errors.InputError, match=r"fields\.domain is 'd'.* 2 rec"):
    read(write_lines(tmp_path / "b.jsonl", lines[:2]), fields={"domain": "d"})
  with pytest.raises(errors.InputError, match=r"pool\.fields has the key 'x'"):
    read(path, fields={"x": "prompt"})
  with pytest.raises(errors.InputError, match=r"overrides\['a'\] has the key"):
    read(path, overrides={"a": {"x": "prompt"}})


def test_a_field_that_only_some_records_have(tmp_path):
  lines = [f'{{"prompt": "{i}", "response": "a"}}' for i in range(10)]
  lines.append('{"prompt": "q", "response": "a", "k": 2}')
  path = write_lines(tmp_path / "a.jsonl", lines)
  used, rejected = read(path, fields={"labels": "k"})
  assert rejected == []
  assert [example.n_labels for example in used] == [1] * 10 + [2]
  assert [example.has_labels for example in used] == [False] * 10 + [True]


def test_what_is_read_is_announced_and_counted(tmp_path):
  talk = {"messages": [{"role": "user", "content": "a"}]}
  talk["messages"] += [{"role": "assistant", "content": "b", "weight": 1}]
  lines = [json.dumps({"q": "a", "prompt": "b", "response": "c", "id": "x"})]
  lines += [json.dumps({"prompt": str(i), "response": "c"}) for i in range(2)]
  lines += [json.dumps(talk), lines[0]]
  path = write_lines(tmp_path / "a.jsonl", lines)
  announced, reading = [], unread.Reading()
  used, rejected = read(path, announce=announced.append, reading=reading)
  assert (len(used), len(rejected)) == (4, 1)
  assert announced == [
    "a: prompt = prompt, response = response",
    "a: not read: `q`",
    "a: conversation = messages",
    "a: weights: `weight`",
  ]
  assert reading.told() == {
    "read_as": [
      {
        "fields": "prompt = prompt, response = response",
        "examples": 3,
        "sources": ["a"],
      },
      {"fields": "conversation = messages", "examples": 1, "sources": ["a"]},
    ],
    "weights": {"weight": 1},
    "unread": {"q": 1},
  }
  assert unread.sentences(reading.told()) == [
    "Read from a: prompt = prompt, response = response.",
    "Read from a: conversation = messages.",
    "Weights: `weight`, 25 % of the records.",
    "Not read: `q`, 25 % of the records.",
  ]


def test_names_that_every_record_has_for_itself_are_told_as_one(tmp_path):
  lines = [
    json.dumps({"prompt": str(i), "response": "c", f"k\x1b{i}": "x"})
    for i in range(300)
  ]
  announced, reading = [], unread.Reading()
  read(
    write_lines(tmp_path / "a.jsonl", lines),
    announce=announced.append,
    reading=reading,
  )
  assert len(announced) == 102
  assert announced[1] == "a: not read: `k�0`"
  assert reading.told()["unread"]["fields of other names"] == 200
  assert reading.unread.total() == 300


def test_an_answered_conversation_does_not_read_the_chosen_answer(tmp_path):
  line = json.dumps({"messages": ["a", "b"], "chosen": "c"})
  announced = []
  read(write_lines(tmp_path / "a.jsonl", [line]), announce=announced.append)
  assert announced == ["a: conversation = messages", "a: not read: `chosen`"]


def test_overrides_of_no_source_are_told(tmp_path):
  path = write_lines(tmp_path / "a.jsonl", ['{"prompt": "q", "response": "a"}'])
  said = []
  read(path, overrides={"a*": {}, "[a]": {}}, announce=said.append)
  assert not any("warning" in line for line in said)
  read(path, overrides={"a": {}, "b": {"prompt": "x"}}, announce=said.append)
  assert (
    "warning: config.pool.overrides has 'b', which matches no source; the "
    "sources are a"
  ) in said


def test_a_list_of_messages_is_a_record(tmp_path):
  said = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
  ]
  line = json.dumps(said)
  path = tmp_path / "a.json"
  path.write_text(f"[{line}, [1]]")
  (used,), (rejected,) = read(str(path))
  (alone,), _ = read(write_lines(tmp_path / "b.jsonl", [line]))
  assert alone.turns == used.turns
  assert [turn[:2] for turn in used.turns] == [
    ("user", "a"),
    ("assistant", "b"),
  ]
  assert used.record_json == line
  assert rejected.reason == "not a JSON object"


def test_the_rule_for_answers_reaches_the_records(tmp_path):
  line = '{"question": "q", "answer": ["a", "bc"]}'
  path = write_lines(tmp_path / "a.jsonl", [line])
  for rule, expected in (("first", "a"), ("longest", "bc")):
    (used,), _ = read(path, answers=rule)
    assert used.turns[-1].text == expected
  _, (rejected,) = read(path, answers="reject")
  assert (rejected.reason, rejected.raw) == ("several answers", line)


def test_context_and_choices_may_name_several_fields(tmp_path):
  line = '{"q": "a", "x": "b", "y": "c", "one": "d", "two": "e", "r": "f"}'
  path = write_lines(tmp_path / "a.jsonl", [line])
  names = {"prompt": "q", "context": "x, y", "choices": "one, two"}
  (used,), _ = read(path, fields={**names, "response": "r"})
  assert used.turns[0].text == "a\n\nb\n\nc\n\none. d\ntwo. e"
  with pytest.raises(errors.InputError, match="labels is 'x, y', but none"):
    read(path, fields={**names, "response": "r", "labels": "x, y"})
  with pytest.raises(errors.InputError, match="context is 'u, v', but none"):
    read(path, fields={**names, "response": "r", "context": "u, v"})


def test_docstrings_bring_their_labels_and_domains():
  used, rejected = read("docstrings:json,email")
  assert used and not rejected
  assert all(e.has_labels and e.domain for e in used)
  assert {e.source for e in used} == {"json", "email"}


def test_all_real_pools(shared):
  """166,290 records of six shapes: none is lost, the known flaws are found."""
  # In a process of its own: checked types make it ten times slower.
  done = forked.run("-m", "tests.support.real_pools", shared / "data")
  assert done.returncode == 0, done.stderr
  counted = json.loads(done.stdout.splitlines()[-1])
  lines, used = counted["lines"], counted["used"]
  rejected = counted["rejected"]
  assert sum(lines.values()) == 166_290
  for source, n_lines in lines.items():
    n_rejected = sum(rejected.get(source, {}).values())
    assert used.get(source, 0) + n_rejected == n_lines, source
  assert counted["unequal"] == 0
  # The ids of earlier versions; but for calls to tools, which these misread,
  # and for placeholders in Alpaca, which were inputs and answers.
  assert counted["ids"] == "14b0b0eda8e96dba"
  others = {reason for count in rejected.values() for reason in count}
  assert others == {"empty response", "duplicate"}
  assert rejected["alpaca_52k"] == {"empty response": 84}
  assert rejected["math_train_prompts"] == {"empty response": 4}
  # 28 within the file, and one that is in the English file too.
  assert rejected["alpaca_zh_20k"] == {"empty response": 11, "duplicate": 29}


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_only_what_is_read_must_be_text(tmp_path, layout):
  """A broken byte costs a record where it is read, and no other."""
  lines = [
    b'{"question": "q", "answers": ["a", "\xff"]}',
    b'{"question": "r", "answers": ["b"], "note": "caf\xe9"}',
    b'{"question": "s", "answers": ["\xff", "b"]}',
    b'{"question": "\xff", "answers": ["b"]}',
  ]
  path = tmp_path / "a.json"
  path.write_bytes(
    b"\n".join(lines) if layout == "lines" else b"[" + b",".join(lines) + b"]"
  )
  announced = []
  used, rejected = read(str(path), announce=announced.append)
  assert [[turn.text for turn in e.turns] for e in used] == [
    ["q", "a"],
    ["r", "b"],
  ]
  assert used[1].record_json == lines[1].decode(errors="replace")
  assert [(r.line, r.reason) for r in rejected] == [
    (3, "invalid UTF-8"),
    (4, "invalid UTF-8"),
  ]
  assert rejected[0].detail == "byte 0xff at column 32"
  kept = "a: not read: all of `answers` but one, bytes that are no UTF-8, kept "
  assert announced[1].startswith(kept)


def test_a_named_response_replaces_the_answer_of_a_conversation(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"messages": ["q", "old"], "better": "new"}\n')
  announced = []
  named = {"conversation": "messages", "response": "better"}
  used, rejected = read(str(path), fields=named, announce=announced.append)
  assert [turn.text for turn in used[0].turns] == ["q", "new"]
  assert not rejected
  assert announced == [
    "a: response = better, conversation = messages",
    "a: not read: the answer that `better` replaces",
  ]
