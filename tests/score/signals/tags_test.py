"""Tags of records, as numbers and as InsTag chooses by them, end to end."""

import json

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.pool import shards
from ila_jax.run.disk import files
from ila_jax.score.signals import example_signal, tags
from tests.support import tiny

_KINDS = ("Maths", "code", "logic", "poetry", "facts")


def _records():
  """Every eighth has no tags; some are written as one text."""
  rows = tiny.records(60)
  for i, row in enumerate(rows):
    own = [_KINDS[k] for k in range(5) if (i >> k) & 1 and i % 8]
    row |= {"case": 1 + i % 3}
    row["tags"] = ", ".join(own) if i % 3 else own
  return rows


def _pool(folder, records=None, **fields):
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", records or _records()),
    **{
      "pool__shard_examples": 25,
      "pool__dev_examples": 5,
      "score__reference_examples": 5,
    }
    | fields,
  )
  workdir = epath.Path(folder / "work")
  pipeline.run(config, workdir, stages=["pool"])
  return tiny.run(config, workdir)


def test_tags_are_the_names_in_the_records(tmp_path, capsys):
  run = _pool(tmp_path, pool__fields__labels="tags")
  example_signal.run(tags.SIGNAL, run)
  assert "5 different tags; 52 of 60" in capsys.readouterr().err
  found = example_signal.read(run.workdir, tags.NAME, np.arange(60))
  named = sorted(kind.casefold() for kind in _KINDS)
  records = [
    json.loads(text)
    for table in shards.iterate(run.workdir, ["record"])
    for text in table["record"].to_pylist()
  ]
  counts = files.read_table(run.workdir / "pool/index.parquet")["n_labels"]
  for own, record, count in zip(found, records, counts, strict=True):
    held = record["tags"]
    held = held if isinstance(held, list) else held.split(", ")
    wanted = sorted(name.casefold() for name in held if name)
    assert [named[int(tag)] for tag in own if tag != tags.NONE] == wanted
    assert count == max(len(wanted), 1)


@pytest.mark.parametrize(
  ("field", "match"),
  [("", r"labels is '', and no record"), ("case", "Its records have counts")],
)
def test_a_pool_without_tags_says_what_to_name(field, match, tmp_path):
  run = _pool(tmp_path, pool__fields__labels=field)
  with pytest.raises(errors.InputError, match=match) as raised:
    example_signal.run(tags.SIGNAL, run)
  assert "--config.pool.fields.labels=FIELD" in str(raised.value)


def test_one_record_does_not_size_all(tmp_path):
  rows = _records()
  rows[7]["tags"] = [f"word {number}" for number in range(1025)]
  run = _pool(tmp_path, rows, pool__fields__labels="tags")
  with pytest.raises(errors.InputError, match="a record has 1,025 different"):
    example_signal.run(tags.SIGNAL, run)
