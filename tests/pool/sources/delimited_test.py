"""Delimited text: rows that are read equal rows that stand there."""

import csv
import io
import time

import pandas as pd
import pytest

from ila_jax import errors
from ila_jax.pool import examples
from ila_jax.pool.sources import delimited, json_text

ROWS = [
  {"prompt": f"q{i}, and\nmore, much, more", "response": f'a{i}; "b"\t|'}
  for i in range(9)
]


def read(text, kind="csv"):
  """Records (None: a reject) by line, and what is told."""
  content = text if isinstance(text, bytes) else text.encode()
  said = []
  found = delimited.read(
    io.BytesIO(content),
    content[: delimited.HEAD_BYTES],
    kind=kind,
    name="a",
    announce=said.append,
  )
  return [(line, row.record) for line, row in found], said


def records(text, kind="csv"):
  return [record for _, record in read(text, kind)[0]]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_what_pandas_writes_is_read(delimiter, kind, quoting, line_end):
  if line_end == "\r":
    quoting = csv.QUOTE_ALL  # Else pandas writes line feeds without quotes.
  text = pd.DataFrame(ROWS).to_csv(
    sep=delimiter, quoting=quoting, lineterminator=line_end, index=False
  )
  found, said = read(text, kind)
  assert [record for _, record in found] == ROWS
  assert [line for line, _ in found] == list(range(2, 20, 2))
  native = {"csv": ",", "tsv": "\t"}[kind]
  assert (said == []) == (delimiter == native)


def test_marks_blank_lines_and_quotes():
  text = '\ufeffa,b\r\n"x\r\ny, ""z""",007\r\n\r\n,\r\n'
  assert read(text) == (
    [(2, {"a": 'x\r\ny, "z"', "b": "007"}), (5, {"a": "", "b": ""})],
    [],
  )
  assert records("a,b\n1,2\n   \n3,4\n") == [
    {"a": "1", "b": "2"},
    {"a": "3", "b": "4"},
  ]
  assert read("# a note\na,b\n1,2\n") == ([(2, None), (3, None)], [])
  assert read("") == ([], [])
  assert read("a,b\n") == ([], ["a: has names of columns and no row"])


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    # Excel says what separates.
    ("sep=;\na;b\n1,5;2,5\n", {"a": "1,5", "b": "2,5"}),
    ('"sep=|"\na|b\n1|2\n', {"a": "1", "b": "2"}),
    # Decimal commas, and a comma in the header.
    ("a;b\n1,5;2,5\n", {"a": "1,5", "b": "2,5"}),
    ('a;"b, c"\n1,5;2,5\n', {"a": "1,5", "b, c": "2,5"}),
    ('a;b\n"x, y";z\n', {"a": "x, y", "b": "z"}),
    # Spaces before a quote, and around names.
    ('a, b\nx, "y, z"\n', {"a": "x", "b": "y, z"}),
    ('a, b\n"x", "y"\n', {"a": "x", "b": "y"}),
    ("a, b\nx, y\n", {"a": "x", "b": " y"}),
    # Quotes within a cell that is not quoted are text.
    ('a,b\nhe said "hi,x\n', {"a": 'he said "hi', "b": "x"}),
    ('a,b\n"x, ""y""",z\n', {"a": 'x, "y"', "b": "z"}),
    # Empty cells beyond the columns, as spreadsheets write them.
    ("a,b\n1,2,,\n", {"a": "1", "b": "2"}),
    (",a,b\n0,1,2\n", {"Unnamed: 0": "0", "a": "1", "b": "2"}),
    # One column has no separator.
    ("a\nx; y\n", {"a": "x; y"}),
  ],
)
def test_kinds_of_csv(text, expected):
  assert records(text) == [expected]


def test_what_is_not_native_is_told():
  assert read("a;b\n1;2\n")[1] == ["a: columns are separated by semicolons"]
  said = ["a: columns are separated by commas"]
  assert read("a,b\n1,2\n", "tsv")[1] == said
  assert read('a, b\nx, "y"\n')[1] == ["a: spaces before a cell are none of it"]


BARE = [
  'he said "hi\tx',
  '"open\ty',
  "between\tz",
  'closed"\tw',
  '"Hello," he said.\tv',
  '"whole"\tu',
]


def test_bare_quotes_in_tsv_merge_nothing():
  found, said = read("\n".join(["a\tb", *BARE]), "tsv")
  assert [record for _, record in found] == [
    dict(zip("ab", line.split("\t"), strict=True)) for line in BARE
  ]
  assert said == ["a: quotes are text; they wrap no cells"]


def test_bare_quotes_in_tsv_beyond_the_head(monkeypatch):
  """Quotes that wrapped cells so far are text where they stay open."""
  monkeypatch.setattr(delimited, "HEAD_BYTES", 30)
  lines = ["a\tb", 'x\t"two\nlines"', "y\tz", "y\tz", '"open\ty', "q\tr"]
  found, said = read("\n".join([*lines, 's"\tt', '"end\tz']), "tsv")
  assert [record["a"] for _, record in found] == [
    *("x", "y", "y", '"open', "q", 's"', '"end'),
  ]
  assert found[0][1]["b"] == "two\nlines"
  assert said == [
    "a: rows whose quotes are text, for they join lines that could be rows, "
    "or do not close: 2, the first in line 6"
  ]


def test_indented_code_in_quoted_tsv():
  code = "def f():\n\treturn 1"
  text = pd.DataFrame({"a": ["q", "r"], "b": [code, "s"]}).to_csv(
    sep="\t", index=False
  )
  assert [r["b"] for r in records(text, "tsv")] == [code, "s"]


def test_open_quotes_in_csv():
  lines = [f"q{i},a{i}" for i in range(20)]
  # Naive writers quote nothing: each line is a row.
  naive = ["a,b", '"hi" he said,x', *lines]
  found, said = read("\n".join(naive))
  assert len(found) == 21 and found[0][1]["a"] == '"hi" he said'
  assert said == ["a: quotes are text; they wrap no cells"]
  opened = ["a,b", '"open,x', *lines, 'shut" it,y', "z,z"]
  assert len(read("\n".join(opened))[0]) == 23
  # Quotes around names wrap the other cells, too.
  with pytest.raises(errors.InputError, match=r"a line 2: .* expected after"):
    read("\n".join(['"a","b"', *opened[1:]]))
  # Where cells are quoted, what an open quote ends is not known.
  quoted = ['"q, r","s, t"'] * 20
  with pytest.raises(errors.InputError, match=r"a line 22: a quote stays open"):
    read("\n".join(["a,b", *quoted, *opened[1:-2], 'shut"']))
  with pytest.raises(errors.InputError, match=r"a line 22: .* expected after"):
    read("\n".join(["a,b", *quoted, '"hi, there" he said,x']))
  with pytest.raises(errors.InputError, match=r"a line 3: unexpected end"):
    read('a,b\n1,2\n"1,2\n')


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("other", ["a{}", 'a{}, "b"'])
@pytest.mark.parametrize("place", [3, 30, 2500])
def test_a_cell_may_hold_lines_that_could_be_rows(quoting, other, place):
  rows = [
    {"prompt": f"q{i}", "response": other.format(i)}
    for i in range(max(place + 1, 60))
  ]
  table = "".join(f"\nFrance{i},Paris{i}" for i in range(12))
  rows[place] = {"prompt": "List capitals", "response": f"Here it is:{table}"}
  found, said = read(pd.DataFrame(rows).to_csv(quoting=quoting, index=False))
  assert [record for _, record in found] == rows
  assert said == [
    "a: rows of several lines by their quotes, each line of which could be a "
    f"row: 1, the first in line {place + 2}"
  ]


def test_a_row_of_lines_that_could_be_rows_is_told():
  found, said = read('a,b\n"Dear Sir, hello\nbye",ok\nq,r\n')
  assert [record["a"] for _, record in found] == ["Dear Sir, hello\nbye", "q"]
  assert said == [
    "a: rows of several lines by their quotes, each line of which could be a "
    "row: 1, the first in line 2"
  ]


def test_ragged_rows_are_rejects():
  rows = delimited.read(
    io.BytesIO(b'a,b\n1,2,3\n1,2\n1\n"x\ny",2,3\n\xe9,2\n'),
    b"a,b\n1,2,3\n1,2\n",
    kind="csv",
    name="a",
  )
  (_, wide), (_, fine), (_, short), (_, long), (line, latin) = rows
  said = "3 cells, and 2 columns are named"
  assert wide.problem == ("row with too many cells", said)
  few = "1 cells, and 2 columns are named"
  assert short.problem == ("row with too few cells", few)
  assert long.problem[1] == f"{said}; lines 5 to 6"
  assert fine.record == {"a": "1", "b": "2"}
  assert line == 7 and latin.record == {"b": "2"}
  assert latin.lost == (("a", delimited.NO_UTF8),)


def test_two_columns_of_one_name():
  ((_, row),) = delimited.read(
    io.BytesIO(b"a,b,a\n1,2,3\n"), b"a,b,a\n1,2,3\n", kind="csv", name="a"
  )
  assert row.record == {"b": "2"}
  assert row.lost == (("a", "two columns have this name"),)


def test_a_first_line_that_is_a_row_is_told():
  found, said = read("What is 1 + 1?,2\nWhat is 1 + 2?,3\n")
  assert len(found) == 1
  assert "the first line names the columns, and it seems to be a row" in said[0]
  assert read("id,the prompt\n1,2\n")[1] == []


def test_missing_cells_are_null():
  found, said = read("a,b\nnan,x\nNULL,NA\nnan,None\n")
  assert [list(r.values()) for _, r in found] == [
    [None, "x"],
    [None, "NA"],
    [None, "None"],
  ]
  assert said == [
    "a: cells of column 'a' that say nan and count as empty: 2, the first in "
    "line 2",
    "a: cells of column 'a' that say NULL and count as empty: 1, the first in "
    "line 3",
  ]


def test_a_cell_may_be_long():
  long = "x" * 200_000  # Python's reader refuses more than 131,072.
  assert records(f"a,b\n{long},y\n")[0]["a"] == long
  assert records(f'a,b\n"{long}",y\n')[0]["a"] == long


def test_a_line_without_end_is_no_text(monkeypatch):
  monkeypatch.setattr(json_text, "MAX_RECORD_BYTES", 1000)
  with pytest.raises(errors.InputError, match="a line 2: more than"):
    read("a,b\n" + "x" * 2000)


def test_open_quotes_take_no_time():
  start = time.process_time()
  found, _ = read("a\tb\n" + '"a""\tb\n' * 8_000, "tsv")
  assert len(found) == 8_000
  assert time.process_time() - start < 10


def test_delimited_pools(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text("prompt;response\nq, r;a, b\n")
  said = []
  used = list(examples.read([str(path)], rejects=print, announce=said.append))
  assert [turn.text for turn in used[0].turns] == ["q, r", "a, b"]
  assert f"{path}: columns are separated by semicolons" in said
