"""JSON of any layout; damage and size are bounded, and told by place."""

import gzip
import io
import json
import time
import tracemalloc

import pytest

from ila_jax import errors
from ila_jax.pool.sources import json_records, json_text

RECORDS = [
  {"prompt": f"q{i}\u2028[{{é", "response": f"a{i}", "n": [i, {"x": None}]}
  for i in range(30)
]
PLAIN = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
PRETTY = [json.dumps(record, indent=2) for record in RECORDS]


def read(content, **options):
  content = content.encode() if isinstance(content, str) else content
  head = content[: json_records.HEAD_BYTES]
  found = json_records.read(io.BytesIO(content), head, name="a.json", **options)
  return list(found)


LAYOUTS = {
  "lines": "\n".join(PLAIN),
  "CR LF": "\ufeff" + "\r\n".join(PLAIN),
  "CR": "\r".join(PLAIN),
  "nothing between": "".join(PLAIN),
  "spaces between": "  ".join(PLAIN),
  "a comma at each end": ",\n".join(PLAIN) + ",\n",
  "RFC 7464": "".join(f"\x1e{text}\n" for text in PLAIN),
  "RFC 7464, pretty": "".join(f"\x1e{text}\n" for text in PRETTY),
  "pretty": "\n".join(PRETTY),
  "pretty, not opened alone": "\n".join(
    text.replace("{\n ", "{", 1) for text in PRETTY
  ),
  "array": json.dumps(RECORDS),
  "array with a last comma": "[" + ",\n".join(PLAIN) + ",\n]",
  "array, a line each": "[\n" + ",\n".join(PLAIN) + "\n]\n",
  "pretty array": json.dumps(RECORDS, indent=4),
  "data": json.dumps({"version": 1, "data": RECORDS}),
  "pretty data": json.dumps({"data": RECORDS, "version": 1}, indent=1),
  "the Hub's viewer": json.dumps(
    {
      "features": [{"feature_idx": 0, "name": "instruction"}],
      "rows": [
        {"row_idx": i, "row": record, "truncated_cells": []}
        for i, record in enumerate(RECORDS)
      ],
      "num_rows_total": 30,
    }
  ),
  "the only key": json.dumps({"anything": RECORDS}),
  "split": json.dumps(
    {
      "columns": list(RECORDS[0]),
      "index": list(range(30)),
      "data": [list(record.values()) for record in RECORDS],
    }
  ),
  "index": json.dumps({str(i): record for i, record in enumerate(RECORDS)}),
  "below data, by split": json.dumps(
    {"data": {"train": RECORDS, "test": RECORDS[:2]}}
  ),
  "below data, by columns": json.dumps(
    {"Data": {k: [r[k] for r in RECORDS] for k in RECORDS[0]}}
  ),
  "the only list": json.dumps({"about": "x", "samples": RECORDS}),
  "columns by names of rows": json.dumps(
    {
      key: {f"id{i}": record[key] for i, record in enumerate(RECORDS)}
      for key in RECORDS[0]
    }
  ),
  "table": json.dumps({"schema": {"fields": []}, "data": RECORDS}),
  "named rows": json.dumps({f"id{i}": r for i, r in enumerate(RECORDS)}),
  "columns": json.dumps(
    {
      key: {str(i): record[key] for i, record in enumerate(RECORDS)}
      for key in RECORDS[0]
    }
  ),
  "lists": json.dumps({k: [r[k] for r in RECORDS] for k in RECORDS[0]}),
}


@pytest.mark.parametrize("chunk", [5, 1 << 20])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, chunk, monkeypatch):
  monkeypatch.setattr(json_text, "_CHUNK_CHARACTERS", chunk)
  found = read(LAYOUTS[layout])
  assert [record for _, record, _, _ in found] == RECORDS
  assert [json.loads(text) for _, _, text, _ in found] == RECORDS
  assert [number for number, *_ in found] == list(range(1, 31))
  assert not any("\n" in text for _, _, text, _ in found)


def test_what_is_read_of_a_document_is_told():
  said = []
  two = {"train": RECORDS, "test": RECORDS[:2], "version": 1}
  assert len(read(json.dumps(two), announce=said.append)) == 30
  assert said == [
    "a.json: the records are those of 'train', and not 'test', 'version'"
  ]
  said.clear()
  read(LAYOUTS["lists"], announce=said.append)
  assert said == ["a.json: a table, of 30 rows"]


SAID = [
  {"role": "user", "content": "q"},
  {"role": "assistant", "content": "a"},
]


@pytest.mark.parametrize(
  "record",
  [
    {"messages": [{"role": "user", "content": "q"}]},
    {"prompt": "q", "response": "a", "tags": ["x"]},
    {"prompt": "q", "response": "a"},
    {"instruction": "q", "turns": [{"a": 1}]},
    {"chosen": SAID, "rejected": SAID},
    {"messages": SAID, "tools": [{"name": "f"}, {"name": "g"}]},
    {"items": SAID, "system": "s"},
    {"data": SAID},
    {"dialogue": ["q", "a"]},
    {"dialogue": [{"speaker": "user", "text": "q"}]},
    {"data": {"messages": SAID}},
    {"prompt": {"text": "q"}, "response": {"text": "a"}},
    {"prompt": SAID[:1], "chosen": SAID[1:], "rejected": SAID[1:]},
    {"prompt": "q", "response": "a", "data": {"x": [1, 2]}},
    {"prompt": ["q", "r"], "response": ["a"]},
    {"source": "x", "conversation": [{"input": "q", "output": "a"}] * 2},
    {"id": 1, "conversations": [{"question": "q", "answer": "a"}] * 2},
    {"id": 1, "messages": [{"type": "human", "data": {"content": "q"}}] * 2},
    {"chosen_a": SAID, "chosen_b": SAID},
    {"response_1": SAID, "response_2": SAID, "prompt": "q"},
    {"samples": RECORDS, "by_id": {"1": RECORDS[0], "2": RECORDS[1]}},
    {"samples": RECORDS, "splits": {"a": RECORDS, "b": RECORDS}},
    {},
  ],
)
def test_one_record_is_no_table(record):
  assert read(json.dumps(record)) == [(1, record, json.dumps(record), None)]
  pretty = json.dumps(record, indent=1)
  assert [found[1] for found in read(pretty)] == [record]


@pytest.mark.parametrize(
  ("document", "expected"),
  [
    ({"text": ["a", "b"]}, [{"text": "a"}, {"text": "b"}]),
    ({"text": {"0": "a", "1": "b"}}, [{"text": "a"}, {"text": "b"}]),
    (
      {"q": {"0": 1}, "a": {"1": 2}},
      [{"q": 1, "a": None}, {"q": None, "a": 2}],
    ),
    (
      {
        "x": {"prompt": "q", "answer": "a"},
        "y": {"prompt": "r", "output": "b"},
      },
      [{"prompt": "q", "answer": "a"}, {"prompt": "r", "output": "b"}],
    ),
    ({"messages": [SAID, SAID]}, [{"messages": SAID}, {"messages": SAID}]),
    ({"c0": SAID, "c1": SAID}, [{"messages": SAID}, {"messages": SAID}]),
    (
      {"chosen": [SAID, SAID], "score": [1, 2]},
      [{"chosen": SAID, "score": 1}, {"chosen": SAID, "score": 2}],
    ),
  ],
)
def test_tables_as_pandas_writes_them(document, expected):
  assert [record for _, record, _, _ in read(json.dumps(document))] == expected


CHATS = [{"id": i, "messages": SAID} for i in range(3)]
PAIRS = [{"question": "q", "answer": "a"}] * 3


@pytest.mark.parametrize(
  ("about", "name", "items"),
  [
    ({"metadata": {"n": 3, "by": ["x", "y"]}}, "samples", PAIRS),
    ({"metadata": {"annotators": [{"name": "x"}]}}, "samples", PAIRS),
    ({"labels": ["yes", "no"]}, "samples", PAIRS),
    ({"version": "1.0"}, "conversations", CHATS),
    ({"metadata": {"n": 3}}, "conversations", CHATS),
    ({"version": "1.0"}, "conversations", PAIRS),
    ({"version": "1.0"}, "conversations", [SAID] * 3),
    ({"version": "1.0"}, "dialogs", [SAID] * 3),
    ({}, "dialogues", [SAID] * 3),
  ],
)
def test_the_only_list_may_have_other_things_beside(about, name, items):
  said = []
  found = read(json.dumps(about | {name: items}), announce=said.append)
  expected = [{"messages": i} if isinstance(i, list) else i for i in items]
  assert [record for _, record, _, _ in found] == expected
  beside = "".join(f", and not {key!r}" for key in about)
  assert said == [f"a.json: the records are those of {name!r}{beside}"]


def test_tables_that_are_not_sure_are_named():
  said = {"dialogue": ["q", "a"], "topics": ["x", "y"]}
  ((_, record, _, problem),) = read(json.dumps(said))
  assert record is None
  assert problem == ("one record or a table by columns", "dialogue, topics")
  splits = {"test": RECORDS, "validation": RECORDS}
  for document in (splits, {"data": splits}):
    with pytest.raises(errors.InputError, match="several lists of records: te"):
      read(json.dumps(document))
  fine, ragged = read('{"columns": ["a", "b"], "data": [[1, 2], [3]]}')
  assert fine[1] == {"a": 1, "b": 2}
  said = ("row of another width", "1 cells, and 2 columns are named")
  assert ragged[3] == said


def test_a_cell_that_the_viewer_cut_off_is_no_text():
  row = {"row_idx": 0, "row": {"a": "x"}, "truncated_cells": ["a"]}
  ((number, record, _, problem),) = read(json.dumps({"rows": [row]}))
  assert (number, record) == (1, None)
  assert problem == ("a cell is cut off by the Hub's viewer", "a")


def test_questions_of_squad_are_records():
  asked = [
    {"id": i, "question": f"q{i}", "answers": [{"text": f"a{i}"}]}
    for i in range(3)
  ]
  paragraphs = [
    {"context": "c", "qas": asked[:2]},
    {"context": "d", "qas": asked[2:]},
  ]
  document = {
    "version": "1.1",
    "data": [{"title": "t", "paragraphs": paragraphs}] * 2,
  }
  found = read(json.dumps(document))
  assert [number for number, *_ in found] == [1, 2, 3, 4, 5, 6]
  expected = [
    {"title": "t", "context": context} | each
    for context, each in zip("ccd", asked, strict=True)
  ]
  assert [record for _, record, _, _ in found] == expected * 2
  assert [json.loads(text) for _, _, text, _ in found] == expected * 2
  # What is not whole in this way is left as it is.
  del paragraphs[0]["context"]
  assert [r for _, r, _, _ in read(json.dumps(document))] == document["data"]


def test_the_text_below_a_key_is_kept():
  content = '{"data": [{"a": 1e400, "b": 0.10}, {"a": 1, "a": 2}]}'
  # A key that occurs twice anywhere makes a document ambiguous.
  assert read(content)[0][3] == ("key occurs twice", "'a'")
  found = read('{"data": [{"a": 1e400, "b": 0.10}]}')
  assert found[0][2] == '{"a": 1e400, "b": 0.10}'


def test_lists_of_turns_are_records():
  turns = [{"role": "user", "content": "q"}, {"role": "assistant"}]
  text = json.dumps(turns)
  found = read(f"{text}\n{text}\n")
  assert found[0] == (1, {"messages": turns}, text, None)
  assert len(found) == 2
  assert read("[1]\n[2]\n")[0][3] == ("not a JSON object", "list")


CALLED = [SAID[0], {"role": "assistant", "function_call": {"name": "f"}}]


@pytest.mark.parametrize("turns", [SAID, CALLED, [*SAID, *SAID]])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("between", ["\n", " "])
def test_the_layout_of_a_list_of_turns_is_no_matter(turns, count, between):
  for indent in (None, 1):
    text = json.dumps(turns, indent=indent)
    found = read(between.join([text] * count))
    assert [f[:2] for f in found] == [
      (number, {"messages": turns}) for number in range(1, count + 1)
    ]
    assert [json.loads(f[2]) for f in found] == [turns] * count


@pytest.mark.parametrize(
  "rows",
  [
    [{"role": "pirate", "question": "q", "answer": "a"}] * 2,
    [{"parent_id": i, "role": "user", "content": "q"} for i in (None, 1)],
    [turn | {"conversation_id": i} for i in (1, 2) for turn in SAID],
    [{"from": "Rome", "to": "Bonn"}] * 2,
  ],
)
def test_rows_that_name_a_role_are_no_conversation(rows):
  for indent in (None, 1):
    found = read(json.dumps(rows, indent=indent))
    assert [record for _, record, _, _ in found] == rows


@pytest.mark.parametrize(
  "first", ['{"a": 1', '{"a": 1} x', '{"a": ', "hello", '{"a": 1,', "{]"]
)
def test_a_damaged_first_line_costs_one_record(first):
  found = read(f'{first}\n{{"a": 2}}\n{{"a": 3}}\n')
  assert found[0][3][0] == "not JSON"
  assert [record for _, record, _, _ in found[1:]] == [{"a": 2}, {"a": 3}]


def test_damage_between_objects_of_several_lines_is_named():
  content = "\n".join([*PRETTY[:3], '{\n "a": x\n}', PRETTY[0]])
  with pytest.raises(errors.InputError, match=r"a\.json element 4: not JSON"):
    read(content)
  with pytest.raises(errors.InputError, match=r"a\.json element 30: not JSON"):
    read("\n".join(PRETTY)[:-20])


@pytest.fixture
def small(monkeypatch):
  """Limits of a test's size."""
  monkeypatch.setattr(json_text, "MAX_RECORD_BYTES", 1000)
  monkeypatch.setattr(json_text, "MAX_DOCUMENT_BYTES", 8000)
  monkeypatch.setattr(json_text, "_CHUNK_CHARACTERS", 100)
  monkeypatch.setattr(json_records, "HEAD_BYTES", 300)


LONG = json.dumps({"a": "x" * 3000})


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_line_that_is_too_long_is_one_reject(place):
  lines = ['{"a": 1}', '{"a": 2}']
  lines.insert(place, LONG)
  found = read("\n".join(lines) + "\n")
  assert [problem for *_, problem in found].count(json_text.TOO_LARGE) == 1
  assert found[place][0] == place + 1
  assert found[place][1:] == (None, "", json_text.TOO_LARGE)
  kept = [record for _, record, _, _ in found if record]
  assert kept == [{"a": 1}, {"a": 2}]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
  "content",
  [
    f'{{"a": 1}}\n{"x" * 20_000}\n',
    "x" * 30_000,
    f'{{"a": 1}}\n{" " * 30_000}',
    '{"a": 1}\n' + "\n" * 30_000,
    "[" + " " * 30_000,
    f'[{{"a": 1}}, {LONG}]',
    "[" + LONG * 9,
    '{\n"a": "' + "x" * 30_000,
    '{"a": 1} {"a": "' + "x" * 30_000,
  ],
)
def test_what_has_no_end_is_no_text(content):
  with pytest.raises(errors.InputError, match=r"a\.json (line|element) \d+: "):
    read(content)


def test_a_packed_bomb_is_never_held(tmp_path):
  """600 MB of one line in 0.6 MB: refused, and never in memory as a whole."""
  path = tmp_path / "bomb.gz"
  with gzip.open(path, "wb", compresslevel=1) as stream:
    stream.write(b'{"a": 1}\n{"a": "')
    for _ in range(60):
      stream.write(b"x" * 10_000_000)
  with gzip.open(path) as stream:
    head = stream.read(100)
  tracemalloc.start()
  with (
    gzip.open(path) as stream,
    pytest.raises(errors.InputError, match="line 2: a line of more than 256"),
  ):
    list(json_records.read(io.BufferedReader(stream), head, name="bomb"))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 100_000_000


def test_many_keys_take_no_time():
  keys = [f'"k{i}": {i}' for i in range(100_000)]
  start = time.process_time()
  found = read("{" + ", ".join([*keys, '"k0": 1']) + "}\n{}")
  assert found[0][3] == ("key occurs twice", "'k0'")
  assert time.process_time() - start < 5  # Once a minute.


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"a": [', "[{"])
@pytest.mark.parametrize("suffix", ["", "\n{}", "\n[]"])
def test_brackets_without_end(opening, suffix):
  try:
    found = read(opening * 100_000 + suffix)
  except errors.InputError:
    return
  assert found[0][3][0] == "not JSON"


def test_a_record_may_be_deep_but_not_too_deep():
  def nested(depth):
    return '{"a": ' * depth + "1" + "}" * depth

  deepest = json_text.MAX_DEPTH
  fine, deep = read(f"{nested(deepest)}\n{nested(deepest + 1)}\n")
  assert fine[3] is None
  assert deep[3] == ("not JSON", "nested too deep")
