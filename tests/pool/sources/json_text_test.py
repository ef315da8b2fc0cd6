"""JSON text: kept as it stands, damage named, chunks invisible."""

import io
import json

import pytest

from ila_jax import errors
from ila_jax.pool.sources import json_text


def parse(raw):
  return json_text.parse_line(json_text.Parser(), raw)


@pytest.mark.parametrize(
  "text",
  [
    '{"a": 1e400, "b": -1e400}',
    '{"a": 123456789012345678901234567890}',
    '{"a": 0.1000000000000000055511151231257827}',
    '{"a": "\\ud800", "b": "\\u0000"}',
    '{"a": "\u2028 é 中"}',
    "{}",
    '{"a": ' + "7" * 5000 + "}",
  ],
)
def test_the_text_of_unusual_values_is_kept(text):
  record, kept, problem = parse(b" " + text.encode() + b"\r\n")
  assert kept == text
  assert problem is None
  assert set(record) == set(json.loads(text, parse_int=str))


def test_bytes_that_are_no_text_stay_where_they_are():
  record, text, problem = parse(b'{"a": "\xc3\xa9", "b": ["\xff"]}')
  assert problem is None and record == {"a": "é", "b": ["\udcff"]}
  fine = '{"a": "é", "b": ["\ufffd"]}'
  assert json_text.repaired(text) == (fine, "byte 0xff at column 20")


def test_line_ends_inside_a_record_become_spaces():
  record, kept, _ = parse(b'{"a":\r"b\\n"}\n')
  assert kept == '{"a": "b\\n"}'
  assert json.loads(kept) == record == {"a": "b\n"}


@pytest.mark.parametrize(
  ("raw", "reason", "detail"),
  [
    (b'{"a": NaN}', "not JSON", "NaN"),
    (b'{"a": [-Infinity]}', "not JSON", "-Infinity"),
    (b'{"a": {"b": 1, "b": 2}}', "key occurs twice", "'b'"),
    (b'{"a": 1', "not JSON", "column 8"),
    (b'{"a": 1} {"a": 2}', "not JSON", "more text from column 9"),
    (b"hello", "not JSON", "column 1"),
    (b"[1]", "not a JSON object", "list"),
    (b'"a"', "not a JSON object", "str"),
    (b"null", "not a JSON object", "NoneType"),
    (b"[" * 100_000, "not JSON", "nested too deep"),
  ],
)
def test_what_is_no_record(raw, reason, detail):
  record, _, problem = parse(raw)
  assert record is None
  assert problem[0] == reason
  assert detail in problem[1]


def test_a_problem_does_not_outlive_its_line():
  parser = json_text.Parser()
  assert json_text.parse_line(parser, b'{"a": NaN}')[0] is None
  assert json_text.parse_line(parser, b'{"a": 1}')[0] == {"a": 1}


def elements(text):
  reader = json_text.ValueReader(
    io.StringIO(text), json_text.Parser(), name="x.json"
  )
  return list(reader.elements())


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_arrays_of_any_chunk(monkeypatch, chunk, indent):
  monkeypatch.setattr(json_text, "_CHUNK_CHARACTERS", chunk)
  values = [
    {"a": "x" * 40, "b": [1.5e3, True, None, {"c": '\\"\n]['}]},
    {},
    12345678901234567890,
    -7,
    "é\u2028中",
    [[], [1]],
    False,
  ]
  found = elements(json.dumps(values, indent=indent) + " \n")
  assert [value for value, _ in found] == values
  assert [json.loads(text) for _, text in found] == values
  assert not any("\n" in text for _, text in found)


@pytest.mark.parametrize("text", ["[]", " [ \n ] "])
def test_empty_arrays(text):
  assert elements(text) == []


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("[", "element 1: the array ends early"),
    ("[1", "element 1: no comma"),
    ("[1,", "element 2: the array ends early"),
    ("[1,,2]", "element 2: not JSON"),
    ("[,]", "element 1: not JSON"),
    ("[1 2]", "element 1: no comma"),
    ('[1, {"a": ', "element 2: not JSON"),
    ('[{"a": x}, {"b": "' + "y" * 99 + '"}]', "element 1: not JSON"),
    ('[1, "abc', "element 2: not JSON"),
    ("[1] [2]", "more text after the array"),
    ("[" * 100_000, "nested too deep"),
  ],
)
def test_damaged_arrays(text, message):
  with pytest.raises(errors.InputError, match=message):
    elements(text)
