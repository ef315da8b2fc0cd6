"""Columns of tables: parts, names and nulls, as pyarrow reads them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ila_jax import errors
from ila_jax.run.disk import checksums, columns, files


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
  monkeypatch.setattr(columns, "_PART_ROWS", 3)


def _parts():
  """Three tables of one kind; names that come and go."""
  for start, names in ((0, "bba"), (3, "cccc"), (7, "ab")):
    n = len(names)
    numbers = np.arange(start, start + n)
    yield pa.table(
      {
        "id": numbers.astype(np.uint64) + np.uint64(2**63),
        "std": pa.array([None, *numbers[1:].tolist()], pa.float32()),
        "flag": numbers % 2 == 0,
        "name": list(names),
      }
    )


def test_parts_are_one_file_that_reads_as_pyarrow_reads_it(tmp_path):
  path = tmp_path / "a.parquet"
  files.write_parts(path, _parts())
  whole = pa.concat_tables(_parts())
  assert pq.read_table(path).equals(whole)
  found = files.read_table(path)
  assert [found[name].dtype for name in ("id", "std", "flag")] == [
    np.uint64,
    np.float32,
    np.bool_,
  ]
  for name in whole.schema.names:
    wanted = whole[name].to_numpy()
    np.testing.assert_array_equal(found[name], wanted)
  assert np.isnan(found["std"]).sum() == 3


def test_names_are_sorted_and_placed(tmp_path):
  path = tmp_path / "a.parquet"
  files.write_parts(path, _parts())
  names, place = files.read_names(path, "name")
  assert names.tolist() == ["a", "b", "c"]
  assert names[place].tolist() == list("bbaccccab")
  assert place.dtype == np.int32


def test_a_part_that_fails_leaves_what_was_there(tmp_path):
  path = tmp_path / "a.parquet"
  files.write_table(path, {"id": np.arange(2)})

  def parts():
    yield next(_parts())
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    files.write_parts(path, parts())
  assert files.read_table(path)["id"].tolist() == [0, 1]
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "a.parquet",
    checksums.FILE,
  ]


def test_an_empty_table_has_its_columns(tmp_path):
  path = tmp_path / "a.parquet"
  empty = {"id": np.zeros(0, np.uint64), "name": pa.array([], pa.string())}
  files.write_table(path, pa.table(empty))
  found = files.read_table(path)
  assert len(found["id"]) == len(found["name"]) == 0
  names, place = files.read_names(path, "name")
  assert len(names) == len(place) == 0


@pytest.mark.parametrize("kind", [pa.int32(), pa.bool_(), pa.uint64()])
def test_a_null_that_no_number_stands_for_is_refused(tmp_path, kind):
  path = tmp_path / "a.parquet"
  files.write_table(path, {"n": pa.array([1, None, 0], pa.int8()).cast(kind)})
  with pytest.raises(ValueError, match=r"column 'n' has a null, .* no NaN"):
    files.read_table(path)


@pytest.mark.parametrize("rows", [1, 3, 5, 9, 20])
def test_the_head_is_that_of_the_whole(tmp_path, rows):
  path = tmp_path / "a.parquet"
  files.write_parts(path, _parts())
  whole = files.read_table(path)
  for name, column in files.read_head(path, rows).items():
    np.testing.assert_array_equal(column, whole[name][:rows])


def test_a_missing_column_is_named(tmp_path):
  path = tmp_path / "a.parquet"
  files.write_table(path, {"row": np.arange(2)})
  with pytest.raises(errors.InputError, match="has no column 'id': another"):
    files.read_table(path, ["row", "id"])
